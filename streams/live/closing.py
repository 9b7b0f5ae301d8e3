"""One group in one source partition: its ticks close one after the other, and what is dropped is counted once."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from streams.aggregate import CELLS_MAX
from streams.cells import Cells
from streams.cohorts import CohortTicks
from streams.live.group import Closed, Group
from streams.live.known import KnownSeries
from streams.live.laid_out import LaidOut
from streams.live.open_samples import OpenSamples, Samples, Taken
from streams.live.room import alike
from streams.reduction import Reducer

FROM_THE_BEGINNING: Final = -1
"""Stands for the first message of a group that was announced before there was any."""

_PAST_GAPS: Final = 2
"""A rate is held for a gap, and is made of values that lie a gap apart: so much past makes up all that is known."""


class GroupMarks(Struct, frozen=True, array_like=True):
    """How far a group has come in a partition.

    Attributes
    ----------
    since
        The first message that is its business.
    accounted
        Drops in messages before it have been given out.
    begun, closed
        The first tick, and the last that was closed; None before it began.
    """

    since: int
    accounted: int
    begun: int | None = None
    closed: int | None = None


class Closing:
    """Closes the ticks of one group.

    Parameters
    ----------
    group
        What is judged.
    known
        The partition's series.
    samples
        What the group's timing keeps.
    marks
        How far the group has come.
    """

    def __init__(self, group: Group, known: KnownSeries, samples: OpenSamples, marks: GroupMarks) -> None:
        self.group = group
        self.samples = samples
        self._known = known
        self._since = marks.since
        self._accounted = marks.accounted
        self._begun: int | None = None
        self._closed = 0
        self._next = 0
        self._rows: LaidOut | None = None
        self._dropped: Counter[str] = Counter()
        self.unreported: int | None = None
        """The oldest message with drops that were not given out yet."""
        if marks.begun is not None and marks.closed is not None:
            self._begin(marks.begun, marks.closed)
        elif self._since != FROM_THE_BEGINNING and samples.watermark.tick is not None:
            self._begin(samples.watermark.tick + 1, samples.watermark.tick)

    @property
    def marks(self) -> GroupMarks:
        """How far the group has come."""
        return GroupMarks(self._since, self._accounted, self._begun, None if self._begun is None else self._closed)

    @property
    def closed(self) -> int | None:
        """The last closed tick, None before the first one."""
        return None if self._begun is None else self._closed

    @property
    def open_from(self) -> tuple[int, int] | None:
        """The first tick of which samples are needed, and the first that a restart would need; None for all."""
        if self._begun is None:
            return None
        return self._next, self._warm_from(self._begun)

    def _warm_from(self, begun: int) -> int:
        return max(begun, self._closed + 1 - _PAST_GAPS * self.group.policy.gap_ticks_max)

    def _begin(self, begun: int, closed: int) -> None:
        self._begun, self._closed = begun, closed
        self._next = self._warm_from(begun)

    def announce(self, group: Group) -> None:
        """Take the group's rollouts as they are now, from the first open tick on."""
        self.group = group
        if self._rows is not None:
            self._rows.announce(group)

    def count(self, offset: int, reason: str, samples: int) -> None:
        """Count samples of a message as dropped, once across restarts."""
        if samples and offset >= max(self._since, self._accounted):
            self._dropped[reason] += samples
            self.unreported = offset if self.unreported is None else min(offset, self.unreported)

    def decided(self, frames: list[Taken]) -> None:
        """Count what was not kept of frames, and what lies before the first tick that is whole."""
        if self._begun is None and frames and self._since != FROM_THE_BEGINNING:
            furthest = self.samples.watermark.furthest_ms()
            begun = -(-furthest // self.group.tick_ms) + 1
            self._begin(begun, begun - 1)
        for taken in frames:
            self.count(taken.frame.offset, "late", taken.late)
            self.count(taken.frame.offset, "future", taken.future)
            if self._begun is not None:
                self.count(taken.frame.offset, "before_start", taken.kept_before(self._begun, self.group.tick_ms))

    def close(self, position: int) -> list[Closed]:
        """Close all ticks that the watermark has passed; `position` is the message that comes next."""
        passed = self.samples.watermark.tick
        if passed is None or not self._has_begun(passed):
            return []
        if self._rows is None:
            is_late = self._since != FROM_THE_BEGINNING
            self._rows = LaidOut(self.group, self._known, self._begun or 0, self._next, is_late=is_late)
        blocks: list[Closed] = []
        while self._next <= passed:
            ticks = min(max(1, CELLS_MAX // max(1, self._rows.rows)), passed + 1 - self._next)
            if self._next <= self._closed:  # an earlier process has given these out
                ticks = min(ticks, self._closed + 1 - self._next)
            found = self._block(self._rows, ticks)
            if self._next > self._closed:
                blocks += found
                self._closed = self._next + ticks - 1
            self._next += ticks
        if blocks:
            blocks[0].dropped.update(self._dropped + Counter(blocks[0].dropped))
            self._dropped.clear()
            self._accounted, self.unreported = position, None
        return blocks

    def _has_begun(self, passed: int) -> bool:
        if self._begun is None and self._since == FROM_THE_BEGINNING:
            first = self.samples.first_tick()
            if first is not None and first <= passed:  # else an earlier tick may still come
                self._begin(first, first - 1)
        return self._begun is not None

    def _block(self, rows: LaidOut, ticks: int) -> list[Closed]:
        samples = self.samples.between(self._next, self._next + ticks - 1)
        self._known.come(self.samples.timing, ((part.series, part.time) for part in samples))
        return [
            self._reduced(rows, first, length, reducer, inside)
            for first, length, reducer, inside in rows.reducers(self._next, ticks, samples)
        ]

    def _reduced(self, rows: LaidOut, first: int, ticks: int, reducer: Reducer, samples: Sequence[Samples]) -> Closed:
        """Reduce ticks of one layout."""
        dropped: Counter[str] = Counter()
        counts = np.zeros(ticks, np.int64)
        cells: list[Cells] = []
        for part in samples:
            judged = rows.judged(part)
            dropped["not_judged"] += judged.not_judged
            dropped["incomplete_histogram"] += judged.incomplete
            which = slice(None) if judged.which is None else judged.which
            tick = part.tick[which] - first if ticks > 1 else alike(0, len(judged.row))
            cells.append(Cells(judged.row, tick, part.time[which], part.value[which]))
            if part.first == part.last:
                counts[part.first - first] += len(judged.row)
            else:
                counts += np.bincount(tick, minlength=ticks)
        sums = reducer.reduce(first, ticks, cells)
        new, begun = reducer.begun
        self._known.count(rows.series[new], begun * self.group.tick_ms)
        dropped["duplicate"] += int(reducer.duplicates.sum())
        dropped["incomplete_histogram"] += int(reducer.incomplete.sum())
        return Closed(
            self.group.digest,
            sums,
            rows.signatures,
            counts - reducer.duplicates - reducer.incomplete,
            dict(+dropped),
            self._disputed(first, sums),
        )

    def _disputed(self, first: int, sums: CohortTicks) -> NDArray[np.bool_]:
        if first <= self._closed:  # given out by an earlier process
            return np.zeros(sums.ticks, np.bool_)
        ticks = range(first, first + sums.ticks)
        return np.array([self.samples.watermark.is_disputed(tick) for tick in ticks], np.bool_)
