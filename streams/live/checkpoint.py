"""Checkpoints: a state as messages, none of them larger than a broker takes, that only make sense together."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.errors import StateMismatch
from detectors.state import State

BLOCK_BYTES_MAX: Final = 512_000
"""Largest message, header included."""

_HEADER_BYTES_MAX: Final = 256
_ARRAY: Final = 1
"""Type of the extension that holds an array."""

_CODEC: Final = "zstd"
_KINDS: Final = "biuf"
"""Kinds of arrays that are read: truth values and numbers, nothing that could run code."""


class Block(msgspec.Struct, frozen=True, array_like=True):
    """One message of a checkpoint.

    Attributes
    ----------
    tick
        What was judged last, which names the set that the block belongs to.
    index, count
        Its place in the set, and how many there are.
    whole
        SHA-256 of the whole set's data.
    size
        Bytes of the whole set once decompressed.
    data
        Its part of the whole.
    """

    tick: int
    index: int
    count: int
    whole: bytes
    size: int
    data: bytes


class _Array(msgspec.Struct, array_like=True):
    """An array: its bytes in planes, since the first bytes of like numbers are alike and compress well."""

    dtype: str
    shape: tuple[int, ...]
    planes: bytes


def encode(state: State, tick: int) -> list[bytes]:
    """Write a state as blocks of at most `BLOCK_BYTES_MAX`.

    Parameters
    ----------
    tick
        What was judged last.

    Examples
    --------
    >>> blocks = encode({"sum": np.arange(200_000.0), "stage": {"name": "canary", "hurt": [1, 2]}}, tick=7)
    >>> [read(block).index for block in blocks]
    [0]
    >>> decode(blocks)["stage"]
    {'name': 'canary', 'hurt': [1, 2]}
    """
    plain = msgspec.msgpack.encode(state, enc_hook=_packed)
    data = pa.Codec(_CODEC).compress(plain, asbytes=True)
    whole, step = sha256(data).digest(), BLOCK_BYTES_MAX - _HEADER_BYTES_MAX
    parts = [data[start : start + step] for start in range(0, len(data), step)]
    return [
        msgspec.msgpack.encode(Block(tick, index, len(parts), whole, len(plain), part))
        for index, part in enumerate(parts)
    ]


def read(block: bytes) -> Block:
    """Read one block, to see which set it belongs to.

    Raises
    ------
    StateMismatch
        If it is no block.
    """
    try:
        return msgspec.msgpack.decode(block, type=Block)
    except msgspec.MsgspecError as error:
        msg = f"a block of a checkpoint cannot be read: {error}"
        raise StateMismatch(msg) from error


def decode(blocks: Sequence[bytes]) -> State:
    """Read a state from all blocks of one set, in any order.

    Raises
    ------
    StateMismatch
        If blocks are missing, are of several sets, or are not what was written.
    """
    parts = sorted((read(block) for block in blocks), key=lambda part: part.index)
    sets = sorted({(part.tick, part.count, part.size, part.whole) for part in parts})
    if len(sets) != 1:
        named = ", ".join(f"tick {tick} of {count}" for tick, count, _, _ in sets) or "none"
        msg = f"the blocks of one checkpoint are needed, and here are those of {len(sets)}: {named}"
        raise StateMismatch(msg)
    tick, count, size, whole = sets[0]
    if [part.index for part in parts] != list(range(count)):
        msg = f"the checkpoint of tick {tick} has {count} blocks, and here are {[part.index for part in parts]}"
        raise StateMismatch(msg)
    data = b"".join(part.data for part in parts)
    if sha256(data).digest() != whole:
        msg = f"the checkpoint of tick {tick} is not what was written: its checksum is another one"
        raise StateMismatch(msg)
    try:
        plain = pa.Codec(_CODEC).decompress(data, decompressed_size=size, asbytes=True)
        return msgspec.msgpack.decode(plain, type=dict[str, Any], ext_hook=_unpacked)
    except (msgspec.MsgspecError, OSError, ValueError) as error:
        msg = f"the checkpoint of tick {tick} holds no state: {error}"
        raise StateMismatch(msg) from error


def _packed(value: Any) -> msgspec.msgpack.Ext:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in _KINDS:
        msg = f"a state holds arrays of numbers, numbers and words, and here is {type(value).__name__}"
        raise TypeError(msg)
    lines = np.ascontiguousarray(value).reshape(-1).view(np.uint8).reshape(-1, value.dtype.itemsize)
    packed = _Array(value.dtype.str, value.shape, lines.T.tobytes())
    return msgspec.msgpack.Ext(_ARRAY, msgspec.msgpack.encode(packed))


def _unpacked(code: int, data: memoryview) -> NDArray[Any]:
    if code != _ARRAY:
        msg = f"extension {code} is not known"
        raise ValueError(msg)
    packed = msgspec.msgpack.decode(data, type=_Array)
    dtype = np.dtype(packed.dtype)
    if dtype.kind not in _KINDS:
        msg = f"arrays of {packed.dtype} are not read"
        raise ValueError(msg)
    planes = np.frombuffer(packed.planes, np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(planes.T).reshape(-1).view(dtype).reshape(packed.shape)
