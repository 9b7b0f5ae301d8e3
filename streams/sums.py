"""What adds up to what, as a few sparse products over all metrics of a layout together.

A sparse product adds strictly one after the other, in the order in which a part has its members, whatever else is
added beside. So the metrics of a policy share their products, and each of the few is large enough to be quick.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from streams.layout import Layout, Part

Matrix = NDArray[np.float64]
Rows = NDArray[np.intp]

_CHUNK_CELLS: Final = 1 << 19
"""Cells of one product, so that what it reads is still in the processor's cache."""

_CHUNK_TICKS_MIN: Final = 8


class LevelSums:
    """Gauges and rates: units with a value, their sum, and their sum of squares.

    Parameters
    ----------
    layout
        Whose metrics are summed.

    Attributes
    ----------
    gauge_rows, gauge_part
        [gauge member] Matrix row of each gauge of each metric, and a number for the metric.
    rate_places
        [rate member] Position in the layout's `rate_rows`.
    delta_rows
        [delta member] Matrix row.
    """

    def __init__(self, layout: Layout) -> None:
        levels = [part for part in layout.parts if part.kind in ("gauge", "counter")]
        gauges = [part for part in levels if part.kind == "gauge"]
        rates = [part for part in levels if part.kind == "counter" and part.rows[0] < layout.bounds[1]]
        deltas = [part for part in levels if part.kind == "counter" and part.rows[0] >= layout.bounds[1]]
        self.gauge_rows = _joined([part.rows for part in gauges])
        self.gauge_part = np.repeat(np.arange(len(gauges)), [len(part.rows) for part in gauges])
        self.rate_places = _joined([np.searchsorted(layout.rate_rows, part.rows) for part in rates])
        self.delta_rows = _joined([part.rows for part in deltas])
        parts = [*gauges, *rates, *deltas]
        members = int(sum(len(part.rows) for part in parts))
        place = np.arange(members)
        # Gauges stand in the order of their rows, which then need not be picked from the matrix one by one. In what
        # order a sum adds them is another matter: each product has an order of its own.
        order = np.argsort(self.gauge_rows, kind="stable")
        self.gauge_rows, self.gauge_part = self.gauge_rows[order], self.gauge_part[order]
        place[order] = np.arange(len(order))
        own = np.split(place, np.cumsum([len(part.rows) for part in parts])[:-1])
        out = _out(layout)
        plain = [(part, place) for part, place in zip(parts, own, strict=False) if part.fold is None]
        folded = [(part, place) for part, place in zip(parts, own, strict=False) if part.fold is not None]
        self._plain = _Adding(_stacked([(part.group, place) for part, place in plain], members))
        self._plain_out = slice_of(_joined([out[part.metric] for part, _ in plain]))
        self._fold = _stacked([(part.fold, place) for part, place in folded if part.fold is not None], members)
        units = [part.group.shape[1] for part, _ in folded]
        starts = np.cumsum([0, *units])
        places = [np.arange(start, start + count) for start, count in zip(starts, units, strict=False)]
        self._folded = _stacked(
            [(part.group, at) for (part, _), at in zip(folded, places, strict=True)], int(sum(units))
        )
        self._folded_out = _joined([out[part.metric] for part, _ in folded])
        self._plain_members = self._plain.of(np.ones((members, 1)))
        # The mean over the series of a unit is its level; the rates of its series add up.
        self._is_mean = np.repeat(np.array([part.kind == "gauge" for part, _ in folded], np.bool_), units)[:, None]

    def add(self, level: Matrix, out: Matrix) -> None:
        """Sum levels [member, tick], NaN where unknown, gauges first, then rates, then deltas.

        The sums go into their rows of `out`, [row, 3, tick].
        """
        for ticks in _chunks(level.shape[0], level.shape[1]):
            self._add(level[:, ticks], out[:, :, ticks])

    def _add(self, level: Matrix, out: Matrix) -> None:
        known = ~np.isnan(level)
        is_whole = bool(known.all())
        if not is_whole:
            level = np.where(known, level, 0.0)
        if len(self._plain_members):
            out[self._plain_out, 0] = self._plain_members if is_whole else self._plain.of(known)
            out[self._plain_out, 1] = self._plain.of(level)
            out[self._plain_out, 2] = self._plain.of(level * level)
        if len(self._folded_out):
            count, whole = _product(self._fold, known), _product(self._fold, level)
            mean = np.divide(whole, count, out=np.zeros_like(whole), where=count > 0)
            of_unit = np.where(self._is_mean, mean, whole)
            out[self._folded_out, 0] = _product(self._folded, count > 0)
            out[self._folded_out, 1] = _product(self._folded, of_unit)
            out[self._folded_out, 2] = _product(self._folded, of_unit * of_unit)


