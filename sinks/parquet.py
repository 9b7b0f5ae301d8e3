"""Rows out of a store into Parquet files, and back."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Meta

from sinks.backend import Backend, Reads
from sinks.errors import StoreError
from sinks.migrations import named
from sinks.retention import LASTING, TABLES, TIMED, delete, moment
from sinks.schema import DERIVED, ROWS, checksums, quoted
from sinks.schema.views import MATERIALISED
from sinks.staging import BATCH_ROWS

MANIFEST: Final = "manifest.json"

MINUTE_MS: Final = 60_000

_SLICE_ROWS: Final = 1_000_000
"""Rows that are asked for at a time, but for an hour that has more."""

_HOUR_MS: Final = 3_600_000


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an export holds: its schema, of which rollout and time its rows are, and how many there are by table."""

    schema: int
    checksum: str
    rollout: str | None
    since_ms: int | None
    until_ms: int | None
    rows: dict[str, Annotated[int, Meta(ge=0)]]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows are wanted: of a rollout, and of a time.

    `since_ms` and `until_ms` are whole minutes in epoch milliseconds, the second one beyond what is wanted. Documents,
    events and truths are wanted whatever the time.
    """

    rollout: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def __post_init__(self) -> None:
        """Refuse a time within a minute: what is derived by the minute could not be put back.

        Raises
        ------
        StoreError
            If that is so, or there is no time between the two.
        """
        for name, time_ms in (("since", self.since_ms), ("until", self.until_ms)):
            if time_ms is not None and time_ms % MINUTE_MS:
                message = f"{name}: found {moment(time_ms)}; allowed: a whole minute"
                raise StoreError(message)
        if self.since_ms is not None and self.until_ms is not None and self.since_ms >= self.until_ms:
            message = f"until: found {moment(self.until_ms)}; allowed: later than {moment(self.since_ms)}"
            raise StoreError(message)


def export(store: Reads, folder: Path, wanted: Wanted) -> Manifest:
    """Write the rows of each table to a Parquet file, each row once, in the order of time and key.

    The folder is there when all of it is written, and not before.

    Parameters
    ----------
    store
        The store, migrated.
    folder
        Made; there may be no such folder yet.
    wanted
        Which rows.

    Raises
    ------
    StoreError
        If the folder is there already or cannot be written, or the store refuses.
    """
    if folder.exists():
        message = f"{folder}: is there already; allowed: a folder that is made"
        raise StoreError(message)
    aside = folder.with_name(f".{folder.name}.unfinished")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        manifest = _written(store, aside, wanted)
        (aside / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        aside.rename(folder)
    except OSError as error:
        message = f"{folder}: cannot be written: {error.strerror or error}"
        raise StoreError(message) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return manifest


def _written(store: Reads, folder: Path, wanted: Wanted) -> Manifest:
    rows: dict[str, int] = {}
    for name, schema in ROWS.items():
        if wanted.rollout is not None and "rollout" not in schema.names:
            continue  # dead letters and the audit log belong to no rollout
        rows[name] = 0
        with pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd") as writer:
            for table in _slices(store, name, wanted):
                writer.write_table(table)
                rows[name] += table.num_rows
    schema_version = max(checksums())
    return Manifest(
        schema=schema_version,
        checksum=checksums()[schema_version],
        rollout=wanted.rollout,
        since_ms=wanted.since_ms,
        until_ms=wanted.until_ms,
        rows=rows,
    )


def _slices(store: Reads, name: str, wanted: Wanted) -> Iterator[pa.Table]:
    """Yield a table's rows, in pieces that memory can hold."""
    schema, table = ROWS[name], store.place.table(name)
    conditions = [*_of_rollout(wanted), *_of_time(name, wanted.since_ms, wanted.until_ms)]
    columns = ", ".join(schema.names)
    order = ", ".join(each for each in ("time", "rollout", "source", *schema.names) if each in _ordering(schema))
    for begin_ms, end_ms in _hours(store, name, conditions):
        within = [*conditions, *_of_time(name, begin_ms, end_ms)]
        where = f" WHERE {' AND '.join(within)}" if within else ""
        answer = store.read(f"SELECT {columns} FROM {table}{where} ORDER BY {order}", "ArrowStream")
        if answer:
            with pa.ipc.open_stream(pa.py_buffer(answer)) as reader:
                yield reader.read_all().select(schema.names).cast(schema)


def _ordering(schema: pa.Schema) -> set[str]:
    """Name the columns that rows are put in order by: all but numbers that were measured, and lists."""
    return {
        field.name for field in schema if not (pa.types.is_floating(field.type) or pa.types.is_list(field.type))
    } | ({"edge"} & set(schema.names))


def _hours(store: Reads, name: str, conditions: list[str]) -> Iterator[tuple[int | None, int | None]]:
    """Cut the time of a table's rows into pieces of whole hours (epoch milliseconds) with not too many rows each."""
    if name not in TIMED:
        yield None, None
        return
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    found = store.select(
        f"SELECT intDiv(toUnixTimestamp64Milli({TIMED[name]}), {_HOUR_MS}) AS hour, count() "
        f"FROM {store.place.table(name)}{where} GROUP BY hour ORDER BY hour"
    )
    counted = [(int(str(hour)), int(str(count))) for hour, count in found]
    begin, rows = 0, 0
    for index, (hour, count) in enumerate(counted):
        if rows == 0:
            begin = hour
        rows += count
        if index + 1 == len(counted) or rows + counted[index + 1][1] > _SLICE_ROWS:
            yield begin * _HOUR_MS, (hour + 1) * _HOUR_MS
            rows = 0


