"""The pre-period: what the difference between the cohorts was before the change, and how noisy it is."""

from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.windows import running_sums

Array = NDArray[np.float64]

INFORMATION_MAX: Final = 4.0
"""Most information that one tick may bring, in average ticks of the pre-period: a burst of traffic or errors
is one event, however large."""

_ROWS_AT_ONCE: Final = 256
_PHI_MAX: Final = 0.97
_BATCHES: Final = (15, 30)
_BATCHES_LEAST: Final = 4
_PEERS_LEAST: Final = 5
_OUTLIER_MADS: Final = 6.0
_CLIP_DEVIATIONS: Final = 5.0
_NORMAL_90: Final = 1.2816
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
    extrapolated
        The long-run variance without the bias of finite batches, which is too noisy to be used by itself.
    batch_freedom
        Degrees of freedom of batch means, which say how little is known where ticks depend on each other over long.
    spread, floor
        Variance of a tick, and the least that it can be.
    phi
        Lag-1 autocorrelation at its upper bound.
    innovation
        Variance of what a tick adds to that autocorrelation's prediction, at its 90 % upper bound.
    """

    offset: Array
    unit: Array
    ticks: Array
    variance: Array
    freedom: Array
    extrapolated: Array
    batch_freedom: Array
    spread: Array
    floor: Array
    phi: Array
    innovation: Array

    def reach(self) -> Array:
        """Return how far beyond the tolerance a tick may lie, at one average tick's information.

        A tick of information w has the variance of an average one over w, and its reach shrinks with the root.
        So one tick alone, of at most a third of all information, comes to 5 / sqrt(3) deviations at most.
        """
        return _CLIP_DEVIATIONS * np.sqrt(self.variance)


def fit(effect: Array, information: Array, variance_floor: Array, bounded: NDArray[np.bool_]) -> Baseline:
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
    bounded
        [comparison] Whether effects are bounded by themselves, as scores of ratios are; others have their outliers
        pulled in.

    References
    ----------
    J. Kiefer, T. Vogelsang, "A new asymptotic theory for heteroskedasticity-autocorrelation robust tests",
    Econometric Theory 2005, on long-run variances; F. Marriott, J. Pope, "Bias in the estimation of
    autocorrelations", Biometrika 1954, on the correction of the autocorrelation.
    """
    # Row by row, a few at a time: what is worked out in between then stays in the processor's cache.
    parts = [slice(start, start + _ROWS_AT_ONCE) for start in range(0, max(1, len(effect)), _ROWS_AT_ONCE)]
    fitted = [_fit(effect[rows], information[rows], variance_floor[rows], bounded[rows]) for rows in parts]
    return Baseline(*(np.concatenate([getattr(one, field.name) for one in fitted]) for field in fields(Baseline)))


def _fit(effect: Array, information: Array, variance_floor: Array, bounded: NDArray[np.bool_]) -> Baseline:
    if information.size and bool((information == 1.0).all()):
        return _fit_even(effect, variance_floor, bounded)
    seen = information > 0
    count = np.maximum(seen.sum(axis=1), 1)
    mean = information.sum(axis=1) / count
    unit = np.where(mean > 0, mean, 1.0)
    weight = np.minimum(information / unit[:, None], INFORMATION_MAX)
    total = np.maximum(weight.sum(axis=1), _TICKS_LEAST)
    some = ~bounded & seen.any(axis=1)
    effect = effect.copy()
    effect[some] = _winsorised(effect[some], weight[some], seen[some])
    offset = _weighted_mean(effect, weight, total)
    residual = np.sqrt(weight) * (effect - offset[:, None])
    spread = (residual**2).sum(axis=1) / total
    central, phi = _autocorrelation(residual, seen)
    batches = [_batch_means(np.sqrt(weight) * residual, weight, ticks) for ticks in _BATCHES]
    noise = _Noise(spread, central, phi, _innovation(residual, seen, phi), *batches)
    return _baseline(offset, unit, total, count, noise, variance_floor)


