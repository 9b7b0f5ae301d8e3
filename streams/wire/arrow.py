"""Arrow IPC streams: the fast road, since columns need no decoding."""

from typing import Final

import pyarrow as pa

from streams.recording import NO_TIME, LabelColumn, Samples, samples_of, schema_problems
from streams.wire.frame import BadFrame

CONTENT_TYPE: Final = "application/vnd.apache.arrow.stream"
ROWS_MAX: Final = 1 << 22
"""Most samples in one frame."""


def decode(payload: bytes | memoryview) -> Samples:
    """Read a frame: an IPC stream with the columns of a recording.

    Strings that are dictionary-encoded are not touched; plain ones are encoded on the way.

    Raises
    ------
    BadFrame
        If it is no such stream.
    """
    try:
        with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
            problems = schema_problems(reader.schema)
            if problems:
                raise BadFrame("; ".join(problems))
            table = reader.read_all()
        if table.num_rows > ROWS_MAX:
            msg = f"{table.num_rows:,} samples in one frame; allowed: at most {ROWS_MAX:,}"
            raise BadFrame(msg)
        batch = _encoded(table)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        msg = f"not a readable Arrow stream: {(str(error).strip().splitlines() or [type(error).__name__])[0]}"
        raise BadFrame(msg) from error
    return samples_of(batch, [name for name in batch.schema.names if name not in ("time", "value")])


def _encoded(table: pa.Table) -> pa.RecordBatch:
    """Make one batch of a table, with every label dictionary-encoded by codes of 32 bits."""
    columns = []
    if table.num_rows:
        table = table.unify_dictionaries().combine_chunks()
    for name, column in zip(table.schema.names, table.columns, strict=True):
        array = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        if name not in ("time", "value"):
            if not pa.types.is_dictionary(array.type):
                array = array.dictionary_encode()
            if array.type.index_type != pa.int32() or array.type.value_type != pa.string():
                array = array.cast(pa.dictionary(pa.int32(), pa.string()))
        columns.append(array)
    return pa.RecordBatch.from_arrays(columns, names=table.schema.names)


def encode(samples: Samples) -> bytes:
    """Write samples as a frame, labels dictionary-encoded."""
    time = pa.array(samples.time, mask=samples.time == NO_TIME).cast(pa.timestamp("ms", tz="UTC"))
    columns = {"time": time, "value": pa.array(samples.value)}
    columns |= {name: _column(column) for name, column in samples.labels.items()}
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def _column(column: LabelColumn) -> pa.DictionaryArray:
    codes = pa.array(column.codes, pa.int32(), mask=column.codes < 0)
    return pa.DictionaryArray.from_arrays(codes, pa.array(column.values, pa.string()))
