"""Words for numbers, changes and places, and the view of a stage that they are about."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import Strand
from detectors.evidence import Evidence
from streams.prospect import Prospect
from streams.running import Running

Array = NDArray[np.float64]

_WHOLE_FROM: Final = 10_000
"""Levels from here on are written out, without a fraction or a power of ten."""

COLOS_NAMED: Final = 3
"""Colos that get a reason of their own in a verdict; the scope names all."""


@dataclass(frozen=True, slots=True)
class View:
    """A stage at the end of a tick, with the arrays that sentences are made of [test]."""

    running: Running
    prospect: Prospect
    log_e: Array
    effect: Array
    radius: Array
    visible: Array
    cut: NDArray[np.bool_]
    age: int

    @property
    def evidence(self) -> Evidence:
        """Return the stage's evidence."""
        return self.running.evidence

    def confounders(self, metric: int) -> list[str]:
        """Name the rollouts that a metric cannot tell apart from this one by now."""
        return self.running.confounders(metric, self.age)


def tests_of(view: View, metric: int, level: int) -> NDArray[np.intp]:
    """Return a metric's tests at a level: all its edges, all its places."""
    tests = view.running.pairing.tests
    return np.flatnonzero((view.running.metric[tests.strand] == metric) & (tests.level == level))


def metric_of(view: View, test: int) -> int:
    """Return the position of a test's metric."""
    return strand_of(view.running, test).metric


def strand_of(running: Running, test: int) -> Strand:
    """Return what a test compares."""
    pairing = running.pairing
    return pairing.strands[int(pairing.tests.strand[test])]


def inseparable(view: View, names: list[str]) -> str:
    """Say that other rollouts sit on the same units."""
    unit = view.running.plan.policy.unit
    return f"No {unit}s differ in this rollout without differing in {listed(names)} too"


def shown(effect: float, is_log: bool) -> float | None:
    """Turn an effect into a relative change; None stands for unbounded."""
    value = (math.expm1(effect) if effect < 700 else math.inf) if is_log else effect
    return value if math.isfinite(value) else None


def change_in_words(effect: float, is_log: bool) -> str:
    """Write an effect as a relative change."""
    return as_change(shown(effect, is_log))


def as_change(value: float | None) -> str:
    """Write a relative change, None being unbounded."""
    if value is None:
        return "an unbounded change"
    return f"{value:+.1%}" if abs(value) < 10 else f"x{1 + value:,.0f}"


def tolerated(running: Running, test: int) -> str:
    """Write what is tolerated of a test by now."""
    up, down = (float(side[test]) for side in running.evidence.tolerance())
    strand = strand_of(running, test)
    if strand.quantile:  # the policy's own words are about time, and what the test holds is about events
        allowed = running.plan.policy.metrics[strand.metric].tolerate
        up = math.log1p(max(allowed.relative, allowed.absolute / strand.edge))
        down = up
    if not math.isfinite(up):
        return f"{float(running.evidence.absolute[test]):g} in absolute terms"
    return worse(running, test, up, down)


def worse(running: Running, test: int, up: float, down: float) -> str:
    """Write effects of these sizes, in the directions that are worse."""
    is_log = bool(running.evidence.test_is_log[test])
    strand = strand_of(running, test)
    if strand.up and strand.down:
        return f"{change_in_words(-down, is_log)} to {change_in_words(up, is_log)}"
    return change_in_words(up, is_log) if strand.up else change_in_words(-down, is_log)


def number(value: float, is_ratio: bool) -> str:
    """Write a level, of ratios as a percentage."""
    if is_ratio:
        return f"{100 * value:.3g} %"
    return f"{value:,.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.3g}"


def listed(names: list[str]) -> str:
    """Name a few, and how many more there are."""
    more = f" and {len(names) - COLOS_NAMED} more" if len(names) > COLOS_NAMED else ""
    return ", ".join(names[:COLOS_NAMED]) + more
