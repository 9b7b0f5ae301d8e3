"""One source partition, live: frames in, cohort ticks of every group out, and what a restart needs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray

from streams.aggregate import VALUE_MAX
from streams.clock import NEVER
from streams.live.clock import Heard, Passed, Timing, Watermark
from streams.live.closing import FROM_THE_BEGINNING, Closing, GroupMarks
from streams.live.group import Closed, Group
from streams.live.known import KnownSeries
from streams.live.lag import newest_by_place
from streams.live.open_samples import Frame, OpenSamples, Taken
from streams.live.remembered import Runs, Slot
from streams.live.room import Number, alike
from streams.recording import NO_TIME, Samples

__all__ = ["Closed", "Group", "Marks", "Partition"]

_DIGEST_LENGTH: Final = 12
"""Characters by which marks name a policy: they ride in the metadata of an offset, which may be 4 kB."""


class ClockMarks(Struct, frozen=True, array_like=True):
    """Where the watermark of a timing stands; see `streams.live.clock.Watermark`.

    `passed` are offset, tick and whether disputed, each but the first relative to the one before.
    """

    timing: Timing
    since: int
    looked: int
    is_origin: bool
    passed: tuple[tuple[int, int, int], ...]


class Marks(Struct, frozen=True):
    """What a restart needs beside the messages from `Partition.offset` on and the series that were given out.

    It is a kilobyte or so. Messages before `position` had been taken.
    """

    position: int = 0
    clocks: tuple[ClockMarks, ...] = ()
    groups: Mapping[str, GroupMarks] = {}


class Partition:
    """The growing aggregate of one source partition.

    A tick's sums are a function of the log, of the announcements and of `advance` alone: not of how the log was cut
    into polls, and not of restarts.

    Parameters
    ----------
    marks
        What an earlier process left; None to begin anew.
    known
        All tables that `new_series` has given out, in any order.
    """

    def __init__(self, marks: Marks | None = None, known: Iterable[pa.Table] = ()) -> None:
        self._marks = marks or Marks()
        self._known = KnownSeries()
        self._known.load(known)
        self._position = self._marks.position
        self._is_new = marks is None
        self._is_behind = self._position > 0  # there may still be messages to come that were taken before
        self._timings: dict[Timing, OpenSamples] = {}
        self._groups: dict[str, Closing] = {}

    @property
    def accounted(self) -> int:
        """The message before which all had been taken when this began."""
        return self._marks.position

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever read of it."""
        return self._is_new

    @property
    def newest_ms(self) -> int | None:
        """The median of the units' latest event times; None if nothing usable came, or nothing is announced."""
        newest = [samples.watermark.newest_ms() for samples in self._timings.values()]
        return max((time_ms for time_ms in newest if time_ms is not None), default=None)

    def newest_by_colo(self) -> dict[str, int]:
        """Return how far each colo has come, in epoch milliseconds; it takes a look at every unit."""
        for timing, samples in self._timings.items():
            latest, is_active = samples.watermark.heard()
            units = self._known.units(timing.unit)
            heard = np.flatnonzero(latest[: len(units)] != NEVER)
            place = self._known.catalogue.codes("colo")[units.examples[heard]]
            names = self._known.catalogue.values("colo")
            return {names[code]: time for code, time in newest_by_place(place, latest[heard], is_active[heard]).items()}
        return {}

    def announce(self, groups: Sequence[Group]) -> None:
        """Take all groups as they are now; what is new takes effect at the first open tick.

        A group that comes up in the middle of the log begins with the first tick that is whole.
        """
        timings = {group.digest: Timing.of(group.policy, group.tick_ms) for group in groups}
        self._known.keep_only(set(timings.values()))
        self._timings = {timing: kept for timing, kept in self._timings.items() if timing in timings.values()}
        self._groups = {digest: group for digest, group in self._groups.items() if digest in timings}
        for group in groups:
            timing = timings[group.digest]
            if timing not in self._timings:
                opened = self._timings[timing] = self._opened(timing)
                if opened.since == FROM_THE_BEGINNING or opened.watermark.tick is not None:
                    self._known.came_ms(timing)  # from now on these are its own
            if group.digest in self._groups:
                self._groups[group.digest].announce(group)
            else:
                fresh = GroupMarks(self._start(), max(self._start(), 0))
                marks = self._marks.groups.get(_short(group.digest), fresh)
                self._groups[group.digest] = Closing(group, self._known, self._timings[timing], marks)

    def _start(self) -> int:
        """Return the first message that is the business of what is new."""
        return FROM_THE_BEGINNING if self._is_new else self._position

    def _opened(self, timing: Timing) -> OpenSamples:
        for clock in self._marks.clocks:
            if clock.timing == timing:
                passed = _unpacked(clock.passed)
                watermark = Watermark(timing, passed, self._marks.position, clock.looked, is_origin=clock.is_origin)
                return OpenSamples(timing, clock.since, watermark)
        return OpenSamples(timing, self._start())

    def push(self, samples: Samples, offset: int) -> None:
        """Take the samples of a message; messages come in the order of their offsets."""
        self._is_new = False
        self._is_behind &= offset + 1 < self._position
        self._position = max(self._position, offset + 1)
        if not self._timings or not len(samples.time):
            return
        slot = self._known.encode(samples)
        assert slot.series is not None
        time, value = samples.time, samples.value
        oldest, newest = _bounds(time)
        if slot.is_named and _are_in_range(value) and oldest != NO_TIME:
            time = alike(newest, len(time)) if oldest == newest else _own(time)
            frame = Frame(offset, slot.series, time, _own(value), oldest, newest, slot)
            self._take(frame, {timing.unit: self._known.runs(slot, timing.unit) for timing in self._timings})
            return
        usable = self._usable(slot, samples, offset)
        if usable.any():
            series, time, value = slot.series[usable], time[usable], value[usable]
            frame = Frame(offset, series, time, value, int(time.min()), int(time.max()))
            labels = {timing.unit for timing in self._timings}
            self._take(frame, {label: Runs.of(self._known.units(label).of_series[series]) for label in labels})

    def _usable(self, slot: Slot, samples: Samples, offset: int) -> NDArray[np.bool_]:
        """Tell which samples [row] say anything, and count the others under their reasons."""
        assert slot.series is not None
        value = samples.value
        named, timed = slot.series >= 0, samples.time != NO_TIME
        known = ~np.isnan(value)
        finite = ~(np.abs(value) >= VALUE_MAX)
        reasons = {
            "no_metric_or_colo": ~named,
            "no_time": named & ~timed,
            "nan": named & timed & ~known,
            "infinite": named & timed & ~finite,
        }
        for reason, rows in reasons.items():
            for group in self._groups.values():
                group.count(offset, reason, int(np.count_nonzero(rows)))
        usable: NDArray[np.bool_] = named & timed & known & finite
        return usable

    def _take(self, frame: Frame, runs: Mapping[str, Runs]) -> None:
        # The oldest times are asked for only until the watermark stands.
        starting = {timing.unit for timing, samples in self._timings.items() if samples.watermark.tick is None}
        heard = {label: _heard(frame, each, is_first=label in starting) for label, each in runs.items()}
        for timing, samples in self._timings.items():
            decided = samples.push(frame, heard[timing.unit], len(self._known.catalogue))
            self._tell(samples, decided)

    def _tell(self, samples: OpenSamples, decided: list[Taken]) -> None:
        for group in self._groups.values():
            if group.samples is samples:
                group.decided(decided)

    def advance(self, to_ms: int) -> None:
        """Have all watermarks stand at `to_ms` at least, in event time, for the messages that come next.

        There must be none that could be read.
        """
        self._is_behind = False
        for samples in self._timings.values():
            self._tell(samples, samples.advance(to_ms, self._position))

    def pass_through(self, digest: str, tick: int) -> None:
        """Have the watermark of one group stand at a tick at least; see `advance`."""
        group = self._groups[digest]
        self._tell(group.samples, group.samples.advance(tick * group.group.tick_ms, self._position))

    def unreported(self, digest: str) -> dict[str, int]:
        """Return what a group has dropped since the last block that it gave out, by reason."""
        return self._groups[digest].dropped

    def close(self) -> list[Closed]:
        """Close all ticks that the watermarks have passed: blocks of consecutive ticks, group by group."""
        if self._is_behind:
            return []
        closed = [block for group in self._groups.values() for block in group.close(self._position)]
        if closed:
            for samples in self._timings.values():
                self._trim(samples)
        return closed

    def _trim(self, samples: OpenSamples) -> None:
        groups = [group for group in self._groups.values() if group.samples is samples]
        open_from = [group.open_from for group in groups]
        begun = [each for each in open_from if each is not None]
        if len(begun) == len(open_from):
            unreported = [group.unreported for group in groups if group.unreported is not None]
            first, past = min(first for first, _ in begun), min(past for _, past in begun)
            samples.trim(first, past, min(unreported, default=None))

    def closed(self) -> dict[str, int]:
        """Return the last closed tick of each group that has begun."""
        ticks = {digest: group.closed for digest, group in self._groups.items()}
        return {digest: tick for digest, tick in ticks.items() if tick is not None}

    def new_series(self) -> pa.Table | None:
        """Return series that have come up in closed ticks since the last call; see `KnownSeries.take_new`."""
        return self._known.take_new()

    def offset(self) -> int | None:
        """Return the oldest message that a restart needs, None if the next one is."""
        offsets = [samples.offset() for samples in self._timings.values()]
        offsets += [group.unreported for group in self._groups.values()]
        return min((offset for offset in offsets if offset is not None), default=None)

    def marks(self, position: int) -> Marks:
        """Return what a restart needs, to be kept together with what `close` and `new_series` have given out.

        `position` is the next message that would be read, `offset` then where to begin.
        """
        clocks = []
        for timing, samples in self._timings.items():
            passed, looked, is_origin = samples.watermark.resume()
            clocks.append(ClockMarks(timing, samples.since, looked, is_origin, _packed(passed)))
        position = max(position, self._marks.position)
        return Marks(position, tuple(clocks), {_short(digest): group.marks for digest, group in self._groups.items()})


