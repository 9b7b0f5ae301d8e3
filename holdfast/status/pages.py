"""The pages: what a snapshot says, put into HTML that needs neither scripts nor anybody else's server."""

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any, Final, NamedTuple, TypeVar, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined
from msgspec import Struct

from holdfast.status import words
from holdfast.status.snapshot import (
    STATES,
    Day,
    Internal,
    Note,
    Public,
    PublicIncident,
    PublicUpdate,
    Responded,
    State,
)
from rollouts.incidents.history import Role

BYTES_MAX: Final = 49_000
"""Largest page, however much there is to say: what does not fit is left out, counted, and in the JSON."""

PAST_DAYS: Final = 14


class Room(NamedTuple):
    """How much of each kind a page tells."""

    current: int
    past: int
    components: int
    days: int
    listed: int
    words: int
    excerpt: int


ROOMS: Final = (
    Room(current=10, past=15, components=60, days=8, listed=150, words=30_000, excerpt=500),
    Room(current=10, past=10, components=60, days=2, listed=100, words=20_000, excerpt=300),
    Room(current=6, past=6, components=30, days=0, listed=50, words=10_000, excerpt=200),
    Room(current=4, past=3, components=12, days=0, listed=20, words=5_000, excerpt=80),
)
"""From much to little: the first whose page is small enough counts."""

STALE: Final = timedelta(minutes=1)
"""How old what is known may be before a page says so, if nothing else is set."""

_HEIGHTS: Final[dict[State, int]] = {
    "operational": 14,
    "unknown": 5,
    "degraded": 19,
    "partial-outage": 24,
    "outage": 30,
}


Values = dict[str, object]
Said = TypeVar("Said", PublicUpdate, Note)


class _Row(Struct, frozen=True):
    days: str
    state: State
    up: str


