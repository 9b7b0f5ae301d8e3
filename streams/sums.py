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
        own = np.split(np.arange(members), np.cumsum([len(part.rows) for part in parts])[:-1])
        out = _out(layout)
        plain = [(part, place) for part, place in zip(parts, own, strict=False) if part.fold is None]
        folded = [(part, place) for part, place in zip(parts, own, strict=False) if part.fold is not None]
        self._plain = _stacked([(part.group, place) for part, place in plain], members)
        self._plain_out = _joined([out[part.metric] for part, _ in plain])
        self._fold = _stacked([(part.fold, place) for part, place in folded if part.fold is not None], members)
        units = [part.group.shape[1] for part, _ in folded]
        starts = np.cumsum([0, *units])
        places = [np.arange(start, start + count) for start, count in zip(starts, units, strict=False)]
        self._folded = _stacked(
            [(part.group, at) for (part, _), at in zip(folded, places, strict=True)], int(sum(units))
        )
        self._folded_out = _joined([out[part.metric] for part, _ in folded])
        # The mean over the series of a unit is its level; the rates of its series add up.
        self._is_mean = np.repeat(np.array([part.kind == "gauge" for part, _ in folded], np.bool_), units)[:, None]

    def add(self, level: Matrix, out: Matrix) -> None:
        """Sum levels [member, tick], NaN where unknown, gauges first, then rates, then deltas.

        The sums go into their rows of `out`, [row, 3, tick].
        """
        for ticks in _chunks(level.shape[0], level.shape[1]):
            table = np.empty((len(level), 3, ticks.stop - ticks.start))
            _set_level(table, level[:, ticks])
            if len(self._plain_out):
                out[self._plain_out, :, ticks] = _product(self._plain, table)
            if len(self._folded_out):
                out[self._folded_out, :, ticks] = _product(self._folded, self._fold_units(table))

    def _fold_units(self, table: Matrix) -> Matrix:
        count, whole = np.moveaxis(_product(self._fold, table)[:, :2], 1, 0)
        mean = np.divide(whole, count, out=np.zeros_like(whole), where=count > 0)
        folded = np.empty((len(count), 3, count.shape[1]))
        folded[:, 0] = count > 0
        folded[:, 1] = np.where(self._is_mean, mean, whole)
        np.multiply(folded[:, 1], folded[:, 1], out=folded[:, 2])
        return folded


def _set_level(table: Matrix, level: Matrix) -> None:
    known = ~np.isnan(level)
    table[:, 0] = known
    if known.all():
        table[:, 1] = level
    else:
        table[:, 1] = np.where(known, level, 0.0)
    np.multiply(table[:, 1], table[:, 1], out=table[:, 2])


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
        self._both = _stacked([(whole, np.arange(counters)), (some, np.arange(counters))], counters)
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
            table = np.empty((len(increase), 3, ticks.stop - ticks.start))
            grown = increase[:, ticks]
            known = ~np.isnan(grown)
            table[:, 0] = known
            table[:, 1] = grown if known.all() else np.where(known, grown, 0.0)
            table[:, 2] = present[:, ticks]
            whole, some = np.split(_product(self._both, table), 2)
            # Cumulative buckets hold what is at most `edge`; beyond it is what is left of all events.
            beyond = np.maximum(whole[:, 1] - some[:, 1], 0.0)
            out[self._out, 0, ticks] = np.where(self._is_histogram, some[:, 2], whole[:, 0])
            out[self._out, 1, ticks] = np.where(self._is_histogram, beyond, some[:, 1])
            out[self._out, 2, ticks] = whole[:, 1]
        if len(self._last_out):
            out[self._last_out, 1] = 0.0 if partial is None else self._aside @ partial.astype(np.float64)


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


def _product(matrix: csr_array, table: Matrix) -> Matrix:
    """Add members: [row, member] times [member, column, tick] is [row, column, tick]."""
    _, columns, ticks = table.shape
    sums: Matrix = matrix @ table.reshape(len(table), columns * ticks)
    return sums.reshape(matrix.shape[0], columns, ticks)


def _chunks(members: int, ticks: int) -> Iterator[slice]:
    size = max(_CHUNK_TICKS_MIN, _CHUNK_CELLS // max(1, 3 * members))
    for start in range(0, ticks, size):
        yield slice(start, min(ticks, start + size))
