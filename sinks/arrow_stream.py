"""Rows as an Arrow stream: what goes onto a topic, and into the embedded store."""

import pyarrow as pa


def stream(rows: pa.Table, compression: str | None = None) -> bytes:
    """Write rows as an Arrow stream, whose buffers are compressed by `lz4` or `zstd` if one is named."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue().to_pybytes())
