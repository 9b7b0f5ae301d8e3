"""The tables in ClickHouse: one ordered list of statements, and the Arrow schemas of what is put into them.

The same statements serve the embedded engine and a server. Choices that hold for every table:

- `source` says where rows came from (`replay:<recording>`, later `<topic>/<partition>`) and is part of the
  key, so that a live run and replays of it lie beside each other and one of them can be replaced whole.
- `ReplacingMergeTree` on the whole key: a row that comes twice is one row when read with FINAL. Of equal
  keys the greatest `version` counts; that is the offset in the journal, and 0 where there is no journal.
- A value that is absent is NaN in floats and empty in strings, never NULL: Nullable columns cost a second
  file each, and `NULL` and `NaN` for the same thing would make two groups of it.
- A key begins with what people ask for first (rollout, metric), and ends with time: a chart reads few
  granules, and neighbours resemble each other, which the codecs live on. Codecs were chosen by measuring.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

DATABASE: Final = "holdfast"


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of the schema, and the version that brought it. Steps are only ever added."""

    version: int
    statement: str


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

_COHORT_TICKS: Final = """
    CREATE TABLE IF NOT EXISTS holdfast.cohort_ticks
    (
        rollout LowCardinality(String),
        source LowCardinality(String),
        time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'end of the tick',
        stage LowCardinality(String),
        metric LowCardinality(String),
        edge Float64 CODEC(ZSTD(1)) COMMENT 'histogram bucket; 0 for other kinds',
        colo LowCardinality(String),
        cohort LowCardinality(String) COMMENT 'canary or control',
        units Float64 CODEC(Gorilla, ZSTD(1)) COMMENT 'units with a value in this tick',
        sum Float64 CODEC(Gorilla, ZSTD(1)) COMMENT 'gauges and rates: over units',
        sum_squares Float64 CODEC(Gorilla, ZSTD(1)),
        bad Float64 CODEC(ZSTD(1)) COMMENT 'ratios: events; histograms: events slower than the edge',
        total Float64 CODEC(ZSTD(1)),
        version UInt64 CODEC(Delta, ZSTD(1))
    )
    ENGINE = ReplacingMergeTree(version)
    PARTITION BY toYYYYMM(time)
    ORDER BY (rollout, source, metric, stage, edge, colo, cohort, time)
    """

_EVIDENCE: Final = """
    CREATE TABLE IF NOT EXISTS holdfast.evidence
    (
        rollout LowCardinality(String),
        source LowCardinality(String),
        time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'end of the tick',
        stage LowCardinality(String),
        metric LowCardinality(String),
        edge Float64 CODEC(ZSTD(1)) COMMENT 'histogram bucket; 0 for other kinds',
        level LowCardinality(String) COMMENT 'fleet, region or colo',
        place LowCardinality(String) COMMENT 'name of the region or colo; empty for the fleet',
        effect Float64 CODEC(Delta, ZSTD(1)) COMMENT 'positive is an increase',
        lower Float64 CODEC(Delta, ZSTD(1)) COMMENT 'anytime-valid interval of the effect',
        upper Float64 CODEC(Delta, ZSTD(1)),
        log_e Float64 CODEC(Delta, ZSTD(1)) COMMENT 'natural logarithm of the e-value',
        mde Float64 CODEC(FPC, ZSTD(1)) COMMENT 'smallest degradation that could be seen by now',
        information Float64 CODEC(FPC, ZSTD(1)) COMMENT 'in average ticks of the pre-period',
        version UInt64 CODEC(Delta, ZSTD(1))
    )
    ENGINE = ReplacingMergeTree(version)
    PARTITION BY toYYYYMM(time)
    ORDER BY (rollout, source, metric, stage, edge, level, place, time)
    """

