"""Weighing: tolerances in both directions, how far a side has moved, and averages of e-values."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def both_ways(fraction: Array, is_log: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Turn a tolerated fraction into effects upwards and downwards."""
    up = np.where(is_log, np.log1p(fraction), fraction)
    return up, np.where(is_log, -np.log1p(-np.minimum(fraction, 0.999)), fraction)


def shift(now: Array, now_of: Array, then: Array, then_of: Array, is_log: NDArray[np.bool_], scale: Array) -> Array:
    """How far a side has moved from its own past [test], on the scale of the effects."""
    level = np.divide(now, now_of, out=np.zeros_like(now), where=now_of > 0)
    before = np.divide(then, then_of, out=np.zeros_like(now), where=then_of > 0)
    both = is_log & (level > 0) & (before > 0)
    ratio = np.divide(level, before, out=np.ones_like(now), where=both)
    return np.where(is_log, np.log(ratio), (level - before) / scale)


def log_weighted(log_e: Array, weight: Array, group: NDArray[np.intp], groups: int) -> Array:
    """Average e-values by weights that add up to 1 in each group: logarithms [row] to [group]."""
    top = np.full(groups, -np.inf)
    rows = np.flatnonzero(log_e != -np.inf)  # what is no evidence adds nothing
    log_e, weight, group = log_e[rows], weight[rows], group[rows]
    np.maximum.at(top, group, np.where(weight > 0, log_e, -np.inf))
    safe = np.where(np.isfinite(top), top, 0.0)
    total = np.bincount(group, weight * np.exp(log_e - safe[group]), groups).astype(np.float64)
    with np.errstate(divide="ignore"):
        return safe + np.log(total)


def ratio_floor(information: Array) -> Array:
    """Return the variance per average tick that counts have at least, being counts: 1 / information."""
    seen = np.maximum((information > 0).sum(axis=1), 1)
    unit = information.sum(axis=1) / seen
    floor: Array = np.divide(1.0, unit, out=np.ones_like(unit), where=unit > 0)
    return floor
