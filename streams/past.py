"""What came before: the last value of each row, within a block of ticks and over the blocks."""

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Ticks = NDArray[np.int64]
Rows = NDArray[np.intp]

Number = TypeVar("Number", np.float64, np.int64, np.bool_)

NEVER: Final = np.iinfo(np.int64).min // 2
"""Tick of a row that was never seen."""

LONG_AGO: Final = NEVER + 1
"""Tick of a row that was seen, but so long ago that its value no longer matters."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The last value of each row [row], NaN if unknown, and its tick [row]."""

    value: Matrix
    tick: Ticks

    @classmethod
    def none(cls, rows: int) -> "Latest":
        """Know nothing yet."""
        return cls(np.full(rows, np.nan), np.full(rows, NEVER))

    def moved(self, origin: Rows) -> "Latest":
        """Return this for other rows, each [row] given with the row that it was, -1 if it is new."""
        return Latest(moved(self.value, origin, np.nan), moved(self.tick, origin, NEVER))

    def at(self, rows: Rows | slice) -> "Latest":
        """Return this for some of the rows."""
        return Latest(self.value[rows], self.tick[rows])


def moved(array: NDArray[Number], origin: Rows, fill: float) -> NDArray[Number]:
    """Take [row] to other rows, each [row] given with the row that it was, -1 if it is new."""
    result = np.full(len(origin), fill, array.dtype)
    kept = origin >= 0
    result[kept] = array[origin[kept]]
    return result


@dataclass(frozen=True, slots=True)
class Block:
    """Values of a block of ticks [row, tick], NaN where absent, and what was known before it.

    `first` is the number of the first tick. `present` [row, tick] is kept beside, since it is asked for so often.
    """

    first: int
    value: Matrix
    present: NDArray[np.bool_]
    past: Latest

    def before(self, row: Rows, tick: Rows) -> tuple[Ticks, Matrix, Rows]:
        """Look up what each of some cells [cell] had last before it.

        Returns
        -------
        when, value, column
            [cell] Its tick, its value, and its column in the block, -1 where it came before the block.
        """
        column = self._column_before(row, tick)
        inside = column >= 0
        when = np.where(inside, self.first + column, self.past.tick[row])
        return when, np.where(inside, self.value[row, column], self.past.value[row]), column

    def _column_before(self, row: Rows, tick: Rows) -> Rows:
        ticks = self.value.shape[1]
        if ticks == 1 or not len(row):
            return np.full(len(row), -1, np.intp)
        rows, place = np.unique(row, return_inverse=True)
        last = np.where(self.present[rows], np.arange(ticks), -1)
        np.maximum.accumulate(last, axis=1, out=last)
        return np.where(tick > 0, last[place, tick - 1], -1)

    def last_columns(self) -> Rows:
        """Return the last column in which each row [row] is present, -1 if it is in none."""
        ticks = self.value.shape[1]
        column = np.full(len(self.value), ticks - 1, np.intp)
        absent = np.flatnonzero(~self.present[:, -1])
        if len(absent):
            backward = self.present[absent, ::-1]
            back = np.argmax(backward, axis=1)
            column[absent] = np.where(backward[np.arange(len(absent)), back], ticks - 1 - back, -1)
        return column

    def latest(self, column: Rows) -> Latest:
        """Return what is known after the block, given `last_columns`."""
        if self.present[:, -1].all():
            return Latest(np.ascontiguousarray(self.value[:, -1]), self.first + column)
        inside = column >= 0
        rows = np.arange(len(column))
        return Latest(
            np.where(inside, self.value[rows, column], self.past.value),
            np.where(inside, self.first + column, self.past.tick),
        )


def hold(block: Block, gap: int, twin: NDArray[np.int64]) -> Matrix:
    """Fill gaps of at most `gap` ticks with the last value, unless a twin has reported since.

    Parameters
    ----------
    twin
        [row] Rows of one number are the same under different labels.

    Returns
    -------
    level
        [row, tick]
    """
    row, tick = cells_of(~block.present)
    if not len(row):
        return block.value
    when, value, _ = block.before(row, tick)
    found = when >= block.first + tick - gap
    row, tick, when, value = row[found], tick[found], when[found], value[found]
    candidate, mate = twins(twin, row)
    if len(candidate):
        at = tick[candidate]
        reported, _, _ = block.before(mate, at)
        reported = np.where(block.present[mate, at], block.first + at, reported)
        value[candidate[reported > when[candidate]]] = np.nan
    level = block.value.copy()
    level[row, tick] = value
    return level


def cells_of(mask: NDArray[np.bool_]) -> tuple[Rows, Rows]:
    """Return row and column of the cells [cell] that are marked, quickly where none is."""
    if not mask.any():
        return np.empty(0, np.intp), np.empty(0, np.intp)
    flat = np.flatnonzero(mask)
    row = flat // mask.shape[1]
    return row, flat - row * mask.shape[1]


def twins(twin: NDArray[np.int64], rows: Rows) -> tuple[Rows, Rows]:
    """Pair each candidate row [candidate] with the other rows that are its twins: candidate index, other row."""
    order = np.argsort(twin, kind="stable")
    ordered = twin[order]
    start, stop = np.searchsorted(ordered, twin[rows]), np.searchsorted(ordered, twin[rows], side="right")
    count = stop - start
    candidate = np.repeat(np.arange(len(rows)), count)
    offset = np.arange(len(candidate)) - np.repeat(np.cumsum(count) - count, count)
    mate = order[np.repeat(start, count) + offset]
    others = mate != rows[candidate]
    return candidate[others], mate[others]
