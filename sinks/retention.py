"""What a store does not keep for ever: rows older than a setting says, and rows that a person takes out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sinks.backend import Backend, Reads
from sinks.errors import StoreError
from sinks.schema import DERIVED, ROWS, Place, quoted

TIMED: Final = {
    "cohort_ticks": "time",
    "evidence": "time",
    "verdicts": "time",
    "ticks": "time",
    "dead_letters": "time",
    "audit": "time",
    "health_minutes": "minute",
    "colo_minutes": "minute",
}
"""Tables whose rows grow old, and by which column. Documents, events, truths and the verdict in force do not."""

TABLES: Final = (*ROWS, *DERIVED)
"""All that hold rows."""

DERIVED_FROM: Final = {
    "evidence": ("health_minutes", "colo_minutes"),
    "cohort_ticks": ("reached_units",),
    "verdicts": ("current_verdicts",),
}
"""Which tables fill from which."""

LASTING: Final = {"current_verdicts": "verdicts", "reached_units": "cohort_ticks"}
"""Tables with the latest of each rollout, right while its row is there and gone with it: of which table that row is."""

_TTL: Final = re.compile(r"\bTTL (.*?)(?= SETTINGS |$)", re.DOTALL)


def ttls(store: Reads) -> dict[str, str]:
    """Return what each table's definition says of how long rows are kept; empty where they are kept for ever."""
    found = store.select(
        f"SELECT name, engine_full FROM system.tables WHERE database = {quoted(store.place.database)} "
        f"AND name IN ({', '.join(map(quoted, TABLES))}) ORDER BY name"
    )
    matches = {str(name): _TTL.search(str(engine)) for name, engine in found}
    return {name: match[1].strip() if match else "" for name, match in matches.items()}


def keep(store: Backend, seconds: Mapping[str, int]) -> list[str]:
    """Have rows removed by ClickHouse once they are so old; what is not named is kept for ever.

    Tables that are kept for so long already are left alone, since changing it has ClickHouse look at every part.

    Parameters
    ----------
    store
        The store, migrated.
    seconds
        By table, of those in `TIMED`.

    Returns
    -------
    list of str
        Statements that were run.

    Raises
    ------
    StoreError
        If a table has no rows that grow old, or the store refuses.
    """
    done = keeping(store, seconds)
    for statement in done:
        store.run(statement)
    return done


def keeping(store: Reads, seconds: Mapping[str, int]) -> list[str]:
    """List the statements that `keep` would run."""
    unknown = sorted(seconds.keys() - TIMED.keys())
    if unknown:
        message = f"keep: found {', '.join(unknown)}; allowed: {', '.join(TIMED)}"
        raise StoreError(message)
    needed = []
    for name, now in ttls(store).items():
        wanted = f"toDateTime({TIMED[name]}) + toIntervalSecond({seconds[name]})" if name in seconds else ""
        if now != wanted:
            change = f"MODIFY TTL {wanted}" if wanted else "REMOVE TTL"
            needed.append(f"ALTER TABLE {store.place.table(name)}{store.place.everywhere} {change}")
    return needed


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which rows are meant: those that fit all that is said.

    Attributes
    ----------
    before_ms
        Those whose time lies before this, a whole minute in epoch milliseconds; then tables without times are left out.
    source
        Those of this source.
    table
        Those of this table, and what is derived from it.
    """

    before_ms: int | None = None
    source: str | None = None
    table: str | None = None


def chosen_rows(store: Reads, chosen: Chosen) -> dict[str, int]:
    """Count the rows that `prune` would delete, by table; tables without any are left out."""
    found = {
        name: int(str(store.select(f"SELECT count() FROM {store.place.table(name)} WHERE {condition}")[0][0]))
        for name, condition in _conditions(store.place, chosen).items()
    }
    return {name: count for name, count in found.items() if count}


def prune(store: Backend, chosen: Chosen) -> None:
    """Delete rows, and what was derived from them.

    Raises
    ------
    StoreError
        If the store refuses; the same may be asked again.
    """
    conditions = _conditions(store.place, chosen)
    for name in chosen_rows(store, chosen):
        delete(store, name, conditions[name])


def delete(store: Backend, table: str, condition: str) -> None:
    """Delete rows of a table, on all replicas; on return they are not read any more."""
    store.run(f"DELETE FROM {store.place.table(table)}{store.place.everywhere} WHERE {condition}")


def _conditions(place: Place, chosen: Chosen) -> dict[str, str]:
    """Return what holds of the rows that are meant, by table; those that others are derived from come last.

    Raises
    ------
    StoreError
        If there is no such table, or nothing is said of which rows are meant.
    """
    if chosen.table is not None and chosen.table not in ROWS:
        message = f"table: found {chosen.table!r}; allowed: {', '.join(ROWS)}"
        raise StoreError(message)
    if chosen.before_ms is None and chosen.source is None:
        message = "which rows are meant is not said; allowed: those before a time, those of a source, or both"
        raise StoreError(message)
    tables = ROWS if chosen.table is None else (chosen.table,)
    found: dict[str, str] = {}
    for name in tables:
        derived = DERIVED_FROM.get(name, ())
        found |= {each: text for each in (*derived, name) if (text := _condition(place, each, chosen))}
    return found


def _condition(place: Place, name: str, chosen: Chosen) -> str:
    parts = [] if chosen.source is None else [f"source = {quoted(chosen.source)}"]
    if chosen.before_ms is not None:
        before = f"toDateTime64({quoted(moment(chosen.before_ms))}, 3, 'UTC')"
        if name in LASTING:
            kept = f"SELECT rollout, source FROM {place.table(LASTING[name])} WHERE time >= {before}"
            parts.append(f"(rollout, source) NOT IN ({kept})")
        elif name in TIMED:
            parts.append(f"{TIMED[name]} < {before}")
        else:
            return ""
    return " AND ".join(parts)


def moment(time_ms: int) -> str:
    """Write epoch milliseconds as ClickHouse does, in UTC.

    Examples
    --------
    >>> moment(1_773_314_400_000)
    '2026-03-12 11:20:00.000'
    """
    second, rest = divmod(time_ms, 1_000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%S}.{rest:03d}"
