"""ScoreMix: the one-sided mixture e-process over the accumulated score of a comparison.

Evidence against "the canary is at most `tolerance` worse" that may be looked at after every tick: under that
hypothesis the chance that it *ever* exceeds 1/alpha is at most alpha (Ville's inequality).
"""

from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from detectors.state import Stateful

Array = NDArray[np.float64]

EFFECT_TYPICAL: Final = 0.2
"""Least width of the mixture: effects of about this size are found soonest."""

_TICKS_TYPICAL: Final = 5.0
"""Where a comparison is so noisy that a typical effect cannot be seen in this many ticks, the mixture is as wide
as what can be."""

GATE: Final = 2.0
"""Below this deviation the e-value is not worth computing: it is about 1 or less."""

LOG_E_MAX: Final = 690.0
"""e-values are capped at about 1e299, so that their mean stays finite."""


def log_e(deviation: Array, variance: Array, freedom: Array, typical: Array | float = EFFECT_TYPICAL) -> Array:
    """Logarithm of the e-value of a one-sided half-normal mixture.

    Parameters
    ----------
    deviation
        Estimated effect less the tolerance, in the direction that is worse.
    variance
        Variance of that estimate, its baseline's included.
    freedom
        Degrees of freedom behind the variance. The t statistic is mapped to a normal one of the same tail
        (Wallace 1959), since a variance learned from few effective ticks is itself uncertain.
    typical
        Width of the mixture, chosen before the first tick.

    Returns
    -------
    log_e
        Of the same shape; never above 0 where `deviation` is at most 0.

    References
    ----------
    H. Robbins, "Statistical methods related to the law of the iterated logarithm", Ann. Math. Stat. 1970.
    S. Howard, A. Ramdas, J. McAuliffe, J. Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
    sequences", Ann. Stat. 2021. D. Wallace, "Bounds on normal approximations to Student's and the
    chi-square distributions", Ann. Math. Stat. 1959.

    Examples
    --------
    >>> import numpy as np
    >>> one, many = np.ones(1), np.full(1, 1e6)
    >>> bool(log_e(np.zeros(1), 0.01 * one, many)[0] < 0)
    True
    >>> float(log_e(0.5 * one, 0.01 * one, many)[0].round(2))
    9.89
    """
    z = _normal(deviation / np.sqrt(variance), freedom)
    prior = typical**2
    m = z * np.sqrt(prior / (variance + prior))
    value: Array = np.log(2.0) + 0.5 * np.log(variance / (variance + prior)) + 0.5 * m * m + log_ndtr(m)
    capped: Array = np.minimum(value, LOG_E_MAX)
    return capped


def _normal(t: Array, freedom: Array) -> Array:
    """Map Student's t to the standard normal of the same tail."""
    z: Array = np.sign(t) * (8 * freedom + 1) / (8 * freedom + 3) * np.sqrt(freedom * np.log1p(t * t / freedom))
    return z


def log_e_within(
    effect: Array, tolerance: Array, variance: Array, freedom: Array, typical: Array | float = EFFECT_TYPICAL
) -> Array:
    """Logarithm of the e-value against "at least `tolerance` worse": what lets a stage advance.

    The mean of two e-values: the likelihood ratio of "no effect" against "exactly the tolerance", which is
    the strongest there is if the change does nothing, and the mirrored mixture, which also serves where the
    effect is small but not zero. See P. Grünwald, R. de Heide, W. Koolen, "Safe testing", JRSS B 2024.

    Parameters
    ----------
    effect
        Estimated effect, positive being worse.
    tolerance, variance, freedom, typical
        See `log_e`; a tolerance of 0 can never be excluded.

    Examples
    --------
    >>> import numpy as np
    >>> value = log_e_within(np.zeros(1), np.full(1, 0.1), np.full(1, 0.0009), np.full(1, 1e6))
    >>> float(value[0].round(2))
    5.1
    """
    deviation = np.sqrt(variance)
    tolerance = np.minimum(tolerance, 1e6)  # an unbounded one has no infinities to subtract then
    z = _normal((tolerance - effect) / deviation, freedom)
    aim = tolerance / deviation
    point = np.minimum(aim * z - 0.5 * aim * aim, LOG_E_MAX)
    mean: Array = np.logaddexp(point, log_e(tolerance - effect, variance, freedom, typical)) - np.log(2.0)
    return mean


