"""History: the cohort ticks that stages are begun on, as they came, and aligned to rows when they are read."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.cohorts import CohortTicks, RowKey

Array = NDArray[np.float64]

_ROWS_AT_ONCE: Final = 256


class Alignment:
    """Brings cohort ticks to the rows `keys`: rows that they lack are empty, others are left out."""

    def __init__(self, keys: tuple[RowKey, ...]) -> None:
        self.keys = keys
        self._known: tuple[RowKey, ...] = keys
        self._rows: tuple[NDArray[np.intp], NDArray[np.intp]] | None = None  # theirs, ours; None if all are the same

    @cached_property
    def _row(self) -> dict[RowKey, int]:
        return {key: row for row, key in enumerate(self.keys)}

    def values(self, part: CohortTicks) -> Array:
        """Return the sums [3, row, tick] of some ticks; they may be those of `part` itself."""
        # Ticks come with the same rows as a rule, so that of the tick before serves.
        if part.keys is not self._known:
            self._known, self._rows = part.keys, self._found(part.keys)
        if self._rows is None:
            return part.values
        theirs, ours = self._rows
        values = np.zeros((3, len(self.keys), part.ticks))
        values[:, ours] = part.values[:, theirs]
        return values

    def _found(self, keys: tuple[RowKey, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]] | None:
        if keys == self.keys:
            return None
        rows = [(theirs, self._row[key]) for theirs, key in enumerate(keys) if key in self._row]
        theirs, ours = np.array(rows, np.intp).reshape(-1, 2).T
        return theirs, ours


class History:
    """The latest consecutive ticks, in bounded memory.

    Parameters
    ----------
    ticks_max
        How many are wanted before a stage begins.
    """

    def __init__(self, ticks_max: int) -> None:
        self._ticks_max = ticks_max
        self._kept: deque[CohortTicks] = deque()

    @property
    def first(self) -> int | None:
        """The first tick that is wanted of what is kept; None without any."""
        if not self._kept:
            return None
        return max(self._kept[0].first, self._kept[-1].first + self._kept[-1].ticks - self._ticks_max)

    def add(self, part: CohortTicks, since: int | None = None) -> None:
        """Add the next ticks, and forget blocks that are no longer wanted: none that end after the tick `since`."""
        self._kept.append(part)
        wanted = part.first + part.ticks - self._ticks_max
        wanted = wanted if since is None else min(wanted, since)
        while self._kept[0].first + self._kept[0].ticks <= wanted:
            self._kept.popleft()

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()

    def rename(self, renamed: Mapping[int, int]) -> None:
        """Give signatures other numbers, which keep their order."""
        done: dict[int, tuple[RowKey, ...]] = {}
        for place, part in enumerate(self._kept):
            if id(part.keys) not in done:
                done[id(part.keys)] = with_signatures(part.keys, renamed)
            self._kept[place] = CohortTicks(part.first, done[id(part.keys)], part.values)

    def values(self, keys: tuple[RowKey, ...], stop: int | None = None) -> Array:
        """Return the sums [3, row, tick] of the latest ticks, or the latest before `stop`.

        Without any that is one empty tick.
        """
        if not self._kept:
            return np.zeros((3, len(keys), 1))
        end = self._kept[-1].first + self._kept[-1].ticks if stop is None else stop
        alignment = Alignment(keys)
        parts = [alignment.values(part) for part in self.between(end - self._ticks_max, end)]
        if not parts:
            return np.zeros((3, len(keys), 1))
        values = np.empty((3, len(keys), sum(part.shape[2] for part in parts)))
        for start in range(0, len(keys), _ROWS_AT_ONCE):  # what is written to then stays in the processor's cache
            rows = slice(start, start + _ROWS_AT_ONCE)
            np.concatenate([part[:, rows] for part in parts], axis=2, out=values[:, rows])
        return values

    def between(self, start: int, stop: int) -> Iterator[CohortTicks]:
        """Yield what is kept of the ticks from `start` on and before `stop`."""
        for part in self._kept:
            first, last = max(part.first, start), min(part.first + part.ticks, stop)
            if first < last:
                yield part.between(first, last)


def emptied(part: CohortTicks, trouble: Mapping[int, str]) -> CohortTicks:
    """Return ticks without the data of those that are in trouble."""
    columns = [tick - part.first for tick in trouble if 0 <= tick - part.first < part.ticks]
    if not columns:
        return part
    values = part.values.copy()
    values[:, :, columns] = 0.0
    return CohortTicks(part.first, part.keys, values)


def with_signatures(keys: Sequence[RowKey], renamed: Mapping[int, int]) -> tuple[RowKey, ...]:
    """Return rows with other numbers of their signatures.

    Raises
    ------
    ValueError
        If the numbers do not keep their order, so that the rows would stand in another one.
    """
    result = tuple(key._replace(signature=renamed.get(key.signature, key.signature)) for key in keys)
    if any(one >= other for one, other in pairwise(result)):
        msg = "signatures that are renumbered must keep their order"
        raise ValueError(msg)
    return result
