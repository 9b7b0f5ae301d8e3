"""Units by number, as they come up, so that the clock knows them before anything is laid out."""

import numpy as np
from numpy.typing import NDArray

from streams.catalogue import Catalogue
from streams.layout import packed
from streams.live.room import with_room
from streams.membership import Units

_Key = tuple[int, int] | tuple[tuple[str, int], ...]


class UnitIds:
    """Numbers for the units of a growing catalogue, by first appearance; what a unit is, `find_units` says.

    Parameters
    ----------
    label
        The unit label of a policy.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._of_series = np.empty(0, np.int32)
        self._series = 0
        self._ids: dict[_Key, int] = {}
        self._examples: list[int] = []  # a series of each unit

    def __len__(self) -> int:
        """Return the number of units."""
        return len(self._examples)

    @property
    def examples(self) -> NDArray[np.intp]:
        """A series of each unit [unit]."""
        return np.array(self._examples, np.intp)

    @property
    def of_series(self) -> NDArray[np.int32]:
        """The unit of each series [series]."""
        return self._of_series[: self._series]

    def update(self, catalogue: Catalogue) -> None:
        """Take up the series that have come to the catalogue."""
        start, count = self._series, len(catalogue)
        if start == count:
            return
        self._of_series = with_room(self._of_series, count, -1)
        self._series = count
        unit = catalogue.codes(self._label, start)
        named = np.flatnonzero(unit > 0)
        pair = catalogue.codes("colo", start)[named].astype(np.int64) << 32 | unit[named]
        pairs, first, place = np.unique(pair, return_index=True, return_inverse=True)
        ids = [
            self._id((key >> 32, key & 0xFFFFFFFF), start + int(named[at]))
            for key, at in zip(pairs.tolist(), first, strict=True)
        ]
        self._of_series[start + named] = np.array(ids, np.int32)[place]
        self._add_unnamed(catalogue, start, np.flatnonzero(unit == 0))

    def _add_unnamed(self, catalogue: Catalogue, start: int, rows: NDArray[np.intp]) -> None:
        """Give numbers to units that only the labels of their series tell apart."""
        if not len(rows):
            return
        names = [name for name in catalogue.labels if name not in ("metric", "le")]
        codes = np.stack([catalogue.codes(name, start)[rows] for name in names], axis=1)
        for row, present in zip(rows.tolist(), codes.tolist(), strict=True):
            # What is absent is left out, as labels may come up that no series has yet.
            key = tuple(sorted((name, code) for name, code in zip(names, present, strict=True) if code))
            self._of_series[start + row] = self._id(key, start + row)

    def _id(self, key: _Key, series: int) -> int:
        known = self._ids.setdefault(key, len(self._examples))
        if known == len(self._examples):
            self._examples.append(series)
        return known

    def in_order(
        self, catalogue: Catalogue, region_label: str, among: NDArray[np.bool_]
    ) -> tuple[Units, NDArray[np.intp]]:
        """Return the units in canonical order, and for each unit [unit] the number it has here.

        The region of a unit is that of its series `among` [series].
        """
        example = np.array(self._examples, np.intp)
        is_named = catalogue.codes(self._label)[example] > 0
        rest = [name for name in catalogue.labels if name not in ("metric", "le", "colo", self._label)]
        keys = [catalogue.ranks("colo")[example], catalogue.ranks(self._label)[example]]
        keys += [np.where(is_named, 0, catalogue.ranks(name)[example]) for name in rest]
        order = np.argsort(packed(keys), kind="stable")
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order))
        of_series = place[self.of_series]
        region = np.zeros(len(order), np.int64)
        np.maximum.at(region, of_series[among], catalogue.ranks(region_label)[among])
        regions = sorted(catalogue.values(region_label))
        colos, names = (
            [catalogue.values(label)[code] for code in catalogue.codes(label)[example[order]]]
            for label in ("colo", self._label)
        )
        return Units(of_series, colos, names, [regions[rank] for rank in region]), order
