"""One entry of the replay cache: an Arrow IPC file with what a recording's samples add up to.

Each record batch holds the sums of a few ticks as one column of floats: [3, row, tick] as in `streams.cohorts`, mapped
into memory and not copied. What belongs to them is in the metadata of the batch: rows, counts and a checksum.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import numpy as np
import pyarrow as pa
from clickhouse_cityhash.cityhash import CityHash128
from numpy.typing import NDArray

from streams.cohorts import CohortTicks, RowKey, row_keys
from streams.membership import Membership

FORMAT: Final = 1
"""Goes up when entries are written in another way, or hold something else; those of before are then not found."""

_SCHEMA: Final = pa.schema([pa.field("values", pa.float64(), nullable=False)])
_DAMAGE: Final = (pa.ArrowException, OSError, msgspec.MsgspecError, KeyError, IndexError, ValueError)


class Damaged(Exception):
    """An entry is not what was written; the text says in what way."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the first reading of a recording found.

    Attributes
    ----------
    first_ms, last_ms
        Bounds of the times of usable samples, in epoch milliseconds.
    membership
        Who is canary and control.
    """

    first_ms: int
    last_ms: int
    membership: Membership


@dataclass(frozen=True, slots=True)
class Block:
    """Cohort ticks, and what had been read when they were closed.

    Attributes
    ----------
    ticks
        The sums; None for the end of the recording.
    samples, dropped
        Samples read so far, and those among them that are in no tick, by reason.
    taken
        [tick] Samples in each of the ticks.
    """

    ticks: CohortTicks | None
    samples: int
    dropped: Counter[str]
    taken: list[int]


class _Keys(msgspec.Struct, frozen=True):
    """`RowKey`s as columns [row]; colos and regions are places in lists of names."""

    metric: bytes
    edge: bytes
    colo: bytes
    region: bytes
    signature: bytes
    colos: list[str]
    regions: list[str]


class _About(msgspec.Struct, frozen=True):
    """A `Head` as it is written."""

    first_ms: int
    last_ms: int
    signature: bytes
    signatures: list[tuple[int, tuple[bool, ...]]]
    others: bytes


class _Piece(msgspec.Struct, frozen=True):
    """What is written of a `Block` beside its sums: None for `ticks` at the end, and `keys` where they change."""

    samples: int
    dropped: dict[str, int]
    taken: list[int]
    first: int = 0
    ticks: int | None = None
    keys: _Keys | None = None


class Entry:
    """What is kept of a recording.

    Raises
    ------
    Damaged
        If the file is not as it was written.
    FileNotFoundError
        If there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = pa.ipc.open_file(pa.memory_map(str(path)))
            written = self._file.schema.metadata or {}
            about = written[b"about"]
            if int.from_bytes(written[b"checksum"]) != CityHash128(about):
                msg = "what it says of the recording has another checksum"
                raise Damaged(msg)
            self.head = _head(msgspec.msgpack.decode(about, type=_About))
        except FileNotFoundError:
            raise
        except _DAMAGE as error:
            raise Damaged(_first_line(error)) from error

    def blocks(self) -> Iterator[Block]:
        """Yield what was kept; the sums cannot be written to.

        Raises
        ------
        Damaged
            If a block is not as it was written, or the last one is missing. Those before it are sound.
        """
        keys: tuple[RowKey, ...] = ()
        for number in range(self._file.num_record_batches):
            try:
                piece, values = self._piece(number)
                keys = keys if piece.keys is None else _row_keys(piece.keys)
                block = _block(piece, keys, values)
            except _DAMAGE as error:
                msg = f"block {number}: {_first_line(error)}"
                raise Damaged(msg) from error
            yield block
            if block.ticks is None:
                return
        msg = "its end is missing"
        raise Damaged(msg)

    def _piece(self, number: int) -> tuple[_Piece, NDArray[np.float64]]:
        read = self._file.get_batch_with_custom_metadata(number)
        values = read.batch.column(0).to_numpy(zero_copy_only=True)
        told = read.custom_metadata or {}
        piece = told[b"piece"]
        if int.from_bytes(told[b"checksum"]) != _checksum(values, piece):
            msg = "it has another checksum"
            raise ValueError(msg)
        return msgspec.msgpack.decode(piece, type=_Piece), values


