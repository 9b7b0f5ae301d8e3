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


@dataclass(slots=True)
class Slot:
    """What is remembered of some label columns: the series of each row, -1 where metric or colo are absent."""

    series: NDArray[np.int32] | None = None
    is_named: bool = False
    runs: dict[str, Runs] = field(default_factory=dict)


Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Kept:
    """Label columns as they are remembered: values and codes of each label, and their size in bytes."""

    columns: tuple[tuple[list[str], pa.Buffer], ...]
    slot: Slot
    size: int

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

    def get(self, labels: Mapping[str, LabelColumn]) -> Slot:
        """Return the slot of equal columns, or an empty one for columns that were not seen, or not for long."""
        key = _key(labels)
        known = self._kept.get(key)
        if known is not None:
            if known.is_of(labels):
                self._kept.move_to_end(key)
                return known.slot
            self._bytes -= known.size
        # Codes are copied: they may be a view into a whole message.
        columns = tuple((column.values, pa.py_buffer(column.codes.tobytes())) for column in labels.values())
        size = sum(codes.size + _VALUE_BYTES * len(values) for values, codes in columns)
        self._kept[key] = _Kept(columns, Slot(), size)
        self._kept.move_to_end(key)
        self._bytes += size
        while self._bytes > self._bytes_max and len(self._kept) > 1:
            _, freed = self._kept.popitem(last=False)
            self._bytes -= freed.size
        return self._kept[key].slot


def _key(labels: Mapping[str, LabelColumn]) -> Key:
    """Return what tells most columns apart at once; what it does not is compared."""
    parts: list[object] = []
    for name, column in labels.items():
        codes, values = column.codes, column.values
        first = values[0] if values else None
        parts += (name, len(values), first, codes[:: len(codes) // _PROBES + 1].tobytes())
    return tuple(parts)
