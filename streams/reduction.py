"""From samples to sums: a block of closed ticks becomes cohort ticks.

Everything here is arrays over [matrix row, tick]. What a block leaves behind for the next one is kept in
`Reducer`, and is as much as the longest gap that a counter or gauge may bridge.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.cohorts import CohortTicks, RowKey
from streams.layout import Layout, Part, adding

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cells:
    """Samples placed in a block: matrix row, tick within the block, time and value of each, [sample]."""

    row: NDArray[np.int32]
    tick: NDArray[np.int64]
    time: NDArray[np.int64]
    value: NDArray[np.float64]


def one_per_cell(
    cell: NDArray[np.int64], cells: Cells, first_delta_row: int, size: int
) -> tuple[NDArray[np.int64], Cells, int]:
    """Leave one sample in each cell: the latest, or for deltas the sum; of duplicates the larger value.

    Parameters
    ----------
    cell
        [sample] Flat index of the sample's cell.
    first_delta_row
        Matrix rows from here on hold deltas, which add up.
    size
        Number of cells.

    Returns
    -------
    cell, cells, duplicates
        Samples that are alone in their cell, and how many were dropped because series and time were the same.
    """
    owner = np.empty(size, np.int32)
    index = np.arange(len(cell), dtype=np.int32)
    owner[cell] = index
    shared = owner[cell] != index
    if not shared.any():
        return cell, cells, 0
    is_crowded = np.zeros(size, np.bool_)
    is_crowded[cell[shared]] = True
    crowd = np.flatnonzero(is_crowded[cell])
    crowd = crowd[np.lexsort((cells.value[crowd], cells.time[crowd], cell[crowd]))]
    at, time, value = cell[crowd], cells.time[crowd], cells.value[crowd].copy()
    same_cell = at[1:] == at[:-1]
    same = np.append(same_cell & (time[1:] == time[:-1]), False)  # the next one has the larger value
    crowd, at, value = crowd[~same], at[~same], value[~same]
    is_last = np.append(at[1:] != at[:-1], True)
    starts = np.flatnonzero(np.append(True, is_last[:-1]))
    value[is_last] = np.where(
        cells.row[crowd[is_last]] >= first_delta_row, np.add.reduceat(value, starts), value[is_last]
    )
    keep = np.flatnonzero(~is_crowded[cell])
    chosen = np.concatenate([keep, crowd[is_last]])
    values = np.concatenate([cells.value[keep], value[is_last]])
    left = Cells(cells.row[chosen], cells.tick[chosen], cells.time[chosen], values)
    return cell[chosen], left, int(same.sum())


class Reducer:
    """Reduces blocks of consecutive ticks of one layout.

    Parameters
    ----------
    layout
        Where each series goes.
    gap
        For how many ticks a gauge or rate holds its last value, and a counter remembers it.
    """

    def __init__(self, layout: Layout, gap: int) -> None:
        rows = layout.bounds[2]
        self._layout = layout
        self._gap = gap
        self._values = np.full((rows, gap), np.nan)  # the last ticks of the block before
        self._times = np.zeros((len(layout.rate_rows), gap), np.int64)
        self._rates = np.full((len(layout.rate_rows), gap), np.nan)
        self._row_seen = np.zeros(rows, np.bool_)
        self._unit_seen = np.zeros(int(layout.reporting.group.shape[1]), np.bool_)
        self.duplicates = 0
        self.incomplete = 0
        buckets = np.flatnonzero(layout.bundle >= 0)
        _, member, count = np.unique(layout.bundle[buckets], return_inverse=True, return_counts=True)
        self._buckets, self._bundle_of, self._bundle_size = buckets, member, count
        self._bundle_at = np.full(rows, -1, np.intp)  # the bundle of each matrix row
        self._bundle_at[buckets] = member

    def reduce(self, first: int, ticks: int, cells: Cells) -> CohortTicks:
        """Reduce ticks `first` to `first + ticks - 1`, whose samples are all in `cells`."""
        layout, gap = self._layout, self._gap
        rows = layout.bounds[2]
        flat = cells.row.astype(np.int64) * ticks + cells.tick
        flat, cells, duplicates = one_per_cell(flat, cells, layout.bounds[1], rows * ticks)
        self.duplicates += duplicates
        values = np.full((rows, gap + ticks), np.nan)
        values[:, :gap] = self._values
        flat += (cells.row + 1).astype(np.int64) * gap
        values.reshape(-1)[flat] = cells.value
        present = ~np.isnan(values)
        reporting = self._reporting(present[:, gap:])  # who sends an incomplete histogram does report
        partial = self._set_aside_incomplete(values, present)
        increase, before = self._increases(values, present)
        rates = self._hold_rates(cells, increase, before, ticks)
        planes = [self._plane(part, values, present, increase, rates, partial) for part in layout.parts]
        planes.append(reporting)
        self._values = values[:, -gap:].copy()
        self._row_seen |= present[:, gap:].any(axis=1)
        keys: list[RowKey] = [key for part in (*layout.parts, layout.reporting) for key in part.keys]
        return CohortTicks(first, tuple(keys), np.concatenate(planes, axis=1))

    def _set_aside_incomplete(self, values: Matrix, present: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Take out histograms of which a bucket is missing: between unlike buckets there is nothing to subtract.

        What they counted is not lost; it comes with the next complete one. Returns which were taken out,
        [bundle, tick].
        """
        rows, gap = self._buckets, self._gap
        here = present[rows, gap:]
        count = adding(self._bundle_of, len(self._bundle_size)) @ here.astype(np.float64)
        is_partial = (count > 0) & (count < self._bundle_size[:, None])
        if is_partial.any():
            aside = here & is_partial[self._bundle_of]
            self.incomplete += int(np.count_nonzero(aside))
            row, tick = np.nonzero(aside)
            values[rows[row], tick + gap] = np.nan
            present[rows[row], tick + gap] = False
        return is_partial

    def _increases(self, values: Matrix, present: NDArray[np.bool_]) -> tuple[Matrix, NDArray[np.int16]]:
        """Return how much each counter grew [counter, tick], NaN where unknown, and since how many ticks."""
        gauges, cumulative, rows = self._layout.bounds
        gap = self._gap
        counter = values[gauges:cumulative]
        here = present[gauges:cumulative, gap:]
        increase = np.full((rows - gauges, counter.shape[1] - gap), np.nan)
        increase[cumulative - gauges :] = values[cumulative:, gap:]
        body = increase[: cumulative - gauges]
        np.subtract(counter[:, gap:], counter[:, gap - 1 : -1], out=body)
        before = np.ones(body.shape, np.int16)
        row, tick = np.nonzero(here & np.isnan(body))
        for distance in range(2, gap + 1):
            earlier = counter[row, tick + gap - distance]
            found = ~np.isnan(earlier)
            at = row[found], tick[found]
            body[at] = counter[at[0], at[1] + gap] - earlier[found]
            before[at] = distance
            row, tick = row[~found], tick[~found]
        fresh, since = self._fresh(row, tick, values, present)
        body[row, tick] = fresh
        before[row, tick] = since
        back = body < 0  # a reset: the counter began anew from zero
        if back.any():
            self._reset_whole_histograms(back)
            back &= ~np.isnan(body)
            body[back] = counter[:, gap:][back]
        return increase, before

    def _reset_whole_histograms(self, back: NDArray[np.bool_]) -> None:
        """Mark all buckets of a histogram [counter, tick] of which one went back: a small one may not have."""
        gauges, cumulative, _ = self._layout.bounds
        is_cumulative = self._buckets < cumulative
        counter, member = self._buckets[is_cumulative] - gauges, self._bundle_of[is_cumulative]
        row, tick = np.nonzero(back[counter])
        anew = np.zeros((len(self._bundle_size), back.shape[1]), np.bool_)
        anew[member[row], tick] = True
        back[counter] = anew[member]

    def _fresh(
        self, row: NDArray[np.intp], tick: NDArray[np.intp], values: Matrix, present: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.int16]]:
        """Return the increase of counters [candidate] that nothing precedes, and since how many ticks.

        A twin that has just fallen silent is the same counter under other labels. Else a counter that was
        never seen counts from zero if its family was there before. Else its increase is unknown.
        """
        increase, since = np.full(len(row), np.nan), np.ones(len(row), np.int16)
        if not len(row):
            return increase, since
        gauges, gap, layout = self._layout.bounds[0], self._gap, self._layout
        rows = row + gauges
        begins = np.argmax(present[:, gap:], axis=1)
        is_new = (tick == begins[rows]) & ~self._row_seen[rows]
        pairs, mate = _twins(layout.twin, rows)
        is_old = self._row_seen[mate] | (present[mate, begins[mate] + gap] & (begins[mate] < tick[pairs]))
        is_new[pairs[is_old]] = False  # it has counted under other labels, so not from zero
        family_of = layout.family[gauges : layout.bounds[1]]
        if is_new.any():
            families, member = np.unique(family_of, return_inverse=True)
            alive = _window_any(_any_by(member, present[gauges : layout.bounds[1]], len(families)), gap)
            counts = is_new & alive[member[row], tick]
            increase[counts] = values[rows[counts], tick[counts] + gap]
        for distance in range(gap, 0, -1):  # the nearest wins, being written last
            at = tick[pairs]
            follows = present[mate, at + gap - distance] & ~present[mate, at + gap]
            who = pairs[follows]
            step = values[rows[who], tick[who] + gap] - values[mate[follows], at[follows] + gap - distance]
            increase[who] = np.where(step < 0, values[rows[who], tick[who] + gap], step)
            since[who] = distance
        return increase, since

    def _hold_rates(self, cells: Cells, increase: Matrix, before: NDArray[np.int16], ticks: int) -> Matrix:
        """Return the rates per second of the rows that are judged as rates [rate row, tick], held over gaps."""
        layout, gap = self._layout, self._gap
        rows = layout.rate_rows
        if not len(rows):
            return np.empty((0, ticks))
        place = np.full(layout.bounds[2], -1, np.int32)
        place[rows] = np.arange(len(rows), dtype=np.int32)
        wanted = place[cells.row] >= 0
        times = np.zeros((len(rows), gap + ticks), np.int64)
        times[:, :gap] = self._times
        times[place[cells.row[wanted]], cells.tick[wanted] + gap] = cells.time[wanted]
        counter = rows - layout.bounds[0]
        distance = before[counter]
        earlier = np.take_along_axis(times, np.arange(gap, gap + ticks)[None, :] - distance, axis=1)
        elapsed = (times[:, gap:] - earlier) / 1_000.0
        # A counter without a time before (it began within this tick) has grown over one tick at most.
        grown = increase[counter]
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where((earlier > 0) & (elapsed > 0), grown / elapsed, np.nan)
        held = np.concatenate([self._rates, rate], axis=1)
        self._times = times[:, -gap:].copy()
        self._rates = held[:, -gap:].copy()
        return self._hold(held, rows)

    def _hold(self, values: Matrix, rows: NDArray[np.intp]) -> Matrix:
        """Fill gaps of at most `gap` ticks with the last value, unless a twin has taken over.

        From [row, gap + tick] to [row, tick].
        """
        gap = self._gap
        present = ~np.isnan(values)
        held = values[:, gap:].copy()
        row, tick = np.nonzero(~present[:, gap:])
        if not len(row):
            return held
        taken = self._taken_over(rows, present)
        for distance in range(1, gap + 1):
            earlier = values[row, tick + gap - distance]
            found = ~np.isnan(earlier)
            at = row[found], tick[found]
            held[at] = np.where(taken[at], np.nan, earlier[found]) if taken is not None else earlier[found]
            row, tick = row[~found], tick[~found]
        return held

    def _taken_over(self, rows: NDArray[np.intp], present: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """Tell [row, tick] whether a twin has reported since the row last did; None if there are no twins."""
        twins, member, count = np.unique(self._layout.twin[rows], return_inverse=True, return_counts=True)
        if (count == 1).all():
            return None
        index = np.where(present, np.arange(present.shape[1]), -1)
        last = np.maximum.accumulate(index, axis=1)
        latest = np.full((len(twins), present.shape[1]), -1, index.dtype)
        np.maximum.at(latest, member, last)
        return (last < latest[member])[:, self._gap :]

    def _plane(
        self,
        part: Part,
        values: Matrix,
        present: NDArray[np.bool_],
        increase: Matrix,
        rates: Matrix,
        partial: NDArray[np.bool_],
    ) -> Matrix:
        """Sum one metric over its cohorts: [3, row, tick]."""
        layout, gap = self._layout, self._gap
        if part.kind in ("gauge", "counter"):
            if part.kind == "gauge":
                member = self._hold(values[part.rows], part.rows)
            else:
                member = self._rates_of(part, rates, increase)
            return _level_plane(part, member)
        grown = np.nan_to_num(increase[part.rows - layout.bounds[0]], nan=0.0)
        assert part.total_rows is not None
        assert part.total_group is not None
        whole = increase[part.total_rows - layout.bounds[0]]
        known = ~np.isnan(whole)
        total = part.total_group @ np.where(known, whole, 0.0)
        if part.kind == "histogram":
            plane = _histogram_plane(part, grown, present[part.rows, gap:], total)
            last = np.flatnonzero([np.isinf(key.edge) for key in part.keys])
            plane[1, last] = part.total_group[last] @ partial[self._bundle_at[part.total_rows]].astype(np.float64)
            return plane
        return np.stack([part.total_group @ known.astype(np.float64), part.group @ grown, total])

    def _rates_of(self, part: Part, rates: Matrix, increase: Matrix) -> Matrix:
        layout = self._layout
        if part.rows[0] < layout.bounds[1]:
            return rates[np.searchsorted(layout.rate_rows, part.rows)]
        return increase[part.rows - layout.bounds[0]]

    def _reporting(self, present: NDArray[np.bool_]) -> Matrix:
        """Count the units that should report and do not: [3, row, tick]."""
        part = self._layout.reporting
        assert part.fold is not None
        sent = (part.fold @ present.astype(np.float64)) > 0
        known = np.logical_or.accumulate(np.concatenate([self._unit_seen[:, None], sent], axis=1), axis=1)[:, 1:]
        self._unit_seen = known[:, -1].copy()
        expected = part.group @ known.astype(np.float64)
        reported = part.group @ sent.astype(np.float64)
        return np.stack([reported, expected - reported, expected])


def _level_plane(part: Part, member: Matrix) -> Matrix:
    known = ~np.isnan(member)
    level = np.where(known, member, 0.0)
    if part.fold is not None:
        count = part.fold @ known.astype(np.float64)
        level = part.fold @ level
        if part.kind == "gauge":  # the mean over the series of a unit; rates of a unit add up
            level = np.divide(level, count, out=np.zeros_like(level), where=count > 0)
        known = count > 0
    return np.stack([part.group @ known.astype(np.float64), part.group @ level, part.group @ (level * level)])


def _histogram_plane(part: Part, grown: Matrix, present: NDArray[np.bool_], total: Matrix) -> Matrix:
    """Turn cumulative buckets (at most `edge`) into events beyond the edge, of all events."""
    within = part.group @ grown
    units = part.group @ present.astype(np.float64)
    return np.stack([units, np.maximum(total - within, 0.0), total])


def _any_by(member: NDArray[np.intp], present: NDArray[np.bool_], groups: int) -> NDArray[np.bool_]:
    result = np.zeros((groups, present.shape[1]), np.bool_)
    np.logical_or.at(result, member, present)
    return result


def _window_any(present: NDArray[np.bool_], gap: int) -> NDArray[np.bool_]:
    """Tell [row, tick] whether anything was there in the `gap` ticks before: [row, gap + tick] to [row, tick]."""
    seen = np.concatenate([np.zeros((len(present), 1), np.int32), np.cumsum(present, axis=1, dtype=np.int32)], axis=1)
    ticks = present.shape[1] - gap
    return seen[:, gap : gap + ticks] > seen[:, :ticks]


def _twins(twin: NDArray[np.int64], rows: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
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