@dataclass(frozen=True, slots=True)
class _Noise:
    """What the residuals of the pre-period show of their noise [comparison].

    Variance of a tick; autocorrelation, and its upper bound; mean square of innovations; long-run variance from short
    and from long batches.
    """

    spread: Array
    central: Array
    phi: Array
    innovation: Array
    short: Array
    long: Array


def _baseline(
    offset: Array, unit: Array, total: Array, count: NDArray[np.int64], noise: _Noise, variance_floor: Array
) -> Baseline:
    """Put a baseline together; `count` [comparison] are the ticks that were seen."""
    spread, central, phi, short, long = noise.spread, noise.central, noise.phi, noise.short, noise.long
    variance = spread * (1 + phi) / (1 - phi)
    extrapolated = np.maximum(2 * long - short, spread * (1 + central) / (1 - central))
    variance = np.maximum(variance, np.maximum(short, long))
    floor = np.maximum(variance_floor, 1e-18)
    variance = np.maximum(variance, floor)
    batches = np.maximum(1.5 * count / _BATCHES[-1], _FREEDOM_MIN)
    freedom = np.maximum(count * (1 - phi) / (1 + phi) - 1, _FREEDOM_MIN)
    innovation = np.maximum(noise.innovation, (1 - phi) ** 2 * variance) * _upper(freedom)
    return Baseline(offset, unit, total, variance, freedom, extrapolated, batches, spread, floor, phi, innovation)


def _fit_even(effect: Array, variance_floor: Array, bounded: NDArray[np.bool_]) -> Baseline:
    """Do the same where every tick brought the information 1: all weights are 1, and nothing is missing."""
    rows, ticks = effect.shape
    some = np.flatnonzero(~bounded)
    if len(some) == rows:
        effect = _pulled_in(effect)
    elif len(some):
        effect = effect.copy()
        effect[some] = _pulled_in(effect[some])
    offset = effect.sum(axis=1) / ticks
    residual = effect - offset[:, None]
    room = residual * residual
    spread = room.sum(axis=1) / ticks
    before, after, room = residual[:, :-1], residual[:, 1:], room[:, 1:]
    pairs = max(ticks - 1, 1)
    central, phi = _bounds(np.multiply(after, before, out=room).sum(axis=1) / pairs, spread, pairs)
    step = np.subtract(after, np.multiply(before, phi[:, None], out=room), out=room)
    innovation = np.multiply(step, step, out=step).sum(axis=1) / pairs
    sums = running_sums(residual)
    noise = _Noise(spread, central, phi, innovation, *(_even_batch_means(sums, length) for length in _BATCHES))
    one = np.ones(rows)
    return _baseline(offset, one, one * max(ticks, _TICKS_LEAST), np.full(rows, max(ticks, 1)), noise, variance_floor)


def _pulled_in(effect: Array) -> Array:
    """Do what `_winsorised` does where every tick weighs 1."""
    centre = _middle(effect)
    residual = effect - centre[:, None]
    apart = np.abs(residual)
    mad = 1.4826 * _middle(apart)
    if not (mad > 0).all():
        typical = np.sqrt(np.multiply(apart, apart, out=apart).sum(axis=1) / effect.shape[1])
        mad = np.where(mad > 0, mad, typical / 3)
    limit = (_OUTLIER_MADS * mad)[:, None]
    np.clip(residual, -limit, limit, out=residual)
    residual += centre[:, None]
    return residual


def _even_batch_means(sums: Array, ticks: int) -> Array:
    """Do what `_batch_means` does, of running sums, where every tick weighs 1."""
    length = sums.shape[1] - 1
    if length < _BATCHES_LEAST * ticks:
        return np.zeros(len(sums))
    batches = sums[:, ticks:] - sums[:, :-ticks]
    np.multiply(batches, batches, out=batches)
    np.divide(batches, ticks, out=batches)
    result: Array = batches.sum(axis=1) / batches.shape[1] / (1 - ticks / length)
    return result