def _of_rollout(wanted: Wanted) -> list[str]:
    return [] if wanted.rollout is None else [f"rollout = {quoted(wanted.rollout)}"]


def _of_time(name: str, since_ms: int | None, until_ms: int | None) -> list[str]:
    column = TIMED.get(name)
    if column is None:
        return []
    limits = ((">=", since_ms), ("<", until_ms))
    return [
        f"{column} {sign} toDateTime64({quoted(moment(time_ms))}, 3, 'UTC')"
        for sign, time_ms in limits
        if time_ms is not None
    ]


def read_manifest(folder: Path) -> Manifest:
    """Read what an export holds, and look whether its files do.

    Raises
    ------
    StoreError
        If it is none, or of another schema; or if files lack, or have other columns or not as many rows.
    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        message = f"{path}: cannot be read: {error.strerror}; `holdfast store export` writes such a folder"
        raise StoreError(message) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{path}: not the manifest of an export: {error}"
        raise StoreError(message) from error
    ours = checksums()
    if ours.get(manifest.schema) != manifest.checksum or manifest.schema != max(ours):
        found = named({manifest.schema: manifest.checksum})
        message = f"{path}: has schema {found}, and this holdfast has schema {named(ours)}; allowed: that one"
        raise StoreError(message)
    unknown = sorted(manifest.rows.keys() - ROWS.keys())
    problems = [f"{path}: rows: found {', '.join(unknown)}; allowed: {', '.join(ROWS)}"] if unknown else []
    problems += [
        problem for name in manifest.rows.keys() & ROWS.keys() if (problem := _problem(folder, name, manifest))
    ]
    if problems:
        raise StoreError("\n".join(sorted(problems)))
    return manifest


def _problem(folder: Path, name: str, manifest: Manifest) -> str | None:
    """Say what is wrong with a file; None if nothing is."""
    path = folder / f"{name}.parquet"
    try:
        with pq.ParquetFile(path) as file:
            found, rows = file.schema_arrow, file.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        return f"{path}: cannot be read: {(str(error).strip().splitlines() or ['no text'])[0]}"
    wanted = {field.name: field.type for field in ROWS[name]}
    here = {field.name: field.type for field in found}
    wrong = sorted(key for key in wanted.keys() | here.keys() if wanted.get(key) != here.get(key))
    if wrong or len(found) != len(wanted):
        return f"{path}: other columns than those of this holdfast: {', '.join(wrong) or 'one of them twice'}"
    if rows != manifest.rows[name]:
        return f"{path}: found {rows:,} rows; the manifest says {manifest.rows[name]:,}"
    return None


def import_(store: Backend, folder: Path) -> Manifest:
    """Put an export into a store of this schema; doing so again, also after it was broken off, changes nothing.

    A replay's rows take the place of what the store has of that replay, within the time of the export. Rows of a live
    engine have their place on a topic, and of those with the same place one is kept.

    Raises
    ------
    StoreError
        See `read_manifest`; or if the store refuses.
    """
    manifest = read_manifest(folder)
    for rollout, source in sorted(_replays(folder, manifest)):
        _make_room(store, rollout, source, manifest)
    for name in ROWS:
        if name in manifest.rows:
            with pq.ParquetFile(folder / f"{name}.parquet") as file:
                for batch in file.iter_batches(BATCH_ROWS):
                    store.insert(name, pa.Table.from_batches([batch]).cast(ROWS[name]))
    return manifest


def _replays(folder: Path, manifest: Manifest) -> set[tuple[str, str]]:
    """Return the rollouts and sources of an export that are replays."""
    found: set[tuple[str, str]] = set()
    for name in manifest.rows:
        if "rollout" in ROWS[name].names:
            with pq.ParquetFile(folder / f"{name}.parquet") as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=["rollout", "source"]):
                    pairs = pa.Table.from_batches([batch]).group_by(["rollout", "source"]).aggregate([])
                    found |= set(zip(pairs["rollout"].to_pylist(), pairs["source"].to_pylist(), strict=True))
    return {(rollout, source) for rollout, source in found if source.startswith("replay:")}


def _make_room(store: Backend, rollout: str, source: str, manifest: Manifest) -> None:
    """Delete what is to be replaced of a replay; what stays of it is what the latest is made of anew."""
    whose = [f"rollout = {quoted(rollout)}", f"source = {quoted(source)}"]
    for name in TABLES:
        is_theirs = name in DERIVED or (name in manifest.rows and "rollout" in ROWS[name].names)
        if not is_theirs:
            continue
        conditions = [*whose, *_of_time(name, manifest.since_ms, manifest.until_ms)]
        condition = " AND ".join(conditions)
        if store.select(f"SELECT count() FROM {store.place.table(name)} WHERE {condition}")[0][0]:
            delete(store, name, condition)
    condition = " AND ".join(whose)
    for name in LASTING:
        kept = store.place.statement(MATERIALISED[name])
        assert kept is not None
        also = "AND" if "WHERE" in kept else "WHERE"
        store.run(f"INSERT INTO {store.place.table(name)} " + kept.replace("GROUP BY", f"{also} {condition} GROUP BY"))
