"""The series catalogue: label sets become dense ids, once per distinct set."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.recording import LabelColumn

_TABLE_CELLS_MAX: Final = 1 << 26
"""Largest direct lookup table, in cells of 4 bytes; pairs beyond it are looked up by binary search."""


class _Values:
    """The values of one label, numbered by first appearance; 0 is the absent label."""

    def __init__(self) -> None:
        self.names: list[str] = [""]
        self._code: dict[str, int] = {"": 0}

    def codes(self, column: LabelColumn, rows: int) -> NDArray[np.int32]:
        """Translate a batch's own codes [row] into this catalogue's."""
        table = np.zeros(len(column.values) + 1, np.int32)  # the last cell serves code -1: absent
        for index, value in enumerate(column.values):
            known = self._code.get(value or "")
            if known is None:
                known = self._code[value] = len(self.names)
                self.names.append(value)
            table[index] = known
        if len(column.values) == 1 and column.codes.min(initial=0) == 0:
            return np.full(rows, table[0], np.int32)
        codes: NDArray[np.int32] = table.take(column.codes, mode="wrap")  # -1 wraps to the last cell
        return codes


class _Pairs:
    """Dense ids for pairs (left, right) of dense ids, by first appearance."""

    def __init__(self) -> None:
        self.left = np.empty(0, np.int32)
        self.right = np.empty(0, np.int32)
        self._table = np.full((0, 0), -1, np.int32)
        self._sorted: tuple[NDArray[np.int64], NDArray[np.intp]] | None = None  # keys in order, for the search

    def ids(self, left: NDArray[np.int32], right: NDArray[np.int32], sizes: tuple[int, int]) -> NDArray[np.int32]:
        """Look the pairs [row] up, numbering those that are new."""
        if sizes[0] * sizes[1] > _TABLE_CELLS_MAX:
            return self._ids_by_search(left, right)
        self._grow(sizes)
        width = self._table.shape[1]
        flat = self._table.reshape(-1)
        key = left.astype(np.int64) * width
        key += right
        found: NDArray[np.int32] = flat.take(key, mode="clip")  # every key is inside: this mode is the quick one
        unknown = found < 0
        if unknown.any():
            new = _by_first_appearance(key[unknown])
            flat[new] = np.arange(len(self.left), len(self.left) + len(new), dtype=np.int32)
            self._append(new // width, new % width)
            found = flat.take(key, mode="clip")
        return found

    def _grow(self, sizes: tuple[int, int]) -> None:
        if sizes[0] <= self._table.shape[0] and sizes[1] <= self._table.shape[1]:
            return
        rows, columns = (max(64, 1 << (size - 1).bit_length()) for size in sizes)
        if rows * columns > _TABLE_CELLS_MAX:
            rows, columns = sizes
        self._table = np.full((rows, columns), -1, np.int32)
        self._table[self.left, self.right] = np.arange(len(self.left), dtype=np.int32)

    def _ids_by_search(self, left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.int32]:
        key = left.astype(np.int64) << 32 | right
        found = self._search(key)
        unknown = found < 0
        if unknown.any():
            new = _by_first_appearance(key[unknown])
            self._append(new >> 32, new & 0xFFFFFFFF)
            found = self._search(key)
        return found

    def _search(self, key: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the ids of keys [row], -1 where they are new."""
        if self._sorted is None:
            known = self.left.astype(np.int64) << 32 | self.right
            order = np.argsort(known)
            self._sorted = known[order], order
        ordered, order = self._sorted
        if not len(ordered):
            return np.full(len(key), -1, np.int32)
        place = np.minimum(np.searchsorted(ordered, key), len(ordered) - 1)
        return np.where(ordered[place] == key, order[place], -1).astype(np.int32)

    def _append(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        self.left = np.concatenate([self.left, left.astype(np.int32)])
        self.right = np.concatenate([self.right, right.astype(np.int32)])
        self._sorted = None


def _by_first_appearance(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    unique, first = np.unique(keys, return_index=True)
    return unique[np.argsort(first)]


class Catalogue:
    """All series seen so far.

    Parameters
    ----------
    labels
        The names of the labels that samples carry, `metric` and `colo` among them.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = _ordered(labels)
        self._values = {name: _Values() for name in self.labels}
        self._pairs = [_Pairs() for _ in self.labels[1:]]

    def grow(self, labels: Iterable[str]) -> None:
        """Take up labels that no sample had before; the series that are known lack them, and keep their ids."""
        new = set(labels) - set(self.labels)
        if not new:
            return
        # Ids go by first appearance, so that series that are encoded anew in the order of their ids keep them.
        known = {name: LabelColumn(self.codes(name), self.values(name)) for name in self.labels}
        count = len(self)
        self.labels = _ordered([*self.labels, *new])
        self._values |= {name: _Values() for name in new}
        self._pairs = [_Pairs() for _ in self.labels[1:]]
        if count:
            self.encode(known, count)

    def __len__(self) -> int:
        """Return the number of series."""
        return len(self._pairs[-1].left)

    def encode(self, columns: Mapping[str, LabelColumn], rows: int) -> NDArray[np.int32]:
        """Return the series id of each row [row], adding series that are new; a label without a column is absent."""
        names = self.labels
        ids = self._codes(names[0], columns, rows)
        size = len(self._values[names[0]].names)
        for name, pairs in zip(names[1:], self._pairs, strict=True):
            right = self._codes(name, columns, rows)
            ids = pairs.ids(ids, right, (size, len(self._values[name].names)))
            size = len(pairs.left)
        return ids

    def _codes(self, name: str, columns: Mapping[str, LabelColumn], rows: int) -> NDArray[np.int32]:
        column = columns.get(name)
        return np.zeros(rows, np.int32) if column is None else self._values[name].codes(column, rows)

    def codes(self, label: str, start: int = 0) -> NDArray[np.int32]:
        """Return the code of `label` for each series from `start` on; 0 where absent or where no sample has it."""
        series = np.arange(start, len(self), dtype=np.int32)
        if label not in self._values:
            return np.zeros(len(series), np.int32)
        for name, pairs in zip(reversed(self.labels[1:]), reversed(self._pairs), strict=True):
            if name == label:
                return pairs.right[series]
            series = pairs.left[series]
        return series

    def values(self, label: str) -> list[str]:
        """Return the values of `label`, by code; the first is the empty string of absent labels."""
        return self._values[label].names if label in self._values else [""]

    def ranks(self, label: str) -> NDArray[np.int64]:
        """Return for each series [series] the rank of its value of `label` in sorted order.

        Codes depend on which sample came first; ranks do not, and so are what canonical order is made of.
        """
        names = self.values(label)
        rank = np.empty(len(names), np.int64)
        rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
        return rank[self.codes(label)]

    def matches(self, selector: dict[str, str | list[str]], start: int = 0) -> NDArray[np.bool_]:
        """Tell for each series from `start` on whether all labels of `selector` match it (values, lists or globs)."""
        result = np.ones(len(self) - start, np.bool_)
        for label, wanted in selector.items():
            patterns = [wanted] if isinstance(wanted, str) else wanted
            names = self.values(label)
            used, code = np.unique(self.codes(label, start), return_inverse=True)
            fits = [any(fnmatchcase(names[value], pattern) for pattern in patterns) for value in used]
            # No glob matches a label that is absent.
            fits = [fit and (value > 0 or "" in patterns) for fit, value in zip(fits, used, strict=True)]
            result &= np.array(fits, np.bool_)[code]
        return result


def _ordered(labels: Sequence[str]) -> list[str]:
    """Put the labels of a unit first and metric and bucket last, so that the pair tables stay small."""
    late = [name for name in ("metric", "le") if name in labels]
    return [name for name in sorted(labels) if name not in late] + late
