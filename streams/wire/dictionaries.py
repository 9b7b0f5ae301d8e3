"""The values of dictionaries that come again and again, as every frame of a collector brings the same ones."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

_ENDS: Final = 32
"""Bytes at the beginning and at the end of the texts by which dictionaries are told apart before they are compared."""

_STRING_BYTES: Final = 64
"""What a short string and its place in a list take in memory."""

_Key = tuple[int, int, bytes, bytes]


@dataclass(frozen=True, slots=True)
class _Known:
    offsets: pa.Buffer
    texts: pa.Buffer
    values: list[str]
    cost: int


class Dictionaries:
    """Remembers the strings of dictionaries, those that were wanted last.

    Two dictionaries are the same only if all their bytes are. Threads may share it.

    Parameters
    ----------
    bytes_max
        Memory for all of them together.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._known: OrderedDict[_Key, _Known] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many dictionaries are remembered."""
        return len(self._known)

    def values(self, dictionary: pa.Array) -> list[str]:
        """Return the strings of a dictionary.

        Parameters
        ----------
        dictionary
            Of type string.

        Returns
        -------
        list
            One for all callers, which they must not change. A null is the empty string, and so an absent label.

        Raises
        ------
        pyarrow.ArrowInvalid
            If it is damaged; checked when its bytes are seen for the first time.
        """
        offsets, texts = dictionary.buffers()[1:]
        if offsets is None or texts is None or dictionary.offset or dictionary.null_count:
            return _read(dictionary)
        key = (len(dictionary), texts.size, _bytes(texts, 0), _bytes(texts, max(0, texts.size - _ENDS)))
        with self._lock:
            known = self._known.get(key)
            if known is not None and known.texts.equals(texts) and known.offsets.equals(offsets):
                self._known.move_to_end(key)
                return known.values
        values = _read(dictionary)
        # The frame's own buffers are not kept: they would hold the whole frame in memory.
        copies = (pa.py_buffer(offsets.to_pybytes()), pa.py_buffer(texts.to_pybytes()))
        cost = offsets.size + 2 * texts.size + _STRING_BYTES * len(values)
        self._keep(key, _Known(*copies, values, cost))
        return values

    def _keep(self, key: _Key, known: _Known) -> None:
        with self._lock:
            before = self._known.pop(key, None)
            self._bytes += known.cost - (0 if before is None else before.cost)
            self._known[key] = known
            while self._bytes > self._bytes_max:
                _, oldest = self._known.popitem(last=False)
                self._bytes -= oldest.cost


def _bytes(texts: pa.Buffer, start: int) -> bytes:
    """Return some bytes out of a buffer."""
    taken: bytes = texts.slice(start, min(_ENDS, texts.size - start)).to_pybytes()
    return taken


def _read(dictionary: pa.Array) -> list[str]:
    dictionary.validate(full=True)
    values: list[str] = dictionary.to_pylist()
    return [value or "" for value in values] if dictionary.null_count else values
