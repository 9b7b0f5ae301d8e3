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

TABLES: Final = ("cohort_ticks", "evidence", "ticks")
"""What comes as Arrow streams on the evidence topic, and what the header `table` may say."""

LIVE: Final = "live"
"""Source of what a person says of a rollout that was judged live."""

_MS_MAX: Final = 7_258_118_400_000
"""The year 2200: the store's times reach a little further, and what is beyond them would be put at their end."""

_ADDED: Final = frozenset({"source", "version", "decided"})
"""Columns that no message says: they come from where it stands, and from when it was written."""

_TIME: Final = pa.timestamp("ms", tz="UTC")


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


def table_rows(table: str | None, payload: bytes, place: Place, written_ms: int = 0) -> LiveRows:
    """Read a message of the evidence topic.

    Parameters
    ----------
    table
        What its header `table` says.
    payload
        An Arrow IPC stream with the columns of `streams.records`.
    place
        Where it stands.
    written_ms
        When it was written, in epoch milliseconds by the clock on the wall: ticks were decided then.

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
    if table == "ticks":
        rows = _ticks(rows, written_ms)
    return LiveRows(table, complete(table, rows, place.source, place.offset))


def _ticks(rows: pa.Table, written_ms: int) -> pa.Table:
    """Add when ticks were decided, and refuse what only means something if it is there."""
    absent = [name for name in ("is_live", "samples", "reasons", "dropped") if rows[name].null_count]
    uneven = not absent and any(
        len(reasons) != len(dropped)
        for reasons, dropped in zip(rows["reasons"].to_pylist(), rows["dropped"].to_pylist(), strict=True)
    )
    if absent or uneven:
        what = f"nothing in {', '.join(absent)}" if absent else "not as many reasons as numbers of dropped samples"
        message = f"ticks: {what}"
        raise BadInput(message)
    return decided_at(rows, _within(written_ms))


def decided_at(rows: pa.Table, time_ms: int) -> pa.Table:
    """Add to rows of ticks when they were decided, in epoch milliseconds by the clock on the wall; 0 in a replay."""
    return rows.append_column("decided", pa.repeat(pa.scalar(time_ms, _TIME), rows.num_rows))


def _within(time_ms: int) -> int:
    """Take a time that Kafka does not know, or that no table can hold, for 1970."""
    return time_ms if 0 <= time_ms <= _MS_MAX else 0


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


def event_rows(place: Place, rollout: str, events: Sequence[tuple[str, str, datetime]]) -> LiveRows:
    """Make the rows of what has happened to a rollout.

    Parameters
    ----------
    place
        Where the announcement stands.
    rollout
        Its name.
    events
        Name, stage (empty for the rollout as a whole) and since when, in the order in which they were told.
    """
    rows: list[dict[str, object]] = [
        {"rollout": rollout, "number": number, "event": event, "stage": stage, "effective_at": epoch_ms(at)}
        for number, (event, stage, at) in enumerate(events)
    ]
    table = _table("rollout_events", rows)
    return LiveRows("rollout_events", complete("rollout_events", table, place.source, place.offset))


def dead_letter_rows(
    place: Place,
    *,
    written_ms: int,
    origin: Place,
    worker: str,
    reason: str,
    size: int,
    is_redriven: bool = False,
) -> LiveRows:
    """Make the row of a dead letter, or of the mark that one was sent again.

    Parameters
    ----------
    place
        Where it stands.
    written_ms
        When it was written, in epoch milliseconds by the clock on the wall.
    origin
        Where the message comes from; of a mark, the letter.
    worker, reason
        Who put it aside, and why.
    size
        Bytes of its value.
    is_redriven
        Whether it is a mark.
    """
    row: dict[str, object] = {
        "time": _within(written_ms),
        "from_topic": origin.topic,
        "from_partition": origin.partition,
        "from_offset": origin.offset,
        "worker": worker,
        "reason": reason,
        "bytes": size,
        "is_redriven": is_redriven,
    }
    table = _table("dead_letters", [row])
    return LiveRows("dead_letters", complete("dead_letters", table, place.source, place.offset))


def audit_rows(
    place: Place,
    *,
    time: datetime,
    written_ms: int,
    sequence: int,
    hashes: tuple[str, str],
    who: str,
    kind: str,
    subject: str,
    body: bytes,
) -> LiveRows:
    """Make the row of an entry of the audit log.

    Parameters
    ----------
    place
        Where it stands.
    time, written_ms
        When it was written, by the writer's clock and, in epoch milliseconds, by that of the broker.
    sequence, hashes
        Its number, its hash, and that of the entry before.
    who, kind, subject, body
        Who did what to what, and all that was said, as JSON.
    """
    row: dict[str, object] = {
        "time": epoch_ms(time),
        "written": _within(written_ms),
        "sequence": sequence,
        "hash": hashes[0],
        "previous": hashes[1],
        "who": who,
        "kind": kind,
        "subject": subject,
        "body": body.decode(),
    }
    return LiveRows("audit", complete("audit", _table("audit", [row]), place.source, place.offset))


def truth_row(
    rollout: str,
    *,
    bad: bool,
    expect: Sequence[str],
    onset: datetime | None,
    within_ticks: int | None,
    colos: Sequence[str],
    metrics: Sequence[str],
) -> dict[str, object]:
    """Return the columns of what is known to be true of a rollout."""
    return {
        "rollout": rollout,
        "bad": bad,
        "expect": list(expect),
        "onset": 0 if onset is None else epoch_ms(onset),
        "within_ticks": within_ticks or 0,
        "colos": list(colos),
        "metrics": list(metrics),
    }


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


def table_of(name: str, rows: list[dict[str, object]], source: str, version: int = 0) -> pa.Table:
    """Make a complete table of rows."""
    return complete(name, _table(name, rows), source, version)


def _table(name: str, rows: list[dict[str, object]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=without_added(ROWS[name]))
