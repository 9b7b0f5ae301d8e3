"""Preprocessing: missing samples and outliers, before anything is compared."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Samples:
    """One side of many comparisons, ready to be compared."""

    values: Array
    """[comparison, tick] Ascending, in the metric's unit; NaN behind the last sample."""
    count: NDArray[np.intp]
    """[comparison] How many samples there are."""
    reported: Bools
    """[comparison] Whether there was any sample before missing ones were replaced."""


def prepare(values: Array, replace: Bools, outlier_factor: Array) -> Samples:
    """Replace or remove missing samples, then remove outliers, and sort.

    A sample is an outlier beyond `outlier_factor` interquartile ranges from the quartiles, but never between the
    1st and the 99th percentile, so that the fences of a metric which hardly moves do not cut it to pieces. There
    is no least number of samples: few of them have wide fences.

    Parameters
    ----------
    values
        [comparison, tick] Samples in the metric's unit, in any order; NaN is a missing one.
    replace
        [comparison] Whether a missing sample is a zero; else it is left out.
    outlier_factor
        [comparison] Interquartile ranges from the quartiles to the fences; NaN keeps outliers.

    References
    ----------
    J. Tukey, "Exploratory Data Analysis", 1977. R. Hyndman, Y. Fan, "Sample Quantiles in Statistical Packages",
    Am. Stat. 1996 (type 7). Kayenta, IQRDetector (Apache-2.0).

    Examples
    --------
    >>> import numpy as np
    >>> samples = prepare(np.array([[4.0, np.nan, 5.0, 6.0, 90.0]]), np.array([False]), np.array([3.0]))
    >>> samples.values, samples.count
    (array([[ 4.,  5.,  6., 90., nan]]), array([4]))
    >>> values = np.append(np.random.default_rng(1).normal(size=200), 30.0)[None]
    >>> [int(prepare(values, np.array([False]), np.array([factor])).count[0]) for factor in (np.nan, 3.0)]
    [201, 200]
    """
    missing = np.isnan(values)
    filled = np.sort(np.where(missing & replace[:, None], 0.0, values), axis=1)
    low, high = _fences(filled, outlier_factor)
    outlying = (filled < low[:, None]) | (filled > high[:, None])
    if outlying.any():
        filled = np.sort(np.where(outlying, np.nan, filled), axis=1)
    reported: Bools = (~missing).sum(axis=1) > 0
    return Samples(filled, (~np.isnan(filled)).sum(axis=1), reported)


def _fences(ordered: Array, factor: Array) -> tuple[Array, Array]:
    """Return the values [comparison] below and above which a sample is an outlier, NaN where there is no fence."""
    none = np.full(len(ordered), np.nan)
    if ordered.shape[1] == 0 or np.isnan(factor).all():
        return none, none
    count = (~np.isnan(ordered)).sum(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):  # infinite samples have no quartiles: they are kept, and seen
        first, third = quantile(ordered, count, 0.25), quantile(ordered, count, 0.75)
        reach = factor * (third - first)
        low = np.minimum(quantile(ordered, count, 0.01), first - reach)
        high = np.maximum(quantile(ordered, count, 0.99), third + reach)
    return low, high


def quantile(ordered: Array, count: NDArray[np.intp], share: float) -> Array:
    """Interpolate a quantile of each row (type 7 of Hyndman and Fan, R's and numpy's default).

    Parameters
    ----------
    ordered
        [comparison, tick] Ascending, NaN behind the last sample.
    count
        [comparison] How many samples there are; without any the quantile is NaN.
    share
        Which quantile, from 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> float(quantile(np.array([[1.0, 2.0, 4.0, np.nan]]), np.array([3]), 0.75)[0])
    3.0
    """
    position = np.maximum(count - 1, 0) * share
    below = np.floor(position).astype(np.intp)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    rows = np.arange(len(ordered))
    lower = ordered[rows, below]
    value: Array = lower + (position - below) * (ordered[rows, above] - lower)
    return value
