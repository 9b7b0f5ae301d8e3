"""The Mann-Whitney U test of many comparisons at once."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Array = NDArray[np.float64]
Counts = NDArray[np.intp]


def u_statistic(canary: Array, control: Array) -> tuple[Array, Array]:
    """Count the pairs in which the canary's sample is the larger one; ties count half.

    Parameters
    ----------
    canary, control
        [comparison, tick] Samples in the metric's unit, in any order and each side with its own number of
        ticks; NaN is no sample.

    Returns
    -------
    u
        [comparison] U of the canary, from 0 to the number of pairs.
    ties
        [comparison] Sum of t^3 - t over the groups of t equal samples of both sides together.

    References
    ----------
    H. Mann, D. Whitney, "On a test of whether one of two random variables is stochastically larger than the
    other", Ann. Math. Stat. 1947.

    Examples
    --------
    >>> import numpy as np
    >>> u, ties = u_statistic(np.array([[1.0, 4.0, 4.0]]), np.array([[2.0, 4.0]]))
    >>> float(u[0]), float(ties[0])
    (3.0, 24.0)
    """
    pooled = np.concatenate([canary, control], axis=1)
    comparisons = len(pooled)
    if pooled.size == 0:
        return np.zeros(comparisons), np.zeros(comparisons)
    order = np.argsort(pooled, axis=1)
    ordered = np.take_along_axis(pooled, order, axis=1)
    run, row = _runs(ordered)
    own = (order < canary.shape[1]) & ~np.isnan(ordered)
    other = (order >= canary.shape[1]) & ~np.isnan(ordered)
    won = np.bincount(run, own.reshape(-1)).astype(np.float64)
    lost = np.bincount(run, other.reshape(-1)).astype(np.float64)
    before = np.cumsum(lost) - lost
    # What came before in the same row alone: less what came before the row's own first run.
    before -= before[np.searchsorted(row, np.arange(comparisons))][row]
    u = np.bincount(row, won * (before + 0.5 * lost), minlength=comparisons).astype(np.float64)
    return u, _cubes(won + lost, row, comparisons)


def tie_term(ordered: Array) -> Array:
    """Sum t^3 - t over the groups of t equal samples of each row [comparison, tick], which must be ascending."""
    if ordered.size == 0:
        return np.zeros(len(ordered))
    run, row = _runs(ordered)
    return _cubes(np.bincount(run).astype(np.float64), row, len(ordered))


def _runs(ordered: Array) -> tuple[Counts, Counts]:
    """Find the runs of equal samples: the run of each sample, row after row, and the row of each run."""
    first = np.ones(ordered.shape, np.bool_)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]  # NaN differs from NaN: each is a run of its own
    run = np.cumsum(first.reshape(-1)) - 1
    row = np.flatnonzero(first) // ordered.shape[1]
    return run, row


def _cubes(lengths: Array, row: Counts, rows: int) -> Array:
    sums: Array = np.bincount(row, lengths * (lengths * lengths - 1), minlength=rows).astype(np.float64)
    return sums


def deviation(canary_count: Array, control_count: Array, ties: Array) -> Array:
    """Compute the standard deviation of U if both sides are alike, lessened by ties; arrays of one shape."""
    total = canary_count + control_count
    spread = total + 1 - ties / np.maximum(total * (total - 1), 1)
    value: Array = np.sqrt(np.maximum(canary_count * control_count / 12 * spread, 0))
    return value


def p_value(u: Array, canary_count: Counts, control_count: Counts, ties: Array) -> Array:
    """Two-sided p-value of U, from the normal approximation with continuity correction.

    Parameters
    ----------
    u, ties
        [comparison] See `u_statistic`.
    canary_count, control_count
        [comparison] Samples on both sides.

    Returns
    -------
    p_value
        [comparison] 1 where all samples are equal, or a side has none.

    References
    ----------
    M. Hollander, D. Wolfe, E. Chicken, "Nonparametric Statistical Methods", 3rd ed. 2014, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(5)
    >>> canary, control = rng.normal(0.5, 1, (1, 40)), rng.normal(0, 1, (1, 50))
    >>> u, ties = u_statistic(canary, control)
    >>> float(p_value(u, np.array([40]), np.array([50]), ties)[0].round(4))
    0.1637
    """
    own, other = canary_count.astype(np.float64), control_count.astype(np.float64)
    spread = deviation(own, other, ties)
    distance = np.maximum(np.abs(u - own * other / 2) - 0.5, 0)
    z = np.divide(distance, spread, out=np.zeros_like(spread), where=spread > 0)
    value: Array = 2 * ndtr(-z)
    return value
