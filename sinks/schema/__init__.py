"""The schema in ClickHouse: one ordered list of statements, by version, and the Arrow schemas of what is put in."""

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sinks.schema import tables, views

if TYPE_CHECKING:
    from sinks.schema.rows import ROWS

__all__ = ["DATABASE", "DERIVED", "FOUNDATION", "ROWS", "STEPS", "Place", "Step", "checksums", "identifier", "quoted"]

DATABASE: Final = "holdfast"

DERIVED: Final = tuple(views.MATERIALISED)
"""Tables that fill by themselves; who deletes rows of a source deletes them there too."""


def __getattr__(name: str) -> object:
    """Load the Arrow schemas, and with them pyarrow, for whoever asks for them; settings only name a place."""
    if name == "ROWS":
        from sinks.schema.rows import ROWS

        return ROWS
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of the schema, and the version that brought it. Steps are only ever added."""

    version: int
    statement: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where the tables are made.

    Attributes
    ----------
    database
        Its name.
    cluster
        Name of a cluster of ClickHouse, all replicas of which get the tables; None for a single node.
    """

    database: str = DATABASE
    cluster: str | None = None

    @property
    def everywhere(self) -> str:
        """What makes a statement run on all replicas, to be put behind the name of its table; empty on one node."""
        return "" if self.cluster is None else f" ON CLUSTER {quoted(self.cluster)}"

    def table(self, name: str) -> str:
        """Name a table with its database."""
        return f"{self.database}.{name}"

    def statement(self, statement: str) -> str | None:
        """Return a statement of the schema as it is run here; None if there is nothing to do.

        Examples
        --------
        >>> Place("other").statement("CREATE VIEW holdfast.current AS SELECT 1")
        'CREATE VIEW other.current AS SELECT 1'
        """
        text = re.sub(r"\bholdfast\b(?=\.|$)", self.database, statement.strip())
        if self.cluster is None:
            return text
        if "non_replicated_deduplication_window" in text:
            return None  # the replicas' log remembers inserts
        text = re.sub(
            r"^((?:CREATE (?:DATABASE|TABLE|MATERIALIZED VIEW|VIEW)(?: IF NOT EXISTS)?|ALTER TABLE) \S+)",
            lambda found: found[1] + self.everywhere,
            text,
        )
        return re.sub(r"ENGINE = (\w*MergeTree)(?:\((\w+)\))?", _replicated, text)


def quoted(text: str) -> str:
    r"""Write a text as ClickHouse reads it in a statement.

    Examples
    --------
    >>> quoted("it's a \\ here")
    "'it\\'s a \\\\ here'"
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    r"""Write the name of a column as ClickHouse reads it in a statement.

    Examples
    --------
    >>> identifier("count()")
    '`count()`'
    """
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _replicated(engine: re.Match[str]) -> str:
    arguments = ["'/clickhouse/tables/{shard}/{database}/{table}'", "'{replica}'"]
    arguments += [engine[2]] if engine[2] else []
    return f"ENGINE = Replicated{engine[1]}({', '.join(arguments)})"


FOUNDATION: Final = (
    "CREATE DATABASE IF NOT EXISTS holdfast",
    """
    CREATE TABLE IF NOT EXISTS holdfast.schema_version
    (
        version UInt32,
        checksum String
    )
    ENGINE = ReplacingMergeTree
    ORDER BY version
    """,
)
"""What must be there before the version of a store can be asked for."""

_VERSIONS: Final = {
    1: (tables.COHORT_TICKS, tables.EVIDENCE, tables.VERDICTS, tables.ROLLOUTS),
    2: (
        tables.ROLLOUT_EVENTS,
        tables.TICKS,
        tables.DEAD_LETTERS,
        tables.TRUTHS,
        *tables.REMEMBERED_INSERTS,
        *views.ORIGINS,
        views.HEALTH_MINUTES,
        views.COLO_MINUTES,
        views.CURRENT_VERDICTS,
        views.REACHED_UNITS,
        *views.FILLED,
        views.HEALTH,
        views.HEAT,
        views.CURRENT,
        views.TIMELINE,
        views.REACH,
        views.ACTIVE,
        views.DECISIONS,
        views.OUTCOMES,
    ),
    3: (tables.AUDIT, tables.AUDIT_INSERTS),
}

STEPS: Final = tuple(Step(version, statement) for version, each in _VERSIONS.items() for statement in each)


def checksums() -> dict[int, str]:
    """Name each version of the schema by its statements; line breaks and indentation do not matter.

    Returns
    -------
    dict of int to str
        Version to checksum, in ascending order.
    """
    texts: dict[int, list[str]] = {}
    for step in STEPS:
        texts.setdefault(step.version, []).append(" ".join(step.statement.split()))
    return {
        version: hashlib.sha256("\n".join(statements).encode()).hexdigest()[:16]
        for version, statements in sorted(texts.items())
    }
