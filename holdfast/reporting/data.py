"""What a report says, as values: no markup, no words but those of the engine."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detectors.policy import Metric
from detectors.verdict import Abstained, Action, Cause, Reason
from holdfast.reporting.gathered import Grid, Intake
from rollouts.truth import Truth

Array = NDArray[np.float64]
Steps = NDArray[np.int64]

Scale = Literal["relative", "past", "unknown", "own"]
"""What effects are: logarithms of a ratio, units of the unit's past, one of the two, or the metric's own unit."""


@dataclass(frozen=True, slots=True)
class Said:
    """A verdict, and until when it was in force (the end of the report for the last one); times in epoch ms."""

    sequence: int
    time_ms: int
    until_ms: int
    action: Action
    cause: Cause
    stage: str
    binding: bool
    colos: tuple[str, ...]
    metrics: tuple[str, ...]
    reasons: tuple[Reason, ...]
    abstained: tuple[Abstained, ...]


@dataclass(frozen=True, slots=True)
class StageSpan:
    """A stage as it was judged, times in epoch ms; `bake_ms` and `deadline_ms` are None beyond the report's end."""

    name: str
    started_ms: int
    until_ms: int
    bake_ms: int | None
    deadline_ms: int | None


@dataclass(frozen=True, slots=True)
class Curves:
    """One metric over time, an entry for each step in which it was judged [step].

    Attributes
    ----------
    stage
        Position of the step's stage in `ReportData.stages`.
    canary, control
        Values over all colos, the control's weighted as the canary is; `*_min` and `*_max` of single ticks.
    effect, lower, upper
        Of the whole fleet, as of the last tick of the step, on the scale that they are estimated on.
    log_e, log_e_max
        Evidence of all comparisons of the metric: as of the last tick, and the greatest within the step.
    """

    step: Steps
    stage: Steps
    canary: Array
    canary_min: Array
    canary_max: Array
    control: Array
    control_min: Array
    control_max: Array
    effect: Array
    lower: Array
    upper: Array
    log_e: Array
    log_e_max: Array


@dataclass(frozen=True, slots=True)
class MetricView:
    """One judged metric.

    Attributes
    ----------
    metric
        As the policy has it; None for the one that every policy has.
    is_blamed
        Whether the verdict that the report is about names it.
    edges
        The bucket edge that is shown of a histogram, by stage.
    log_threshold
        Logarithm of the e-value at which this metric stops the rollout though all others are silent.
    log_e_max
        The greatest e-value so far, -inf if there is none.
    tolerance
        Effects that are tolerated downwards and upwards, on the scale of the effects; None if not worse, or not known.
    ticks, empty
        Judged ticks, and those in which one of the sides had no data.
    """

    name: str
    metric: Metric | None
    is_blamed: bool
    scale: Scale
    edges: tuple[float, ...]
    log_threshold: float
    log_e_max: float
    tolerance: tuple[float | None, float | None]
    ticks: int
    empty: int
    curves: Curves


@dataclass(frozen=True, slots=True)
class Heat:
    """Colos x time: the greatest e-value of a colo's comparisons in each step, NaN where nothing was compared.

    Attributes
    ----------
    colos
        Those shown, the one with most evidence first.
    left_out
        How many more there are.
    log_e
        [colo, step]
    metric
        [colo] The metric of the greatest e-value.
    log_threshold
        Logarithm of the e-value at which one colo alone counts as hurt, if it is the only one.
    """

    grid: Grid
    colos: tuple[str, ...]
    left_out: int
    log_e: Array
    metric: tuple[str, ...]
    log_threshold: float


@dataclass(frozen=True, slots=True)
class Silence:
    """Units of one cohort in a colo: how many were silent at once at most, and for what part of all unit-ticks."""

    colo: str
    cohort: str
    share: float
    silent_max: int
    units: int


@dataclass(frozen=True, slots=True)
class Quality:
    """What the data were like.

    Attributes
    ----------
    silent_share
        The silent part of all unit-ticks of each cohort; empty if not kept.
    silent
        Cohorts of colos, worst first; those that were complete are left out.
    silent_left_out
        How many more there are.
    gaps
        Metrics, the ticks in which one side of them was without data, and all ticks.
    """

    intake: Intake
    silent_share: dict[str, float]
    silent: tuple[Silence, ...]
    silent_left_out: int
    gaps: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class ReportData:
    """All that a report says.

    Attributes
    ----------
    decisive, final
        The first halt or revert, else the last verdict; and the last verdict.
    contradictions
        What speaks against the truth, in words; empty if that is not known, too.
    total, total_max
        [step] Logarithm of the averaged e-value of all metrics, as of the end of a step and the greatest within; it
        stops the rollout at 1 / alpha.
    metrics
        Those that say most first.
    """

    rollout: str
    package: tuple[tuple[str, str, str], ...]
    policy: str
    policy_digest: str
    engine: str
    origin: str
    unit: str
    alpha: float
    is_classical: bool
    is_weighed_exactly: bool
    tick_ms: int
    first_ms: int
    last_ms: int
    grid: Grid | None
    decisive: Said
    final: Said
    verdicts: tuple[Said, ...]
    stages: tuple[StageSpan, ...]
    truth: Truth | None
    contradictions: tuple[str, ...]
    total: Array
    total_max: Array
    metrics: tuple[MetricView, ...]
    heat: Heat | None
    quality: Quality
