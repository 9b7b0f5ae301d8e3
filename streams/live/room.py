"""Arrays that grow, and such that take none."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", np.float64, np.int64, np.int32, np.bool_)


def with_room(array: NDArray[Number], size: int, fill: float) -> NDArray[Number]:
    """Return the array, or a copy with room for at least `size` and half as much again, filled up with `fill`."""
    if len(array) >= size:
        return array
    grown = np.full(max(64, size + size // 2), fill, array.dtype)
    grown[: len(array)] = array
    return grown


def alike(number: int, size: int) -> NDArray[np.int64]:
    """Return `size` times the same number, which take no memory and cannot be written into."""
    return np.ndarray((size,), np.int64, np.int64(number), 0, (0,))
