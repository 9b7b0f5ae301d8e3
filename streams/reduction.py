"""From samples to sums: a block of closed ticks becomes cohort ticks.

Everything here is arrays over [matrix row, tick]. What a block leaves behind for the next one is kept in `Reducer`: the
last value of each row, and its tick.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.cells import Cells, cell_of, joined, one_per_cell
from streams.cohorts import CohortTicks, RowKey
from streams.layout import Layout
from streams.past import NEVER, Block, Latest, cells_of, hold, moved, twins
from streams.sums import EventSums, LevelSums, slice_of

Matrix = NDArray[np.float64]
Rows = NDArray[np.intp]


_NOWHERE: Final = -2


@dataclass(frozen=True, slots=True)
class Gaps:
    """Counters that had been absent in the tick before, [cell].

    `column` is where in the block they were last, -1 if before it, -2 if too long ago or never.
    """

    row: Rows
    tick: Rows
    column: Rows


@dataclass(frozen=True, slots=True)
class Past:
    """What is left of all ticks so far.

    Attributes
    ----------
    rows
        The last values of all matrix rows.
    time
        [rate row] When that was, in epoch milliseconds; 0 if unknown.
    rates
        The last rates of the rows that are judged as rates.
    unit_seen
        [unit] Whether a unit has ever reported.
    """

    rows: Latest
    time: NDArray[np.int64]
    rates: Latest
    unit_seen: NDArray[np.bool_]

    @classmethod
    def none(cls, layout: Layout) -> "Past":
        """Know nothing yet."""
        rates = len(layout.rate_rows)
        units = int(layout.reporting.group.shape[1])
        return cls(
            Latest.none(layout.bounds[2]), np.zeros(rates, np.int64), Latest.none(rates), np.zeros(units, np.bool_)
        )

    def moved(self, rows: Rows, rates: Rows, units: Rows) -> "Past":
        """Return this for another layout, of which each row, rate and unit is given with its place in this one.

        The place of what is new is -1.
        """
        return Past(
            self.rows.moved(rows), moved(self.time, rates, 0), self.rates.moved(rates), moved(self.unit_seen, units, 0)
        )


class Reducer:
    """Reduces blocks of consecutive ticks of one layout.

    Parameters
    ----------
    layout
        Where each series goes.
    gap
        For how many ticks a gauge or rate holds its last value, and a counter remembers it.
    past
        What came before the first block, if anything.

    Attributes
    ----------
    past
        What came up to the end of the last block.
    duplicates, incomplete
        [tick] Samples of the last block that were set aside: the same series and time once more, and histograms of
        which a bucket is missing.
    """

    def __init__(self, layout: Layout, gap: int, past: "Past | None" = None) -> None:
        self._layout = layout
        self._gap = gap
        self._keys: tuple[RowKey, ...] = tuple(
            chain.from_iterable(part.keys for part in (*layout.parts, layout.reporting))
        )
        buckets = np.flatnonzero(layout.bundle >= 0)
        _, member, count = np.unique(layout.bundle[buckets], return_inverse=True, return_counts=True)
        self._bundle_size = count
        self._bundle_at = np.full(layout.bounds[2], -1, np.intp)  # the bundle of each matrix row
        self._bundle_at[buckets] = member
        self._rate_place = np.full(layout.bounds[2], -1, np.intp)  # the place of each matrix row among the rates
        self._rate_place[layout.rate_rows] = np.arange(len(layout.rate_rows))
        self._is_rate = self._rate_place >= 0
        self._unit_rows, self._unit_of_row = _folded(layout)
        self._reporting = layout.reporting.group @ np.ones(len(self._unit_rows))
        self._levels = LevelSums(layout)
        self._events = EventSums(layout, self._bundle_at, len(count))
        gauges = self._levels.gauge_rows
        self._gauges = slice_of(gauges)
        self._gauge_twin = layout.twin[gauges] * (len(layout.parts) + 1) + self._levels.gauge_part
        self.past = past or Past.none(layout)
        self.duplicates = np.zeros(0, np.int64)
        self.incomplete = np.zeros(0, np.int64)
        self.begun = np.zeros(0, np.intp), np.zeros(0, np.intp)
        self._all_begun = False

    def reduce(self, first: int, ticks: int, cells: Sequence[Cells]) -> CohortTicks:
        """Reduce ticks `first` to `first + ticks - 1`, whose samples are all in `cells`, in any order."""
        layout, past = self._layout, self.past
        gauges = layout.bounds[0]
        values, present, times = self._placed(cells, ticks)
        sums = np.empty((3, len(self._keys), ticks))
        out = sums.swapaxes(0, 1)  # [row, 3, tick]
        absent = cells_of(~present)
        unit_seen = self._add_reporting(absent, out)  # who sends an incomplete histogram does report
        partial = self._set_aside_incomplete(values, present, absent)
        block = Block(first, values, present, past.rows)
        increase, gaps = self._increases(block)
        rates = self._rates(times, increase, gaps, block)
        self._events.add(increase, present[gauges:], partial, out)
        self._levels.add(self._all_levels(block, rates, increase), out)
        columns = block.last_columns()
        self._begin(block, columns)
        last = columns[layout.rate_rows]
        self.past = Past(
            block.latest(columns),
            np.where(last >= 0, times[np.arange(len(last)), last], past.time),
            rates.latest(rates.last_columns()),
            unit_seen,
        )
        return CohortTicks(first, self._keys, sums)

    def _begin(self, block: Block, columns: Rows) -> None:
        """Note which rows are there for the first time, given the last column of each row."""
        new = np.empty(0, np.intp)
        if not self._all_begun:
            is_new = self.past.rows.tick == NEVER
            self._all_begun = not is_new.any()
            new = np.flatnonzero(is_new & (columns >= 0))
        self.begun = new, block.first + np.argmax(block.present[new], axis=1)

    def _placed(self, parts: Sequence[Cells], ticks: int) -> tuple[Matrix, NDArray[np.bool_], NDArray[np.int64]]:
        """Lay samples out as values and presence [row, tick], and times [rate row, tick], 0 where absent."""
        layout = self._layout
        rows, size = layout.bounds[2], layout.bounds[2] * ticks
        values = np.full((rows, ticks), np.nan)
        places = [cell_of(cells, ticks) for cells in parts]
        for place, cells in zip(places, parts, strict=True):
            values.reshape(-1)[place] = cells.value
        present = ~np.isnan(values)
        self.duplicates = np.zeros(ticks, np.int64)
        if np.count_nonzero(present) < sum(len(place) for place in places):
            cell, left, dropped = one_per_cell(np.concatenate(places), joined(parts), layout.bounds[1], size)
            self.duplicates = np.bincount(dropped, minlength=ticks)
            values.reshape(-1)[cell] = left.value
            parts = [left]
        times = np.zeros((len(layout.rate_rows), ticks), np.int64)
        if len(layout.rate_rows):
            for cells in parts:
                rated = np.flatnonzero(self._is_rate[cells.row])
                rate = self._rate_place[cells.row[rated]]
                times.reshape(-1)[rate * ticks + cells.tick[rated]] = cells.time[rated]
        return values, present, times

    def _set_aside_incomplete(
        self, values: Matrix, present: NDArray[np.bool_], absent: tuple[Rows, Rows]
    ) -> NDArray[np.bool_] | None:
        """Take out histograms of which a bucket is missing: between unlike buckets there is nothing to subtract.

        What they counted is not lost; it comes with the next complete one. Returns which were taken out,
        [bundle, tick], None if none.
        """
        bundles, ticks = len(self._bundle_size), present.shape[1]
        self.incomplete = np.zeros(ticks, np.int64)
        row, tick = absent
        bundle = self._bundle_at[row]
        row, tick, bundle = row[bundle >= 0], tick[bundle >= 0], bundle[bundle >= 0]
        missing = np.bincount(bundle * ticks + tick, minlength=bundles * ticks).reshape(bundles, ticks)
        is_partial = (missing > 0) & (missing < self._bundle_size[:, None])
        if not is_partial.any():
            return None
        buckets = np.flatnonzero(self._bundle_at >= 0)
        row, tick = cells_of(is_partial[self._bundle_at[buckets]] & present[buckets])
        self.incomplete += np.bincount(tick, minlength=ticks)
        values[buckets[row], tick] = np.nan
        present[buckets[row], tick] = False
        return is_partial

    def _increases(self, block: Block) -> tuple[Matrix, Gaps]:
        """Return how much each counter grew [counter, tick], NaN where unknown, and where it had been absent."""
        gauges, cumulative, rows = self._layout.bounds
        counter, past = block.value[gauges:cumulative], block.past.at(slice(gauges, cumulative))
        increase = np.empty((rows - gauges, counter.shape[1]))
        increase[cumulative - gauges :] = block.value[cumulative:]
        body = increase[: cumulative - gauges]
        np.subtract(counter[:, 1:], counter[:, :-1], out=body[:, 1:])
        np.subtract(counter[:, 0], past.value, out=body[:, 0])
        is_old = past.tick < block.first - self._gap
        if is_old.any():
            body[is_old, 0] = np.nan
        row, tick = cells_of(block.present[gauges:cumulative] & np.isnan(body))
        when, value, column = block.before(row + gauges, tick)
        found = when >= block.first + tick - self._gap
        body[row[found], tick[found]] = counter[row[found], tick[found]] - value[found]
        fresh = row[~found], tick[~found]
        body[fresh] = self._fresh(fresh[0] + gauges, fresh[1], when[~found], block)
        back = body < 0  # a reset: the counter began anew from zero
        if back.any():
            self._reset_whole_histograms(back)
            back &= ~np.isnan(body)
            body[back] = counter[back]
        return increase, Gaps(row + gauges, tick, np.where(found, column, _NOWHERE))

    def _reset_whole_histograms(self, back: NDArray[np.bool_]) -> None:
        """Mark all buckets of a histogram [counter, tick] of which one went back: a small one may not have."""
        gauges, cumulative, _ = self._layout.bounds
        bundle = self._bundle_at[gauges:cumulative]
        counter = np.flatnonzero(bundle >= 0)
        row, tick = cells_of(back[counter])
        anew = np.zeros((len(self._bundle_size), back.shape[1]), np.bool_)
        anew[bundle[counter][row], tick] = True
        back[counter] = anew[bundle[counter]]

    def _fresh(self, rows: Rows, tick: Rows, when: NDArray[np.int64], block: Block) -> NDArray[np.float64]:
        """Return the increase of counters [candidate] that nothing precedes; `when` they were last seen at all.

        A twin that has just fallen silent is the same counter under other labels. Else a counter that was
        never seen counts from zero if its family was there before. Else its increase is unknown.
        """
        increase = np.full(len(rows), np.nan)
        if not len(rows):
            return increase
        value = block.value[rows, tick]
        pairs, mate = twins(self._layout.twin, rows)
        seen, last, _ = block.before(mate, tick[pairs])
        is_new = when == NEVER
        is_new[pairs[seen > NEVER]] = False  # it has counted under other labels, so not from zero
        if is_new.any():
            new = np.flatnonzero(is_new)
            alive = new[self._family_alive(rows[new], tick[new], block)]
            increase[alive] = value[alive]
        at = tick[pairs]
        follows = (seen >= block.first + at - self._gap) & ~block.present[mate, at]
        nearest = np.flatnonzero(follows)[np.argsort(seen[follows], kind="stable")]  # and is written last
        who = pairs[nearest]
        step = value[who] - last[nearest]
        increase[who] = np.where(step < 0, value[who], step)
        return increase

    def _family_alive(self, rows: Rows, tick: Rows, block: Block) -> NDArray[np.bool_]:
        """Tell of each candidate [candidate] whether any counter of its family was there just before."""
        gauges, cumulative, _ = self._layout.bounds
        family = self._layout.family
        members = gauges + np.flatnonzero(np.isin(family[gauges:cumulative], family[rows]))
        families, member = np.unique(family[members], return_inverse=True)
        present = np.zeros((len(families), block.present.shape[1]), np.bool_)
        np.logical_or.at(present, member, block.present[members])
        last = np.full(len(families), NEVER)
        np.maximum.at(last, member, block.past.tick[members])
        whole = Block(block.first, np.where(present, 0.0, np.nan), present, Latest(np.zeros(len(families)), last))
        when, _, _ = whole.before(np.searchsorted(families, family[rows]), tick)
        return when >= block.first + tick - self._gap

    def _rates(self, times: NDArray[np.int64], increase: Matrix, gaps: Gaps, block: Block) -> Block:
        """Return the rates per second of the rows that are judged as rates, before they are held: [rate row, tick]."""
        layout, past = self._layout, self.past
        earlier = np.zeros(times.shape, np.int64)
        earlier[:, 1:] = times[:, :-1]
        earlier[:, 0] = np.where(past.rows.tick[layout.rate_rows] < block.first - self._gap, 0, past.time)
        place = self._rate_place[gaps.row]
        rated = place >= 0
        place, tick, column = place[rated], gaps.tick[rated], gaps.column[rated]
        # A counter without a time before (it began within this tick) has grown over one tick at most.
        known = np.where(column >= 0, times[place, np.maximum(column, 0)], past.time[place])
        earlier[place, tick] = np.where(column == _NOWHERE, 0, known)
        elapsed = (times - earlier) / 1_000.0
        grown = increase[layout.rate_rows - layout.bounds[0]]
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where((earlier > 0) & (elapsed > 0), grown / elapsed, np.nan)
        return Block(block.first, rate, ~np.isnan(rate), past.rates)

    def _all_levels(self, block: Block, rates: Block, increase: Matrix) -> Matrix:
        """Return the levels that are summed [member, tick]: gauges, rates, deltas."""
        rows = self._gauges
        gauges = Block(block.first, block.value[rows], block.present[rows], block.past.at(rows))
        levels = [hold(gauges, self._gap, self._gauge_twin)]
        if len(self._levels.rate_places):
            held = hold(rates, self._gap, self._layout.twin[self._layout.rate_rows])
            levels.append(held[self._levels.rate_places])
        if len(self._levels.delta_rows):
            levels.append(increase[self._levels.delta_rows - self._layout.bounds[0]])
        return levels[0] if len(levels) == 1 else np.concatenate(levels)

    def _add_reporting(self, absent: tuple[Rows, Rows], out: Matrix) -> NDArray[np.bool_]:
        """Count the units that should report and do not; return [unit] which have been seen by now."""
        part, ticks = self._layout.reporting, out.shape[2]
        units = len(self._unit_rows)
        mine = out[len(out) - len(part.keys) :]
        if not len(absent[0]):  # each unit that reports has a row
            mine[:, 0] = mine[:, 2] = self._reporting[:, None]
            mine[:, 1] = 0.0
            return np.ones(units, np.bool_)
        silent = np.bincount(self._unit_of_row[absent[0]] * ticks + absent[1], minlength=units * ticks)
        sent = silent.reshape(units, ticks) < self._unit_rows[:, None]
        seen = np.concatenate([self.past.unit_seen[:, None], sent], axis=1)
        known = np.logical_or.accumulate(seen, axis=1)[:, 1:]
        counts = part.group @ np.concatenate([known, sent], axis=1).astype(np.float64)
        expected, reported = np.split(counts, 2, axis=1)
        mine[:, 0], mine[:, 1], mine[:, 2] = reported, expected - reported, expected
        return known[:, -1].copy()


def _folded(layout: Layout) -> tuple[Rows, Rows]:
    """Return how many rows each unit that reports has [unit], and the unit of each matrix row [row]."""
    fold = layout.reporting.fold
    assert fold is not None
    count = np.diff(fold.indptr).astype(np.intp)
    unit = np.empty(layout.bounds[2], np.intp)
    unit[fold.indices] = np.repeat(np.arange(len(count)), count)
    return count, unit
