"""A group's rows while series come up and units move: which rows there are, and what is known of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from streams.layout import Layout, build
from streams.live.clock import Timing
from streams.live.group import Group
from streams.live.known import UNSEEN, KnownSeries
from streams.live.open_samples import Samples, within
from streams.live.places import Bits, Places
from streams.live.remembered import Slot
from streams.membership import Membership, moving_labels
from streams.past import LONG_AGO, NEVER, Latest
from streams.reduction import Past, Reducer

Ticks = NDArray[np.int64]
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Judged:
    """Where samples go: the matrix row of each [judged sample], and which they are [judged sample], None for all.

    `not_judged` and `incomplete` count the others: those that the policy does not ask for, and those of histograms that
    say nothing.
    """

    row: NDArray[np.int64]
    which: Rows | None
    not_judged: int = 0
    incomplete: int = 0

    @classmethod
    def of(cls, row: NDArray[np.int32]) -> "Judged":
        """Sort out the rows of samples [sample], which are negative for those that are not judged."""
        if np.minimum.reduce(row, initial=0) >= 0:
            return cls(row.astype(np.int64), None)
        which = np.flatnonzero(row >= 0)
        not_judged = int(np.count_nonzero(row == -1))
        return cls(row[which].astype(np.int64), which, not_judged, len(row) - len(which) - not_judged)


class LaidOut:
    """The rows of one group: of the series that have come in or before the tick at hand.

    The sums of a tick are so a function of the samples in it and before it, and never of what else has been read.

    Parameters
    ----------
    group
        What is judged.
    known
        The partition's series.
    begun
        The first tick of the group.
    first
        The first tick that will be reduced; later than `begun` after a restart.
    is_late
        Whether the group was announced in the middle of the log, when series were there that it has not seen.
    """

    def __init__(self, group: Group, known: KnownSeries, begun: int, first: int, *, is_late: bool) -> None:
        self._group = group
        self._known = known
        self._timing = Timing.of(group.policy, group.tick_ms)
        self._begun, self._first = begun, first
        self._is_late = is_late
        self._places = Places(group.rollouts, group.policy.gap_ticks_max)
        self._among = self._came() < first  # [series] laid out
        counted = _ticks(known.counted_ms, group.tick_ms)
        self._has_counted = np.flatnonzero((counted >= begun) & (counted < first))  # by an earlier process
        self._current: Bits | None = None
        self._is_stale = True
        self.series = np.empty(0, np.intp)  # [row]
        self._sending = np.empty(0, np.intp)  # [unit that reports] its number among all units
        self.signatures = np.empty((0, 0), np.int32)
        self.layout: Layout | None = None
        self._reducer: Reducer | None = None
        self._judged: WeakKeyDictionary[Slot, Judged] = WeakKeyDictionary()  # in the layout at hand

    @property
    def rows(self) -> int:
        """Number of matrix rows, as far as it is known."""
        return len(self._known.catalogue) if self.layout is None else self.layout.bounds[2]

    def announce(self, group: Group) -> None:
        """Take other rollouts, from the next tick on."""
        if group.rollouts != self._group.rollouts:
            self._group = group
            self._places = Places(group.rollouts, group.policy.gap_ticks_max)
            self._is_stale = True

    def judged(self, samples: Samples) -> Judged:
        """Return where samples go in the layout at hand; for messages whose labels came before, from memory."""
        assert self.layout is not None
        known = None if samples.slot is None else self._judged.get(samples.slot)
        if known is None:
            known = Judged.of(self.layout.row_of_series[samples.series])
            if samples.slot is not None:
                self._judged[samples.slot] = known
        return known

    def reducers(
        self, first: int, ticks: int, samples: Sequence[Samples]
    ) -> Iterator[tuple[int, int, Reducer, Sequence[Samples]]]:
        """Cut ticks where the rows change: first tick and length of each piece, its reducer and its samples.

        The samples must be all of these ticks, and their series have come.
        """
        starts = self._growth(first, first + ticks - 1)
        for start, stop in zip(starts, [*starts[1:], first + ticks], strict=True):
            inside = within(samples, start, stop - 1)
            self._grow(start)
            current = self._places.look(start, stop - start, [(part.series, part.tick, part.time) for part in inside])
            self._known.fall_silent(*self._places.fallen_silent())
            cuts = [start] if current is None else _changes(current, start)
            for left, right in zip(cuts, [*cuts[1:], stop], strict=True):
                reducer = self._placed(left, None if current is None else current[:, left - start])
                yield left, right - left, reducer, within(inside, left, right - 1)

    def _came(self) -> Ticks:
        return _ticks(self._known.came_ms(self._timing), self._group.tick_ms)

    def _growth(self, first: int, last: int) -> list[int]:
        """Return `first`, and the ticks up to `last` in which series come up."""
        count = len(self._known.catalogue)
        if len(self._among) < count:
            self._among = np.concatenate([self._among, np.zeros(count - len(self._among), np.bool_)])
        if self._among.all():
            return [first]
        came = self._came()[~self._among]
        return sorted({first, *np.maximum(came[came <= last], first).tolist()})

    def _grow(self, tick: int) -> None:
        """Take up the series that have come by a tick."""
        if not self._is_stale and self._among.all():
            return
        came = self._came()
        new = (came <= tick) & ~self._among
        if not new.any() and not self._is_stale:
            return
        self._among |= new
        self._is_stale = True
        last = _ticks(self._known.seen_ms, self._group.tick_ms)
        # What is read again tells by itself what was seen in it; and 0 stands for what is not known.
        last[(self._known.seen_ms == 0) | (last >= self._first)] = LONG_AGO
        seen = np.where(self._among, np.maximum(came, last), LONG_AGO)
        if self._reducer is not None:
            seen[self.series] = np.maximum(seen[self.series], self._reducer.past.rows.tick)
        units = self._known.units(self._group.policy.unit)
        self._places.update(self._known.catalogue, units.of_series, self._among, seen)

    def _placed(self, tick: int, current: Bits | None) -> Reducer:
        """Return the reducer for where units belong, given the pairs that are current, see `Places`."""
        is_same = current is self._current or (
            current is not None and self._current is not None and np.array_equal(current, self._current)
        )
        if self._reducer is None or self._is_stale or not is_same:
            self._current, self._is_stale = current, False
            self._reducer = self._laid_out(tick, current)
        return self._reducer

    def _laid_out(self, tick: int, current: Bits | None) -> Reducer:
        known, policy = self._known, self._group.policy
        units, numbers = known.units(policy.unit).in_order(known.catalogue, policy.region, self._among)
        placed = self._places.place(current)
        signature = np.zeros(len(numbers), np.int32)  # of units of which nothing has come it says nothing
        signature[: len(placed.signature)] = placed.signature
        layout = build(
            known.catalogue,
            units,
            Membership(signature[numbers], (), np.empty((0, 0), np.int32)),
            policy,
            moving_labels(self._group.rollouts),
            among=self._among,
        )
        series = np.empty(layout.bounds[2], np.intp)
        laid = np.flatnonzero(layout.row_of_series >= 0)
        series[layout.row_of_series[laid]] = laid
        sending = numbers[layout.reporting.rows]
        past = self._past(tick, layout, series, sending)
        self.layout, self.series, self._sending, self.signatures = layout, series, sending, placed.rows
        self._judged.clear()
        return Reducer(layout, policy.gap_ticks_max, past)

    def _past(self, tick: int, layout: Layout, series: Rows, sending: Rows) -> Past:
        """Take what is known of the rows so far over to a new layout."""
        past = self._past_before() if self._reducer is None or self.layout is None else self._reducer.past
        before = np.full(len(self._known.catalogue), -1, np.intp)
        before[self.series] = np.arange(len(self.series))
        rows = before[series]
        rate = np.full(len(self.series) + 1, -1, np.intp)  # the last is for rows that are new
        if self.layout is not None:
            rate[self.layout.rate_rows] = np.arange(len(self.layout.rate_rows))
        unit = np.full(max(int(sending.max(initial=-1)), int(self._sending.max(initial=-1))) + 1, -1, np.intp)
        unit[self._sending] = np.arange(len(self._sending))
        found = past.moved(rows, rate[rows[layout.rate_rows]], unit[sending])
        last = np.where((found.rows.tick == NEVER) & self._was_seen(tick)[series], LONG_AGO, found.rows.tick)
        unit_seen = found.unit_seen
        if self._reducer is None:  # units that fell silent before it began are still expected
            came = series[self._came()[series] < self._first]
            unit_seen = np.isin(sending, self._known.units(self._group.policy.unit).of_series[came])
        return Past(Latest(found.rows.value, last), found.time, found.rates, unit_seen)

    def _was_seen(self, tick: int) -> NDArray[np.bool_]:
        """Tell which series [series] are not new, though they have no row yet: they do not count from zero."""
        was_seen = np.zeros(len(self._known.catalogue), np.bool_)
        was_seen[self._has_counted] = True
        if self._is_late:
            # What was there before may be seen for the first time in any of the first ticks.
            was_seen |= tick <= self._begun + self._group.policy.gap_ticks_max
            was_seen |= _ticks(self._known.came_ms(), self._group.tick_ms) < self._begun
        return was_seen

    def _past_before(self) -> Past:
        nothing = Latest.none(0)
        return Past(nothing, np.empty(0, np.int64), nothing, np.empty(0, np.bool_))


def _ticks(time_ms: NDArray[np.int64], tick_ms: int) -> Ticks:
    """Return the ticks of times [series]; what was not seen stays in the far future."""
    return np.where(time_ms == UNSEEN, UNSEEN, -(-np.where(time_ms == UNSEEN, 0, time_ms) // tick_ms))


def _changes(current: Bits, first: int) -> list[int]:
    """Return `first`, and the ticks in which other pairs are current [pair, tick] than in the one before."""
    changed = np.flatnonzero((current[:, 1:] != current[:, :-1]).any(axis=0))
    return [first, *(first + 1 + changed).tolist()]
