"""The series that one source partition has shown: their numbers, their units, and since when they are there."""

from collections.abc import Collection, Iterable
from typing import Final

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
        earliest = self.came_ms()
        new = time < earliest[series]
        if new.any():
            np.minimum.at(earliest, series[new], time[new])
            self._changed.append(np.unique(series[new]).astype(np.int64))

    def count(self, series: NDArray[np.intp], end_ms: NDArray[np.int64]) -> None:
        """Note that series [series] were in a tick that ended then, and were not set aside."""
        new = self._counted_ms[series] > end_ms
        if new.any():
            np.minimum.at(self._counted_ms, series[new], end_ms[new])
            self._changed.append(series[new].astype(np.int64))

    def take_new(self) -> pa.Table | None:
        """Return what came up since the last call, for whoever goes on after this process.

        Returns
        -------
        table
            A text column for each label (null where absent); then, in milliseconds, when the series came and when it
            first counted (null if it has not).
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
        times = [
            pa.array(known[series], pa.int64(), mask=known[series] == UNSEEN)
            for known in (self.came_ms(), self.counted_ms)
        ]
        # A label may have any name, so times are told by their place.
        return pa.table([*labels, *times], names=[*self.catalogue.labels, "came_ms", "counted_ms"])

    def load(self, tables: Iterable[pa.Table]) -> None:
        """Take up what `take_new` of an earlier process has given out; the order is irrelevant."""
        for table in tables:
            whole = table.combine_chunks()
            labels = {name: _label_column(whole.column(at)) for at, name in enumerate(whole.schema.names[:-2])}
            self.catalogue.grow(labels)
            series = self.catalogue.encode(labels, len(whole))
            self._make_room()
            for place, known in ((-2, self.came_ms()), (-1, self.counted_ms)):
                times = whole.column(whole.num_columns + place).fill_null(UNSEEN).to_numpy()
                np.minimum.at(known, series, times)


def _may_lack(column: LabelColumn | None) -> bool:
    """Tell whether some sample may be without a label."""
    return column is None or "" in column.values or column.codes.min(initial=0) < 0


def _label_column(column: pa.ChunkedArray) -> LabelColumn:
    texts = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.string())
    encoded = texts.dictionary_encode()
    return LabelColumn(
        encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32), encoded.dictionary.to_pylist()
    )
