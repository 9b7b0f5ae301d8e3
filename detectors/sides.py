"""The two sides of comparisons: canary and control, as sums that add over colos and ticks."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import Tests

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of each comparison: numerators and denominators, [comparison, tick] or [comparison].

    For ratios bad and all events; for levels the sum over units and the number of units.
    """

    canary: Array
    canary_of: Array
    control: Array
    control_of: Array

    @property
    def is_even(self) -> bool:
        """Whether both sides have one and the same array of denominators."""
        return self.canary_of is self.control_of

    def each(self, make: Callable[[Array], Array]) -> "Sides":
        """Return what is made of each of the arrays; of one that both sides share it is made once."""
        canary_of = make(self.canary_of)
        return Sides(
            make(self.canary), canary_of, make(self.control), canary_of if self.is_even else make(self.control_of)
        )

    def times(self, factor: Array) -> "Sides":
        """Return all of it times a factor."""
        return self.each(lambda array: array * factor)

    def at(self, tick: int) -> "Sides":
        """Return one tick [comparison]."""
        return Sides(*(np.ascontiguousarray(array[:, tick]) for array in self.arrays()))

    def between(self, start: int, stop: int) -> "Sides":
        """Return the ticks from column `start` on and before `stop` [comparison, tick], not copied."""
        return Sides(*(array[:, start:stop] for array in self.arrays()))

    def by_tick(self) -> "list[Sides]":
        """Return all ticks, each [comparison]; to turn them round together takes a fraction of one by one."""
        turned = [np.ascontiguousarray(array.T) for array in self.arrays()]
        return [Sides(*tick) for tick in zip(*turned, strict=True)]

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """Return the four arrays."""
        return self.canary, self.canary_of, self.control, self.control_of

    def pooled(self, tests: Tests) -> "Sides":
        """Add comparisons to tests."""
        if tests.pool_control is None:
            return Sides(*(tests.added(array) for array in self.arrays()))
        pool, other = tests.pool, tests.pool_control
        return Sides(pool @ self.canary, pool @ self.canary_of, other @ self.control, other @ self.control_of)

    def summed(self, tests: Tests) -> "Sides":
        """Add comparisons to tests, and ticks: [comparison, tick] to [test]."""
        if tests.pool_control is not None:
            return self.pooled(tests).total()
        pools = (tests.pools @ array for array in self.arrays())
        parts = zip(self.arrays(), pools, strict=True)
        return Sides(*(np.concatenate([array.sum(axis=1) for array in part]) for part in parts))

    def paired(self) -> "Sides":
        """Return what has both sides; a side that lacks the other would leave a balanced pool out of balance."""
        both = (self.canary_of > 0) & (self.control_of > 0)
        return Sides(*(array * both for array in self.arrays()))

    def total(self) -> "Sides":
        """Add the ticks: [comparison, tick] to [comparison]."""
        return self.each(lambda array: array.sum(axis=1))


def run_of(rows: NDArray[np.intp]) -> "slice | NDArray[np.intp]":
    """Return rows in rising order as a slice, if they stand one after the other: that needs no copies."""
    is_run = len(rows) > 0 and int(rows[-1]) - int(rows[0]) + 1 == len(rows)
    return slice(int(rows[0]), int(rows[-1]) + 1) if is_run else rows


def by_kind(is_ratio: NDArray[np.bool_], at_once: int) -> "list[tuple[bool, slice | NDArray[np.intp]]]":
    """Divide comparisons [comparison] into ratios and levels, at most so many at once."""
    starts = range(0, len(is_ratio), max(1, at_once))
    kinds = [(kind, start) for start in starts for kind in (True, False)]
    found = [(kind, start + np.flatnonzero(is_ratio[start : start + at_once] == kind)) for kind, start in kinds]
    return [(kind, run_of(rows)) for kind, rows in found if len(rows)]


def means(sides: Sides, rows: "slice | NDArray[np.intp]") -> tuple[Array, Array]:
    """Return the mean over units on both sides, NaN where a side has none; not to be written to."""
    means = []
    for total, count in ((sides.canary, sides.canary_of), (sides.control, sides.control_of)):
        top, bottom = total[rows], count[rows]
        if bool((bottom == 1).all()):  # as where each cohort has one series
            means.append(top)
            continue
        there = bottom > 0
        is_whole = bool(there.all())
        means.append(top / bottom if is_whole else np.divide(top, bottom, out=np.full_like(top, np.nan), where=there))
    return means[0], means[1]


def row_mean(values: Array) -> Array:
    """Return the mean of what is known of each row: [row, tick] to [row], NaN where nothing is."""
    known = ~np.isnan(values)
    if values.shape[1] and known.all():
        return np.asarray(values.sum(axis=1) / values.shape[1])
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    mean: Array = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return mean
