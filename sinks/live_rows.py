"""Messages of a live engine as rows of the store. Pure: bytes in, tables out.

Each row bears its place: `source` is topic and partition, `version` the offset. So a message that is read again, in
whatever batch, changes nothing: of rows with the same key the one with the greatest offset counts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyarrow as pa

from detectors.errors import BadInput
from sinks.cloudevents import VerdictEvent, encode, epoch_ms
from sinks.schema import ROWS

TABLES: Final = ("cohort_ticks", "evidence")
"""What comes as Arrow streams on the evidence topic, and what the header `table` may say."""

_MS_MAX: Final = 7_258_118_400_000
"""The year 2200: the store's times reach a little further, and what is beyond them would be put at their end."""

_ADDED: Final = frozenset({"source", "version"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands."""

    topic: str
    partition: int
    offset: int

    @property
    def source(self) -> str:
        """Name of the source of its rows."""
        return f"{self.topic}/{self.partition}"


@dataclass(frozen=True, slots=True)
class LiveRows:
    """Rows of one table, complete."""

    table: str
    rows: pa.Table


def table_rows(table: str | None, payload: bytes, place: Place) -> LiveRows:
    """Read a message of the evidence topic.

    Parameters
    ----------
    table
        What its header `table` says.
    payload
        An Arrow IPC stream with the columns of `streams.records`.
    place
        Where it stands.

    Raises
    ------
    BadInput
        If it is none.
    """
    if table not in TABLES:
        message = f"header table: found {table!r}; allowed: {' or '.join(TABLES)}"
        raise BadInput(message)
    wanted = Counter((field.name, field.type) for field in ROWS[table] if field.name not in _ADDED)
    try:
        with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
            found = Counter((field.name, field.type) for field in reader.schema)
            wrong = sorted({name for name, _ in (found - wanted) + (wanted - found)})
            if wrong:
                message = f"{table}: other columns than those of this holdfast: {', '.join(wrong)}"
                raise BadInput(message)
            rows = reader.read_all()
            rows.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        message = f"{table}: not a readable Arrow stream: {(str(error).strip().splitlines() or ['no text'])[0]}"
        raise BadInput(message) from error
    times = rows["time"].cast(pa.int64())
    if times.null_count or ((times.to_numpy() < 0) | (times.to_numpy() > _MS_MAX)).any():
        message = f"{table}: a time that is absent, or not within the years 1970 to 2200"
        raise BadInput(message)
    return LiveRows(table, complete(table, rows, place.source, place.offset))


def verdict_rows(event: VerdictEvent, place: Place) -> LiveRows:
    """Make the row of a verdict."""
    row = verdict_row(event, epoch_ms(datetime.fromisoformat(event.time)))
    return LiveRows("verdicts", complete("verdicts", _table("verdicts", [row]), place.source, place.offset))


def rollout_rows(
    place: Place,
    *,
    rollout: str,
    started: datetime,
    policy: str,
    mode: str,
    document: bytes,
    policy_document: bytes,
    policy_digest: str,
    recorded: datetime,
) -> LiveRows:
    """Make the row of a rollout that was announced.

    Parameters
    ----------
    place
        Where the announcement stands.
    rollout, started, policy, mode
        Name, start, name of the policy, `enforce` or `shadow`.
    document, policy_document, policy_digest
        Both documents as JSON, and the digest of the policy.
    recorded
        Latest event time in the announcement.
    """
    row: dict[str, object] = {
        "rollout": rollout,
        "started": epoch_ms(started),
        "policy": policy,
        "mode": mode,
        "document": document.decode(),
        "policy_document": policy_document.decode(),
        "policy_digest": policy_digest,
        "recorded": epoch_ms(recorded),
    }
    return LiveRows("rollouts", complete("rollouts", _table("rollouts", [row]), place.source, place.offset))


def verdict_row(event: VerdictEvent, time_ms: int) -> dict[str, object]:
    """Return the columns of a verdict that the event itself gives."""
    verdict = event.data
    return {
        "rollout": event.subject,
        "time": time_ms,
        "sequence": verdict.sequence,
        "id": event.id,
        "action": verdict.action,
        "cause": verdict.cause,
        "stage": verdict.stage,
        "binding": verdict.binding,
        "colos": verdict.scope.colos,
        "metrics": verdict.scope.metrics,
        "policy": verdict.policy,
        "engine": verdict.engine,
        "body": encode(event).decode(),
    }


def by_table(batch: Sequence[LiveRows]) -> dict[str, pa.Table]:
    """Put the rows of a batch together, one table of each name."""
    return {
        name: pa.concat_tables([each.rows for each in batch if each.table == name])
        for name in ROWS
        if any(each.table == name for each in batch)
    }


def complete(name: str, table: pa.Table, source: str, version: int = 0) -> pa.Table:
    """Give a table all columns of its rows, in order, and NaN or an empty string for null.

    ClickHouse would read a null as the column's default, and a missing measurement is not 0.
    """
    count = table.num_rows
    added = {
        "source": pa.repeat(pa.scalar(source), count),
        "version": pa.repeat(pa.scalar(version, pa.uint64()), count),
    }
    columns = []
    for field in ROWS[name]:
        column = added[field.name] if field.name in added else table[field.name].cast(field.type)
        if column.null_count:
            absent = float("nan") if pa.types.is_floating(field.type) else ""
            column = column.fill_null(absent)
        columns.append(column)
    return pa.table(columns, schema=ROWS[name])


def without_added(schema: pa.Schema) -> pa.Schema:
    """Return the columns that do not come from where a row stands."""
    return pa.schema([field for field in schema if field.name not in _ADDED])


def _table(name: str, rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=without_added(ROWS[name]))
