"""Samples of ticks that are still open, as one timing of a source partition keeps them."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.live.clock import Heard, Timing, Watermark
from streams.live.remembered import Slot
from streams.live.room import alike

Times = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Frame:
    """The usable samples of one message: series, time and value [row], and the bounds of their times.

    `slot` is what is remembered of its labels, if its rows are those of the message.
    """

    offset: int
    series: NDArray[np.int32]
    time: Times
    value: NDArray[np.float64]
    oldest_ms: int
    newest_ms: int
    slot: Slot | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame of which the samples in ticks after `above` and up to `upto` are kept, `late` and `future` not.

    `first` and `last` bound the ticks of all its samples.
    """

    frame: Frame
    first: int
    last: int
    above: int
    upto: int
    late: int = 0
    future: int = 0

    @property
    def last_kept(self) -> int:
        """The last tick that a sample may be kept in."""
        return min(self.last, self.upto)

    def ticks(self, tick_ms: int) -> Times:
        """Return the tick of each sample [row]; not to be written into."""
        if self.first == self.last:
            return alike(self.first, len(self.frame.time))
        ticks = self.frame.time + (tick_ms - 1)  # rounded up
        np.floor_divide(ticks, tick_ms, out=ticks)
        return ticks

    def kept_before(self, tick: int, tick_ms: int) -> int:
        """Count the kept samples in ticks before `tick`."""
        if self.first >= tick:
            return 0
        ticks = self.ticks(tick_ms)
        return int(np.count_nonzero((ticks > self.above) & (ticks < min(tick, self.upto + 1))))


@dataclass(frozen=True, slots=True)
class Samples:
    """Kept samples of one message, as columns [sample]; they lie in ticks `first` to `last`.

    `slot` is what is remembered of their labels, if they are all of the message.
    """

    series: NDArray[np.int32]
    tick: Times
    time: Times
    value: NDArray[np.float64]
    first: int
    last: int
    slot: Slot | None = None

    def within(self, first: int, last: int) -> "Samples":
        """Return those of ticks `first` to `last`."""
        if first <= self.first and self.last <= last:
            return self
        rows = np.flatnonzero((self.tick >= first) & (self.tick <= last))
        first, last = max(first, self.first), min(last, self.last)
        return Samples(self.series[rows], self.tick[rows], self.time[rows], self.value[rows], first, last)


def within(parts: Sequence[Samples], first: int, last: int) -> list[Samples]:
    """Return what of some messages lies in ticks `first` to `last`."""
    return [part.within(first, last) for part in parts if part.first <= last and part.last >= first]


class OpenSamples:
    """What one timing keeps of a source partition, and its watermark.

    Parameters
    ----------
    timing
        See `Timing`.
    since
        Messages before it are none of its business.
    watermark
        How an earlier process left it; None to begin anew.
    """

    def __init__(self, timing: Timing, since: int, watermark: Watermark | None = None) -> None:
        self.timing = timing
        self.since = since
        self.watermark = watermark or Watermark(timing)
        self._undecided: list[Frame] = []
        self._taken: deque[Taken] = deque()
        self._needed: deque[tuple[int, int]] = deque()  # offsets and last kept ticks, also of frames that are let go

    def push(self, frame: Frame, heard: Heard, series: int) -> list[Taken]:
        """Take a frame, and return the frames of which it is known now what is kept."""
        if frame.offset < self.since:
            return []
        self.watermark.take(heard, len(frame.time), frame.offset, series)
        if self.watermark.tick is None:
            self._undecided.append(frame)
            return []
        return self._decide([*self._undecided, frame])

    def advance(self, to_ms: int, offset: int) -> list[Taken]:
        """Move the watermark to `to_ms` at least, for messages from `offset` on; return what this has decided."""
        return self._decide(self._undecided) if self.watermark.advance(to_ms, offset) else []

    def _decide(self, frames: list[Frame]) -> list[Taken]:
        self._undecided = []
        decided = [taken for frame in frames if (taken := self._take(frame)) is not None]
        for taken in decided:
            if taken.late + taken.future < len(taken.frame.time):
                self._taken.append(taken)
                self._needed.append((taken.frame.offset, taken.last_kept))
        return decided

    def _take(self, frame: Frame) -> Taken | None:
        bounds = self.watermark.bounds(frame.offset)
        if bounds is None:  # an earlier process is done with it
            return None
        above, upto = bounds
        tick_ms = self.timing.tick_ms
        taken = Taken(frame, -(-frame.oldest_ms // tick_ms), -(-frame.newest_ms // tick_ms), above, upto)
        if taken.first > above and taken.last <= upto:
            return taken
        ticks = taken.ticks(tick_ms)
        late, future = int(np.count_nonzero(ticks <= above)), int(np.count_nonzero(ticks > upto))
        return Taken(frame, taken.first, taken.last, above, upto, late, future)

    def first_tick(self) -> int | None:
        """Return the first tick in which any sample is kept, None if there is none."""
        found = [self._first_kept(taken) for taken in self._taken]
        return min(found, default=None)

    def _first_kept(self, taken: Taken) -> int:
        if taken.first > taken.above:
            return taken.first
        ticks = taken.ticks(self.timing.tick_ms)
        return int(ticks[ticks > taken.above].min())

    def between(self, first: int, last: int) -> list[Samples]:
        """Return the kept samples of ticks `first` to `last`, message by message."""
        parts: list[Samples] = []
        for taken in self._taken:
            low, high = max(first, taken.above + 1), min(last, taken.upto)
            if taken.first <= high and taken.last >= low:
                frame, ticks = taken.frame, taken.ticks(self.timing.tick_ms)
                whole = Samples(frame.series, ticks, frame.time, frame.value, taken.first, taken.last, frame.slot)
                parts.append(whole.within(low, high))
        return parts

    def trim(self, tick: int, needed: int, unreported: int | None) -> None:
        """Let go of samples in ticks before `tick`, and of messages without any in or after the tick `needed`.

        What was decided about messages from `unreported` on has not been given out.
        """
        if any(taken.last_kept < tick for taken in self._taken):
            self._taken = deque(taken for taken in self._taken if taken.last_kept >= tick)
        while self._needed and self._needed[0][1] < needed:
            self._needed.popleft()
        data = self.data_offset()
        if data is not None:
            self.watermark.forget(tick, data if unreported is None else min(data, unreported))

    def data_offset(self) -> int | None:
        """Return the oldest message that has samples which are needed, None if none has."""
        if self._undecided:
            return self._undecided[0].offset
        return self._needed[0][0] if self._needed else None

    def offset(self) -> int | None:
        """Return the oldest message that is needed, also to know where the clocks stand."""
        offsets = [offset for offset in (self.data_offset(), self.watermark.oldest_offset()) if offset is not None]
        return min(offsets, default=None)
