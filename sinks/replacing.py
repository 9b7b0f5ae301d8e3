"""A replay's rows in the place of what its source had before, in whatever ClickHouse."""

from pathlib import Path
from typing import Final

import pyarrow as pa

from sinks.backend import Backend
from sinks.retention import TABLES, delete
from sinks.schema import ROWS, quoted

SOURCE: Final = "source"
"""File in a replay's folder that names its source."""


def replace(store: Backend, ready: Path) -> None:
    """Put the rows of one replay in the place of what its source had before; may be done again.

    Deleting by source, rather than letting rows replace rows by key, also removes those that another policy
    made and this one does not. Tables without such rows are left alone, since a deletion touches every part.

    Parameters
    ----------
    store
        Where they go.
    ready
        Folder of Arrow streams, as `sinks.staging.ReplaySink` writes it.
    """
    clear(store, (ready / SOURCE).read_text(encoding="utf-8"))
    for table in ROWS:
        for path in sorted(ready.glob(f"{table}.*")):
            with pa.ipc.open_stream(path) as reader:
                store.insert(table, reader.read_all())


def clear(store: Backend, source: str) -> None:
    """Delete all that came from a source, and what was derived from it."""
    condition = f"source = {quoted(source)}"
    for table in TABLES:
        name = store.place.table(table)
        if store.select(f"SELECT count() FROM {name} WHERE {condition}")[0][0]:
            delete(store, table, condition)
