"""Figures of a candidate over recordings, which candidates are on the front, and which one is chosen. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from holdfast.corpus.scoring import interval
from holdfast.tuning.evaluating import Evaluated
from holdfast.tuning.space import Candidate, Point


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a candidate made of some recordings.

    Attributes
    ----------
    harmless, alarms, alarms_interval
        How many did no harm; how many were stopped for nothing (bad ones before their onset count too), and the exact
        95 % interval of their share.
    bad, missed, missed_interval
        The same of what did harm and was not caught.
    delay_s
        Mean seconds that harm went on: to the stop, of a miss to the end of the recording; None without bad ones.
    delay_median_s
        Median seconds to the stop of what was caught; None if nothing was.
    advanced, advanced_median_s
        Harmless ones that were let go on, and the median time that it took.
    """

    harmless: int
    alarms: int
    alarms_interval: tuple[float, float]
    bad: int
    missed: int
    missed_interval: tuple[float, float]
    delay_s: float | None
    delay_median_s: float | None
    advanced: int
    advanced_median_s: float | None

    @property
    def alarm_share(self) -> float:
        """False alarms by harmless recordings; it may exceed 1 if bad ones are stopped early."""
        return self.alarms / max(1, self.harmless)


def figures(evaluated: Sequence[Evaluated], is_bad: Sequence[bool]) -> Figures:
    """Add evaluations [recording] up; `is_bad` [recording] says which did harm."""
    bad = [one for one, hurts in zip(evaluated, is_bad, strict=True) if hurts]
    harmless = [one for one, hurts in zip(evaluated, is_bad, strict=True) if not hurts]
    alarms = sum(one.is_alarm for one in evaluated)
    missed = sum(one.is_missed for one in bad)
    delays = [one.delay_s for one in bad if one.delay_s is not None]
    advanced = [one.advanced_s for one in harmless if one.advanced_s is not None and one.kind == "advanced"]
    return Figures(
        harmless=len(harmless),
        alarms=alarms,
        alarms_interval=interval(min(alarms, len(harmless)), len(harmless)),
        bad=len(bad),
        missed=missed,
        missed_interval=interval(missed, len(bad)),
        delay_s=float(np.mean([one.cost_s for one in bad])) if bad else None,
        delay_median_s=float(np.median(delays)) if delays else None,
        advanced=len(advanced),
        advanced_median_s=float(np.median(advanced)) if advanced else None,
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate that was tried on all recordings that are learned from.

    Attributes
    ----------
    number
        The how-manieth it was; 0 is the policy as it is.
    point, candidate
        Where in the space, and which policy that is.
    evaluated
        [recording] What it made of each.
    figures
        The same, added up.
    distance
        How far from the policy as it is.
    """

    number: int
    point: Point
    candidate: Candidate
    evaluated: tuple[Evaluated, ...]
    figures: Figures
    distance: float


def allowed_alarms(limit: float, harmless: int) -> int:
    """Return how many false alarms keep within a limit, a share of the harmless recordings.

    Examples
    --------
    >>> allowed_alarms(0.01, 30), allowed_alarms(0.05, 40), allowed_alarms(0.1, 30)
    (0, 2, 3)
    """
    return math.floor(limit * harmless + 1e-9)


def order(trial: Trial, most: int) -> tuple[float, ...]:
    """Return what trials are compared by, the best first.

    Within the limit: fewest missed, most that were let go on, least delay, fewest alarms, nearest to the policy as it
    is. Beyond it: fewest alarms first. Recordings may end before the deadline of their rollout: what still waits then
    was not stopped, and yet is no success.
    """
    found = trial.figures
    known = (found.missed, -found.advanced, found.delay_s or 0.0, found.alarms, trial.distance, trial.number)
    return (0, *known) if found.alarms <= most else (1, found.alarms, *known)


def better(one: Trial, other: Trial, most: int) -> bool:
    """Tell whether a trial comes before another."""
    return order(one, most) < order(other, most)


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials that no other one beats: in false alarms, in what is missed, and in delay.

    Of those with the same figures it is the one that is nearest to the policy as it is. The shortest delay comes first.
    """
    kept: list[Trial] = []
    for trial in sorted(trials, key=lambda one: (*_costs(one), one.distance, one.number)):
        costs = _costs(trial)
        if not any(all(a <= b for a, b in zip(_costs(other), costs, strict=True)) for other in kept):
            kept.append(trial)
    return kept


def _costs(trial: Trial) -> tuple[float, int, int]:
    return trial.figures.delay_s or 0.0, trial.figures.missed, trial.figures.alarms


class Deciding(msgspec.Struct, frozen=True, kw_only=True):
    """A recording that two policies which lie next to each other on the front judge differently."""

    recording: str
    before: str
    after: str


def deciding(names: Sequence[str], one: Sequence[Evaluated], other: Sequence[Evaluated]) -> list[Deciding]:
    """Name the recordings [recording] that two policies judge differently, what matters most first."""
    found: list[tuple[float, Deciding]] = []
    for name, a, b in zip(names, one, other, strict=True):
        changes = (a.kind, a.early) != (b.kind, b.early)
        gained = abs(a.cost_s - b.cost_s)
        if changes or gained > 0:
            found.append((-gained - (1e9 if changes else 0.0), Deciding(recording=name, before=said(a), after=said(b))))
    return [each for _, each in sorted(found, key=lambda pair: (pair[0], pair[1].recording))]


def said(one: Evaluated) -> str:
    """Say in words what became of a recording."""
    if one.kind == "caught" and one.delay_s is not None:
        return f"caught after {one.delay_s:g} s"
    if one.kind in ("advanced", "held"):
        return one.kind
    return f"{one.kind}: {one.why}"
