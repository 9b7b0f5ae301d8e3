"""`holdfast store`: the schema of what is kept, how much it is, and how it gets out and in."""

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from holdfast.commands.groups import Group
from holdfast.commands.query import Data
from holdfast.commands.workers import Config
from holdfast.errors import BadInput
from holdfast.validation import as_time
from holdfast.wall import now_ms
from sinks.cloudevents import epoch_ms, rfc3339

if TYPE_CHECKING:
    from sinks.about import StoreInfo, TableInfo

app = typer.Typer(cls=Group, help="Look after what is kept, in the embedded store or a server.", no_args_is_help=True)

_MINUTE_MS = 60_000
_DAY_SECONDS = 86_400

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Since = Annotated[str | None, typer.Option(help="Rows from this time on, as in 2026-03-12 or 2026-03-12T11:20:00Z.")]
Until = Annotated[str | None, typer.Option(help="Rows before this time.")]


@app.command()
def migrate(
    cluster: Annotated[str | None, typer.Option(help="Make the tables on all replicas of this cluster.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the statements, and run none.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Bring the schema to the newest version, and have rows kept for as long as the settings say.

    It may be run again, and by several at a time.
    """
    from holdfast.live.clickhouse_settings import ClickHouse
    from holdfast.live.stores import name_of, where, writing
    from sinks.migrations import migrate as bring
    from sinks.migrations import named, pending
    from sinks.retention import keep, keeping
    from sinks.schema import checksums

    place = where(data, config)
    # The settings of a server say how long rows are kept there; of an embedded store nothing says so.
    days = place.keep_days.by_table if isinstance(place, ClickHouse) else None
    seconds = None if days is None else {table: count * _DAY_SECONDS for table, count in days.items()}
    with writing(place, cluster=cluster, migrates=False) as store:
        if dry_run:
            statements = pending(store, name_of(place))
            if not statements and seconds is not None:
                statements = keeping(store, seconds)
            sys.stdout.write("".join(f"{' '.join(statement.split())};\n" for statement in statements))
            return
        brought = bring(store, name_of(place))
        kept = [] if seconds is None else keep(store, seconds)
    done = f"brought to version {', '.join(map(str, brought))}" if brought else "nothing to do"
    changed = f"; {len(kept)} tables are kept for another time" if kept else ""
    sys.stdout.write(f"{name_of(place)}: schema {named(checksums())}: {done}{changed}\n")


@app.command()
def info(as_json: AsJson = False, data: Data = None, config: Config = None) -> None:
    """Tell what is kept: tables, rows, bytes, since when, for how long, and from where."""
    from holdfast.live.stores import reading, where
    from sinks.about import info as look

    with reading(where(data, config)) as found:
        told = look(found.reads, found.engine)
    sys.stdout.write((msgspec.json.encode(told).decode() if as_json else in_words(told)) + "\n")


@app.command()
def prune(
    before: Annotated[str | None, typer.Option(help="Rows before this time, as in 2026-03-12.")] = None,
    older_than: Annotated[str | None, typer.Option(help="Rows older than this, as in 30d.")] = None,
    source: Annotated[str | None, typer.Option(help="Rows of this source, as `info` lists them.")] = None,
    table: Annotated[str | None, typer.Option(help="Rows of this table alone, and what is derived from it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: Data = None,
    config: Config = None,
) -> None:
    """Delete rows for good: those that fit all that is said."""
    from holdfast.live.stores import where, writing
    from sinks.retention import Chosen, chosen_rows
    from sinks.retention import prune as delete

    chosen = Chosen(_limit(before, older_than), source, table)
    with writing(where(data, config)) as store:
        rows = chosen_rows(store, chosen)
        if not rows:
            sys.stdout.write("no such rows\n")
            return
        limit = "" if chosen.before_ms is None else f" before {rfc3339(chosen.before_ms)}"
        for name, count in rows.items():
            sys.stdout.write(f"{name}: {count:,} rows{limit}\n")
        sys.stdout.flush()
        if not yes and not _agreed():
            sys.stdout.write("nothing was deleted\n")
            raise typer.Exit(1)
        delete(store, chosen)
    sys.stdout.write(f"deleted {sum(rows.values()):,} rows\n")


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The folder to make, with a Parquet file for each table.")],
    rollout: Annotated[str | None, typer.Option(help="Rows of this rollout alone.")] = None,
    since: Since = None,
    until: Until = None,
    data: Data = None,
    config: Config = None,
) -> None:
    """Write what is kept to Parquet files, each row once."""
    from holdfast.live.stores import reading, where
    from sinks.parquet import Wanted
    from sinks.parquet import export as write

    wanted = Wanted(
        rollout=rollout,
        since_ms=None if since is None else _time("--since", since),
        until_ms=None if until is None else _time("--until", until),
    )
    with reading(where(data, config)) as found:
        written = write(found.reads, out, wanted)
    sys.stdout.write("".join(f"{table}: {rows:,} rows\n" for table, rows in written.rows.items()))


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="A folder that `holdfast store export` made.")],
    data: Data = None,
    config: Config = None,
) -> None:
    """Put in what was exported; doing so again changes nothing."""
    from holdfast.live.stores import where, writing
    from sinks.parquet import import_ as put_in
    from sinks.parquet import read_manifest

    read_manifest(folder)  # before a store is made for nothing
    place = where(data, config)
    if isinstance(place, Path):
        place.mkdir(parents=True, exist_ok=True)
    with writing(place) as store:
        read = put_in(store, folder)
    sys.stdout.write("".join(f"{table}: {rows:,} rows\n" for table, rows in read.rows.items()))


@app.command()
def label(
    rollout: Annotated[str, typer.Argument(help="Name of a rollout that was judged live.")],
    truth: Annotated[Path, typer.Option(help="A truth.yaml: what is known of it by now.")],
    data: Data = None,
    config: Config = None,
) -> None:
    """Say what is known to be true of a rollout, so that false alarms and delays are counted; the last word counts."""
    from holdfast.documents import load_truth
    from holdfast.live.stores import where, writing
    from holdfast.replaying import truth_columns
    from sinks.live_rows import LIVE, table_of
    from sinks.schema import quoted

    known = load_truth(truth)
    with writing(where(data, config)) as store:
        table = store.place.table("rollouts")
        names = store.select(f"SELECT DISTINCT rollout FROM {table} WHERE rollout = {quoted(rollout)}")  # noqa: S608
        if not names:
            message = f"{rollout}: no rollout of that name is kept; the table rollouts has them"
            raise BadInput(message)
        store.insert("truths", table_of("truths", [truth_columns(rollout, known)], LIVE, now_ms()))
    sys.stdout.write(f"{rollout}: {'bad' if known.bad else 'harmless'}; right: {' or '.join(known.expect)}\n")


def in_words(told: "StoreInfo") -> str:
    """Write what a store holds for people."""
    from sinks.migrations import named

    cluster = "" if told.cluster is None else f", cluster {told.cluster}"
    lines = [
        f"{told.engine} {told.version}, database {told.database}{cluster}, schema {named(told.schema)}",
        f"{'table':18}{'rows':>14}{'on disk':>14}{'bytes':>16}{'a row':>9}  oldest to newest",
        *(_table_line(each) for each in told.tables),
        "sources:",
        *(f"  {each.source}: {each.rows:,} rows" for each in told.sources),
    ]
    return "\n".join(lines)


def _table_line(each: "TableInfo") -> str:
    size = "" if each.bytes_per_row is None else f"{each.bytes_per_row:,.1f}"
    span = ""
    if each.oldest is not None and each.newest is not None:
        span = f"  {rfc3339(epoch_ms(each.oldest))} to {rfc3339(epoch_ms(each.newest))}"
    kept = f"  (TTL {each.kept})" if each.kept else ""
    return f"{each.table:18}{each.rows:>14,}{each.rows_on_disk:>14,}{each.bytes_on_disk:>16,}{size:>9}{span}{kept}"


def _limit(before: str | None, older_than: str | None) -> int | None:
    """Return the time before which rows are meant, in epoch milliseconds: the whole minute before what is said."""
    from holdfast.live.durations import seconds_of

    if before is not None and older_than is not None:
        message = "--older-than: found with --before; allowed: one of them"
        raise BadInput(message)
    if before is not None:
        found = _time("--before", before)
    elif older_than is not None:
        found = now_ms() - int(seconds_of("--older-than", older_than) * 1_000)
    else:
        return None
    return found - found % _MINUTE_MS


def _time(option: str, text: str) -> int:
    """Read a day or a time, in epoch milliseconds."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        moment = as_time(text)
    else:
        moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    if moment is None or moment.tzinfo is None or not 1970 <= moment.year < 2200:
        message = f"{option}: found {text!r}; allowed: a day, or a time with its zone, as in 2026-03-12T11:20:00Z"
        raise BadInput(message)
    return epoch_ms(moment)


def _agreed() -> bool:
    if not _is_terminal():
        message = "--yes: must be said where nobody can be asked; nothing was deleted"
        raise BadInput(message)
    return typer.confirm("Delete them for good?", default=False)


def _is_terminal() -> bool:
    return sys.stdin.isatty()
