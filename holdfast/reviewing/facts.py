"""What a review is made of: everything that is stored about an incident, as values."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from rollouts.incidents.folding import Incident
from rollouts.incidents.history import Event

Source = Literal["incident", "verdict", "rollout", "control", "audit", "notice"]
"""Where something is stored: which topic says so."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened; `who` is empty where it was nobody in particular."""

    at: datetime
    source: Source
    who: str
    what: str


@dataclass(frozen=True, slots=True)
class Knew:
    """A verdict: what the engine knew at the end of a tick.

    `abstained` says, metric by metric, what could not be judged and why.
    """

    at: datetime
    rollout: str
    sequence: int
    action: str
    cause: str
    stage: str
    binding: bool
    colos: tuple[str, ...]
    metrics: tuple[str, ...]
    sentences: tuple[str, ...]
    abstained: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a rollout got: hosts, and the colos in which they are."""

    rollout: str
    hosts: int
    colos: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The page with all evidence about a rollout: name of the file beside the draft, and its pictures as HTML."""

    rollout: str
    file: str
    pictures: str


@dataclass(frozen=True, slots=True)
class ReviewFacts:
    """All of it.

    Attributes
    ----------
    incident, events
        How it stands, and what happened to it.
    verdicts
        Of the rollouts that it is about, in order.
    moments
        What else is stored: of the rollout, of control, of the audit log, of notices.
    reached
        How far each of the rollouts got.
    restored
        When the last host was reported to have back what it had; None if nobody knows.
    overrides
        What people put in force in the engine's place, in sentences.
    evidence
        Pages about the rollouts.
    missing
        What could not be read, and why: a review says what it does not know.
    """

    incident: Incident
    events: tuple[Event, ...]
    verdicts: tuple[Knew, ...] = ()
    moments: tuple[Moment, ...] = ()
    reached: tuple[Reached, ...] = ()
    restored: datetime | None = None
    overrides: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    missing: tuple[str, ...] = ()
