"""A memory of label columns: collectors send the same ones again and again."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.recording import LabelColumn

BYTES_MAX: Final = 64 << 20
"""Memory for label columns, in bytes; the least recently used go first."""

_VALUE_BYTES: Final = 80
"""What a label's value costs in a list, about."""

_PROBES: Final = 16
"""Codes of each column that go into the key; the rest is compared."""


@dataclass(frozen=True, slots=True)
class Runs:
    """The rows of a frame, unit by unit.

    `order` [row] sorts them by unit, None if they are; then the rows of `units` [unit] begin at `starts` [unit].
    `units` is a slice where they are numbered one after the other; `size` is one more than the highest number.
    """

    order: NDArray[np.intp] | None
    starts: NDArray[np.intp]
    units: NDArray[np.int32] | slice
    size: int

    @classmethod
    def of(cls, unit: NDArray[np.int32]) -> "Runs":
        """Sort rows by the unit of each [row]."""
        order = None
        if (unit[1:] < unit[:-1]).any():
            order = np.argsort(unit, kind="stable")
            unit = unit[order]
        starts = np.flatnonzero(np.append(True, unit[1:] != unit[:-1]))
        units = unit[starts]
        first, last = int(units[0]), int(units[-1])
        is_range = last - first + 1 == len(units)
        return cls(order, starts, slice(first, last + 1) if is_range else units, last + 1)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Slot:
    """What is remembered of some label columns: the series of each row, -1 where metric or colo are absent."""

    series: NDArray[np.int32] | None = None
    is_named: bool = False
    runs: dict[str, Runs] = field(default_factory=dict)


Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    """Label columns as they are remembered: values and codes of each label, and their size in bytes.

    `constant` are the columns themselves, if nobody can change them.
    """

    columns: tuple[tuple[list[str], pa.Buffer], ...]
    slot: Slot
    size: int
    constant: Mapping[str, LabelColumn] | None

    def is_of(self, labels: Mapping[str, LabelColumn]) -> bool:
        """Tell whether these are the columns, whose names are the same."""
        return all(
            values == column.values and codes.equals(pa.py_buffer(column.codes))
            for (values, codes), column in zip(self.columns, labels.values(), strict=True)
        )


class Remembered:
    """Label columns by content.

    Parameters
    ----------
    bytes_max
        How much to remember.
    """

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()
        self._constant: dict[int, Key] = {}  # by the identity of columns that are kept themselves

    def get(self, labels: Mapping[str, LabelColumn]) -> Slot:
        """Return the slot of equal columns, or an empty one for columns that were not seen, or not for long."""
        key = self._constant.get(id(labels))
        if key is not None:  # so these are alive, and no others can be at their place
            self._kept.move_to_end(key)
            return self._kept[key].slot
        key = _key(labels)
        known = self._kept.get(key)
        if known is not None and known.is_of(labels):
            self._kept.move_to_end(key)
            return known.slot
        self._keep(key, labels)
        return self._kept[key].slot

    def _keep(self, key: Key, labels: Mapping[str, LabelColumn]) -> None:
        if key in self._kept:
            self._let_go(self._kept.pop(key))
        constant = labels if all(_is_constant(column.codes) for column in labels.values()) else None
        # Other codes are copied: they may be a view into a whole message.
        columns = tuple(
            (column.values, pa.py_buffer(column.codes if constant else column.codes.tobytes()))
            for column in labels.values()
        )
        size = sum(codes.size + _VALUE_BYTES * len(values) for values, codes in columns)
        self._kept[key] = _Kept(columns, Slot(), size, constant)
        self._bytes += size
        if constant is not None:
            self._constant[id(constant)] = key
        while self._bytes > self._bytes_max and len(self._kept) > 1:
            self._let_go(self._kept.popitem(last=False)[1])

    def _let_go(self, kept: _Kept) -> None:
        self._bytes -= kept.size
        if kept.constant is not None:
            del self._constant[id(kept.constant)]


def _is_constant(codes: NDArray[np.int32]) -> bool:
    return bool(codes.flags.owndata) and not codes.flags.writeable


def _key(labels: Mapping[str, LabelColumn]) -> Key:
    """Return what tells most columns apart at once; what it does not is compared."""
    parts: list[object] = []
    for name, column in labels.items():
        codes, values = column.codes, column.values
        first = values[0] if values else None
        parts += (name, len(values), first, codes[:: len(codes) // _PROBES + 1].tobytes())
    return tuple(parts)
