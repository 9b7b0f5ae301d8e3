"""Cohort-tick frames: the messages of the journal, from which everything can be judged again.

A frame is an Arrow IPC stream. Its schema's metadata says whose sums these are, of which tick and source partition,
and carries the announcement that was in force, so that whoever judges the journal needs nothing else. Its one batch
has a row for each metric, edge, colo and signature. The rows of a partition seldom change from tick to tick, so they
are named by a digest, and a reader that knows the digest reads the three columns of numbers alone.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from msgspec import Struct
from numpy.typing import NDArray

from streams.cohorts import RowKey

Array = NDArray[np.float64]

SCHEMA: Final = pa.schema(
    [
        ("metric", pa.int32()),  # position in the policy; the implicit metric comes last
        ("edge", pa.float64()),
        ("colo", pa.dictionary(pa.int32(), pa.string())),
        ("region", pa.dictionary(pa.int32(), pa.string())),
        ("signature", pa.int32()),  # position in the header's `signatures`
        ("units", pa.float64()),
        ("sum", pa.float64()),
        ("squares", pa.float64()),
    ]
)
"""Columns of a frame; what the last three hold is said at `streams.cohorts.CohortTicks`."""

_KEY_COLUMNS: Final = ("metric", "edge", "colo", "region", "signature")
_HEADER: Final = b"holdfast"
_COMPRESSED: Final = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
"""A few kilobytes: handing them to other threads would cost four times what compressing them does."""


class FrameError(ValueError):
    """A message of the journal that is no cohort-tick frame; the text says why."""


class SourcePartition(NamedTuple):
    """One partition of a metrics topic."""

    topic: str
    partition: int


class PlannedStage(Struct, frozen=True, array_like=True):
    """A stage of an announced rollout, and the tick in which it starts, if that is known."""

    name: str
    started: int | None


class Planned(Struct, frozen=True):
    """An announced rollout, as the signatures of a frame refer to it."""

    rollout: str
    stages: tuple[PlannedStage, ...]


class Header(Struct, frozen=True, kw_only=True):
    """What a frame is about.

    Attributes
    ----------
    kind
        `tick`: the sums of a tick, and that the source partition is closed through it. `idle`: the partition has
        never had data for this rollout, and is as closed as the others are; of one that had, it says nothing.
    topic, partition
        The source partition.
    sources
        Topics of source partitions, and how many partitions each has: all of them must have closed a tick.
    planned
        All announced rollouts, by name; the columns of `signatures` are, for each of them, the stage that reaches the
        units and then for each of its stages whether the units may be its control.
    keys
        Digest of the key columns.
    samples
        Samples in this tick.
    dropped
        Samples dropped since the partition's frame before, by reason.
    is_disputed
        Whether the clocks of half of the units disagree.
    announcement
        The rollout's announcement, as JSON.
    """

    kind: Literal["tick", "idle"]
    rollout: str
    tick: int
    tick_ms: int
    topic: str
    partition: int
    sources: dict[str, int]
    planned: tuple[Planned, ...]
    signatures: tuple[tuple[int, ...], ...]
    keys: str
    samples: int
    dropped: dict[str, int]
    is_disputed: bool
    announcement: msgspec.Raw

    @property
    def source(self) -> SourcePartition:
        """The source partition."""
        return SourcePartition(self.topic, self.partition)


_decoder = msgspec.json.Decoder(Header)


@dataclass(frozen=True, slots=True)
class Keys:
    """The key columns of a partition's frames, encoded once for as long as they do not change.

    Attributes
    ----------
    columns
        Arrow arrays by the names of `SCHEMA`.
    digest
        Names them.
    """

    columns: tuple[pa.Array, ...]
    digest: str

    @classmethod
    def of(cls, keys: Sequence[RowKey]) -> "Keys":
        """Encode keys [row]."""
        metric, edge, colo, region, signature = zip(*keys, strict=True) if keys else ((), (), (), (), ())
        columns = (
            pa.array(metric, pa.int32()),
            pa.array(edge, pa.float64()),
            pa.array(colo, pa.string()).dictionary_encode(),
            pa.array(region, pa.string()).dictionary_encode(),
            pa.array(signature, pa.int32()),
        )
        named = hashlib.sha256(msgspec.msgpack.encode([tuple(key) for key in keys]))
        return cls(columns, named.hexdigest()[:24])


def body_of(keys: Keys, values: Array) -> bytes:
    """Encode the sums [3, row] of one tick: what follows a frame's schema, and is the same for all rollouts."""
    columns = [*keys.columns, *(pa.array(plane) for plane in values)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, SCHEMA, options=_COMPRESSED) as writer:
        writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
    return bytes(memoryview(sink.getvalue())[_bare_schema_bytes() :])


@cache
def _bare_schema_bytes() -> int:
    return int(SCHEMA.serialize().size)


def frame_of(header: Header, body: bytes) -> bytes:
    """Join header and body to a frame."""
    schema = SCHEMA.with_metadata({_HEADER: msgspec.json.encode(header)})
    return bytes(schema.serialize()) + body


def header_of(frame: bytes) -> Header:
    """Read what a frame is about.

    Raises
    ------
    FrameError
        If it is no cohort-tick frame.
    """
    try:
        schema = pa.ipc.read_schema(pa.py_buffer(frame))
        header = (schema.metadata or {})[_HEADER]
        if not schema.equals(SCHEMA):
            msg = f"its columns are {schema.names}; a cohort-tick frame has {SCHEMA.names}"
            raise FrameError(msg)
        return _decoder.decode(header)
    except KeyError as error:
        msg = "an Arrow stream without a cohort-tick header"
        raise FrameError(msg) from error
    except (pa.ArrowException, OSError, msgspec.DecodeError) as error:
        msg = f"not a cohort-tick frame: {str(error).splitlines()[0]}"
        raise FrameError(msg) from error


def keys_of(frame: bytes) -> tuple[RowKey, ...]:
    """Read the keys [row] of a frame."""
    table = _columns(frame, _KEY_COLUMNS)
    columns = [table.column(name).to_pylist() for name in _KEY_COLUMNS]
    return tuple(RowKey(*key) for key in zip(*columns, strict=True))


def values_of(frame: bytes) -> Array:
    """Read the sums of a frame: [3, row]."""
    table = _columns(frame, ("units", "sum", "squares"))
    return np.stack([table.column(name).to_numpy() for name in ("units", "sum", "squares")])


def _columns(frame: bytes, names: Sequence[str]) -> pa.Table:
    wanted = pa.ipc.IpcReadOptions(included_fields=[SCHEMA.get_field_index(name) for name in names])
    try:
        with pa.ipc.open_stream(pa.py_buffer(frame), options=wanted) as reader:
            return reader.read_all()
    except (pa.ArrowException, OSError) as error:
        msg = f"a cohort-tick frame that cannot be read to its end: {str(error).splitlines()[0]}"
        raise FrameError(msg) from error
