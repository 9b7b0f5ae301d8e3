"""Samples in any order become samples in one order, in bounded memory: by time, and those of one time by labels.

So the same samples make the same recording, whatever they come from and however they come. Runs of some millions are
sorted in memory; if there are several, they lie in three files of plain numbers until they are merged.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.policy import Selector
from streams.catalogue import Catalogue
from streams.recording import NO_TIME, Samples

RUN_ROWS: Final = 1 << 21
"""Samples that are sorted in memory at a time: 20 bytes each, and three times as much while they are sorted."""

BLOCK_ROWS: Final = 1 << 18
"""Samples that are handed out at a time; more if more of them bear the very same time."""

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
    left_out
        Samples that were not taken, by reason: `no_time`, `outside` of the span, `not_selected`.
    rows
        How many were taken.
    used
        Whether each series [series] has samples that were taken.
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
        self.left_out: Counter[str] = Counter()
        self.rows = 0
        self.used = np.empty(0, np.bool_)
        self._folder, self._span, self._select = folder, span, select
        self._run_rows, self._block_rows = run_rows, block_rows
        self._wanted = np.empty(0, np.bool_)
        self._held: list[Block] = []
        self._held_rows = 0
        self._ends: list[int] = []
        """Ends of the runs that lie in files, counted in samples."""

    def take(self, samples: Samples) -> None:
        """Take what is wanted of some samples."""
        rows = len(samples.time)
        if not rows:
            return
        self.catalogue.grow(samples.labels)
        series = self.catalogue.encode(samples.labels, rows)
        wanted = self._is_wanted()[series]
        first, end = self._span
        has_time = samples.time != NO_TIME
        inside = has_time & (samples.time >= first) & (samples.time < end)
        self.left_out["no_time"] += int(np.count_nonzero(wanted & ~has_time))
        self.left_out["outside"] += int(np.count_nonzero(wanted & has_time & ~inside))
        self.left_out["not_selected"] += int(np.count_nonzero(~wanted))
        taken = wanted & inside
        if not taken.all():
            block = Block(samples.time[taken], series[taken], samples.value[taken])
        else:
            block = Block(samples.time, series, samples.value)
        self.used = np.append(self.used, np.zeros(len(self.catalogue) - len(self.used), np.bool_))
        self.used[block.series] = True
        self._held.append(block)
        self._held_rows += len(block.time)
        self.rows += len(block.time)
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
        """Yield what was taken, once, in order of time; those of one time are in one block, by label and value."""
        if self._ends:
            if self._held_rows:
                self._spill()
            mapped: dict[str, Any] = {name: np.memmap(self._folder / name, kind, "r") for name, kind in _KINDS}
            spilled = Block(**mapped)
            runs = [spilled.part(start, end) for start, end in pairwise([0, *self._ends])]
        else:
            runs = [self._run()]
        rank = self._ranks()
        for block in _merged(runs, self._block_rows):
            yield _in_order(block, rank)

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
        yield Block(
            np.concatenate([part.time for part in parts]),
            np.concatenate([part.series for part in parts]),
            np.concatenate([part.value for part in parts]),
        )


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