def _innovation(residual: Array, seen: NDArray[np.bool_], phi: Array) -> Array:
    pairs = seen[:, 1:] & seen[:, :-1]
    step = np.where(pairs, residual[:, 1:] - phi[:, None] * residual[:, :-1], 0.0)
    mean: Array = (step**2).sum(axis=1) / np.maximum(pairs.sum(axis=1), 1)
    return mean


def _upper(freedom: Array) -> Array:
    """Return by what a variance is multiplied to be at its 90 % upper bound (Wilson and Hilferty 1931)."""
    part = 2.0 / (9.0 * freedom)
    factor: Array = np.maximum(1.0 - part - _NORMAL_90 * np.sqrt(part), 0.2) ** -3.0
    return factor


def _weighted_mean(effect: Array, weight: Array, total: Array) -> Array:
    mean: Array = (effect * weight).sum(axis=1) / total
    return mean


def _winsorised(effect: Array, weight: Array, seen: NDArray[np.bool_]) -> Array:
    """Pull outliers in to six median absolute deviations of the weighted residual, measured from the median."""
    centre = _median(effect, seen)
    root = np.sqrt(weight)
    residual = root * (effect - centre[:, None])
    deviation = np.where(seen, np.abs(residual), np.nan)
    mad = 1.4826 * _median(deviation, seen)
    # A level that is constant most of the time has no useful median; a third of its deviation serves.
    typical = np.sqrt(np.nansum(deviation**2, axis=1) / seen.sum(axis=1))
    limit = _OUTLIER_MADS * np.where(mad > 0, mad, typical / 3)
    bounded = np.clip(residual, -limit[:, None], limit[:, None])
    pulled: Array = centre[:, None] + np.divide(bounded, root, out=np.zeros_like(bounded), where=root > 0)
    return pulled


def _median(values: Array, seen: NDArray[np.bool_]) -> Array:
    """Return the median of what is seen of each row [row]."""
    whole = seen.all(axis=1)
    median = np.empty(len(values))
    median[whole] = _middle(values if whole.all() else values[whole])
    rest = np.flatnonzero(~whole)
    if len(rest):
        median[rest] = np.nanmedian(np.where(seen[rest], values[rest], np.nan), axis=1)
    return median