def radius(variance: Array, freedom: Array, alpha: float | Array, typical: Array | float = EFFECT_TYPICAL) -> Array:
    """Half-width of the two-sided interval that holds at every tick at once with chance `1 - alpha`.

    The interval is where the two-sided normal mixture stays below 1/alpha, see `log_e` for the references.
    """
    prior = typical**2
    square = 2 * (variance + prior) / prior * (np.log(1 / alpha) + 0.5 * np.log((variance + prior) / variance))
    z = np.sqrt(square) * (8 * freedom + 3) / (8 * freedom + 1)
    with np.errstate(over="ignore"):
        half: Array = np.sqrt(freedom * np.expm1(z * z / freedom) * variance)
    return half


class ScoreMix(Stateful):
    """Accumulated scores of many comparisons, updated in place tick by tick.

    Parameters
    ----------
    baseline_ticks
        [comparison] Information of the pre-period, in average ticks: `Baseline.ticks`.
    variance, freedom
        [comparison] See `detectors.baseline.Baseline`.
    tolerated, reach
        [comparison] How far a tick may lie from nothing: the tolerance, and beyond it what `Baseline.reach` says.

    Notes
    -----
    The state is sums per comparison, and the largest tick. They add across shards that share a baseline (see `merge`),
    and a restart from a snapshot continues bit for bit.
    """

    _state = ("score", "information", "observed", "cut", "largest")

    def __init__(self, baseline_ticks: Array, variance: Array, freedom: Array, tolerated: Array, reach: Array) -> None:
        self.score = np.zeros(len(variance))
        self.information = np.zeros(len(variance))
        self.observed = np.zeros(len(variance), np.int64)
        self.cut = np.zeros((2, len(variance)), np.int64)  # ticks cut from above and from below
        self._inverse_baseline = 1.0 / baseline_ticks
        self._variance = variance
        self._freedom = freedom
        self.largest = np.zeros(len(variance))
        self._tolerated = tolerated
        self._reach = reach
        self._buffers = tuple(np.empty(len(variance)) for _ in range(3))
        self._flags = np.empty(len(variance), np.bool_)
        self._typical = np.maximum(EFFECT_TYPICAL, np.sqrt(variance / _TICKS_TYPICAL))

    def update(self, residual: Array, information: Array) -> None:
        """Add one tick.

        Parameters
        ----------
        residual
            [comparison] Effect less the baseline's offset.
        information
            [comparison] In average ticks; 0 where the tick says nothing.
        """
        step, limit, part = self._buffers
        np.sqrt(information, out=limit)
        limit *= self._reach
        np.multiply(self._tolerated, information, out=part)
        limit += part
        np.multiply(residual, information, out=step)
        self.cut[0] += np.greater(step, limit, out=self._flags)
        np.minimum(step, limit, out=step)
        np.negative(limit, out=limit)
        self.cut[1] += np.less(step, limit, out=self._flags)
        np.maximum(step, limit, out=step)
        self.score += step
        self.information += information
        np.maximum(self.largest, information, out=self.largest)
        self.observed += np.greater(information, 0, out=self._flags)

    def merge(self, other: Self) -> None:
        """Add what another one saw of the same comparisons, with the same baseline, in ticks of its own.

        Counts of ticks and the largest one are those of a single run bit for bit, and the same in whatever order
        shards are merged. The two sums differ from a single run's in their last bits, since they add in another order.
        """
        pairs = ((self._variance, other._variance), (self._inverse_baseline, other._inverse_baseline))
        assert all(np.array_equal(own, its) for own, its in pairs), "only shards of one baseline add"
        self.score += other.score
        self.information += other.information
        self.observed += other.observed
        self.cut += other.cut
        np.maximum(self.largest, other.largest, out=self.largest)

    def _estimate(self) -> tuple[Array, Array]:
        """Return what `estimate` does, in buffers that the next call overwrites."""
        effect, variance, _ = self._buffers
        np.maximum(self.information, np.finfo(np.float64).tiny, out=effect)
        np.divide(self.score, effect, out=effect)
        with np.errstate(divide="ignore"):
            np.reciprocal(self.information, out=variance)
        variance += self._inverse_baseline
        variance *= self._variance
        return effect, variance

    def estimate(self) -> tuple[Array, Array]:
        """Return effect and variance of the estimates [comparison]; before any information it is infinite."""
        effect, variance = self._estimate()
        return effect.copy(), variance.copy()

    def _estimate_of(self, chosen: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return what `estimate` does of some comparisons [chosen]."""
        information = self.information[chosen]
        effect = self.score[chosen] / np.maximum(information, np.finfo(np.float64).tiny)
        with np.errstate(divide="ignore"):
            variance = (np.reciprocal(information) + self._inverse_baseline[chosen]) * self._variance[chosen]
        return effect, variance

    def interval(self, alpha: float, chosen: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return effects and half-widths as `estimate` and `radius` do, of some comparisons [chosen]."""
        half = np.full(len(chosen), np.inf)
        some = np.flatnonzero(self.information[chosen] > 0)
        rows = chosen[some]
        half[some] = radius(
            self._variance_after(self.information[rows], rows), self._freedom[rows], alpha, self._typical[rows]
        )
        return self._estimate_of(chosen)[0], half

    def log_e(self, tolerance: Array, sign: float | Array) -> Array:
        """Return the logarithms [comparison] of the e-values against "at most `tolerance` worse".

        `sign` is the direction that is worse. Where the estimate lies within `GATE` deviations of the tolerance,
        -inf stands for "no evidence": an e-value may always be replaced by a smaller one.
        """
        deviation, variance = self._estimate()
        deviation *= sign
        deviation -= tolerance
        signed_square = np.abs(deviation, out=self._buffers[2])
        signed_square *= deviation
        signed_square *= 1 / GATE**2
        far = np.flatnonzero(np.greater(signed_square, variance, out=self._flags))
        result = np.full(len(deviation), -np.inf)
        if len(far):
            result[far] = log_e(deviation[far], variance[far], self._freedom[far], self._typical[far])
        return result

    def log_e_within(self, tolerance: Array, sign: float, chosen: NDArray[np.intp]) -> Array:
        """Return the mirrored logarithms [chosen] of some comparisons: against "at least `tolerance` worse"."""
        effect, variance = self._estimate_of(chosen)
        result = np.full(len(chosen), -np.inf)
        some = np.flatnonzero(self.information[chosen] > 0)
        rows = chosen[some]
        result[some] = log_e_within(
            sign * effect[some], tolerance[rows], variance[some], self._freedom[rows], self._typical[rows]
        )
        return result

    def log_e_within_after(self, ticks: float, tolerance: Array, chosen: NDArray[np.intp]) -> Array:
        """Return what `log_e_within` [chosen] would be after so many average ticks without any effect."""
        variance = self._variance_after(np.full(len(chosen), ticks), chosen)
        nothing = np.zeros(len(chosen))
        return log_e_within(nothing, tolerance[chosen], variance, self._freedom[chosen], self._typical[chosen])

    def radius(self, alpha: float | Array, ticks: float | None = None) -> Array:
        """Return the half-widths of the anytime-valid intervals [comparison], each at its `alpha`.

        They are those of now, or those after so many average `ticks`.
        """
        information = self.information if ticks is None else np.full_like(self.information, ticks)
        result = np.full(len(information), np.inf)
        some = np.flatnonzero(information > 0)
        variance = self._variance_after(information[some], some)
        level = np.broadcast_to(alpha, result.shape)[some]
        result[some] = radius(variance, self._freedom[some], level, self._typical[some])
        return result

    def _variance_after(self, information: Array, chosen: NDArray[np.intp]) -> Array:
        variance: Array = (1 / information + self._inverse_baseline[chosen]) * self._variance[chosen]
        return variance
