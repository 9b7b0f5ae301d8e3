"""History: the cohort ticks before a stage, from which its pre-period is made."""

import numpy as np
from numpy.typing import NDArray

from streams.cohorts import CohortTicks

Array = NDArray[np.float64]


class History:
    """The latest consecutive ticks, in bounded memory.

    Parameters
    ----------
    ticks_max
        How many are wanted.
    """

    def __init__(self, ticks_max: int) -> None:
        self._ticks_max = ticks_max
        self._kept: list[CohortTicks] = []

    def add(self, part: CohortTicks) -> None:
        """Add the next ticks, and forget blocks that are no longer wanted."""
        self._kept.append(part)
        excess = sum(kept.ticks for kept in self._kept) - self._ticks_max
        while excess >= self._kept[0].ticks:
            excess -= self._kept.pop(0).ticks

    def clear(self) -> None:
        """Forget everything."""
        self._kept = []

    def values(self, rows: int) -> Array:
        """Return the sums [3, row, tick]; without any history that is one empty tick of so many rows."""
        if not self._kept:
            return np.zeros((3, rows, 1))
        return np.concatenate([kept.values for kept in self._kept], axis=2)[:, :, -self._ticks_max :]
