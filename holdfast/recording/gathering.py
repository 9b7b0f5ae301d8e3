"""Samples in any order become samples in one order, in bounded memory: by time, and those of one time by labels.

So the same samples make the same recording, whatever they come from and however they come. Runs of some millions are
sorted in memory; if there are several, they lie in three files of plain numbers until they are merged.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.policy import Selector
from streams.catalogue import Catalogue
from streams.live.remembered import Remembered
from streams.recording import NO_TIME, Samples

RUN_ROWS: Final = 1 << 21
"""Samples that are sorted in memory at a time: 20 bytes each, and three times as much while they are sorted."""

BLOCK_ROWS: Final = 1 << 18
"""Samples that are handed out at a time."""

TOGETHER_ROWS: Final = 1 << 16
"""Samples of small frames that are sifted at a time: a call of numpy costs as much as some hundred samples."""

REMEMBERED_ROWS: Final = 1 << 14
"""Samples of the largest frame whose labels may come again; what a table hands out at a time never does."""

_KINDS: Final[tuple[tuple[str, Any], ...]] = (("time", np.int64), ("series", np.int32), ("value", np.float64))


@dataclass(frozen=True, slots=True)
class Block:
    """Samples in order: `time` [row] in epoch milliseconds, `series` [row] as the catalogue numbers them, `value`."""

    time: NDArray[np.int64]
    series: NDArray[np.int32]
    value: NDArray[np.float64]

    def part(self, start: int, end: int) -> "Block":
        """Return the samples from one row on and before another."""
        return Block(self.time[start:end], self.series[start:end], self.value[start:end])

    def copy(self) -> "Block":
        """Return the samples in memory of their own."""
        return Block(self.time.copy(), self.series.copy(), self.value.copy())


class Gathering:
    """Takes samples, and gives those that are wanted back in order.

    Parameters
    ----------
    folder
        Where runs lie, if there are several.
    span
        The stretch of time that is wanted: from the first epoch millisecond on and before the second.
    select
        The labels that are wanted.
    run_rows, block_rows
        Samples that are sorted, and handed out, at a time. They change memory and speed, and nothing else.

    Attributes
    ----------
    catalogue
        All series that came, also those that are not wanted.
    """

    def __init__(
        self,
        folder: Path,
        span: tuple[int, int],
        select: Selector,
        *,
        run_rows: int = RUN_ROWS,
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        self.catalogue = Catalogue(["metric", "colo"])
        self._left_out: Counter[str] = Counter()
        self._rows = 0
        self._used = np.empty(0, np.bool_)
        self._remembered = Remembered()
        room = min(TOGETHER_ROWS, run_rows)
        self._together = Block(np.empty(room, np.int64), np.empty(room, np.int32), np.empty(room, np.float64))
        self._together_rows = 0
        """How many of them have come, and wait to be sifted."""
        self._folder, self._span, self._select = folder, span, select
        self._run_rows, self._block_rows = run_rows, block_rows
        self._wanted = np.empty(0, np.bool_)
        self._held: list[Block] = []
        self._held_rows = 0
        self._ends: list[int] = []
        """Ends of the runs that lie in files, counted in samples."""

    @property
    def left_out(self) -> Counter[str]:
        """Samples that were not taken, by reason."""
        self._sift_together()
        return self._left_out

    @property
    def rows(self) -> int:
        """How many samples were taken."""
        self._sift_together()
        return self._rows

    @property
    def used(self) -> NDArray[np.bool_]:
        """Whether each series [series] has samples that were taken."""
        self._sift_together()
        return self._used

    def take(self, samples: Samples) -> None:
        """Take what is wanted of some samples."""
        rows = len(samples.time)
        if not rows:
            return
        series = self._series(samples)
        if self._together_rows + rows > len(self._together.time):
            self._sift_together()
        if rows > len(self._together.time):
            self._sift(Block(samples.time, series, samples.value))
            return
        # The numbers are copied: they may be a view into a whole message.
        place, together = slice(self._together_rows, self._together_rows + rows), self._together
        together.time[place], together.series[place], together.value[place] = samples.time, series, samples.value
        self._together_rows += rows

    def _series(self, samples: Samples) -> NDArray[np.int32]:
        """Return the series of each sample [row], from memory if its labels have come before."""
        rows = len(samples.time)
        slot = self._remembered.get(samples.labels) if rows <= REMEMBERED_ROWS and samples.labels else None
        if slot is not None and slot.series is not None:
            return slot.series
        self.catalogue.grow(samples.labels)
        series = self.catalogue.encode(samples.labels, rows)
        if slot is not None:
            slot.series = series
        return series

    def _sift_together(self) -> None:
        if self._together_rows:
            rows, self._together_rows = self._together_rows, 0
            self._sift(self._together.part(0, rows).copy())

    def _sift(self, come: Block) -> None:
        """Hold what is wanted of samples, and count what is not."""
        first, end = self._span
        wanted = self._is_wanted()
        if wanted.all() and first > NO_TIME and come.time.min() >= first and come.time.max() < end:
            self._hold(come)
            return
        wanted = wanted[come.series]
        has_time = come.time != NO_TIME
        inside = has_time & (come.time >= first) & (come.time < end)
        self._left_out["no_time"] += int(np.count_nonzero(wanted & ~has_time))
        self._left_out["outside"] += int(np.count_nonzero(wanted & has_time & ~inside))
        self._left_out["not_selected"] += int(np.count_nonzero(~wanted))
        taken = wanted & inside
        self._hold(come if taken.all() else Block(come.time[taken], come.series[taken], come.value[taken]))

    def _hold(self, block: Block) -> None:
        self._used = np.append(self._used, np.zeros(len(self.catalogue) - len(self._used), np.bool_))
        self._used[block.series] = True
        self._held.append(block)
        self._held_rows += len(block.time)
        self._rows += len(block.time)
        if self._held_rows >= self._run_rows:
            self._spill()

    def _is_wanted(self) -> NDArray[np.bool_]:
        """Tell for each series whether it is selected."""
        known = len(self._wanted)
        if known < len(self.catalogue):
            self._wanted = np.concatenate([self._wanted, self.catalogue.matches(self._select, known)])
        return self._wanted

    def _spill(self) -> None:
        run = self._run()
        columns: tuple[NDArray[Any], ...] = (run.time, run.series, run.value)
        for (name, _), column in zip(_KINDS, columns, strict=True):
            with (self._folder / name).open("ab") as file:
                column.tofile(file)
        self._ends.append((self._ends[-1] if self._ends else 0) + len(run.time))

    def _run(self) -> Block:
        """Return what is held in memory in order of time, and hold nothing any more."""
        held, self._held, self._held_rows = self._held, [], 0
        if not held:
            return Block(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float64))
        time = np.concatenate([block.time for block in held])
        order = np.argsort(time, kind="stable")
        series, value = (np.concatenate([getattr(block, name) for block in held]) for name in ("series", "value"))
        return Block(time[order], series[order], value[order])

    def blocks(self) -> Iterator[Block]:
        """Yield what was taken, once: by time, then by labels and value, as many at a time as are to be handed out.

        So blocks are the same whatever the runs were, and with them the groups of rows in a file.
        """
        self._sift_together()
        if self._ends:
            if self._held_rows:
                self._spill()
            mapped: dict[str, Any] = {name: np.memmap(self._folder / name, kind, "r") for name, kind in _KINDS}
            spilled = Block(**mapped)
            runs = [spilled.part(start, end) for start, end in pairwise([0, *self._ends])]
        else:
            runs = [self._run()]
        rank = self._ranks()
        yield from _evenly((_in_order(block, rank) for block in _merged(runs, self._block_rows)), self._block_rows)

    def _ranks(self) -> NDArray[np.int64]:
        """Return the place of each series among all, by the values of its labels in the order of their names."""
        columns = [self.catalogue.ranks(label) for label in sorted(self.catalogue.labels)]
        order = np.lexsort(columns[::-1])
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return rank


def _merged(runs: Sequence[Block], rows: int) -> Iterator[Block]:
    """Yield the samples of runs, each in order of time, so that no time is in two of the blocks."""
    at = [0] * len(runs)
    while True:
        left = [index for index, run in enumerate(runs) if at[index] < len(run.time)]
        if not left:
            return
        share = max(1, rows // len(left))
        # What is later than this in any run waits, so that no run hands out more than its share and one time.
        newest = min(int(runs[index].time[min(at[index] + share, len(runs[index].time)) - 1]) for index in left)
        parts = []
        for index in left:
            run, start = runs[index], at[index]
            at[index] = start + int(np.searchsorted(run.time[start:], newest, "right"))
            parts.append(run.part(start, at[index]))
        yield _joined(parts)


def _joined(parts: Sequence[Block]) -> Block:
    return Block(
        np.concatenate([part.time for part in parts]),
        np.concatenate([part.series for part in parts]),
        np.concatenate([part.value for part in parts]),
    )


def _evenly(blocks: Iterable[Block], rows: int) -> Iterator[Block]:
    """Yield the same samples in blocks of so many rows; the last one has what is left."""
    waiting: list[Block] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block.time)
        if count < rows:
            continue
        whole = _joined(waiting)
        even = count - count % rows
        yield from (whole.part(start, start + rows) for start in range(0, even, rows))
        waiting, count = [whole.part(even, count).copy()], count - even
    if count:
        yield _joined(waiting)


def _in_order(block: Block, rank: NDArray[np.int64]) -> Block:
    """Order a block by time, series and value."""
    place = rank[block.series]
    order = np.lexsort((place, block.time))
    time, place, value = block.time[order], place[order], block.value[order]
    again = (time[1:] == time[:-1]) & (place[1:] == place[:-1])
    if again.any():  # samples that came twice: which came first says nothing
        bits = value.view(np.uint64)
        within = np.lexsort((bits, place, time))
        order, time, value = order[within], time[within], value[within]
    return Block(time, block.series[order], value)


@dataclass(frozen=True, slots=True)
class Labelled:
    """The label of each series [series], as codes of `values`, which are sorted; -1 is an absent label."""

    codes: NDArray[np.int32]
    values: list[str]


def labelled(catalogue: Catalogue, used: NDArray[np.bool_]) -> dict[str, Labelled]:
    """Return the labels of the series that are used; a label that none of them has is left out, but for two.

    Parameters
    ----------
    catalogue
        All series.
    used
        Which of them [series] count.
    """
    found = {}
    for label in sorted(catalogue.labels):
        codes, names = catalogue.codes(label), catalogue.values(label)
        there = sorted({names[code] for code in np.unique(codes[used]) if code})
        if there or label in ("metric", "colo"):
            place = {name: index for index, name in enumerate(there)}
            table = np.array([place.get(name, -1) for name in names], np.int32)
            table[0] = -1
            found[label] = Labelled(table[codes], there)
    return found
