"""Restarts: placebo e-processes that begin anew every few ticks, for harm that begins late."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.scoremix import EFFECT_TYPICAL, GATE, log_e
from detectors.state import Stateful
from detectors.windows import INFORMATION_LEAST, TICKS_MIN, Past, between, mean_over, tick_limit

Array = NDArray[np.float64]

EVERY_TICKS: Final = 15
BASELINES: Final = (5, 15)

_SCALE_TICKS: Final = 5


class Restarts(Stateful):
    """E-processes that begin at every 15th live tick, each against the ticks right before its start.

    Their mean is an e-process, since the starts are fixed beforehand: what begins late is judged by a baseline that
    is fresh, and costs no more than the logarithm of the number of starts. Their variances are those of the worst
    placebos of the past, since so many starts give an erratic past many chances.

    Parameters
    ----------
    past
        The pre-period of all tests.
    tolerated
        [test] The larger of what is tolerated upwards and downwards.
    horizon
        Live ticks over which they start.
    first
        Tests before this one are not followed.
    factor
        [followed test] By what the variances of the past are multiplied.
    """

    _state = ("_before", "score", "information", "observed", "largest", "_latest", "_tolerance", "ticks")

    def __init__(self, past: Past, tolerated: Array, horizon: int, first: int, factor: Array) -> None:
        own = Past(past.residual[first:], past.weight[first:], horizon)
        self._spans = own.spans
        everywhere = np.ones(len(own.residual), np.bool_)
        calibrated = [own.calibrate(baseline).stretched(everywhere) for baseline in BASELINES]
        self._variance = factor * np.stack([one.variance for one in calibrated])
        self._freedom = np.stack([one.freedom for one in calibrated])
        self._tolerated = tolerated[first:]
        scale, _ = between(self._spans, self._variance, self._freedom, _SCALE_TICKS)
        self._typical = np.maximum(EFFECT_TYPICAL, np.sqrt(scale))
        tests = len(own.residual)
        self._starts = np.arange(EVERY_TICKS, horizon, EVERY_TICKS)
        shape = (len(self._starts), len(BASELINES), tests)
        self._before, self.score = np.zeros(shape), np.zeros(shape)
        self.information = np.zeros((len(self._starts), tests))
        self.observed = np.zeros((len(self._starts), tests), np.int64)
        self.largest = np.zeros((len(self._starts), tests))
        longest = max(BASELINES)
        self._latest = np.stack([own.residual[:, -longest:], own.weight[:, -longest:]])  # the oldest first
        self._tolerance = np.zeros((2, tests))
        self.ticks = 0

    def update(self, residual: Array, weight: Array, up: Array, down: Array) -> None:
        """Add one tick; see `detectors.placebo.Placebo.update`."""
        begun = int(np.searchsorted(self._starts, self.ticks, side="right"))
        if begun and self._starts[begun - 1] == self.ticks:
            for place, baseline in enumerate(BASELINES):
                self._before[begun - 1, place] = mean_over(*self._latest[:, :, -baseline:])
        active = slice(begun)
        self.information[active] += weight
        self.observed[active] += weight > 0
        np.maximum(self.largest[active], weight, out=self.largest[active])
        for number in range(begun):
            age = self.ticks - int(self._starts[number]) + 1
            variance, _ = between(self._spans, self._variance, self._freedom, max(age, TICKS_MIN))
            limit = tick_limit(variance, weight, self.information[number], self._tolerated)
            self.score[number] += np.clip((residual - self._before[number]) * weight, -limit, limit)
        self._latest = np.concatenate([self._latest[:, :, 1:], np.stack([residual, weight])[:, :, None]], axis=2)
        self._tolerance = np.stack([up, down])
        self.ticks += 1

    def log_e(self, *, up: bool) -> Array:
        """Return the logarithms of the e-values [test] in one direction."""
        total = np.full(len(self._tolerated), -np.inf)
        for number in range(self._begun()):
            total = np.logaddexp(total, np.logaddexp.reduce(self._each(number, up=up), axis=0))
        mean: Array = total - np.log(max(1, len(self._starts)) * len(BASELINES))
        return mean

    def late(self, *, up: bool) -> tuple[Array, NDArray[np.int64]]:
        """Return the effect since the start that most speaks for harm, and for how many ticks [test]; 0 for none."""
        most = np.full(len(self._tolerated), -np.inf)
        effect, ticks = np.zeros(len(most)), np.zeros(len(most), np.int64)
        for number in range(self._begun()):
            each = self._each(number, up=up)
            best = np.argmax(each, axis=0)[None]
            value, score = (np.take_along_axis(of, best, 0)[0] for of in (each, self.score[number]))
            known = np.maximum(self.information[number], INFORMATION_LEAST)
            is_more = value > most
            effect = np.where(is_more, score / known, effect)
            ticks = np.where(is_more, self.ticks - int(self._starts[number]), ticks)
            most = np.maximum(most, value)
        return effect, ticks

    def _begun(self) -> int:
        return int(np.searchsorted(self._starts, self.ticks))

    def _each(self, number: int, *, up: bool) -> Array:
        """Return the logarithms of the e-values [baseline, test] of one start."""
        known = np.maximum(self.information[number], INFORMATION_LEAST)
        age = self.ticks - int(self._starts[number])
        variance, freedom = between(self._spans, self._variance, self._freedom, age)
        variance = variance * np.maximum(1.0, age / known)
        deviation = (1.0 if up else -1.0) * self.score[number] / known - self._tolerance[0 if up else 1]
        enough = (self.observed[number] >= TICKS_MIN) & (known >= TICKS_MIN * self.largest[number])
        far = (deviation > 0) & (deviation * deviation > GATE**2 * variance) & enough
        each = np.full(deviation.shape, -np.inf)
        each[far] = log_e(deviation[far], variance[far], freedom[far], self._typical[far])
        return each
