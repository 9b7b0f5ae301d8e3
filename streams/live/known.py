"""The series that one source partition has shown: their numbers, their units, and since when they are there."""

from collections.abc import Collection, Iterable
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.catalogue import Catalogue
from streams.live.clock import Timing
from streams.live.remembered import Remembered, Runs, Slot
from streams.live.room import with_room
from streams.live.unit_ids import UnitIds
from streams.recording import LabelColumn, Samples

Ids = NDArray[np.int32]

UNSEEN: Final = np.iinfo(np.int64).max
"""Time of what was not seen yet."""


_TIMES: Final = b"holdfast.timings"
"""What the schema of what is written down says of the timings that have columns of their own, in JSON."""

_TIMES_ONCE: Final = 2
"""Columns of times in what earlier versions have written, which say nothing in the schema."""


class KnownSeries:
    """The catalogue of a partition, which grows as series come.

    Attributes
    ----------
    catalogue
        All label sets, also of samples that no tick has taken.
    """

    def __init__(self) -> None:
        self.catalogue = Catalogue(["colo", "metric"])
        self._came_ms: dict[Timing | None, NDArray[np.int64]] = {None: np.empty(0, np.int64)}
        self._counted_ms = np.empty(0, np.int64)
        self._seen_ms = np.empty(0, np.int64)
        self._changed: list[NDArray[np.int64]] = []  # series of which there is something to write down
        self._remembered = Remembered()
        self._units: dict[str, UnitIds] = {}
        self._all_came: dict[Timing, int] = {}  # series of each timing when all of them had come

    def came_ms(self, timing: Timing | None = None) -> NDArray[np.int64]:
        """Return the time of the first sample of each series [series] in a closed tick, `UNSEEN` if there is none.

        What is late for one timing is not for another; None stands for all of them. A timing that is asked for the
        first time knows what the others know by then.
        """
        if timing not in self._came_ms:
            self._came_ms[timing] = self._came_ms[None].copy()
        known = self._came_ms[timing] = with_room(self._came_ms[timing], len(self.catalogue), UNSEEN)
        return known[: len(self.catalogue)]

    def keep_only(self, timings: Collection[Timing]) -> None:
        """Forget the timings that are no longer followed."""
        self._came_ms = {timing: came for timing, came in self._came_ms.items() if timing is None or timing in timings}
        self._all_came = {}

    @property
    def counted_ms(self) -> NDArray[np.int64]:
        """The end of the first tick in which each series [series] was not set aside, `UNSEEN` if there is none."""
        return self._counted_ms[: len(self.catalogue)]

    @property
    def seen_ms(self) -> NDArray[np.int64]:
        """The time of the last sample of each series [series] before its unit fell silent, 0 if that is not known.

        Only units that were in several places are asked for it, see `Places`.
        """
        return self._seen_ms[: len(self.catalogue)]

    def encode(self, samples: Samples) -> Slot:
        """Return the series of a frame's samples, from memory if its labels have come before."""
        slot = self._remembered.get(samples.labels)
        if slot.series is None:
            self.catalogue.grow(samples.labels)
            series = self.catalogue.encode(samples.labels, len(samples.time))
            slot.is_named = not any(_may_lack(samples.labels.get(label)) for label in ("metric", "colo"))
            if not slot.is_named:
                named = np.logical_and.reduce([self.catalogue.codes(label)[series] > 0 for label in ("metric", "colo")])
                slot.is_named = bool(named.all())
                series = np.where(named, series, np.int32(-1))
            slot.series = series
            self._make_room()
        return slot

    def _make_room(self) -> None:
        self._counted_ms = with_room(self._counted_ms, len(self.catalogue), UNSEEN)
        self._seen_ms = with_room(self._seen_ms, len(self.catalogue), 0)

    def units(self, label: str) -> UnitIds:
        """Return the units by one unit label, of all series so far."""
        ids = self._units.setdefault(label, UnitIds(label))
        ids.update(self.catalogue)
        return ids

    def runs(self, slot: Slot, label: str) -> Runs:
        """Return the rows of a frame, all of which are usable, unit by unit."""
        runs = slot.runs.get(label)
        if runs is None:
            assert slot.series is not None
            runs = slot.runs[label] = Runs.of(self.units(label).of_series[slot.series])
        return runs

    def come(self, timing: Timing, samples: Iterable[tuple[Ids, NDArray[np.int64]]]) -> None:
        """Note which series came when in ticks that close: series [sample] and time [sample] of some messages."""
        came = self.came_ms(timing)
        if self._all_came.get(timing) == len(came):
            return
        is_unseen = came == UNSEEN
        if not is_unseen.any():
            self._all_came[timing] = len(came)
            return
        for series, time in samples:
            unseen = np.flatnonzero(is_unseen[series])
            if len(unseen):
                self._come(came, series[unseen], time[unseen])

    def _come(self, came: NDArray[np.int64], series: Ids, time: NDArray[np.int64]) -> None:
        np.minimum.at(came, series, time)
        np.minimum.at(self.came_ms(), series, time)
        self._changed.append(np.unique(series).astype(np.int64))

    def count(self, series: NDArray[np.intp], end_ms: NDArray[np.int64]) -> None:
        """Note that series [series] were in a tick that ended then, and were not set aside."""
        new = self._counted_ms[series] > end_ms
        if new.any():
            np.minimum.at(self._counted_ms, series[new], end_ms[new])
            self._changed.append(series[new].astype(np.int64))

    def fall_silent(self, series: NDArray[np.intp], time_ms: NDArray[np.int64]) -> None:
        """Note that units fell silent whose series [series] were last seen then [series]."""
        later = time_ms > self._seen_ms[series]
        if later.any():
            self._seen_ms[series[later]] = time_ms[later]
            self._changed.append(series[later].astype(np.int64))

    def take_new(self) -> pa.Table | None:
        """Return what came up since the last call, for whoever goes on after this process.

        Returns
        -------
        table
            A text column for each label (null where absent); then, in milliseconds, when the series came, when it first
            counted (null if it has not), and when it was last seen before its unit fell silent (null if not known).
            With several timings then follows for each when the series came in a tick of its own.
        """
        if not self._changed:
            return None
        series = np.unique(np.concatenate(self._changed))
        self._changed = []
        labels = [
            pa.array([None, *self.catalogue.values(label)[1:]], pa.string()).take(
                pa.array(self.catalogue.codes(label)[series])
            )
            for label in self.catalogue.labels
        ]
        # What is late for one timing is not for another, and whoever goes on has to know it for each.
        timings = [timing for timing in self._came_ms if timing is not None]
        own = timings if len(timings) > 1 else []
        known = [self.came_ms(), self.counted_ms, np.where(self.seen_ms > 0, self.seen_ms, UNSEEN)]
        known += [self.came_ms(timing) for timing in own]
        times = [pa.array(each[series], pa.int64(), mask=each[series] == UNSEEN) for each in known]
        # A label may have any name, so times are told by their place.
        names = [
            *self.catalogue.labels,
            "came_ms",
            "counted_ms",
            "seen_ms",
            *(str(number) for number in range(len(own))),
        ]
        return pa.table([*labels, *times], names=names).replace_schema_metadata({_TIMES: msgspec.json.encode(own)})

    def load(self, tables: Iterable[pa.Table]) -> None:
        """Take up what `take_new` of an earlier process has given out; the order is irrelevant."""
        all_of_them = list(tables)
        timings = dict.fromkeys(timing for table in all_of_them for timing in _timings_of(table))
        for table in all_of_them:
            whole = table.combine_chunks()
            names, own = labels_of(table), _timings_of(table)
            labels = {name: _label_column(whole.column(at)) for at, name in enumerate(names)}
            self.catalogue.grow(labels)
            series = self.catalogue.encode(labels, len(whole))
            self._make_room()
            times = [_times(whole, place) for place in range(len(names), whole.num_columns)]
            np.minimum.at(self.came_ms(), series, times[0])
            np.minimum.at(self._counted_ms, series, times[1])
            if len(times) > _TIMES_ONCE:
                seen = np.where(times[2] == UNSEEN, 0, times[2])
                np.maximum.at(self._seen_ms, series, seen)
            for timing in timings:  # one that has no column of its own knew what all knew
                came = times[3 + own.index(timing)] if timing in own else times[0]
                self._came_ms.setdefault(timing, np.full(len(self.catalogue), UNSEEN))
                np.minimum.at(self.came_ms(timing), series, came)


def labels_of(table: pa.Table) -> list[str]:
    """Name the labels of a table that `KnownSeries.take_new` has given out, also in a version with two times."""
    names: list[str] = table.schema.names
    is_new = _TIMES in (table.schema.metadata or {})
    return names[: -3 - len(_timings_of(table))] if is_new else names[:-_TIMES_ONCE]


def _timings_of(table: pa.Table) -> list[Timing]:
    """Name the timings that have columns of their own."""
    raw = (table.schema.metadata or {}).get(_TIMES)
    return [] if raw is None else msgspec.json.decode(raw, type=list[Timing])


def _times(table: pa.Table, place: int) -> NDArray[np.int64]:
    found: NDArray[np.int64] = table.column(place).fill_null(UNSEEN).to_numpy()
    return found


def _may_lack(column: LabelColumn | None) -> bool:
    """Tell whether some sample may be without a label."""
    return column is None or "" in column.values or column.codes.min(initial=0) < 0


def _label_column(column: pa.ChunkedArray) -> LabelColumn:
    texts = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.string())
    encoded = texts.dictionary_encode()
    return LabelColumn(
        encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32), encoded.dictionary.to_pylist()
    )
