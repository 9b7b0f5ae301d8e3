"""What people use, on what they usually look at: the fleet's canary beside its control, metric by metric.

Each side is divided by its own past, so that lasting differences do not count against them: they are spared what hurts
them most in practice. None of them has a third answer: what they do not stop goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks.quality.outcome import Outcome
from detectors.classical import Label, Settings, classify
from detectors.scoremix import EFFECT_TYPICAL, log_e

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

ALPHA: Final = 0.01
TOLERANCE: Final = 0.02
TICKS_LEAST: Final = 10
CLASSICAL_EVERY: Final = 10

_SCALE_MIN: Final = 1e-12
_KNOWN: Final = 1e9
"""Degrees of freedom of a variance that is taken for known."""


@dataclass(frozen=True, slots=True)
class Cohorts:
    """Both sides over the fleet [metric, tick], each relative to its own past; NaN is a missing tick.

    `past` is the number of ticks before the start. `up` and `down` [metric] say which directions are worse.
    """

    canary: Array
    control: Array
    past: int
    up: Bools
    down: Bools

    def live(self) -> tuple[Array, Array]:
        """Return both sides since the start."""
        return self.canary[:, self.past :], self.control[:, self.past :]


def relative(values: Array, past: int) -> Array:
    """Put values [metric, tick] in relation to their own past, whose mean becomes 1.

    Where the mean is nearer to zero than values spread, they are in units of that spread; where there was nothing at
    all, anything is infinitely more.
    """
    known = np.isfinite(values[:, :past])
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, values[:, :past], 0.0).sum(axis=1, keepdims=True) / count
    deviation = np.sqrt(np.where(known, (values[:, :past] - mean) ** 2, 0.0).sum(axis=1, keepdims=True) / count)
    result: Array = 1 + (values - mean) / np.maximum(np.maximum(np.abs(mean), deviation), _SCALE_MIN)
    return result


def fixed(cohorts: Cohorts, limit: float) -> int | None:
    """Stop where a metric exceeds the control by a fixed factor in three ticks in a row, as Argo and Flagger do."""
    canary, control = cohorts.live()
    above = (canary > limit * control) & cohorts.up[:, None]
    above |= (control > limit * canary) & cohorts.down[:, None]
    in_a_row: Bools = above[:, 2:] & above[:, 1:-1] & above[:, :-2]
    return _first(in_a_row, 2)


def welch(cohorts: Cohorts) -> int | None:
    """Stop where Welch's t-test of all live ticks says so, at alpha over the number of metrics."""
    sides = [_running(side) for side in cohorts.live()]
    errors = [np.maximum(square - mean**2, 1e-18) / np.maximum(count - 1, 1) for count, mean, square in sides]
    total = errors[0] + errors[1]
    freedom = total**2 / sum(error**2 / np.maximum(side[0] - 1, 1) for error, side in zip(errors, sides, strict=True))
    statistic = (sides[0][1] - sides[1][1]) / np.sqrt(total)
    directions = cohorts.up.astype(int) + cohorts.down
    level = (ALPHA / len(statistic) / np.maximum(directions, 1))[:, None]
    found = (student.sf(statistic, freedom) < level) & cohorts.up[:, None]
    found |= (student.sf(-statistic, freedom) < level) & cohorts.down[:, None]
    found &= np.minimum(sides[0][0], sides[1][0]) >= TICKS_LEAST
    return _first(found, 0)


def msprt(cohorts: Cohorts, tolerance: float) -> int | None:
    """Stop where a mixture sequential test says so that takes ticks for independent, as experiment platforms do.

    References
    ----------
    R. Johari, P. Koomen, L. Pekelis, D. Walsh, "Peeking at A/B tests", KDD 2017.
    """
    difference = cohorts.canary - cohorts.control
    past = difference[:, : cohorts.past]
    known = np.isfinite(past)
    before = np.maximum(known.sum(axis=1, keepdims=True), 1)
    offset = np.where(known, past, 0.0).sum(axis=1, keepdims=True) / before
    spread = np.where(known, (past - offset) ** 2, 0.0).sum(axis=1, keepdims=True) / before
    count, mean, _ = _running(difference[:, cohorts.past :])
    variance = np.maximum(spread, 1e-18) * (1 / np.maximum(count, 1) + 1 / before)
    sure = np.full_like(variance, _KNOWN)
    rise, fall = (
        np.where(worse[:, None], log_e(sign * (mean - offset) - tolerance, variance, sure, EFFECT_TYPICAL), -np.inf)
        for sign, worse in ((1.0, cohorts.up), (-1.0, cohorts.down))
    )
    directions = np.maximum(cohorts.up.astype(int) + cohorts.down, 1)[:, None]
    found = np.logaddexp(rise, fall) - np.log(directions) >= np.log(len(mean) / ALPHA)
    return _first(found & (count >= TICKS_LEAST), 0)


def classical(cohorts: Cohorts, looks: Sequence[int]) -> int | None:
    """Stop where the classical judge finds a metric worse, at the given numbers of ticks."""
    canary, control = cohorts.live()
    settings = [
        Settings(direction="either" if up and down else "increase" if up else "decrease")
        for up, down in zip(cohorts.up.tolist(), cohorts.down.tolist(), strict=True)
    ]
    for ticks in looks:
        label = classify(canary[:, :ticks], control[:, :ticks], settings).label
        if ((label == Label.HIGH) | (label == Label.LOW)).any():
            return ticks - 1
    return None


def _running(side: Array) -> tuple[Array, Array, Array]:
    """Return count, mean and mean square of what is known so far [metric, tick]."""
    known = np.isfinite(side)
    value = np.where(known, side, 0.0)
    count = np.cumsum(known, axis=1).astype(np.float64)
    divisor = np.maximum(count, 1)
    return count, np.cumsum(value, axis=1) / divisor, np.cumsum(value**2, axis=1) / divisor


def _first(found: Bools, offset: int) -> int | None:
    """Return the first tick at which any metric is found [metric, tick]."""
    ticks = np.flatnonzero(found.any(axis=0))
    return int(ticks[0]) + offset if len(ticks) else None


RIVALS: Final[dict[str, Callable[[Cohorts], int | None]]] = {
    "classical": lambda c: classical(c, range(CLASSICAL_EVERY, c.live()[0].shape[1] + 1, CLASSICAL_EVERY)),
    "classical, once": lambda c: classical(c, [c.live()[0].shape[1]]),
    "1.10x thrice": lambda c: fixed(c, 1.10),
    "1.25x thrice": lambda c: fixed(c, 1.25),
    "Welch": welch,
    "mSPRT": lambda c: msprt(c, 0.0),
    "mSPRT, 2 %": lambda c: msprt(c, TOLERANCE),
}


def judge(cohorts: Cohorts) -> dict[str, Outcome]:
    """Judge one rollout by each of them."""
    stops = {name: method(cohorts) for name, method in RIVALS.items()}
    return {name: Outcome(stop, advances=stop is None) for name, stop in stops.items()}
