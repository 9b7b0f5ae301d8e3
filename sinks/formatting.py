"""Answers of a server in any format that ClickHouse knows, written by the embedded engine."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pyarrow as pa

from sinks.arrow_stream import stream
from sinks.engine import Engine
from sinks.schema import identifier

_TABLE: Final = "answer"


def written(table: pa.Table, form: str) -> bytes:
    """Write a table in a format of ClickHouse.

    Raises
    ------
    StoreError
        If there is no such format, or this process has a store open.
    """
    with TemporaryDirectory(prefix="holdfast-") as folder:
        engine = Engine(Path(folder))
        try:
            head = stream(table.schema.empty_table()).hex()
            described = engine.select(f"DESCRIBE format(ArrowStream, unhex('{head}'))")
            columns = ", ".join(f"{identifier(str(name))} {kind}" for name, kind, *_ in described)
            engine.run(f"CREATE DATABASE {engine.place.database}")
            engine.run(f"CREATE TABLE {engine.place.table(_TABLE)} ({columns}) ENGINE = Memory")
            if table.num_rows:
                engine.insert(_TABLE, table)
            return engine.read(f"SELECT * FROM {_TABLE}", form)
        finally:
            engine.close()
