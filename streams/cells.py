"""Samples in the cells of a block, matrix row by tick: one is left in each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Cells:
    """Samples placed in a block: matrix row, tick within the block, time and value of each, [sample]."""

    row: NDArray[np.int64] | NDArray[np.int32]
    tick: NDArray[np.int64]
    time: NDArray[np.int64]
    value: NDArray[np.float64]

    def at(self, which: "slice | NDArray[np.bool_]") -> "Cells":
        """Return some of the samples; those of a slice are not copied."""
        return Cells(self.row[which], self.tick[which], self.time[which], self.value[which])

    def copied(self) -> "Cells":
        """Return the same in memory of their own."""
        return Cells(self.row.copy(), self.tick.copy(), self.time.copy(), self.value.copy())


def one_per_cell(
    cell: NDArray[np.int64], cells: Cells, first_delta_row: int, size: int
) -> tuple[NDArray[np.int64], Cells, NDArray[np.int64]]:
    """Leave one sample in each cell: the latest, or for deltas the sum; of duplicates the larger value.

    Parameters
    ----------
    cell
        [sample] Flat index of the sample's cell.
    first_delta_row
        Matrix rows from here on hold deltas, which add up.
    size
        Number of cells.

    Returns
    -------
    cell, cells, duplicates
        Samples that are alone in their cell, and the ticks [dropped] of those that were dropped because series and
        time were the same.
    """
    owner = np.empty(size, np.int32)
    index = np.arange(len(cell), dtype=np.int32)
    owner[cell] = index
    shared = owner[cell] != index
    if not shared.any():
        return cell, cells, np.empty(0, np.int64)
    is_crowded = np.zeros(size, np.bool_)
    is_crowded[cell[shared]] = True
    crowd = np.flatnonzero(is_crowded[cell])
    crowd = crowd[np.lexsort((cells.value[crowd], cells.time[crowd], cell[crowd]))]
    at, time, value = cell[crowd], cells.time[crowd], cells.value[crowd].copy()
    same_cell = at[1:] == at[:-1]
    same = np.append(same_cell & (time[1:] == time[:-1]), False)  # the next one has the larger value
    dropped = cells.tick[crowd[same]]
    crowd, at, value = crowd[~same], at[~same], value[~same]
    is_last = np.append(at[1:] != at[:-1], True)
    starts = np.flatnonzero(np.append(True, is_last[:-1]))
    value[is_last] = np.where(
        cells.row[crowd[is_last]] >= first_delta_row, np.add.reduceat(value, starts), value[is_last]
    )
    keep = np.flatnonzero(~is_crowded[cell])
    chosen = np.concatenate([keep, crowd[is_last]])
    values = np.concatenate([cells.value[keep], value[is_last]])
    left = Cells(cells.row[chosen], cells.tick[chosen], cells.time[chosen], values)
    return cell[chosen], left, dropped


def cell_of(cells: Cells, ticks: int) -> NDArray[np.int64]:
    """Return the flat index of each sample's cell [sample]."""
    if ticks == 1:
        return cells.row.astype(np.int64, copy=False)
    return np.multiply(cells.row, ticks, dtype=np.int64) + cells.tick


def joined(parts: Sequence[Cells]) -> Cells:
    """Put samples one behind the other."""
    if len(parts) == 1:
        return parts[0]
    return Cells(
        np.concatenate([part.row.astype(np.int64, copy=False) for part in parts]),
        np.concatenate([part.tick for part in parts]),
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.value for part in parts]),
    )
