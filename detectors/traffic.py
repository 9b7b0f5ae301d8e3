"""Traffic: whether a whole colo has lost what it used to get, canary and control alike.

Where a change makes a colo fall out of the network, its canaries and its controls lose their traffic together, without
an error. Comparing them shows nothing; the colo's total does.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.state import Stateful
from detectors.windows import running_sums

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

BEFORE: Final = 30
"""Ticks before that a colo's total is held against."""

TICKS: Final = 3
"""Ticks in a row that a drop must last: one or two never decide."""

_BEST: Final = 0.75
"""What the other colos did is what this quantile of all of them did: a drop that three in four share is the fleet's."""

_LOWEST: Final = 0.01
"""A colo whose total fell below the limit by itself, in more than this part of its past, is given that much more."""


class Traffic(Stateful):
    """Follows the totals of a metric in each colo, against their own latest past and the other colos' way.

    Parameters
    ----------
    limit, metric, is_reached
        [place] Part of the total whose loss is a drop; the metric; whether the change has reached the colo. A place is
        one metric in one colo.
    units, total
        [place, tick] The pre-period: units that had a value, and the sum of their rates.

    Examples
    --------
    >>> import numpy as np
    >>> units, total = np.full((4, 60), 8.0), np.full((4, 60), 800.0)
    >>> traffic = Traffic(np.full(4, 0.5), np.zeros(4, int), np.array([True, True, False, False]), units, total)
    >>> fallen = np.array([80.0, 800.0, 800.0, 800.0])
    >>> [traffic.update(np.full(4, 8.0), fallen, is_settling=False).tolist() for _ in range(3)][1:]
    [[False, False, False, False], [True, False, False, False]]
    """

    _state = ("_units", "_total", "_next", "_row", "share", "elsewhere")

    def __init__(self, limit: Array, metric: NDArray[np.intp], is_reached: Mask, units: Array, total: Array) -> None:
        self._metric, self._is_reached = metric, is_reached
        self._members = [np.flatnonzero(metric == one) for one in np.unique(metric)]
        self._threshold = np.minimum(1.0 - limit, self._lowest(units, total))
        size = (BEFORE, len(limit))
        self._units, self._total = np.zeros(size), np.zeros(size)
        self._next = np.zeros(len(limit), np.intp)
        for tick in range(max(0, units.shape[1] - BEFORE), units.shape[1]):
            self._remember(units[:, tick], total[:, tick], units[:, tick] > 0)
        self._row = np.zeros(len(limit), np.int64)
        self.share = np.full(len(limit), np.nan)
        self.elsewhere = np.ones(len(limit))

    def _lowest(self, units: Array, total: Array) -> Array:
        """Return what a colo's total has fallen to by itself, for as long as a drop must last [place]."""
        places, ticks = units.shape
        if ticks < 2 * BEFORE + TICKS:
            return np.ones(places)
        sums = [running_sums(array) for array in (units, total)]
        before = [(array[:, BEFORE:-1] - array[:, : -BEFORE - 1]) / BEFORE for array in sums]
        share = _share(units[:, BEFORE:], total[:, BEFORE:], before[0], before[1])
        share = share / self._elsewhere(share)
        lasting = np.max([share[:, first : share.shape[1] - TICKS + 1 + first] for first in range(TICKS)], axis=0)
        result: Array = np.quantile(np.where(np.isnan(lasting), 1.0, lasting), _LOWEST, axis=1)
        return result

    def _elsewhere(self, share: Array) -> Array:
        """Return what became of the other colos' totals, at most 1: [place] or [place, tick]."""
        result = np.ones_like(share)
        for members in self._members:
            if len(members) > 1:
                values = np.where(np.isnan(share[members]), 1.0, share[members])
                result[members] = np.minimum(np.quantile(values, _BEST, axis=0), 1.0)
        return np.maximum(result, 1e-9)

    def _remember(self, units: Array, total: Array, which: Mask) -> None:
        rows = np.flatnonzero(which)
        self._units[self._next[rows], rows] = units[rows]
        self._total[self._next[rows], rows] = total[rows]
        self._next[rows] = (self._next[rows] + 1) % BEFORE

    def update(self, units: Array, total: Array, *, is_settling: bool) -> Mask:
        """Add one tick [place], and tell where the change is and the total has dropped [place].

        A tick without a value, as when nobody reports, says nothing: silence is not a drop. Ticks that are low are not
        taken into what the next are held against.
        """
        known = np.maximum((self._units > 0).sum(axis=0), 1)
        self.share = _share(units, total, self._units.sum(axis=0) / known, self._total.sum(axis=0) / known)
        self.elsewhere = self._elsewhere(self.share)
        there = ~np.isnan(self.share)
        is_low = there & (self.share < self._threshold * self.elsewhere)
        self._row = np.where(there, np.where(is_low & (not is_settling), self._row + 1, 0), self._row)
        self._remember(units, total, (units > 0) & ~(is_low & self._is_reached))
        result: Mask = self._is_reached & (self._row >= TICKS)
        return result


def _share(units: Array, total: Array, units_before: Array, total_before: Array) -> Array:
    """Return the part of its total that a colo still has; NaN where nothing is known.

    The larger of two: of the sum, which hosts that join do not lower, and of the mean over units, which hosts that fall
    silent do not lower.
    """
    known = (units > 0) & (total_before > 0)
    whole = np.divide(total, total_before, out=np.full_like(total, np.nan), where=known)
    each = np.divide(units_before, units, out=np.full_like(total, np.nan), where=known)
    result: Array = whole * np.maximum(1.0, each)
    return result