_VERDICTS: Final = """
    CREATE TABLE IF NOT EXISTS holdfast.verdicts
    (
        rollout LowCardinality(String),
        source LowCardinality(String),
        time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'end of the last tick used',
        sequence UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'strictly growing per rollout',
        id String CODEC(ZSTD(1)),
        action LowCardinality(String),
        cause LowCardinality(String),
        stage LowCardinality(String),
        binding Bool,
        colos Array(LowCardinality(String)),
        metrics Array(LowCardinality(String)),
        policy LowCardinality(String) COMMENT 'digest of the policy',
        engine LowCardinality(String),
        body String CODEC(ZSTD(3)) COMMENT 'the CloudEvent as JSON',
        version UInt64 CODEC(Delta, ZSTD(1))
    )
    ENGINE = ReplacingMergeTree(version)
    PARTITION BY toYYYYMM(time)
    ORDER BY (rollout, source, time, sequence)
    """

# Not partitioned: a document that is replaced may have moved its start into another month, and rows merge
# within a partition only.
_ROLLOUTS: Final = """
    CREATE TABLE IF NOT EXISTS holdfast.rollouts
    (
        rollout LowCardinality(String),
        source LowCardinality(String),
        started DateTime64(3, 'UTC'),
        policy LowCardinality(String) COMMENT 'name of the policy',
        mode LowCardinality(String) COMMENT 'enforce or shadow',
        document String CODEC(ZSTD(3)) COMMENT 'the rollout document as JSON',
        policy_document String CODEC(ZSTD(3)) COMMENT 'the policy as JSON',
        policy_digest LowCardinality(String),
        recorded DateTime64(3, 'UTC') COMMENT 'latest event time that was seen, not the wall clock',
        version UInt64 CODEC(Delta, ZSTD(1))
    )
    ENGINE = ReplacingMergeTree(version)
    ORDER BY (rollout, source)
    """

STEPS: Final = (
    Step(1, _COHORT_TICKS),
    Step(1, _EVIDENCE),
    Step(1, _VERDICTS),
    Step(1, _ROLLOUTS),
)

_TIME: Final = pa.timestamp("ms", tz="UTC")


def _schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in fields])


ROWS: Final = {
    "cohort_ticks": _schema(
        ("rollout", pa.string()),
        ("source", pa.string()),
        ("time", _TIME),
        ("stage", pa.string()),
        ("metric", pa.string()),
        ("edge", pa.float64()),
        ("colo", pa.string()),
        ("cohort", pa.string()),
        ("units", pa.float64()),
        ("sum", pa.float64()),
        ("sum_squares", pa.float64()),
        ("bad", pa.float64()),
        ("total", pa.float64()),
        ("version", pa.uint64()),
    ),
    "evidence": _schema(
        ("rollout", pa.string()),
        ("source", pa.string()),
        ("time", _TIME),
        ("stage", pa.string()),
        ("metric", pa.string()),
        ("edge", pa.float64()),
        ("level", pa.string()),
        ("place", pa.string()),
        ("effect", pa.float64()),
        ("lower", pa.float64()),
        ("upper", pa.float64()),
        ("log_e", pa.float64()),
        ("mde", pa.float64()),
        ("information", pa.float64()),
        ("version", pa.uint64()),
    ),
    "verdicts": _schema(
        ("rollout", pa.string()),
        ("source", pa.string()),
        ("time", _TIME),
        ("sequence", pa.uint64()),
        ("id", pa.string()),
        ("action", pa.string()),
        ("cause", pa.string()),
        ("stage", pa.string()),
        ("binding", pa.bool_()),
        ("colos", pa.list_(pa.string())),
        ("metrics", pa.list_(pa.string())),
        ("policy", pa.string()),
        ("engine", pa.string()),
        ("body", pa.string()),
        ("version", pa.uint64()),
    ),
    "rollouts": _schema(
        ("rollout", pa.string()),
        ("source", pa.string()),
        ("started", _TIME),
        ("policy", pa.string()),
        ("mode", pa.string()),
        ("document", pa.string()),
        ("policy_document", pa.string()),
        ("policy_digest", pa.string()),
        ("recorded", _TIME),
        ("version", pa.uint64()),
    ),
}
"""The columns of each table, in the order of the statements above (a test compares them with the engine)."""


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
