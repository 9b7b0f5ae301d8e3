"""Arrow IPC streams: the fast road, since columns need no decoding."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.recording import NO_TIME, LabelColumn, Samples, samples_of, schema_problems
from streams.wire.arrow_again import FramesAgain
from streams.wire.arrow_messages import check_messages
from streams.wire.dictionaries import Dictionaries
from streams.wire.frame import ROWS_MAX, BadFrame, check_labels

CONTENT_TYPE: Final = "application/vnd.apache.arrow.stream"

DICTIONARY_BYTES_MAX: Final = 1 << 26
"""Memory for dictionaries that may come again."""

FRAME_BYTES_MAX: Final = 1 << 26
"""Memory for frames of which all but the numbers may come again."""

_HEAD_BYTES_MAX: Final = 1 << 16
"""Longest schema that is remembered."""

_NUMBERS: Final = ("time", "value")
_CODE_TYPES: Final = (pa.int8(), pa.int16(), pa.int32())
_READY: Final = pa.dictionary(pa.int32(), pa.string())
_DICTIONARIES: Final = Dictionaries(DICTIONARY_BYTES_MAX)
_AGAIN: Final = FramesAgain(FRAME_BYTES_MAX)


def decode(payload: bytes | memoryview) -> Samples:
    """Read a frame: an IPC stream with the columns of a recording, in one batch or several.

    Strings that are dictionary-encoded are not touched; plain ones are encoded on the way. What Arrow itself takes on
    trust, as that codes lie within their dictionary, is checked.

    Raises
    ------
    BadFrame
        If it is no such stream, or more than a frame may be.
    """
    known = _AGAIN.read(payload) if isinstance(payload, bytes) else None
    if known is not None:
        return known
    try:
        head = bytes(payload[: check_messages(payload)])
        labels = (_labels if len(head) <= _HEAD_BYTES_MAX else _labels.__wrapped__)(head)
        parts: list[Samples] = []
        first: pa.RecordBatch | None = None
        rows = 0
        with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
            for batch in reader:
                rows += batch.num_rows
                if rows > ROWS_MAX:
                    msg = f"more than {ROWS_MAX:,} samples in one frame; allowed: at most so many"
                    raise BadFrame(msg)
                parts.append(_columns(batch, labels))
                first = first or batch
            if not parts:
                parts.append(_columns(pa.RecordBatch.from_pylist([], reader.schema), labels))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        msg = f"not a readable Arrow stream: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
        raise BadFrame(msg) from error
    if len(parts) > 1:
        return _joined(parts, [label.name for label in labels])
    kept = _AGAIN.keep(payload, first, parts[0].labels) if isinstance(payload, bytes) and first is not None else None
    return kept or parts[0]


@dataclass(frozen=True, slots=True)
class _Label:
    """A label's place among the columns; `is_ready` if it is strings in a dictionary, with codes of 32 bits."""

    name: str
    place: int
    is_ready: bool


@lru_cache(maxsize=64)
def _labels(head: bytes) -> tuple[_Label, ...]:
    """Read and check a stream's schema, which is its first message: that of a collector is always the same."""
    schema = pa.ipc.read_schema(pa.py_buffer(head))
    problems = schema_problems(schema)
    if problems:
        raise BadFrame("; ".join(problems))
    names = [name for name in schema.names if name not in _NUMBERS]
    check_labels(names)
    return tuple(_Label(name, schema.get_field_index(name), schema.field(name).type == _READY) for name in names)


def _columns(batch: pa.RecordBatch, labels: Sequence[_Label]) -> Samples:
    """Take the columns of a batch. Its buffers come from outside, so nothing reads them before they are checked."""
    batch.validate()
    numbers = samples_of(batch, [])
    columns = {label.name: _label_column(label, batch.column(label.place)) for label in labels}
    return Samples(numbers.time, numbers.value, columns)


def _label_column(label: _Label, column: pa.Array) -> LabelColumn:
    if not label.is_ready:
        column = _made_ready(column)
    dictionary, absent, size = column.dictionary, column.null_count, len(column)
    known = len(dictionary)
    if known > ROWS_MAX:
        msg = f"column `{label.name}`: a dictionary of {known:,} values; allowed: at most {ROWS_MAX:,}"
        raise BadFrame(msg)
    codes: NDArray[np.int32]
    if absent:
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        is_outside = np.count_nonzero(codes < 0) != absent or codes.max(initial=-1) >= known
    else:
        codes = np.frombuffer(column.buffers()[1] or b"", np.int32, size, 4 * column.offset)
        is_outside = bool(size) and codes.view(np.uint32).max() >= known  # as such, negative ones are the largest
    if is_outside:
        msg = f"column `{label.name}`: codes outside of its dictionary; allowed: 0 to {known - 1}, or null"
        raise BadFrame(msg)
    return LabelColumn(codes, _DICTIONARIES.values(dictionary))


def _made_ready(column: pa.Array) -> pa.Array:
    """Bring other kinds of string columns into the form that is read."""
    if not pa.types.is_dictionary(column.type):
        column.validate(full=True)
        return column.cast(pa.string()).dictionary_encode()
    dictionary = column.dictionary
    dictionary.validate(full=True)
    return pa.DictionaryArray.from_arrays(column.indices.cast(pa.int32()), dictionary.cast(pa.string()), safe=False)


def _joined(parts: Sequence[Samples], names: Sequence[str]) -> Samples:
    """Put batches one behind the other. Each may have dictionaries of its own."""
    time = np.concatenate([part.time for part in parts])
    value = np.concatenate([part.value for part in parts])
    return Samples(time, value, {name: _joined_labels([part.labels[name] for part in parts]) for name in names})


def _joined_labels(columns: Sequence[LabelColumn]) -> LabelColumn:
    first = columns[0].values
    if all(column.values is first or column.values == first for column in columns):
        return LabelColumn(np.concatenate([column.codes for column in columns]), first)
    index: dict[str, int] = {}
    codes = []
    for column in columns:
        new = [index.setdefault(value, len(index)) for value in column.values]
        codes.append(np.array([*new, -1], np.int32)[column.codes])  # the last one serves code -1: absent
    return LabelColumn(np.concatenate(codes), list(index))


def encode(samples: Samples) -> bytes:
    """Write samples as a frame, labels dictionary-encoded."""
    time = pa.array(samples.time, mask=samples.time == NO_TIME).cast(pa.timestamp("ms", tz="UTC"))
    columns = {"time": time, "value": pa.array(samples.value)}
    columns |= {name: _column(column) for name, column in samples.labels.items()}
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written


def _column(column: LabelColumn) -> pa.DictionaryArray:
    # What is sent has to be fetched: a code of a label takes a byte where that is enough.
    kind = next(kind for kind in _CODE_TYPES if len(column.values) <= np.iinfo(kind.to_pandas_dtype()).max)
    codes = pa.array(column.codes.astype(kind.to_pandas_dtype()), kind, mask=column.codes < 0)
    return pa.DictionaryArray.from_arrays(codes, pa.array(column.values, pa.string()))
