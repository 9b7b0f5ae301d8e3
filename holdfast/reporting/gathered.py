"""What a report is made of, wherever it comes from: documents, verdicts, and small tables cut into steps of time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.policy import Policy
from rollouts.document import Rollout
from rollouts.truth import Truth
from sinks.cloudevents import VerdictEvent, epoch_ms

STEPS_MAX: Final = 240
"""Steps of time that a chart has at most: about one for every three pixels of its width."""

HEAT_STEPS_MAX: Final = 96
"""The same for the heat map, whose cells must be seen one by one."""


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


_KEY: Final = {"stage": pa.string(), "metric": pa.string(), "edge": pa.float64(), "step": pa.int64()}

EFFECTS: Final = _schema(
    **_KEY,
    effect=pa.float64(),
    lower=pa.float64(),
    upper=pa.float64(),
    mde=pa.float64(),
    log_e=pa.float64(),
    log_e_max=pa.float64(),
)
"""The comparison over the whole fleet: as of the last tick of each step, and the greatest e-value within it."""

SIDES: Final = _schema(
    **_KEY,
    canary=pa.float64(),
    canary_of=pa.float64(),
    canary_min=pa.float64(),
    canary_max=pa.float64(),
    control=pa.float64(),
    control_of=pa.float64(),
    control_min=pa.float64(),
    control_max=pa.float64(),
    ticks=pa.int64(),
    empty=pa.int64(),
)
"""Both cohorts over all colos: sums, what they are of, the extremes of single ticks, and ticks that lack a side.

`control` is what the control's values come to at the canary's share of each colo, so that colos of unlike levels
do not pass for a difference (Simpson's paradox).
"""

WEIGHED: Final = _schema(metric=pa.string(), step=pa.int64(), log_e=pa.float64(), log_e_max=pa.float64())
"""The e-value of each metric, over all its comparisons: at the end of each step, and the greatest within it."""

HEAT: Final = _schema(colo=pa.string(), step=pa.int64(), log_e=pa.float64(), metric=pa.string())
"""The greatest e-value of a single colo's comparisons within a step, and whose it was."""

SILENT: Final = _schema(
    colo=pa.string(),
    cohort=pa.string(),
    silent=pa.float64(),
    seen=pa.float64(),
    silent_max=pa.float64(),
    units=pa.float64(),
)
"""Unit-ticks of a cohort that were silent, of all that were due; how many units were so at once, of how many."""

SPANS: Final = _schema(stage=pa.string(), first=pa.int64(), last=pa.int64())
"""First and last judged tick of each stage."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Ticks `first` to `last` in steps of `per` ticks.

    Examples
    --------
    >>> grid = Grid.over(100, 399, 10_000, 240)
    >>> grid.per, grid.steps, grid.time_ms(np.array([0, 149])).tolist()
    (2, 150, [1010000, 3990000])
    """

    first: int
    last: int
    per: int
    tick_ms: int

    @classmethod
    def over(cls, first: int, last: int, tick_ms: int, steps_max: int) -> "Grid":
        """Cut ticks into at most so many steps."""
        return cls(first, last, max(1, -(-(last - first + 1) // steps_max)), tick_ms)

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return (self.last - self.first) // self.per + 1

    def step_of(self, time_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the steps that ticks, told by their ends, lie in."""
        step: NDArray[np.int64] = (time_ms // self.tick_ms - self.first) // self.per
        return step

    def time_ms(self, step: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the end of steps, in epoch milliseconds."""
        end: NDArray[np.int64] = np.minimum(self.first + (step + 1) * self.per - 1, self.last) * self.tick_ms
        return end


@dataclass(frozen=True, slots=True)
class Intake:
    """What came in: live ticks judged, samples, and those dropped by reason; None where that is not kept."""

    ticks: int | None
    samples: int | None
    dropped: dict[str, int]


@dataclass(frozen=True, slots=True)
class Tables:
    """What was seen; see the schemas above.

    Attributes
    ----------
    grid, heat_grid
        The steps of `effects`, `sides` and `weighed`, and those of `heat`.
    """

    grid: Grid
    heat_grid: Grid
    effects: pa.Table
    sides: pa.Table
    weighed: pa.Table
    heat: pa.Table
    silent: pa.Table
    spans: pa.Table


def begun(rollout: Rollout, verdicts: Sequence[VerdictEvent], spans: pa.Table | None, tick_ms: int) -> dict[str, int]:
    """Tell when the stages that were judged began, in epoch ms: by the document, else by the first tick or verdict."""
    found: dict[str, int] = {}
    for event in verdicts:
        found.setdefault(event.data.stage, epoch_ms(datetime.fromisoformat(event.time)))
    if spans is not None:
        found |= {row["stage"]: row["first"] * tick_ms for row in spans.to_pylist()}
    written = {stage.name: stage.started for stage in rollout.stages}
    first = rollout.stages[0]
    written[first.name] = first.started or rollout.started
    return found | {name: epoch_ms(time) for name, time in written.items() if time is not None and name in found}


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that a report shows, of one rollout.

    Attributes
    ----------
    origin
        Where it comes from, for people.
    started_ms
        Start of each stage that has begun, by name, in epoch milliseconds.
    is_weighed_exactly
        Whether `weighed` is what was decided on; else edges of a histogram were taken for equal parts.
    tables
        What was seen; None if nothing of it is kept.
    """

    origin: str
    rollout: Rollout
    policy: Policy
    truth: Truth | None
    verdicts: tuple[VerdictEvent, ...]
    started_ms: dict[str, int]
    intake: Intake
    is_weighed_exactly: bool
    tables: Tables | None
