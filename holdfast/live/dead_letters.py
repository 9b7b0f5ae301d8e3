"""Dead letters: messages that cannot be read are kept as they came, with the reason, and may be sent again.

A letter is a message whose key says where it comes from, whose value is that of the original, and whose headers say the
rest. That a letter was sent again stands on the same partition, behind it, as a message without a value.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Message

from holdfast.live.clients import MESSAGE_BYTES_MAX
from holdfast.live.records import Record
from holdfast.live.settings import Settings

PREFIX: Final = "original-"
"""Begins the names of the headers that the message came with."""

REDRIVEN: Final = "holdfast-redriven"
"""On a message that was sent again: for which time. On a mark: the offset of the letter, and for which time."""

REASON_LENGTH_MAX: Final = 1_000
_HEADERS_BYTES_MAX: Final = 65_536
_ROOM: Final = MESSAGE_BYTES_MAX - _HEADERS_BYTES_MAX - 8_192
"""Most bytes of a value: what the user's brokers take may be more than what ours do."""

Headers = list[tuple[str, bytes | None]]


def dead_letter(settings: Settings, message: Message, reason: str) -> Record:
    """Put a message aside: its bytes and headers as they came, and in further headers where from and why.

    What is too large for the dead-letter topic is cut, and says so; it still stands where it came from.
    """
    topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
    value, original = message.value(), _headers(message)
    told: dict[str, str | bytes] = {
        "holdfast-topic": topic,
        "holdfast-partition": str(partition),
        "holdfast-offset": str(offset),
        "holdfast-timestamp": str(message.timestamp()[1]),
        "holdfast-reason": reason[:REASON_LENGTH_MAX],
        "holdfast-worker": settings.worker,
    }
    key = _bytes(message.key())
    if key is not None:
        told["holdfast-key"] = key
    if (
        len(key or b"") + sum(len(name) + len(PREFIX) + len(text or b"") for name, text in original)
        > _HEADERS_BYTES_MAX
    ):
        told["holdfast-headers-left-out"] = str(len(original))
        told.pop("holdfast-key", None)
        original = []
    if value is not None and len(value) > _ROOM:
        told["holdfast-cut-from"] = str(len(value))
        value = value[:_ROOM]
    headers = [(f"{PREFIX}{name}", text if text is not None else b"") for name, text in original]
    headers += [(name, text.encode() if isinstance(text, str) else text) for name, text in told.items()]
    return Record(settings.topics.dead_letters, f"{topic}/{partition}".encode(), value, headers)


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter as it stands on the dead-letter topic.

    `partition` and `offset` are its own place; `from_…` is where the message came from. `is_whole` is false if
    something had to be left out.
    """

    partition: int
    offset: int
    from_topic: str
    from_partition: int
    from_offset: int
    from_timestamp_ms: int
    reason: str
    worker: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    is_whole: bool

    @property
    def place(self) -> str:
        """How it is named on the command line."""
        return f"{self.partition}:{self.offset}"

    @property
    def content_type(self) -> str | None:
        """The content type that the message came with."""
        found = dict(self.headers).get("content-type")
        return None if found is None else found.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Mark:
    """Says that the letter at `offset` of the same partition was sent again, for the `times`-th time."""

    offset: int
    times: int


def read_letter(message: Message) -> Letter | Mark | None:
    """Read a message of the dead-letter topic; None if it is neither a letter nor a mark."""
    given = _headers(message)
    headers = {name: text or b"" for name, text in given}
    try:
        if REDRIVEN in headers and message.value() is None:
            offset, _, times = headers[REDRIVEN].partition(b":")
            return Mark(int(offset), int(times))
        return Letter(
            message.partition() or 0,
            message.offset() or 0,
            headers["holdfast-topic"].decode(),
            int(headers["holdfast-partition"]),
            int(headers["holdfast-offset"]),
            int(headers["holdfast-timestamp"]),
            headers["holdfast-reason"].decode(errors="replace"),
            headers["holdfast-worker"].decode(errors="replace"),
            headers.get("holdfast-key"),
            message.value(),
            # From the list: a name may stand there several times.
            tuple((name.removeprefix(PREFIX), text or b"") for name, text in given if name.startswith(PREFIX)),
            not headers.keys() & {"holdfast-cut-from", "holdfast-headers-left-out"},
        )
    except (KeyError, ValueError):
        return None


def again(letter: Letter, times: int) -> Record:
    """Make the message that a letter came from: same topic, partition, key, value and headers.

    The same partition rather than by key: which partition a colo is in was decided by whoever sent it, and a colo seen
    in two partitions makes its verdicts `wait`.
    """
    headers = [(name, text) for name, text in letter.headers if name != REDRIVEN]
    headers.append((REDRIVEN, str(times).encode()))
    return Record(letter.from_topic, letter.key, letter.value, headers, letter.from_partition)


def mark(settings: Settings, letter: Letter, times: int) -> Record:
    """Make the mark that says so."""
    headers = [(REDRIVEN, f"{letter.offset}:{times}".encode())]
    key = f"{letter.from_topic}/{letter.from_partition}".encode()
    return Record(settings.topics.dead_letters, key, None, headers, letter.partition)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters are meant: those that fit all that is said; `places` are partition and offset."""

    topic: str | None = None
    reason: str | None = None
    places: frozenset[tuple[int, int]] | None = None

    def fits(self, letter: Letter) -> bool:
        """Tell whether a letter is meant."""
        return (
            (self.topic is None or letter.from_topic == self.topic)
            and (self.reason is None or self.reason in letter.reason)
            and (self.places is None or (letter.partition, letter.offset) in self.places)
        )


def objection(settings: Settings, letter: Letter, counts: Mapping[str, int]) -> str | None:
    """Tell why a letter is not to be sent again; None if it may be.

    Parameters
    ----------
    settings
        Names of topics.
    letter
        The letter.
    counts
        Number of partitions by topic, as they are now.
    """
    allowed = metrics_topics(settings)
    if letter.from_topic not in allowed:
        # The journal and the verdicts are what the engine itself wrote, in an order that must stay.
        return f"it comes from {letter.from_topic}; allowed: metrics topics ({', '.join(allowed)})"
    if not letter.is_whole:
        at = f"{letter.from_topic}/{letter.from_partition} at {letter.from_offset}"
        return f"it was too large to be kept whole; the whole of it stands in {at}, while that is kept"
    if letter.from_partition >= counts.get(letter.from_topic, 0):
        return f"{letter.from_topic} has no partition {letter.from_partition} any more"
    return None


def metrics_topics(settings: Settings) -> Sequence[str]:
    """Name the topics whose messages are frames of metrics."""
    return sorted({*settings.sources, *(each.topic for each in settings.metrics)})


def marks(found: Iterable[Letter | Mark | None]) -> dict[int, int]:
    """Return how often each letter of a partition was sent again, by offset."""
    times: dict[int, int] = {}
    for each in found:
        if isinstance(each, Mark):
            times[each.offset] = max(times.get(each.offset, 0), each.times)
    return times


def _headers(message: Message) -> Headers:
    given = message.headers() or []
    return [(name, _bytes(text)) for name, text in (given.items() if isinstance(given, dict) else given)]


def _bytes(text: str | bytes | None) -> bytes | None:
    return text.encode() if isinstance(text, str) else text
