"""The pre-period: what the difference between the cohorts was before the change, and how noisy it is."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

INFORMATION_MAX: Final = 4.0
"""Most information that one tick may bring, in average ticks of the pre-period: a burst of traffic or errors
is one event, however large."""

_PHI_MAX: Final = 0.97
_BATCHES: Final = (15, 30)
_OUTLIER_MADS: Final = 6.0
_CLIP_DEVIATIONS: Final = 3.0
_CLIP_TOLERANCES: Final = 3.0
_FREEDOM_MIN: Final = 3.0
_TICKS_LEAST: Final = 1e-6
"""Stands for a pre-period without any information: its uncertainty is then as good as unbounded."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The pre-period of each comparison, [comparison].

    Attributes
    ----------
    offset
        Persistent difference between canary and control, which live ticks are measured against.
    unit
        Average information of a tick that had any: information is counted in these units.
    ticks
        Total information of the pre-period in these units.
    variance
        Long-run variance of the effect per unit of information.
    freedom
        Effective degrees of freedom of that variance.
    """

    offset: Array
    unit: Array
    ticks: Array
    variance: Array
    freedom: Array

    def clip(self, tolerance: Array) -> Array:
        """Return the largest deviation that one tick may show; beyond it an outlier would decide alone.

        To alarm at the third tick a single one would have to exceed three tolerances and about eight
        deviations; this is well below, and still lets a clear effect count for what it is.
        """
        return _CLIP_TOLERANCES * tolerance + _CLIP_DEVIATIONS * np.sqrt(self.variance)


def fit(effect: Array, information: Array, variance_floor: Array) -> Baseline:
    """Learn the baseline of each comparison from its pre-period.

    The long-run variance is the largest of three estimates (first-order autoregression with the
    autocorrelation at its upper bound, and batch means over 15 and 30 ticks): an estimate that is too small
    breaks every guarantee, one that is too large costs power only.

    Parameters
    ----------
    effect, information
        [comparison, tick] Scores of the pre-period.
    variance_floor
        [comparison] Smallest believable variance per unit of information.

    References
    ----------
    J. Kiefer, T. Vogelsang, "A new asymptotic theory for heteroskedasticity-autocorrelation robust tests",
    Econometric Theory 2005, on long-run variances; P. Marriott, J. Pope, "Bias in the estimation of
    autocorrelations", Biometrika 1954, on the correction of the autocorrelation.
    """
    seen = information > 0
    count = np.maximum(seen.sum(axis=1), 1)
    mean = information.sum(axis=1) / count
    unit = np.where(mean > 0, mean, 1.0)
    weight = np.minimum(information / unit[:, None], INFORMATION_MAX)
    total = np.maximum(weight.sum(axis=1), _TICKS_LEAST)
    rough = _weighted_mean(effect, weight, total)
    effect = _winsorised(effect, weight, rough, seen)
    offset = _weighted_mean(effect, weight, total)
    residual = np.sqrt(weight) * (effect - offset[:, None])
    spread = (residual**2).sum(axis=1) / total
    phi = _autocorrelation(residual, seen)
    variance = spread * (1 + phi) / (1 - phi)
    for ticks in _BATCHES:
        variance = np.maximum(variance, _batch_means(np.sqrt(weight) * residual, weight, ticks))
    variance = np.maximum(variance, np.maximum(variance_floor, 1e-18))
    freedom = np.maximum(count * (1 - phi) / (1 + phi) - 1, _FREEDOM_MIN)
    return Baseline(offset, unit, total, variance, freedom)


def _weighted_mean(effect: Array, weight: Array, total: Array) -> Array:
    mean: Array = (effect * weight).sum(axis=1) / total
    return mean


def _winsorised(effect: Array, weight: Array, centre: Array, seen: NDArray[np.bool_]) -> Array:
    """Pull outliers in to six median absolute deviations of the weighted residual."""
    residual = np.sqrt(weight) * (effect - centre[:, None])
    deviation = np.where(seen, np.abs(residual), np.nan)
    mad = np.full(len(effect), np.nan)
    some = seen.any(axis=1)
    mad[some] = np.nanmedian(deviation[some], axis=1)
    # Sparse counts are zero most of the time and have no useful median; a third of their deviation serves.
    typical = np.sqrt(np.nansum(deviation**2, axis=1) / np.maximum(seen.sum(axis=1), 1))
    limit = _OUTLIER_MADS * np.maximum(1.4826 * np.nan_to_num(mad), typical / 3)
    bounded = np.clip(residual, -limit[:, None], limit[:, None])
    root = np.sqrt(weight)
    return centre[:, None] + np.divide(bounded, root, out=np.zeros_like(bounded), where=root > 0)


def _autocorrelation(residual: Array, seen: NDArray[np.bool_]) -> Array:
    """Lag-1 autocorrelation at its upper bound: corrected for its bias downwards, plus one standard error."""
    pairs = seen[:, 1:] & seen[:, :-1]
    count = np.maximum(pairs.sum(axis=1), 1)
    product = (np.where(pairs, residual[:, 1:] * residual[:, :-1], 0.0)).sum(axis=1) / count
    power = (residual**2).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    phi: Array = np.clip(np.divide(product, power, out=np.zeros_like(product), where=power > 0), -0.99, 0.99)
    phi += (1 + 3 * phi) / count + np.sqrt((1 - phi**2) / count)
    bounded: Array = np.clip(phi, 0.0, _PHI_MAX)
    return bounded


def _batch_means(score: Array, weight: Array, ticks: int) -> Array:
    """Long-run variance from the means over consecutive batches of `ticks`."""
    batches = score.shape[1] // ticks
    if batches < 4:
        return np.zeros(len(score))
    cut = score.shape[1] - batches * ticks  # the oldest ticks fill no batch
    sums = score[:, cut:].reshape(len(score), batches, ticks).sum(axis=2)
    information = weight[:, cut:].reshape(len(score), batches, ticks).sum(axis=2)
    squares = np.divide(sums**2, information, out=np.zeros_like(sums), where=information > 0)
    used = np.maximum((information > 0).sum(axis=1), 2)
    # The largest of several estimates is too large by their own noise, which is taken off here.
    result: Array = squares.sum(axis=1) / (used - 1) * (1 - 1 / np.sqrt(used))
    return result
