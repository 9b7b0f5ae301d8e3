"""When an incident hurt which services, and what that makes of their days.

The rule: while a critical incident is open, the services that it names are out; while a major one is, they are partly
out, and count as down for 30 % of that time; a minor one degrades them, and counts as no downtime. What overlaps counts
once, by the worst. Time is known if the page was listening, or an incident says how things stood; a day of which less
than half is known and nothing bad is "unknown", and no part of any figure.

The weights are those of Atlassian's Statuspage, so that figures can be compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as clock
from itertools import pairwise
from typing import Final

from detectors.errors import BadInput
from holdfast.status.snapshot import DAYS, STATES, Day, State
from rollouts.incidents.folding import Incident, evolve, fold
from rollouts.incidents.history import History, Severity

HARM: Final[Mapping[Severity, State]] = {"critical": "outage", "major": "partial-outage", "minor": "degraded"}
WEIGHT: Final[Mapping[State, float]] = {
    "outage": 1.0,
    "partial-outage": 0.3,
    "degraded": 0.0,
    "unknown": 0.0,
    "operational": 0.0,
}
"""The part of the time that counts as downtime."""

ONSET_MAX: Final = timedelta(days=1)
"""How far before it was opened an incident may have begun; beyond that the evidence is taken for wrong."""

KNOWN_MIN: Final = 0.5
"""The part of a day that has to be known before it is called a good one."""

Interval = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which an incident hurt some services in one way; `end` is None while it goes on."""

    begin: datetime
    end: datetime | None
    state: State
    services: frozenset[str]


def spans(history: History) -> list[Span]:
    """List when an incident hurt what, oldest first.

    Raises
    ------
    BadInput
        If its history is none.
    """
    incident = fold(History(incident=history.incident, events=history.events[:1]))
    began = _began(fold(history))
    found: list[Span] = []
    now, harm = incident.opened, _harm(incident)
    begin = began
    for event in history.events[1:]:
        incident = evolve(incident, event)
        now = max(now, event.at)
        if _harm(incident) == harm:
            continue
        if harm is not None:
            found.append(Span(begin, now, *harm))
        begin, harm = now, _harm(incident)
    if harm is not None:
        found.append(Span(begin, None, *harm))
    return found


def _began(incident: Incident) -> datetime:
    onset = incident.impact.onset
    if onset is None or not incident.opened - ONSET_MAX <= onset <= incident.opened:
        return incident.opened
    return onset


def _harm(incident: Incident) -> tuple[State, frozenset[str]] | None:
    if incident.phase != "open":
        return None
    return HARM[incident.severity], frozenset(incident.impact.services)


def days_of(found: Sequence[Span], watched: Sequence[Interval], as_of: datetime) -> tuple[list[Day], float | None]:
    """Tell the days of one service, oldest first, and which part of the time known it was up.

    Parameters
    ----------
    found
        When it was hurt.
    watched
        When the page was listening.
    as_of
        Until when it was; the last day is that of this moment.
    """
    days: list[Day] = []
    down_s = known_s = 0.0
    for ago in reversed(range(DAYS)):
        day, down, known = _day(as_of.date() - timedelta(days=ago), found, watched, as_of)
        days.append(day)
        if day.state != "unknown":
            down_s, known_s = down_s + down, known_s + known
    return days, _share(down_s, known_s)


def _share(down_s: float, known_s: float) -> float | None:
    return None if known_s <= 0 else round(1 - down_s / known_s, 6)


def _day(day: date, found: Sequence[Span], watched: Sequence[Interval], as_of: datetime) -> tuple[Day, float, float]:
    begin = datetime.combine(day, clock(), as_of.tzinfo)
    end = min(begin + timedelta(days=1), as_of)
    hurt: list[tuple[datetime, datetime, State]] = [
        (max(each.begin, begin), min(each.end or as_of, end), each.state) for each in found
    ]
    hurt = [each for each in hurt if each[0] < each[1]]
    heard = [(max(one, begin), min(other, end)) for one, other in watched if one < end and other > begin]
    down_s = known_s = 0.0
    edges = sorted(
        {begin, end, *(edge for each in hurt for edge in each[:2]), *(edge for each in heard for edge in each)}
    )
    for one, other in pairwise(edges):
        seconds = (other - one).total_seconds()
        states: list[State] = [state for first, last, state in hurt if first <= one and other <= last]
        if states or any(first <= one and other <= last for first, last in heard):
            known_s += seconds
        down_s += seconds * max((WEIGHT[state] for state in states), default=0.0)
    state = worst([state for _, _, state in hurt])
    if state == "operational" and known_s < KNOWN_MIN * (end - begin).total_seconds():
        state = "unknown"
    if end <= begin:
        state = "unknown"  # the day has just begun
    up = None if state == "unknown" else _share(down_s, known_s)
    return Day(day=day.isoformat(), state=state, up=up), down_s, known_s


def worst(states: Iterable[State]) -> State:
    """Return the worst of some states; of none, "operational"."""
    return STATES[max((STATES.index(each) for each in states), default=0)]


def readable(histories: Mapping[str, History]) -> tuple[dict[str, Incident], list[str]]:
    """Fold histories, and say of those that are none why; each is a sentence."""
    folded: dict[str, Incident] = {}
    unreadable: list[str] = []
    for name, history in sorted(histories.items()):
        try:
            folded[name] = fold(history)
        except BadInput as error:
            unreadable.append(str(error))
    return folded, unreadable
