"""Windows of the past: how far the mean of some ticks strays from the mean of the ticks before them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]

TICK_DEVIATIONS: Final = 3.0
"""One tick moves a mean by at most so many of the mean's own deviations beyond what is tolerated."""

TICKS_MIN: Final = 3
"""No test alarms on fewer live ticks, nor while one tick is more than such a part of what is known."""

INFORMATION_LEAST: Final = 1e-100
"""Stands for no information at all: what is known is then as uncertain as can be, and yet a number."""

_SPANS: Final = (1, 3, 8, 20, 60)
_PLACEBOS_PER_SPAN: Final = 4
_FREEDOM_MIN: Final = 3.0
_FREEDOM_MAX: Final = 1_000.0
_VARIANCE_MIN: Final = 1e-8
_TESTS_AT_ONCE: Final = 1_024


@dataclass(frozen=True, slots=True)
class Calibration:
    """What placebos in the past came to, for means over each span of ticks.

    Attributes
    ----------
    variance
        [span, test] Mean square of a span's mean less the mean of the baseline before it.
    freedom
        [span, test] Effective degrees of freedom of that mean square, fewer where its tails are heavy.
    extreme
        [span, test] The variance of a normal distribution whose largest placebo is the largest that was seen.
    """

    variance: Array
    freedom: Array
    extreme: Array

    def stretched(self, which: NDArray[np.bool_]) -> "Calibration":
        """Return the same with variances that would have foreseen the worst of the past, for some tests [test]."""
        return replace(self, variance=np.where(which, np.maximum(self.variance, self.extreme), self.variance))


class Past:
    """The pre-period as sums, out of which the mean over any window can be had.

    Parameters
    ----------
    residual, weight
        [test, tick] Effects, and their information in average ticks (0 where a tick says nothing).
    horizon
        The longest span of live ticks that is asked about.
    """

    def __init__(self, residual: Array, weight: Array, horizon: int) -> None:
        self.residual, self.weight = residual, weight
        self.spans = np.array(sorted({span for span in _SPANS if span < horizon} | {horizon}), np.float64)
        self.ticks = residual.shape[1]

    def latest(self, baseline: int) -> Array:
        """Return the mean [test] over the last `baseline` ticks, or over all where those say nothing."""
        recent = slice(-baseline, None)
        return mean_over(self.residual[:, recent], self.weight[:, recent])

    def calibrate(self, baseline: int) -> Calibration:
        """Let placebos begin all over the past, each measured against the `baseline` ticks before it."""
        parts = [self._calibrate(baseline, rows) for rows in self._blocks()]
        return Calibration(*(np.concatenate([part[i] for part in parts], axis=1) for i in range(3)))

    def _blocks(self) -> list[slice]:
        count = max(1, len(self.residual))
        return [slice(start, start + _TESTS_AT_ONCE) for start in range(0, count, _TESTS_AT_ONCE)]

    def _calibrate(self, baseline: int, rows: slice) -> tuple[Array, Array, Array]:
        sums = _sums(self.residual[rows], self.weight[rows])
        columns = []
        for span in self.spans.astype(int).tolist():
            square, known = _placebos(sums, baseline, span)
            count = np.maximum(known.sum(axis=1), 1)
            variance = np.maximum(square.sum(axis=1) / count, _VARIANCE_MIN)
            kurtosis = (square**2).sum(axis=1) / count / variance**2
            independent = max(self.ticks / (baseline + span), 2.0)
            freedom = np.clip(2 * independent / np.maximum(kurtosis - 1, 0.5), _FREEDOM_MIN, _FREEDOM_MAX)
            columns.append((variance, freedom, square.max(axis=1, initial=0.0) / _normal_extreme(independent) ** 2))
        return tuple(np.stack([column[i] for column in columns]) for i in range(3))  # type: ignore[return-value]

    def surprise(self, baselines: Sequence[int], spans: Sequence[int]) -> Array:
        """Return how far one half of each test's past [test] went beyond what the other half led to expect.

        It is the largest placebo of one half in deviations of the other's, over the largest that is to be expected
        of so many normal ones; the median over baselines and spans. Normal noise comes to 1.1 to 1.2, however it
        depends on itself.
        """
        parts = []
        for rows in self._blocks():
            sums = _sums(self.residual[rows], self.weight[rows])
            found = [
                _ratio(_placebos(sums, baseline, span)[0]) / _normal_extreme(max(self.ticks / min(baseline, span), 2.0))
                for baseline in baselines
                for span in spans
            ]
            parts.append(np.median(np.stack(found), axis=0))
        return np.concatenate(parts)


