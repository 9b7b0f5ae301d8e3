"""The draft of a review, as values: equal facts give an equal draft. What it looks like is for others to say."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from holdfast.response.telling import told
from holdfast.reviewing.facts import Moment, ReviewFacts
from rollouts.incidents.history import Acknowledged, Impact, RoleTaken

UNKNOWN: Final = "not known"

REASONS_MAX: Final = 5
"""Most reasons of a verdict that a draft spells out; the page of evidence has all of them."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: what it is, its value in words, and what it is reckoned from."""

    name: str
    value: str
    how: str


@dataclass(frozen=True, slots=True)
class Section:
    """A section that people have to fill, and the question that it asks."""

    key: str
    title: str
    question: str


SECTIONS: Final = (
    Section("summary", "Summary", "What happened, in five sentences for somebody who was not there?"),
    Section("impact", "Impact on users", "What did people outside notice, how many of them, and for how long?"),
    Section(
        "contributing",
        "Contributing factors",
        "What made it possible? Ask of systems, not of people: whoever acted did what made sense with what was known.",
    ),
    Section("went-well", "What went well", "What kept it small, or made it shorter?"),
    Section("went-badly", "What went badly", "What made it larger, or longer, than it had to be?"),
    Section("lucky", "Where we got lucky", "What might as well have gone otherwise?"),
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft: `facts` as they are, and what follows from them."""

    facts: ReviewFacts
    figures: tuple[Figure, ...]
    timeline: tuple[Moment, ...]


def draft(facts: ReviewFacts) -> Draft:
    """Make the draft of a review."""
    return Draft(facts, tuple(_figures(facts)), timeline(facts))


def timeline(facts: ReviewFacts) -> tuple[Moment, ...]:
    """Return everything that happened, in order of time; at one time verdicts come before what follows from them."""
    said = [
        Moment(each.at, "verdict", "holdfast", _verdict(each.rollout, each.action, each.cause, each.sentences))
        for each in facts.verdicts
    ]
    own = [Moment(each.at, "incident", each.by, told(each)) for each in facts.events]
    return tuple(sorted([*facts.moments, *said, *own], key=lambda moment: moment.at))


def _verdict(rollout: str, action: str, cause: str, sentences: tuple[str, ...]) -> str:
    why = f": {sentences[0]}" if sentences else ""
    return f"{rollout}: {action} ({cause}){why}"


def _figures(facts: ReviewFacts) -> list[Figure]:
    incident = facts.incident
    onset = incident.impact.onset
    about = "about " if incident.impact.is_onset_estimated else ""
    stopped = min((cause.at for cause in incident.causes), default=None)
    heard = next((each.at for each in facts.events if isinstance(each, Acknowledged | RoleTaken)), None)
    ended = facts.restored or incident.mitigated
    over = "the last host reported what it had before" if facts.restored else "somebody said so"
    return [
        Figure("Harm began", about + _at(onset), _whence(incident.impact)),
        Figure(
            "Detected after",
            about + lasted(onset, stopped),
            "from the onset to the first verdict that stopped a rollout",
        ),
        Figure("Opened after", lasted(stopped or onset, incident.opened), "from that verdict to the incident"),
        Figure("Acknowledged after", lasted(incident.opened, heard), "from the incident to the first person on it"),
        Figure("Mitigated after", about + lasted(onset or incident.opened, ended), f"from the onset until {over}"),
        Figure("Resolved after", lasted(incident.opened, incident.resolved), "from the incident to its end"),
        Figure("Traffic hurt", _share(incident.impact.traffic_share), "share of the fleet's traffic in the hurt colos"),
        Figure("Hosts reached", _share(incident.impact.hosts_share), "share of the fleet that had the change"),
    ]


def _whence(impact: Impact) -> str:
    if impact.onset is None:
        return "nothing that is stored tells it"
    return "estimated from the evidence" if impact.is_onset_estimated else "as somebody has said"


def lasted(since: datetime | None, until: datetime | None) -> str:
    """Say how long something lasted.

    Examples
    --------
    >>> from datetime import UTC
    >>> noon = datetime(2026, 11, 26, 12, tzinfo=UTC)
    >>> lasted(noon, noon.replace(minute=3, second=20))
    '3 min 20 s'
    >>> lasted(noon, None)
    'not known'
    """
    if since is None or until is None:
        return UNKNOWN
    if until < since:
        return f"{lasted(until, since)} before"
    return _length(until - since)


def _length(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    parts = ((seconds // 86_400, "d"), (seconds // 3_600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s"))
    shown = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(shown[:2]) or "0 s"


def _at(moment: datetime | None) -> str:
    return UNKNOWN if moment is None else second(moment)


def second(moment: datetime) -> str:
    """Write a time to the second, in UTC.

    Examples
    --------
    >>> second(datetime.fromisoformat("2026-11-26T14:05:09+01:00"))
    '2026-11-26 13:05:09 UTC'
    """
    return f"{msgspec.to_builtins(moment.astimezone(UTC))[:19].replace('T', ' ')} UTC"


def _share(share: float | None) -> str:
    return UNKNOWN if share is None else f"{100 * share:.3g} %"
