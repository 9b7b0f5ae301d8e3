"""The two sides of comparisons: canary and control, as sums that add over colos and ticks."""

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

    def at(self, tick: int) -> "Sides":
        """Return one tick [comparison]."""
        return Sides(*(np.ascontiguousarray(array[:, tick]) for array in self.arrays()))

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """Return the four arrays."""
        return self.canary, self.canary_of, self.control, self.control_of

    def pooled(self, tests: Tests) -> "Sides":
        """Add comparisons to tests."""
        if tests.pool_control is None:
            return Sides(*(tests.pool @ array for array in self.arrays()))
        pool, other = tests.pool, tests.pool_control
        return Sides(pool @ self.canary, pool @ self.canary_of, other @ self.control, other @ self.control_of)

    def paired(self) -> "Sides":
        """Return what has both sides; a side that lacks the other would leave a balanced pool out of balance."""
        both = (self.canary_of > 0) & (self.control_of > 0)
        return Sides(*(array * both for array in self.arrays()))

    def total(self) -> "Sides":
        """Add the ticks: [comparison, tick] to [comparison]."""
        return Sides(*(array.sum(axis=1) for array in self.arrays()))


def means(sides: Sides, rows: NDArray[np.intp]) -> tuple[Array, Array]:
    """Return the mean over units on both sides, NaN where a side has none."""
    means = []
    for total, count in ((sides.canary, sides.canary_of), (sides.control, sides.control_of)):
        top, bottom = total[rows], count[rows]
        means.append(np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0))
    return means[0], means[1]


def row_mean(values: Array) -> Array:
    """Return the mean of what is known of each row: [row, tick] to [row], NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    mean: Array = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return mean