def _middle(values: Array) -> Array:
    """Return the median of each row [row] in which nothing is missing; `np.median` takes several times as long."""
    count = values.shape[1]
    ordered = np.sort(values, axis=1)
    if count % 2:
        return np.ascontiguousarray(ordered[:, count // 2])
    middle: Array = (ordered[:, count // 2 - 1] + ordered[:, count // 2]) / 2
    return middle


def _autocorrelation(residual: Array, seen: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return the lag-1 autocorrelation, corrected for its bias downwards, and the same plus one standard error."""
    pairs = seen[:, 1:] & seen[:, :-1]
    count = np.maximum(pairs.sum(axis=1), 1)
    product = (np.where(pairs, residual[:, 1:] * residual[:, :-1], 0.0)).sum(axis=1) / count
    power = (residual**2).sum(axis=1) / np.maximum(seen.sum(axis=1), 1)
    return _bounds(product, power, count)


def _bounds(product: Array, power: Array, count: "int | NDArray[np.int64]") -> tuple[Array, Array]:
    """Do so from the mean product of neighbours, of which there were `count`, and the mean square."""
    phi: Array = np.clip(np.divide(product, power, out=np.zeros_like(product), where=power > 0), -0.99, 0.99)
    central: Array = np.clip(phi + (1 + 3 * phi) / count, 0.0, _PHI_MAX)
    upper: Array = np.clip(central + np.sqrt((1 - phi**2) / count), 0.0, _PHI_MAX)
    return central, upper


def _batch_means(score: Array, weight: Array, ticks: int) -> Array:
    """Long-run variance from the means over all batches of `ticks` consecutive ones, overlapping."""
    length = score.shape[1]
    if length < _BATCHES_LEAST * ticks:
        return np.zeros(len(score))
    sums, information = (_windows(array, ticks) for array in (score, weight))
    squares = np.divide(sums**2, information, out=np.zeros_like(sums), where=information > 0)
    used = np.maximum((information > 0).sum(axis=1), 1)
    # The mean was fitted to the same ticks, which makes batches look quieter than they are.
    result: Array = squares.sum(axis=1) / used / (1 - ticks / length)
    return result


def _windows(values: Array, ticks: int) -> Array:
    """Sum every window of `ticks` consecutive ticks."""
    total = running_sums(values)
    sums: Array = total[:, ticks:] - total[:, :-ticks]
    return sums


def shrink(own: Baseline, group: NDArray[np.intp], groups: int) -> Baseline:
    """Draw the long-run variances of alike comparisons together, since each alone is known from few ticks.

    The colos of one metric differ in how noisy a tick is, which is well known, but share how ticks depend on
    each other: beyond the noise of counting, the long-run variance is the variance of a tick times a factor of
    the metric's. How far each is drawn there follows from how much they differ beyond their own uncertainty.

    Parameters
    ----------
    own
        Baselines [comparison].
    group, groups
        [comparison] The metric of each, and how many there are.

    References
    ----------
    B. Efron, C. Morris, "Stein's estimation rule and its competitors", JASA 1973; the long-run variance's own
    uncertainty is that of overlapping batch means, M. Meketon, B. Schmeiser 1984.
    """
    tick = np.maximum(own.spread - own.floor, 0.0)
    excess = np.maximum(own.extrapolated - own.floor, 0.0)
    factor = _quotient(_summed(excess, group, groups), _summed(tick, group, groups))
    # Where counting noise dominates, what is beyond it is known better from the colos where it does not.
    trust = 1.0 / np.maximum(own.spread, 1e-18) ** 2
    shared = _quotient(_summed(trust * tick, group, groups), _summed(trust, group, groups))[group]
    own_part = shared / np.maximum(shared + own.floor, 1e-18)
    typical = np.maximum(own.floor + factor[group] * (own_part * tick + (1 - own_part) * shared), own.floor)
    departure = np.log(own.variance / typical)
    count = np.maximum(np.bincount(group, minlength=groups), 1)
    mean = np.bincount(group, departure, groups) / count
    differs = np.bincount(group, (departure - mean[group]) ** 2, groups) / np.maximum(count - 1, 1)
    noise = 2.0 / own.batch_freedom
    real = np.maximum(differs[group] - noise, 0.0)
    kept = real / (real + noise)
    drawn = typical * np.exp(np.maximum(mean[group], 0.0) + kept * (departure - mean[group]))
    variance = np.where(count[group] >= _PEERS_LEAST, drawn, np.maximum(own.variance, typical))
    return replace(own, variance=np.maximum(variance, own.floor))


def raised(pool: Baseline, own: Baseline, of_pool: NDArray[np.intp], of_own: NDArray[np.intp], groups: int) -> Baseline:
    """Raise the long-run variances of pools to what their members' dependence between ticks makes of a tick's.

    Parameters
    ----------
    pool, own
        Baselines of the pools [pool] and of their members [comparison].
    of_pool, of_own
        The metric of each.
    groups
        How many metrics there are.
    """
    long = _summed(np.maximum(own.extrapolated, own.floor), of_own, groups)
    factor = _quotient(long, _summed(own.spread, of_own, groups))
    return replace(pool, variance=np.maximum(pool.variance, factor[of_pool] * pool.spread))


def _summed(values: Array, group: NDArray[np.intp], groups: int) -> Array:
    return np.bincount(group, values, groups).astype(np.float64)


def _quotient(above: Array, below: Array) -> Array:
    result: Array = np.divide(above, below, out=np.ones_like(above), where=below > 0)
    return result