def _ratio(square: Array) -> Array:
    middle = square.shape[1] // 2
    halves = square[:, :middle], square[:, middle:]
    typical = [np.maximum(half.mean(axis=1), _VARIANCE_MIN) for half in halves]
    largest = [half.max(axis=1, initial=0.0) for half in halves]
    ratio: Array = np.sqrt(np.maximum(largest[0] / typical[1], largest[1] / typical[0]))
    return ratio


def _normal_extreme(count: float) -> float:
    """Return about how large the largest of so many standard normal values is, whatever its sign."""
    return float(-ndtri(0.5 / count))


def _sums(residual: Array, weight: Array) -> tuple[Array, Array]:
    return running_sums(residual * weight), running_sums(weight)


def _placebos(sums: tuple[Array, Array], baseline: int, span: int) -> tuple[Array, NDArray[np.bool_]]:
    """Return the squares of placebos [test, placebo], 0 where one side has no data, and where both have."""
    ticks = sums[0].shape[1] - 1
    starts = np.arange(baseline, ticks - span + 1, max(1, span // _PLACEBOS_PER_SPAN))
    after, before = (
        [array[:, last] - array[:, first] for array in sums]
        for last, first in ((starts + span, starts), (starts, starts - baseline))
    )
    known = (after[1] > 0) & (before[1] > 0)
    means = [np.divide(score, total, out=np.zeros_like(score), where=known) for score, total in (after, before)]
    square: Array = (means[0] - means[1]) ** 2
    return square, known


def running_sums(values: Array) -> Array:
    """Return the sums before each tick and after the last: [row, tick] to [row, tick + 1]."""
    sums = np.empty((len(values), values.shape[1] + 1))
    sums[:, 0] = 0.0
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def mean_over(residual: Array, weight: Array) -> Array:
    """Return the weighted means over ticks, 0 where nothing weighs: [row, tick] to [row]."""
    total = weight.sum(axis=1)
    mean: Array = np.divide((residual * weight).sum(axis=1), total, out=np.zeros_like(total), where=total > 0)
    return mean


def between(spans: Array, variance: Array, freedom: Array, ticks: float) -> tuple[Array, Array]:
    """Interpolate [baseline, span, test] to so many ticks [baseline, test].

    The variance is interpolated over the logarithm of ticks, the freedom is the fewer of both neighbours. Beyond the
    longest span the variance grows as that of a random walk, which is the worst.
    """
    last = len(spans) - 1
    if last == 0 or ticks >= spans[last]:
        return variance[:, last] * max(1.0, ticks / spans[last]), freedom[:, last]
    place = max(0, int(np.searchsorted(spans, ticks, side="right")) - 1)
    share = np.log(max(ticks, 1.0) / spans[place]) / np.log(spans[place + 1] / spans[place])
    value: Array = (1 - share) * variance[:, place] + share * variance[:, place + 1]
    return value, np.minimum(freedom[:, place], freedom[:, place + 1])


def tick_limit(variance: Array, weight: Array, information: Array, tolerated: Array) -> Array:
    """Return how much [..., test] one tick may add to a sum, so that no tick decides alone.

    Parameters
    ----------
    variance
        [..., test] That of the mean with this tick in it.
    weight, information, tolerated
        [test] The tick's information, that of all ticks with it, and what is tolerated.
    """
    limit: Array = np.sqrt(variance)
    limit *= TICK_DEVIATIONS * np.maximum(information, TICKS_MIN * weight)
    limit += tolerated * weight
    return limit
