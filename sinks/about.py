"""What a store holds, counted and measured."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from sinks.backend import Reads
from sinks.migrations import versions
from sinks.retention import TABLES, TIMED, ttls
from sinks.schema import ROWS, quoted

_SOURCES_MAX: Final = 1_000


class TableInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A table.

    Attributes
    ----------
    rows
        That are read, each once.
    rows_on_disk, bytes_on_disk
        With those that came again and were not merged yet; compressed.
    bytes_per_row
        On disk; None without rows.
    oldest, newest
        Times of rows; None where rows have none.
    kept
        For how long, as ClickHouse words it; empty for ever.
    """

    table: str
    rows: int
    rows_on_disk: int
    bytes_on_disk: int
    bytes_per_row: float | None
    oldest: datetime | None
    newest: datetime | None
    kept: str


class SourceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Where rows came from, and how many, of all tables that are not derived."""

    source: str
    rows: int


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A store; `schema` are the versions that it has, by their checksums."""

    engine: str
    version: str
    database: str
    cluster: str | None
    schema: dict[int, str]
    tables: list[TableInfo]
    sources: list[SourceInfo]


def info(store: Reads, engine: str) -> StoreInfo:
    """Look at a store.

    Parameters
    ----------
    store
        The store, migrated.
    engine
        What it is, in words.
    """
    place = store.place
    disk = {
        str(name): (int(str(rows)), int(str(size)))
        for name, rows, size in store.select(
            "SELECT table, sum(rows), sum(bytes_on_disk) FROM system.parts "
            f"WHERE active AND database = {quoted(place.database)} GROUP BY table"
        )
    }
    kept = ttls(store)
    return StoreInfo(
        engine=engine,
        version=str(store.select("SELECT version()")[0][0]),
        database=place.database,
        cluster=place.cluster,
        schema=versions(store),
        tables=[_table(store, name, *disk.get(name, (0, 0)), kept[name]) for name in TABLES if name in kept],
        sources=_sources(store),
    )


def _table(store: Reads, name: str, rows_on_disk: int, bytes_on_disk: int, kept: str) -> TableInfo:
    column = TIMED.get(name)
    # Milliseconds, since an engine and a server tell times in different ways.
    times = (
        "0, 0"
        if column is None
        else ", ".join(f"toUnixTimestamp64Milli(toDateTime64({edge}({column}), 3, 'UTC'))" for edge in ("min", "max"))
    )
    ((rows, oldest, newest),) = store.select(f"SELECT count(), {times} FROM {store.place.table(name)}")
    is_timed = column is not None and int(str(rows)) > 0
    return TableInfo(
        table=name,
        rows=int(str(rows)),
        rows_on_disk=rows_on_disk,
        bytes_on_disk=bytes_on_disk,
        bytes_per_row=round(bytes_on_disk / rows_on_disk, 2) if rows_on_disk else None,
        oldest=_moment(oldest) if is_timed else None,
        newest=_moment(newest) if is_timed else None,
        kept=kept,
    )


def _sources(store: Reads) -> list[SourceInfo]:
    each = " UNION ALL ".join(f"SELECT source FROM {store.place.table(name)}" for name in ROWS)
    found = store.select(f"SELECT source, count() FROM ({each}) GROUP BY source ORDER BY source LIMIT {_SOURCES_MAX}")
    return [SourceInfo(source=str(source), rows=int(str(rows))) for source, rows in found]


def _moment(time_ms: object) -> datetime:
    return datetime.fromtimestamp(int(str(time_ms)) / 1_000, UTC)
