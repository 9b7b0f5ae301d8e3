"""Arrow frames that came before but for their numbers: collectors send the same labels again and again.

If all bytes of a frame but its times and values are those of an earlier one, then so is all that was found in them and
checked: schema, dictionaries, codes, where times and values are, and that they all are there. What is left to read are
the numbers themselves.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.recording import LabelColumn, Samples

_NUMBER_BYTES: Final = 8
_KEY_BYTES_MAX: Final = 1 << 14
"""Bytes at the beginning by which frames are told apart before they are compared."""

_TYPES: Final = (pa.timestamp("ms", tz="UTC"), pa.float64())


@dataclass(frozen=True, slots=True)
class _Kept:
    """The bytes of a frame but for its numbers, and what was in them.

    `places` are where times and values begin, `rests` what lies before, between and behind them, each with its place.
    """

    rows: int
    places: tuple[int, int]
    rests: tuple[tuple[int, bytes], ...]
    labels: dict[str, LabelColumn]
    cost: int

    def is_like(self, payload: bytes) -> bool:
        """Tell whether a payload of the same length is the same in all but its numbers."""
        for place, rest in self.rests:  # noqa: SIM110 - a generator takes longer than the bytes of a small frame
            if not payload.startswith(rest, place):  # which copies nothing
                return False
        return True


class FramesAgain:
    """Remembers frames by what is not a number in them, those that came last.

    Threads may share it.

    Parameters
    ----------
    bytes_max
        Memory for all of them together.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[tuple[int, bytes], _Kept] = OrderedDict()
        self._heads: dict[int, int] = {}  # how much of the beginning goes into the key, by the length of a frame
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many frames are remembered."""
        return len(self._kept)

    def read(self, payload: bytes) -> Samples | None:
        """Return the samples of a frame that is like an earlier one; None if none is, or not for long.

        The labels are the same object for all frames that are alike; nobody may change them.
        """
        head = self._heads.get(len(payload))
        if head is None:
            return None
        key = len(payload), payload[:head]
        with self._lock:
            kept = self._kept.get(key)
            if kept is None or not kept.is_like(payload):
                return None
            self._kept.move_to_end(key)
        time, value = kept.places
        return Samples(
            np.frombuffer(payload, np.int64, kept.rows, time),
            np.frombuffer(payload, np.float64, kept.rows, value),
            kept.labels,
        )

    def keep(self, payload: bytes, batch: pa.RecordBatch, labels: dict[str, LabelColumn]) -> Samples | None:
        """Remember a frame of one batch that was checked; None if its numbers are not there as they are in memory.

        Returns
        -------
        samples
            As `read` would return them, with labels that do not lie in the frame's own memory.
        """
        places = _places(payload, batch)
        if places is None:
            return None
        size = _NUMBER_BYTES * batch.num_rows
        first, last = sorted(places)
        bounds = (0, first), (first + size, last), (last + size, len(payload))
        rests = tuple((begin, payload[begin:end]) for begin, end in bounds)
        own = {name: LabelColumn(_constant(column.codes), column.values) for name, column in labels.items()}
        head = payload[: min(first, _KEY_BYTES_MAX)]
        cost = len(head) + sum(len(rest) for _, rest in rests) + sum(column.codes.nbytes for column in own.values())
        self._keep((len(payload), head), _Kept(batch.num_rows, places, rests, own, cost))
        return self.read(payload)

    def _keep(self, key: tuple[int, bytes], kept: _Kept) -> None:
        with self._lock:
            before = self._kept.pop(key, None)
            self._bytes += kept.cost - (0 if before is None else before.cost)
            self._kept[key] = kept
            while self._bytes > self._bytes_max:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.cost
            if len(self._heads) > 2 * len(self._kept):
                self._heads = {length: len(head) for length, head in self._kept}
            self._heads[key[0]] = len(key[1])


def _constant(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return a copy that nobody can change, as its flags tell."""
    own = codes.copy()
    own.flags.writeable = False
    return own


def _places(payload: bytes, batch: pa.RecordBatch) -> tuple[int, int] | None:
    """Tell where in a frame its times and values are, if they are there as numpy has them, and nothing else is."""
    columns = batch.column("time"), batch.column("value")
    if tuple(column.type for column in columns) != _TYPES or any(
        column.null_count + column.offset for column in columns
    ):
        return None
    size, start = _NUMBER_BYTES * batch.num_rows, pa.py_buffer(payload).address
    numbers = [column.buffers()[1] for column in columns]
    places = [0 if buffer is None or buffer.size < size else buffer.address - start for buffer in numbers]
    if any(place <= 0 or place + size > len(payload) or place % _NUMBER_BYTES for place in places):
        return None  # unpacked elsewhere, empty, or oddly laid out
    time, value = places
    # A frame may claim that what it has in one place is two things.
    others = [(each.address - start, each.address - start + each.size) for each in _other_buffers(batch)]
    is_shared = any(begin < place + size and place < end for place in places for begin, end in others)
    return None if is_shared or abs(time - value) < size else (time, value)


def _other_buffers(batch: pa.RecordBatch) -> Iterator[pa.Buffer]:
    """Yield the buffers of a batch but for its numbers."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        buffers = column.buffers()
        if name in ("time", "value"):
            del buffers[1]
        elif pa.types.is_dictionary(column.type):
            buffers += column.dictionary.buffers()
        yield from (buffer for buffer in buffers if buffer is not None)