class EventSums:
    """Ratios and histograms: units, bad events and all events.

    Parameters
    ----------
    layout
        Whose metrics are summed.
    bundle_at
        [matrix row] The number of the histogram that a bucket is part of.
    bundles
        How many histograms there are.
    """

    def __init__(self, layout: Layout, bundle_at: NDArray[np.intp], bundles: int) -> None:
        gauges = layout.bounds[0]
        counters = layout.bounds[2] - gauges
        parts = [part for part in layout.parts if part.kind in ("ratio", "histogram")]
        out = _out(layout)
        self._out = _joined([out[part.metric] for part in parts])
        whole = _stacked([_whole(part, gauges) for part in parts], counters)
        some = _stacked([(part.group, part.rows - gauges) for part in parts], counters)
        self._whole, self._some = whole, some
        self._both = _stacked([(whole, np.arange(counters)), (some, np.arange(counters))], counters)
        self._members = _members(whole)
        self._is_histogram = np.repeat(
            np.array([part.kind == "histogram" for part in parts], np.bool_), [len(part.keys) for part in parts]
        )[:, None]
        histograms = [part for part in parts if part.kind == "histogram"]
        last = [np.flatnonzero([np.isinf(key.edge) for key in part.keys]) for part in histograms]
        self._last_out = _joined([out[part.metric][rows] for part, rows in zip(histograms, last, strict=True)])
        self._aside = _stacked(
            [
                (csr_array(part.total_group)[rows], bundle_at[part.total_rows])
                for part, rows in zip(histograms, last, strict=True)
                if part.total_group is not None and part.total_rows is not None
            ],
            bundles,
        )

    def add(self, increase: Matrix, present: NDArray[np.bool_], partial: NDArray[np.bool_] | None, out: Matrix) -> None:
        """Sum increases.

        Parameters
        ----------
        increase, present
            [counter, tick] How much each counter grew, NaN where unknown, and whether it was there.
        partial
            [histogram, tick] Whether it was set aside as incomplete; None if none was.
        out
            [row, 3, tick] Where the sums go.
        """
        if not len(self._out):
            return
        for ticks in _chunks(len(increase), increase.shape[1]):
            self._add(increase[:, ticks], present[:, ticks], out[:, :, ticks])
        if len(self._last_out):
            out[self._last_out, 1] = 0.0 if partial is None else self._aside @ partial.astype(np.float64)

    def _add(self, increase: Matrix, present: NDArray[np.bool_], out: Matrix) -> None:
        known = ~np.isnan(increase)
        is_whole = bool(known.all())
        whole, some = np.split(_product(self._both, increase if is_whole else np.where(known, increase, 0.0)), 2)
        units = self._members if is_whole else _product(self._whole, known)
        if self._is_histogram.any():
            # Cumulative buckets hold what is at most `edge`; beyond it is what is left of all events.
            units = np.where(self._is_histogram, _product(self._some, present), units)
            some = np.where(self._is_histogram, np.maximum(whole - some, 0.0), some)
        out[self._out, 0], out[self._out, 1], out[self._out, 2] = units, some, whole


def _whole(part: Part, gauges: int) -> tuple[csr_array, Rows]:
    assert part.total_group is not None
    assert part.total_rows is not None
    return part.total_group, part.total_rows - gauges


def _out(layout: Layout) -> dict[int, Rows]:
    """Tell for each metric which rows of the output are its own."""
    starts = np.cumsum([0, *(len(part.keys) for part in layout.parts)])
    return {
        part.metric: np.arange(start, start + len(part.keys)) for part, start in zip(layout.parts, starts, strict=False)
    }


def _joined(parts: Sequence[NDArray[np.intp]]) -> Rows:
    return np.concatenate([np.empty(0, np.intp), *parts]).astype(np.intp)


def _stacked(terms: Sequence[tuple[csr_array, Rows]], width: int) -> csr_array:
    """Put matrices one below the other [row, place], each given with the place of its columns."""
    data = np.concatenate([np.empty(0), *(matrix.data for matrix, _ in terms)])
    columns = np.concatenate([np.empty(0, np.intp), *(place[matrix.indices] for matrix, place in terms)])
    counts = np.concatenate([np.empty(0, np.intp), *(np.diff(matrix.indptr) for matrix, _ in terms)])
    pointers = np.concatenate([[0], np.cumsum(counts)])
    index = np.int32 if max(len(data), width) < np.iinfo(np.int32).max else np.int64
    return csr_array((data, columns.astype(index), pointers.astype(index)), shape=(len(counts), width))


class _Adding:
    """Adds members up: a sparse product, unless each row has one member alone, as with one series for each cohort."""

    def __init__(self, matrix: csr_array) -> None:
        self._matrix = matrix
        is_single = bool((np.diff(matrix.indptr) == 1).all() and (matrix.data == 1).all())
        self._members = slice_of(matrix.indices.astype(np.intp)) if is_single else None

    def of(self, table: Matrix | NDArray[np.bool_]) -> Matrix:
        """Return the sums [row, tick] of [member, tick]."""
        if self._members is None:
            return _product(self._matrix, table)
        # As a product does it, 0.0 is added: of -0.0 that makes 0.0.
        return np.add(table[self._members], 0.0, dtype=np.float64)


def slice_of(rows: Rows) -> Rows | slice:
    """Return rows that follow one another as a slice, for which nothing has to be copied."""
    if len(rows) and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _product(matrix: csr_array, table: Matrix | NDArray[np.bool_]) -> Matrix:
    """Add members: [row, member] times [member, tick] is [row, tick]."""
    numbers = table.astype(np.float64, copy=False)
    if table.shape[1] > 1:
        return np.asarray(matrix @ numbers)
    return np.asarray(matrix @ numbers[:, 0])[:, None]  # adds up alike, and is quicker


def _members(matrix: csr_array) -> Matrix:
    """Count the members of each row: [row, 1]."""
    return _product(matrix, np.ones((matrix.shape[1], 1)))


def _chunks(members: int, ticks: int) -> Iterator[slice]:
    size = max(_CHUNK_TICKS_MIN, _CHUNK_CELLS // max(1, members))
    for start in range(0, ticks, size):
        yield slice(start, min(ticks, start + size))
