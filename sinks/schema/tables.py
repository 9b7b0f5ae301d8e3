"""The tables in ClickHouse.

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

from typing import Final

COHORT_TICKS: Final = """
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

EVIDENCE: Final = """
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

VERDICTS: Final = """
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
ROLLOUTS: Final = """
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

ROLLOUT_EVENTS: Final = """
    CREATE TABLE IF NOT EXISTS holdfast.rollout_events
    (
        rollout LowCardinality(String),
        source LowCardinality(String),
        number UInt32 COMMENT 'counted from 0, in the order in which they were told',
        event LowCardinality(String) COMMENT 'started or finished',
        stage LowCardinality(String) COMMENT 'empty for the rollout as a whole',
        effective_at DateTime64(3, 'UTC'),
        version UInt64 CODEC(Delta, ZSTD(1))
    )
    ENGINE = ReplacingMergeTree(version)
    ORDER BY (rollout, source, number)
    """

# By time first: who asks for ticks asks for those of all rollouts within some hours.
TICKS: Final = """
    CREATE TABLE IF NOT EXISTS holdfast.ticks
    (
        rollout LowCardinality(String),
        source LowCardinality(String),
        time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'end of the tick',
        decided DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'by the clock on the wall; 1970 in a replay',
        is_live Bool COMMENT 'whether a stage was under way',
        samples UInt64 CODEC(ZSTD(1)) COMMENT 'that are in the tick',
        reasons Array(LowCardinality(String)) COMMENT 'why samples were dropped since the tick before',
        dropped Array(UInt64) COMMENT 'how many, by reason',
        version UInt64 CODEC(Delta, ZSTD(1))
    )
    ENGINE = ReplacingMergeTree(version)
    PARTITION BY toYYYYMM(time)
    ORDER BY (time, rollout, source)
    """

DEAD_LETTERS: Final = """
    CREATE TABLE IF NOT EXISTS holdfast.dead_letters
    (
        source LowCardinality(String),
        time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'by the clock on the wall: when it was put aside',
        from_topic LowCardinality(String),
        from_partition UInt32,
        from_offset UInt64 COMMENT 'of the message; of a mark: of the letter, in from_topic and from_partition',
        worker LowCardinality(String),
        reason String CODEC(ZSTD(1)),
        bytes UInt64 CODEC(ZSTD(1)) COMMENT 'of the message, which stands on the dead-letter topic',
        is_redriven Bool COMMENT 'whether this row is the mark that it was sent again',
        version UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'offset of the letter'
    )
    ENGINE = ReplacingMergeTree
    PARTITION BY toYYYYMM(time)
    ORDER BY (source, version)
    """

TRUTHS: Final = """
    CREATE TABLE IF NOT EXISTS holdfast.truths
    (
        rollout LowCardinality(String),
        source LowCardinality(String) COMMENT 'of a replay, or live',
        bad Bool,
        expect Array(LowCardinality(String)) COMMENT 'actions that are right',
        onset DateTime64(3, 'UTC') COMMENT '1970 where unknown',
        within_ticks UInt32 COMMENT 'ticks after the onset by which a stop is due; 0 where nothing is said',
        colos Array(LowCardinality(String)),
        metrics Array(LowCardinality(String)),
        version UInt64 COMMENT 'of what is said twice, what was said last counts'
    )
    ENGINE = ReplacingMergeTree(version)
    ORDER BY (rollout, source)
    """

# Not by sequence: an entry that is there twice, or under a number that is taken, is what somebody may look for.
AUDIT: Final = """
    CREATE TABLE IF NOT EXISTS holdfast.audit
    (
        source LowCardinality(String),
        time DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'by the clock of who wrote it',
        written DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)) COMMENT 'when the message was written, by the broker',
        sequence UInt64 CODEC(DoubleDelta, ZSTD(1)) COMMENT 'counted from 0',
        hash String CODEC(ZSTD(1)),
        previous String CODEC(ZSTD(1)) COMMENT 'hash of the entry before',
        who LowCardinality(String),
        kind LowCardinality(String),
        subject LowCardinality(String) COMMENT 'as the name of a rollout; empty where it is about everything',
        body String CODEC(ZSTD(3)) COMMENT 'as JSON',
        version UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'offset of the entry'
    )
    ENGINE = ReplacingMergeTree
    PARTITION BY toYYYYMM(time)
    ORDER BY (source, version)
    """

AUDIT_INSERTS: Final = "ALTER TABLE holdfast.audit MODIFY SETTING non_replicated_deduplication_window = 10000"

REMEMBERED_INSERTS: Final = tuple(
    f"ALTER TABLE holdfast.{name} MODIFY SETTING non_replicated_deduplication_window = 10000"
    for name in ("cohort_ticks", "evidence", "verdicts", "rollouts", "rollout_events", "ticks", "dead_letters")
)
"""How many inserts a table without replicas remembers by their token; replicated tables do so without being told."""
