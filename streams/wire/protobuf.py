"""The bytes of a protocol buffers frame, and the numbers in it, gathered at many places at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.wire.frame import BadFrame

Ints = NDArray[np.int64]

FRAME_BYTES_MAX: Final = 64_000_000
"""The largest frame that is read, in bytes, after decompression."""

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
WIRE_NAMES: Final = {VARINT: "varint", FIXED64: "fixed64", BYTES: "length-delimited", FIXED32: "fixed32"}

_PADDING: Final = 16  # a varint or a fixed64 may be read at any byte of the frame without leaving the buffer
VARINT_BYTES_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of message: its name, and its fields by number (below 16): their names, and the wire types allowed."""

    name: str
    fields: Mapping[int, tuple[str, tuple[int, ...]]]


@dataclass(frozen=True, slots=True)
class Spans:
    """Stretches of a frame: bytes `start` [span] up to but not including `end` [span]."""

    start: Ints
    end: Ints

    def __len__(self) -> int:
        """Return the number of spans."""
        return len(self.start)

    def take(self, index: Ints) -> "Spans":
        """Return the spans of these indices."""
        return Spans(self.start[index], self.end[index])


class Frame:
    """The bytes of one frame, padded so that numbers can be gathered at any place of it.

    Raises
    ------
    BadFrame
        If there are more than `FRAME_BYTES_MAX` bytes.
    """

    def __init__(self, payload: bytes | memoryview) -> None:
        self.size = len(payload) if isinstance(payload, bytes) else payload.nbytes
        if self.size > FRAME_BYTES_MAX:
            msg = f"the frame has {self.size} bytes; at most {FRAME_BYTES_MAX} are allowed"
            raise BadFrame(msg)
        self.raw = b"".join((payload, bytes(_PADDING)))
        self.bytes = np.frombuffer(self.raw, np.uint8)
        places = self.size + _PADDING - 7
        # As opaque cells: numpy gathers these in half the time that unaligned integers take.
        self._cells = np.ndarray((places,), np.dtype("V8"), buffer=self.raw, strides=(1,))

    @property
    def whole(self) -> Spans:
        """The frame as one message."""
        return Spans(np.zeros(1, np.int64), np.full(1, self.size, np.int64))

    def unsigned(self, at: Ints) -> NDArray[np.uint64]:
        """Read the little-endian unsigned integers of 8 bytes at these places."""
        return self._cells[at].view("<u8")

    def signed(self, at: Ints) -> NDArray[np.int64]:
        """Read the little-endian signed integers of 8 bytes at these places."""
        return self._cells[at].view("<i8")

    def doubles(self, at: Ints) -> NDArray[np.float64]:
        """Read the little-endian doubles at these places."""
        return self._cells[at].view("<f8")

    def words(self, at: Ints, count: int) -> NDArray[np.uint64]:
        """Return `count` words of 8 bytes each [place, word] from these places on; beyond the frame they are zero."""
        cells = np.ndarray((self.size + _PADDING - 8 * count + 1,), np.dtype(f"V{8 * count}"), self.raw, strides=(1,))
        return cells[at].view(np.uint64).reshape(len(at), count)

    def varints(self, at: Ints) -> tuple[NDArray[np.uint64], Ints]:
        """Read the varints at these places: their values, and how many bytes each takes.

        Raises
        ------
        BadFrame
            If one goes on for more than ten bytes.
        """
        byte = self.bytes[at]
        value = (byte & 0x7F).astype(np.uint64)
        width = np.ones(len(at), np.int64)
        more = where(byte >= 0x80)
        for position in range(1, VARINT_BYTES_MAX):
            if not len(more):
                return value, width
            byte = self.bytes[at[more] + position]
            value[more] |= (byte & 0x7F).astype(np.uint64) << np.uint64(7 * position)
            width[more] += 1
            more = more[byte >= 0x80]
        if len(more):
            raise endless(int(at[more[0]]))
        return value, width


def where(mask: NDArray[np.bool_]) -> Ints:
    """Return the indices at which a mask holds: as `np.flatnonzero` does, which takes longer to come to it."""
    return mask.nonzero()[0]


def endless(at: int) -> BadFrame:
    """Return the error of a varint that does not end."""
    return BadFrame(f"the varint at byte {at} goes on and on; at most {VARINT_BYTES_MAX} bytes are allowed")


@lru_cache(1 << 14)
def varint(value: int) -> bytes:
    """Write an unsigned integer.

    >>> varint(300).hex()
    'ac02'
    """
    letters = bytearray()
    while value >= 0x80:
        letters.append(value & 0x7F | 0x80)
        value >>= 7
    letters.append(value)
    return bytes(letters)


def field(number: int, content: bytes) -> bytes:
    """Write a length-delimited field."""
    return varint(number << 3 | BYTES) + varint(len(content)) + content
