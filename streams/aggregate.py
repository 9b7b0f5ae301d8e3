"""Aggregate: samples in, cohort ticks out, tick by tick as the watermark passes."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.cells import Cells
from streams.clock import NEVER, Clock
from streams.cohorts import CohortTicks
from streams.layout import Layout
from streams.recording import NO_TIME
from streams.reduction import Reducer

CELLS_MAX: Final = 1 << 22
"""Largest block, in cells of matrix row x tick: bounds the memory of one reduction."""

_TICKS_BEHIND_MAX: Final = 20_000
"""The longest pre-period that a policy may ask for; what is older at the start of the input is of no use."""


VALUE_MAX: Final = 1e150
"""Larger values count as infinite: their squares are."""


class Aggregate:
    """Reduces one partition's samples to cohort ticks.

    Parameters
    ----------
    layout
        Where each series goes.
    unit_of_series
        [series] The unit that sends each series.
    tick_ms
        Length of a tick.
    lateness_ms, ahead_ms
        See `streams.clock.Clock`.
    gap
        For how many ticks a gauge or rate holds its last value, and a counter remembers it.
    """

    def __init__(
        self,
        layout: Layout,
        unit_of_series: NDArray[np.int32],
        tick_ms: int,
        lateness_ms: int,
        ahead_ms: int,
        gap: int,
    ) -> None:
        self._layout = layout
        self._unit = unit_of_series
        self._units = int(unit_of_series.max(initial=-1)) + 1
        self._tick_ms = tick_ms
        self._clock = Clock(lateness_ms, ahead_ms, _TICKS_BEHIND_MAX * tick_ms)
        self._reducer = Reducer(layout, gap)
        self._open: list[Cells] = []
        self._next: int | None = None  # the first open tick, once one has been closed
        self._last: int | None = None  # the last tick that anything came for, judged or not
        self.samples = 0
        self._in_tick: dict[int, int] = {}
        self._dropped: Counter[str] = Counter()

    @property
    def dropped(self) -> Counter[str]:
        """Samples that are in no tick, by reason."""
        return +self._dropped

    def taken(self, tick: int) -> int:
        """Tell how many samples are in a tick that was closed, and forget it and those before."""
        found = 0
        while self._in_tick and (first := next(iter(self._in_tick))) <= tick:
            count = self._in_tick.pop(first)
            found = count if first == tick else 0
        return found

    def push(
        self, series: NDArray[np.int32], time: NDArray[np.int64], value: NDArray[np.float64]
    ) -> Iterator[CohortTicks]:
        """Take samples [row] that start on a multiple of `STEP_ROWS`, and yield the ticks that they close."""
        self.samples += len(time)
        odd = self._unusable(series, time, value)
        is_odd = bool(odd.any())
        if is_odd:
            time = np.where(odd, NEVER, time)
            series = np.where(odd, 0, series)
        unit = self._unit[series]
        if is_odd:
            # Unusable rows stay, as those of a unit that never was, so that the clock steps where it would.
            unit = np.where(odd, self._units, unit).astype(np.int32)
        watermark, future = self._clock.step(time, unit, self._units + 1, len(self._unit))
        tick = -(-time // self._tick_ms)
        late = tick * self._tick_ms <= watermark
        row = self._layout.row_of_series[series]
        unjudged = row < 0
        if late.any() or future.any() or unjudged.any() or is_odd:
            late &= ~odd
            future &= ~(odd | late)
            usable = ~(late | future | odd)
            self._count("late", late)
            self._count("future", future)
            self._count("not_judged", unjudged & usable)
            self._note_last(tick[usable])
            keep = usable & ~unjudged
            row, tick, time, value = row[keep], tick[keep], time[keep], value[keep]
        else:
            self._note_last(tick)
        self._open.append(Cells(row, tick, time, value))
        yield from self._close(self._clock.watermark_ms // self._tick_ms)

    def _note_last(self, tick: NDArray[np.int64]) -> None:
        """Note the last tick that anything usable came for."""
        if len(tick):
            newest = int(tick.max())
            self._last = newest if self._last is None else max(newest, self._last)

    def finish(self) -> Iterator[CohortTicks]:
        """End of the input: close and yield all ticks that are open."""
        if self._last is not None:
            yield from self._close(self._last)

    def _unusable(
        self, series: NDArray[np.int32], time: NDArray[np.int64], value: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Tell which samples say nothing [row], and count each under its reason."""
        odd: NDArray[np.bool_] = ~(np.abs(value) < VALUE_MAX) | (time == NO_TIME) | (series < 0)
        if odd.any():
            unnamed, timeless = series < 0, time == NO_TIME
            self._count("no_metric_or_colo", unnamed)
            self._count("no_time", timeless & ~unnamed)
            named = ~unnamed & ~timeless
            self._count("nan", np.isnan(value) & named)
            self._count("infinite", (np.abs(value) >= VALUE_MAX) & named)
        return odd

    def _count(self, reason: str, rows: NDArray[np.bool_]) -> None:
        count = int(np.count_nonzero(rows))
        if count:
            self._dropped[reason] += count

    def _close(self, last: int) -> Iterator[CohortTicks]:
        """Close all ticks up to `last`, in blocks of bounded size."""
        if self._next is None:
            first = min((int(cells.tick.min(initial=last + 1)) for cells in self._open), default=last + 1)
            if first > last:  # an earlier tick may still come
                return
            self._next = first
        block = max(1, CELLS_MAX // max(1, self._layout.bounds[2]))
        while self._next <= last:
            ticks = min(block, last - self._next + 1)
            inside, self._open = _divided(self._open, self._next + ticks)
            placed = [Cells(cells.row, cells.tick - self._next, cells.time, cells.value) for cells in inside]
            counts = sum((np.bincount(cells.tick, minlength=ticks) for cells in placed), np.zeros(ticks, np.int64))
            self._in_tick.update(zip(range(self._next, self._next + ticks), counts.tolist(), strict=True))
            reduced = self._reducer.reduce(self._next, ticks, placed)
            self._dropped["duplicate"] += int(self._reducer.duplicates.sum())
            self._dropped["incomplete_histogram"] += int(self._reducer.incomplete.sum())
            self._next += ticks
            yield reduced


def _divided(parts: Sequence[Cells], stop: int) -> tuple[list[Cells], list[Cells]]:
    """Divide samples into those of ticks before `stop`, and those of later ones."""
    before: list[Cells] = []
    after: list[Cells] = []
    for cells in parts:
        is_before = cells.tick < stop
        count = int(np.count_nonzero(is_before))
        if count == len(is_before):
            before.append(cells)
        elif not count:
            after.append(cells)
        elif is_before[:count].all():  # in order of time, as samples come as a rule
            before.append(cells.at(slice(count)))
            after.append(cells.at(slice(count, None)).copied())  # else it would keep all that came with it
        else:
            before.append(cells.at(is_before))
            after.append(cells.at(~is_before))
    return before, after
