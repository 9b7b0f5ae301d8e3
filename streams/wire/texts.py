"""Strings of a frame: equal ones are found as columns, so that only distinct ones ever become Python objects."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.recording import LabelColumn
from streams.wire.frame import BadFrame
from streams.wire.protobuf import Frame, Ints, Spans, where

Codes = NDArray[np.int32]

_FEW: Final = 256  # so many stretches are looked up in a dictionary of Python's sooner than in Arrow's
_INLINE_BYTES_MAX: Final = 12  # an Arrow view holds strings up to here itself, and points at longer ones

_FIRST_BYTES: Final = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)


def distinct(frame: Frame, spans: Spans) -> tuple[Codes, Ints]:
    """Give each distinct stretch a number, by first appearance.

    Returns
    -------
    The number of each stretch [span], and the first span of each number [number].
    """
    if len(spans) <= _FEW:
        return _distinct_few(frame, spans)
    length = spans.end - spans.start
    views = np.empty((len(spans), 4), np.int32)  # as Arrow lays them out: length, first four bytes, buffer, offset
    views[:, 0] = length
    views[:, 1] = frame.unsigned(spans.start).view(np.int32)[::2]
    views[:, 2] = 0
    views[:, 3] = spans.start
    short = where(length <= _INLINE_BYTES_MAX)
    if len(short):
        views[short, 1:] = _inline(frame, spans.start[short], length[short])
    array = pa.Array.from_buffers(pa.binary_view(), len(spans), [None, pa.py_buffer(views), pa.py_buffer(frame.raw)])
    return first_appearances(array)


def _distinct_few(frame: Frame, spans: Spans) -> tuple[Codes, Ints]:
    raw = frame.raw
    number: dict[bytes, int] = {}
    codes: list[int] = []
    first: list[int] = []
    for start, end in zip(spans.start.tolist(), spans.end.tolist(), strict=True):
        code = number.setdefault(raw[start:end], len(first))
        if code == len(first):
            first.append(len(codes))
        codes.append(code)
    return np.array(codes, np.int32), np.array(first, np.int64)


def first_appearances(array: pa.Array) -> tuple[Codes, Ints]:
    """Do as `distinct` with the values of an array, none of which is null."""
    encoded = array.dictionary_encode()
    codes: Codes = encoded.indices.to_numpy()
    first = np.empty(len(encoded.dictionary), np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return codes, first


def _inline(frame: Frame, start: Ints, length: Ints) -> NDArray[np.int32]:
    """Return the first twelve bytes [span, 3] as integers, with zeros for those beyond the end."""
    words = np.empty((len(start), 2), np.uint64)
    words[:, 0] = frame.unsigned(start) & _FIRST_BYTES.take(length, mode="clip")
    words[:, 1] = frame.unsigned(start + 8) & _FIRST_BYTES.take(length - 8, mode="clip")
    return words.view(np.int32)[:, :3]


def texts(frame: Frame, spans: Spans, what: str) -> list[str]:
    """Decode stretches, each of its own.

    Raises
    ------
    BadFrame
        If one is not UTF-8.
    """
    raw = frame.raw
    stretches = zip(spans.start.tolist(), spans.end.tolist(), strict=True)
    try:
        return [raw[start:end].decode() for start, end in stretches]
    except UnicodeDecodeError:
        place = next(start for start, end in zip(spans.start, spans.end, strict=True) if not _is_text(raw[start:end]))
        msg = f"{what} at byte {place} is not UTF-8; allowed is UTF-8 alone"
        raise BadFrame(msg) from None


def _is_text(letters: bytes) -> bool:
    try:
        letters.decode()
    except UnicodeDecodeError:
        return False
    return True


class Words:
    """Words, numbered by their first appearance."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}

    def number(self, word: str) -> int:
        """Return the number of a word, taking it up if it is new."""
        return self._number.setdefault(word, len(self._number))

    def numbers(self, words: Iterable[str]) -> Codes:
        """Return the number of each word, taking up those that are new."""
        number = self._number
        return np.array([number.setdefault(word, len(number)) for word in words], np.int32)

    def column(self, codes: Codes) -> LabelColumn:
        """Return a label whose codes are these numbers, -1 where it is absent."""
        return LabelColumn(codes, list(self._number))
