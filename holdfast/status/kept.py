"""What a status page keeps on its topic, beside the incidents: who subscribes, what they were told, when it listened.

The topic is compacted, with one kind of key for each: `subscriber/…`, `told/…`, `unsent/…` and `day/…`. A subscriber
that is taken off the list is a tombstone, after which nothing of the address is left.
"""

from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from detectors.errors import BadInput
from holdfast.status.snapshot import DAYS
from rollouts.document import Timestamp

SUBSCRIBER: Final = "subscriber/"
TOLD: Final = "told/"
UNSENT: Final = "unsent/"
DAY: Final = "day/"

SPANS_MAX: Final = 500
"""Most times of a day that are kept, the longest."""

GAP_S: Final = 90
"""Shorter than this, a gap between two times of listening is none: the page writes this each minute."""

_DAY_S: Final = 86_400
Second = Annotated[int, Meta(ge=0, le=_DAY_S)]


class Subscriber(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An address, hidden, and since when it is on the list."""

    address: Annotated[str, Meta(max_length=1_000)]
    since: Timestamp


class Told(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many updates of an incident subscribers were told."""

    count: Annotated[int, Meta(ge=0)]


class Unsent(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many letters about an incident were given up, when, and why: without a letter, since that has an address."""

    letters: Annotated[int, Meta(ge=1)]
    at: Timestamp
    why: Annotated[str, Meta(max_length=1_000)]


class Listened(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the page was listening on a day, in seconds since its beginning in UTC."""

    spans: Annotated[list[tuple[Second, Second]], Meta(max_length=SPANS_MAX)]


class Kept:
    """Takes records of the topic, and says what they come to.

    Whoever goes through a table copies it first: it may grow meanwhile.
    """

    def __init__(self) -> None:
        self.subscribers: dict[str, Subscriber] = {}
        self.told: dict[str, int] = {}
        self.unsent: dict[str, Unsent] = {}
        self.days: dict[str, list[tuple[int, int]]] = {}

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take a record.

        Raises
        ------
        BadInput
            If it is none of ours; it changes nothing.
        """
        try:
            kind, _, name = key.decode().partition("/")
            self._take(f"{kind}/", name, value)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            message = f"{key[:80]!r}: not a record of a status page: {error}"
            raise BadInput(message) from error

    def _take(self, kind: str, name: str, value: bytes | None) -> None:
        if kind == SUBSCRIBER:
            _put(self.subscribers, name, None if value is None else _read(value, Subscriber))
        elif kind == TOLD:
            _put(self.told, name, None if value is None else _read(value, Told).count)
        elif kind == UNSENT:
            _put(self.unsent, name, None if value is None else _read(value, Unsent))
        elif kind == DAY:
            day = date.fromisoformat(name).isoformat()
            _put(self.days, day, None if value is None else _read(value, Listened).spans)
        else:
            message = f"found the kind {kind[:20]!r}; allowed: {SUBSCRIBER}, {TOLD}, {UNSENT} and {DAY}"
            raise ValueError(message)

    def watched(self, as_of: datetime) -> list[tuple[datetime, datetime]]:
        """List when the page was listening in the days that are told of, oldest first."""
        first = as_of.date() - timedelta(days=DAYS)
        found: list[tuple[datetime, datetime]] = []
        for name, spans in sorted(dict(self.days).items()):
            begin = datetime.combine(date.fromisoformat(name), clock(), UTC)
            if begin.date() >= first:
                found += [(begin + timedelta(seconds=one), begin + timedelta(seconds=other)) for one, other in spans]
        return found


Value = TypeVar("Value")


def _put(table: dict[str, Value], name: str, value: Value | None) -> None:
    if value is None:
        table.pop(name, None)
    else:
        table[name] = value


def _read(value: bytes, kind: type[Value]) -> Value:
    return msgspec.json.decode(value, type=kind)


def listened(begin: datetime, end: datetime) -> dict[str, tuple[int, int]]:
    """Divide a time of listening among its days; of one that is longer than two days the last two.

    Examples
    --------
    >>> at = datetime(2026, 3, 12, 0, 0, 40, tzinfo=UTC)
    >>> listened(at - timedelta(seconds=60), at)
    {'2026-03-11': (86380, 86400), '2026-03-12': (0, 40)}
    """
    midnight = datetime.combine(end.date(), clock(), UTC)
    from_s, to_s = (int((each - midnight).total_seconds()) for each in (begin, end))
    days: dict[str, tuple[int, int]] = {}
    if from_s < 0:
        days[(end.date() - timedelta(days=1)).isoformat()] = (max(0, _DAY_S + from_s), _DAY_S)
    days[end.date().isoformat()] = (max(0, from_s), to_s)
    return days


def merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put together what overlaps, or nearly touches.

    Examples
    --------
    >>> merged([(100, 160), (0, 60), (400, 460)])
    [(0, 160), (400, 460)]
    """
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin - found[-1][1] <= GAP_S:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    longest = sorted(found, key=lambda each: each[0] - each[1])[:SPANS_MAX]
    return sorted(longest)