def _bounds(time: NDArray[np.int64]) -> tuple[int, int]:
    """Return the oldest and the newest time of a message, most of which have a single one."""
    first = time[0]
    if time[-1] == first and (time == first).all():
        return int(first), int(first)
    return int(np.minimum.reduce(time)), int(np.maximum.reduce(time))


def _are_in_range(value: NDArray[np.float64]) -> bool:
    """Tell whether all values of a message are known, and smaller than what counts as infinite."""
    if np.dot(value, value) < VALUE_MAX:  # so each is smaller than its root; one look at them is enough
        return True
    # NaN is neither above nor below anything.
    return bool(np.minimum.reduce(value) > -VALUE_MAX and np.maximum.reduce(value) < VALUE_MAX)


def _own(numbers: NDArray[Number]) -> NDArray[Number]:
    """Return numbers that do not keep the whole message in memory that they lie in."""
    return numbers if numbers.flags.owndata else numbers.copy()


def _heard(frame: Frame, runs: Runs, *, is_first: bool) -> Heard:
    if frame.oldest_ms == frame.newest_ms:
        time = np.full(len(runs.starts), frame.newest_ms)
        return Heard(runs.units, runs.size, time, time)
    time = frame.time if runs.order is None else frame.time[runs.order]
    newest = np.maximum.reduceat(time, runs.starts)
    return Heard(runs.units, runs.size, np.minimum.reduceat(time, runs.starts) if is_first else newest, newest)


def _packed(passed: Sequence[Passed]) -> tuple[tuple[int, int, int], ...]:
    packed = []
    offset = tick = 0
    for each in passed:
        packed.append((each.offset - offset, each.tick - tick, int(each.is_disputed)))
        offset, tick = each.offset, each.tick
    return tuple(packed)


def _unpacked(packed: Sequence[tuple[int, int, int]]) -> list[Passed]:
    passed: list[Passed] = []
    offset = tick = 0
    for offset_step, tick_step, is_disputed in packed:
        offset, tick = offset + offset_step, tick + tick_step
        passed.append(Passed(offset, tick, bool(is_disputed)))
    return passed


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_DIGEST_LENGTH]