class EntryWriter:
    """Writes an entry to a file, block by block; it is complete once `close` was called after the last one.

    Parameters
    ----------
    file
        Is written to, and not closed.
    """

    def __init__(self, file: BinaryIO, head: Head) -> None:
        about = msgspec.msgpack.encode(_about(head))
        self._schema = _SCHEMA.with_metadata({b"about": about, b"checksum": CityHash128(about).to_bytes(16)})
        self._writer = pa.ipc.new_file(file, self._schema)
        self._keys: tuple[RowKey, ...] | None = None

    def add(self, block: Block) -> None:
        """Write a block."""
        ticks, given = block.ticks, None
        values = np.empty(0) if ticks is None else np.ascontiguousarray(ticks.values).reshape(-1)
        if ticks is not None and ticks.keys is not self._keys and ticks.keys != self._keys:
            self._keys, given = ticks.keys, _columns(ticks.keys)
        written = _Piece(
            block.samples,
            dict(block.dropped),
            block.taken,
            0 if ticks is None else ticks.first,
            None if ticks is None else ticks.ticks,
            given,
        )
        piece = msgspec.msgpack.encode(written)
        told = {b"piece": piece, b"checksum": _checksum(values, piece).to_bytes(16)}
        self._writer.write_batch(pa.record_batch([pa.array(values)], schema=self._schema), custom_metadata=told)

    def close(self) -> None:
        """Write the end of the file."""
        self._writer.close()


def _checksum(values: NDArray[np.float64], piece: bytes) -> int:
    # CityHash goes through more than 10 GB/s: reading costs as good as nothing by it.
    return int(CityHash128(piece + CityHash128(values.view(np.uint8)).to_bytes(16)))


def _about(head: Head) -> _About:
    who = head.membership
    return _About(
        head.first_ms,
        head.last_ms,
        who.signature.astype(np.int32).tobytes(),
        list(who.signatures),
        who.others.astype(np.int32).tobytes(),
    )


def _head(about: _About) -> Head:
    count = len(about.signatures)
    others = np.frombuffer(about.others, np.int32)
    membership = Membership(
        np.frombuffer(about.signature, np.int32),
        tuple(about.signatures),
        others.reshape(count, len(others) // max(1, count)),
    )
    return Head(about.first_ms, about.last_ms, membership)


def _block(piece: _Piece, keys: tuple[RowKey, ...], values: NDArray[np.float64]) -> Block:
    ticks = None
    if piece.ticks is not None:
        ticks = CohortTicks(piece.first, keys, values.reshape(3, len(keys), piece.ticks))
    return Block(ticks, piece.samples, Counter(piece.dropped), piece.taken)


def _columns(keys: tuple[RowKey, ...]) -> _Keys:
    metric, edge, colo, region, signature = zip(*keys, strict=True)
    (colos, colo_code), (regions, region_code) = (np.unique(names, return_inverse=True) for names in (colo, region))
    return _Keys(
        np.array(metric, np.int64).tobytes(),
        np.array(edge, np.float64).tobytes(),
        colo_code.astype(np.int64).tobytes(),
        region_code.astype(np.int64).tobytes(),
        np.array(signature, np.int64).tobytes(),
        colos.tolist(),
        regions.tolist(),
    )


def _row_keys(columns: _Keys) -> tuple[RowKey, ...]:
    metric, colo, region, signature = (
        np.frombuffer(column, np.int64).tolist()
        for column in (columns.metric, columns.colo, columns.region, columns.signature)
    )
    edge = np.frombuffer(columns.edge, np.float64).tolist()
    colos, regions = columns.colos, columns.regions
    return row_keys(metric, edge, [colos[i] for i in colo], [regions[i] for i in region], signature)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