@dataclass(frozen=True)
class Look:
    """What all pages have in common.

    Parameters
    ----------
    title
        Of the page as a whole.
    base
        Path below which the pages are, without a slash at its end.
    can_subscribe
        Whether there is a form for that.
    is_static
        Whether they are files, which some other server hands out.
    stale
        How old what is known may be before a page says so.
    """

    title: str
    base: str = ""
    can_subscribe: bool = False
    is_static: bool = False
    stale: timedelta = STALE

    def _written(self, template: str, **values: object) -> bytes:
        text = (
            _environment()
            .get_template(template)
            .render(title=words.line(self.title), base=self.base, is_static=self.is_static, **values)
        )
        return text.encode("utf-8", "replace")

    def index(self, public: Public, now: datetime, seen: str) -> bytes:
        """Write the first page."""
        current, since = public.current, public.as_of - timedelta(days=PAST_DAYS)
        recent = [each for each in public.past if each.opened >= since]

        def values(room: Room) -> Values:
            return {
                "public": public,
                "headline": headline(public, now, self.stale),
                "current": current[: room.current],
                "current_left_out": max(0, len(current) - room.current),
                "components": public.components[: room.components],
                "components_left_out": max(0, len(public.components) - room.components),
                "past_days": _by_day(recent[: room.past]),
                "past_days_max": PAST_DAYS,
                "can_subscribe": self.can_subscribe and not self.is_static,
            }

        return self._page("index.html", public, now, "/events", seen, values)

    def history(self, public: Public, now: datetime, seen: str) -> bytes:
        """Write the list of all incidents."""
        told = [each for each in public.incidents if each.merged_into is None]

        def values(room: Room) -> Values:
            return {
                "public": public,
                "days": _by_day(told[: room.listed]),
                "left_out": max(0, len(told) - room.listed),
            }

        return self._page("history.html", public, now, "/events", seen, values)

    def incident(self, one: PublicIncident, public: Public, now: datetime, seen: str) -> bytes:
        """Write the page of an incident."""

        def values(room: Room) -> Values:
            shown = _within(one.updates, room.words)
            return {"incident": one, "as_of": public.as_of, "shown": shown, "left_out": len(one.updates) - len(shown)}

        return self._page("incident.html", public, now, "/events", seen, values)

    def internal(self, internal: Internal, now: datetime, seen: str) -> bytes:
        """Write the page for those who respond."""

        def values(room: Room) -> Values:
            return {"internal": internal, "rows_max": room.past, "rollouts_max": room.current}

        return self._page("internal.html", internal, now, "/internal/events", seen, values)

    def responded(self, one: Responded, internal: Internal, now: datetime, seen: str) -> bytes:
        """Write the page of an incident for those who respond."""

        def values(room: Room) -> Values:
            shown = _within(one.timeline, room.words)
            left_out = len(one.timeline) - len(shown)
            return {"incident": one, "as_of": internal.as_of, "shown": shown, "left_out": left_out}

        return self._page("internal_incident.html", internal, now, "/internal/events", seen, values)

    def message(self, heading: str, sentences: Sequence[str], action: str = "", button: str = "") -> bytes:
        """Write a page that says something once, perhaps with a button that sends a form to `action`."""
        return self._written(
            "message.html",
            heading=heading,
            sentences=sentences,
            action=action,
            button=button,
            is_public=True,
            is_live=False,
        )

    def _page(
        self,
        template: str,
        told: Public | Internal,
        now: datetime,
        events: str,
        seen: str,
        values: Callable[[Room], Values],
    ) -> bytes:
        """Write a page with as much as fits; `seen` tells what it says from what is said later."""
        old = now - told.as_of
        written = b""
        for room in ROOMS:
            written = self._written(
                template,
                events=events,
                seen=seen,
                is_public=isinstance(told, Public),
                is_live=True,
                old=old if old >= self.stale else None,
                room=room,
                **values(room),
            )
            if len(written) <= BYTES_MAX:
                break
        return written


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("holdfast.status"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Any = environment.filters
    for each in (words.iso, words.minute, words.second, words.day, words.age, words.listed, words.percent):
        filters[each.__name__] = each
    filters |= {"runs": runs, "counted": counted, "told": _told, "spoken": spoken}
    shared: Any = environment.globals
    shared |= {"states": words.STATE, "phases": words.PHASE, "kinds": words.KIND, "roles": get_args(Role)}
    shared |= {"moment": words.moment, "minute": words.minute, "second": words.second, "exact": words.exact}
    shared |= {"css": CSS, "js": JS, "policy": META_POLICY}
    return environment


def headline(public: Public, now: datetime, stale: timedelta = STALE) -> str:
    """Say in a sentence how things stand; what is old is not said to be so now."""
    said = words.HEADLINE[public.state]
    if not public.components and not public.incidents and public.state == "operational":
        said = "No incident is known"
    if now - public.as_of < stale:
        return said
    return f"As of {words.minute(public.as_of)}: {said[0].lower()}{said[1:]}"


def _state(day: Day) -> State:
    return day.state


def _alike(day: Day) -> tuple[State, float | None]:
    return day.state, day.up


def runs(days: Sequence[Day]) -> list[tuple[State, int, str]]:
    """Draw days as strokes: of each state how high they are, and a path of runs, which dashes divide into days."""
    found: dict[State, list[str]] = {}
    place = 0
    for state, group in groupby(days, key=_state):
        count = len(list(group))
        middle = 30 - _HEIGHTS[state] / 2
        found.setdefault(state, []).append(f"M{4 * place} {middle:g}h{4 * count - 1}")
        place += count
    return [(state, _HEIGHTS[state], "".join(found[state])) for state in STATES if state in found]


def counted(days: Sequence[Day]) -> str:
    """Say how many days were of which state, in words."""
    counts: dict[State, int] = {state: sum(each.state == state for each in days) for state in STATES}
    return ", ".join(f"{count} {words.STATE[state].lower()}" for state, count in counts.items() if count)


def _told(days: Sequence[Day]) -> list[_Row]:
    """List the days that were not good, newest first, those that follow each other and are alike as one."""
    rows: list[_Row] = []
    for (state, up), group in groupby(reversed(days), key=_alike):
        found = list(group)
        if state != "operational":
            last, first = words.day(found[0].day), words.day(found[-1].day)
            rows.append(_Row(first if len(found) == 1 else f"{first} to {last}", state, words.percent(up)))
    return rows


def spoken(incident: PublicIncident) -> list[PublicUpdate]:
    """Return the newest update that somebody has written; if nobody has, the newest there is."""
    written = [each for each in incident.updates if each.kind == "updated"]
    return (written or incident.updates)[:1]


def _by_day(incidents: Iterable[PublicIncident]) -> list[tuple[str, list[PublicIncident]]]:
    return [(name, list(found)) for name, found in groupby(incidents, key=lambda each: each.opened.date().isoformat())]


def _within(said: Sequence[Said], bytes_max: int) -> list[Said]:
    """Keep as many, newest first, as a page bears."""
    kept: list[Said] = []
    size = 0
    for each in said:
        size += len(each.text.encode()) + 150
        if size > bytes_max and kept:
            break
        kept.append(each)
    return kept


def _source(name: str) -> str:
    return files("holdfast.status").joinpath("templates", name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CSS: Final = _source("style.css")
JS: Final = _source("live.js")

META_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        f"style-src {_hash(CSS)}",
        f"script-src {_hash(JS)}",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
    ]
)
POLICY: Final = f"{META_POLICY}; frame-ancestors 'none'"
"""What a page may do: its own style and script, known by their hashes, and asking its own server; nothing else."""
