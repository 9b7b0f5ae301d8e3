"""Placebo: evidence measured against what the past itself did where nothing was changed (placebo in time).

A long past shows directly how far the mean of some ticks strays from the mean of the ticks before them. That takes
in all that a model of the noise would have to guess: autocorrelation, drift, daily waves that do not cancel,
unlike units, and the error of the baseline itself.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.restarts import Restarts
from detectors.scoremix import EFFECT_TYPICAL, GATE, log_e, log_e_within, radius
from detectors.state import Stateful
from detectors.windows import INFORMATION_LEAST, TICKS_MIN, Past, between, tick_limit

Array = NDArray[np.float64]

BASELINES: Final = (5, 15, 60, 240)
"""Ticks before the start that live ticks are measured against. Short ones follow a level that wanders, long ones
are known better; each has an e-process of its own, and the mean of e-processes is one."""

HORIZONS_LEAST: Final = 5
"""The past must be so many times as long as the live time that is judged by it."""

SURPRISE_MAX: Final = 1.4
"""Beyond this the past does not tell what to expect. If that holds of all tests together, nothing is judged by it."""

_SURPRISE_WINDOWS: Final = (8, 60)
_SURPRISE_BASELINES: Final = (15, 60)
_SCALE_TICKS: Final = 5
_START_SHARE, _RESTART_SHARE = np.log(0.7), np.log(0.3)


class Placebo(Stateful):
    """E-processes whose variances are those of placebo rollouts in the past, updated in place tick by tick.

    Parameters
    ----------
    residual, weight
        [test, tick] The pre-period: effects, and their information in average ticks (0 where a tick says nothing).
    tolerated
        [test] The larger of what is tolerated upwards and downwards.
    strand
        [test] What is compared; a strand's tests share how erratic they are.
    horizon
        Live ticks over which tests are looked at; the past should be `HORIZONS_LEAST` times as long.
    pools
        First of the tests that pool others. These alone also look for harm that begins late.

    References
    ----------
    A. Abadie, A. Diamond, J. Hainmueller, "Comparative Politics and the Synthetic Control Method", AJPS 2015, on
    placebos in time; D. Allan, "Statistics of atomic frequency standards", Proc. IEEE 1966, on the variance of
    means against the means before them; V. Vovk, R. Wang, "E-values: calibration, combination and applications",
    Ann. Stat. 2021, on their mean.

    Examples
    --------
    The level wanders, yet a shift by half of it is called at the third tick:

    >>> import numpy as np
    >>> rng = np.random.default_rng(3)
    >>> level = np.cumsum(rng.normal(0.0, 0.01, 1_000))[None]
    >>> placebo = Placebo(level[:, :900], np.ones((1, 900)), np.full(1, 0.02),
    ...                   np.zeros(1, int), horizon=100, pools=0)
    >>> for tick in range(3):
    ...     placebo.update(level[:, 900 + tick] + 0.5, np.ones(1), np.zeros(1), np.zeros(1))
    >>> bool(placebo.log_e(np.full(1, 0.02), 1.0)[0] > np.log(100))
    True
    """

    _state = ("score", "information", "cut", "ticks", "_restarts")

    def __init__(
        self,
        residual: Array,
        weight: Array,
        tolerated: Array,
        strand: NDArray[np.intp],
        horizon: int,
        pools: int,
    ) -> None:
        past = Past(residual, weight, horizon)
        self._spans = past.spans
        surprise = past.surprise(_SURPRISE_BASELINES, _SURPRISE_WINDOWS)
        self.is_erratic = float(np.median(surprise)) > SURPRISE_MAX if len(surprise) else False
        drawn = _drawn(surprise, strand)
        # What one half of the past would have met with in the other, one must expect to meet with now.
        factor = np.maximum(1.0, drawn) ** 2
        calibrated = [past.calibrate(baseline).stretched(drawn > SURPRISE_MAX) for baseline in BASELINES]
        self._variance = factor * np.stack([one.variance for one in calibrated])  # [baseline, span, test]
        self._freedom = np.stack([one.freedom for one in calibrated])
        self._before = np.stack([past.latest(baseline) for baseline in BASELINES])
        self._tolerated = tolerated
        scale, _ = self._interpolated(_SCALE_TICKS)
        self._typical = np.maximum(EFFECT_TYPICAL, np.sqrt(scale))
        self._pools = pools
        self._restarts = Restarts(past, tolerated, horizon, pools, factor[pools:])
        tests = len(residual)
        self.score = np.zeros((len(BASELINES), tests))
        self.information = np.zeros(tests)
        self.cut = np.zeros((2, tests), np.int64)
        self.ticks = 0

    def _interpolated(self, ticks: float) -> tuple[Array, Array]:
        """Return variances and degrees of freedom [baseline, test] of the mean over so many live ticks."""
        return between(self._spans, self._variance, self._freedom, ticks)

    def update(self, residual: Array, weight: Array, up: Array, down: Array) -> None:
        """Add one tick.

        Parameters
        ----------
        residual, weight
            [test] As in the pre-period.
        up, down
            [test] What is tolerated in both directions.
        """
        self.ticks += 1
        self.information += weight
        variance, _ = self._interpolated(max(self.ticks, TICKS_MIN))
        limit = tick_limit(variance, weight, self.information, self._tolerated)
        step = (residual - self._before) * weight
        self.cut[0] += step[1] > limit[1]
        self.cut[1] += step[1] < -limit[1]
        self.score += np.clip(step, -limit, limit, out=step)
        rows = slice(self._pools, None)
        self._restarts.update(residual[rows], weight[rows], up[rows], down[rows])

    def _now(self) -> tuple[Array, Array, Array]:
        """Return effects, variances and degrees of freedom [baseline, test]."""
        known = np.maximum(self.information, INFORMATION_LEAST)
        variance, freedom = self._interpolated(self.ticks)
        # Ticks that are missing now, more than in the past, make the mean less certain.
        variance = variance * np.maximum(1.0, self.ticks / known)
        return self.score / known, variance, freedom

    def log_e(self, tolerance: Array, sign: float) -> Array:
        """Return the logarithms [test] of the e-values against "at most `tolerance` worse".

        `sign` is the direction that is worse. Where no estimate lies beyond `GATE` deviations, and where the past is
        erratic, -inf stands for "no evidence".
        """
        if not self.ticks:
            return np.full(len(tolerance), -np.inf)
        effect, variance, freedom = self._now()
        deviation = sign * effect - tolerance
        far = (deviation > 0) & (deviation * deviation > GATE**2 * variance)
        each = np.full(effect.shape, -np.inf)
        each[far] = log_e(deviation[far], variance[far], freedom[far], self._typical[far])
        value: Array = np.logaddexp.reduce(each, axis=0) - np.log(len(BASELINES))
        pools = slice(self._pools, None)
        late = self._restarts.log_e(up=sign > 0)
        value[pools] = np.logaddexp(value[pools] + _START_SHARE, late + _RESTART_SHARE)
        return np.full_like(value, -np.inf) if self.is_erratic else value

    def late(self, *, up: bool) -> tuple[Array, NDArray[np.int64]]:
        """Return the effect of the pools since harm most likely began late, and for how many ticks [pool]."""
        return self._restarts.late(up=up)

    def log_e_within(self, tolerance: Array, sign: float, chosen: NDArray[np.intp]) -> Array:
        """Return the mirrored logarithms [chosen] of some tests: against "at least `tolerance` worse"."""
        if not self.ticks:
            return np.full(len(chosen), -np.inf)
        effect, variance, freedom = (array[:, chosen] for array in self._now())
        return self._mirror(sign * effect, tolerance[chosen], variance, freedom, chosen)

    def log_e_within_after(self, ticks: float, tolerance: Array, chosen: NDArray[np.intp]) -> Array:
        """Return what `log_e_within` [chosen] would be after so many full ticks without any effect."""
        variance, freedom = (array[:, chosen] for array in self._interpolated(ticks))
        return self._mirror(np.zeros_like(variance), tolerance[chosen], variance, freedom, chosen)

    def _mirror(
        self, effect: Array, tolerance: Array, variance: Array, freedom: Array, chosen: NDArray[np.intp]
    ) -> Array:
        each = log_e_within(effect, tolerance, variance, freedom, self._typical[:, chosen])
        mean: Array = np.logaddexp.reduce(each, axis=0) - np.log(len(BASELINES))
        return mean

    def estimate(self) -> tuple[Array, Array]:
        """Return effect and variance [test] by the baseline that is most certain after so many ticks."""
        effect, variance, _ = self._now()
        best = self._best(self.ticks)[None]
        return np.take_along_axis(effect, best, 0)[0], np.take_along_axis(variance, best, 0)[0]

    def radius(self, alpha: float | Array, ticks: float | None = None) -> Array:
        """Return the half-widths of the anytime-valid intervals [test], each at its `alpha`.

        They belong to `estimate`, or to what it would be after so many full `ticks`.
        """
        if ticks is None:
            _, variance, freedom = self._now()
        else:
            variance, freedom = self._interpolated(ticks)
        best = self._best(self.ticks if ticks is None else ticks)[None]
        variance, freedom, typical = (
            np.take_along_axis(array, best, 0)[0] for array in (variance, freedom, self._typical)
        )
        # One of several e-processes is bounded by as many times their mean.
        return radius(variance, freedom, np.asarray(alpha) / len(BASELINES), typical)

    def _best(self, ticks: float) -> NDArray[np.intp]:
        variance, _ = self._interpolated(ticks)
        best: NDArray[np.intp] = np.argmin(variance, axis=0)
        return best


def _drawn(surprise: Array, strand: NDArray[np.intp]) -> Array:
    """Draw the surprise of each strand's tests [test] halfway towards that of all, since a few tests know little."""
    whole = float(np.median(surprise)) if len(surprise) else 1.0
    tests = [surprise[strand == one] for one in range(int(strand.max(initial=-1)) + 1)]
    own = np.array([np.median(some) if len(some) else whole for some in tests])
    drawn: Array = np.sqrt(np.maximum(own[strand] * whole, 0.0))
    return drawn
