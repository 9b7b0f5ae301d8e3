"""What dashboards ask most, made ready while rows come in, and names for what they would ask over and over.

A row may come twice, and a batch may be cut differently the second time. So nothing here is summed on insert: states
keep the latest or the greatest of what they are shown (`argMax`, `max`), and being shown a row again changes nothing.

`origin` is what a person tells rows apart by: `live`, or the replay that they come from.
"""

from typing import Final

_ORIGIN: Final = "if(startsWith(source, 'replay:'), source, 'live') AS origin"

_COMPARED: Final = "Tuple(effect Float64, lower Float64, upper Float64, log_e Float64, mde Float64)"

HEALTH_MINUTES: Final = f"""
    CREATE TABLE IF NOT EXISTS holdfast.health_minutes
    (
        rollout LowCardinality(String),
        source LowCardinality(String),
        minute DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
        stage LowCardinality(String),
        metric LowCardinality(String),
        level LowCardinality(String),
        place LowCardinality(String),
        latest AggregateFunction(argMax, {_COMPARED}, Tuple(DateTime64(3, 'UTC'), Float64, UInt64))
            COMMENT 'of the last tick; of a histogram the edge with most evidence',
        log_e_max SimpleAggregateFunction(max, Float64)
    )
    ENGINE = AggregatingMergeTree
    PARTITION BY toYYYYMM(minute)
    ORDER BY (rollout, source, metric, stage, level, place, minute)
    """

_HEALTH_OF_EVIDENCE: Final = f"""
    SELECT rollout, source, toStartOfMinute(time) AS minute, stage, metric, level, place,
        argMaxState(
            (effect, lower, upper, log_e, mde)::{_COMPARED}, (time, if(isNaN(log_e), -1e308, log_e), version)
        ) AS latest,
        max(if(isNaN(log_e), -1e308, log_e)) AS log_e_max
    FROM holdfast.evidence
    GROUP BY rollout, source, minute, stage, metric, level, place
    """

_PLACED: Final = "Tuple(metric String, effect Float64, log_e Float64)"

COLO_MINUTES: Final = f"""
    CREATE TABLE IF NOT EXISTS holdfast.colo_minutes
    (
        rollout LowCardinality(String),
        source LowCardinality(String),
        minute DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
        colo LowCardinality(String),
        worst AggregateFunction(argMax, {_PLACED}, Tuple(Float64, DateTime64(3, 'UTC'), UInt64))
            COMMENT 'the comparison with most evidence against the change'
    )
    ENGINE = AggregatingMergeTree
    PARTITION BY toYYYYMM(minute)
    ORDER BY (rollout, source, minute, colo)
    """

_COLOS_OF_EVIDENCE: Final = f"""
    SELECT rollout, source, toStartOfMinute(time) AS minute, place AS colo,
        argMaxState(
            (metric, effect, log_e)::{_PLACED}, (if(isNaN(log_e), -1e308, log_e), time, version)
        ) AS worst
    FROM holdfast.evidence
    WHERE level = 'colo'
    GROUP BY rollout, source, minute, colo
    """

_SAID: Final = (
    "Tuple(time DateTime64(3, 'UTC'), action String, cause String, stage String, binding Bool, "
    "colos Array(String), metrics Array(String))"
)

CURRENT_VERDICTS: Final = f"""
    CREATE TABLE IF NOT EXISTS holdfast.current_verdicts
    (
        rollout LowCardinality(String),
        source LowCardinality(String),
        latest AggregateFunction(argMax, {_SAID}, Tuple(UInt64, UInt64))
    )
    ENGINE = AggregatingMergeTree
    ORDER BY (rollout, source)
    """

_CURRENT_OF_VERDICTS: Final = f"""
    SELECT rollout, source,
        argMaxState(
            (time, action, cause, stage, binding, colos, metrics)::{_SAID},
            (sequence, version)
        ) AS latest
    FROM holdfast.verdicts
    GROUP BY rollout, source
    """

MATERIALISED: Final = {
    "health_minutes": _HEALTH_OF_EVIDENCE,
    "colo_minutes": _COLOS_OF_EVIDENCE,
    "current_verdicts": _CURRENT_OF_VERDICTS,
}
"""Tables that fill while rows come in, and how."""

FILLED: Final = (
    *(
        f"CREATE MATERIALIZED VIEW IF NOT EXISTS holdfast.{name}_filled TO holdfast.{name} AS {select}"
        for name, select in MATERIALISED.items()
    ),
    # What had come before; what comes meanwhile is shown twice to the states, which changes nothing.
    *(f"INSERT INTO holdfast.{name} {select}" for name, select in MATERIALISED.items()),
)

HEALTH: Final = f"""
    CREATE VIEW IF NOT EXISTS holdfast.health AS
    SELECT rollout, source, {_ORIGIN}, minute, stage, metric, level, place,
        argMaxMerge(latest) AS last,
        last.effect AS effect, last.lower AS lower, last.upper AS upper, last.log_e AS log_e, last.mde AS mde,
        max(log_e_max) AS log_e_greatest
    FROM holdfast.health_minutes
    GROUP BY rollout, source, minute, stage, metric, level, place
    """

HEAT: Final = f"""
    CREATE VIEW IF NOT EXISTS holdfast.heat AS
    SELECT rollout, source, {_ORIGIN}, minute, colo,
        argMaxMerge(worst) AS most, most.metric AS metric, most.effect AS effect, most.log_e AS log_e
    FROM holdfast.colo_minutes
    GROUP BY rollout, source, minute, colo
    """

CURRENT: Final = f"""
    CREATE VIEW IF NOT EXISTS holdfast.current AS
    SELECT rollout, source, {_ORIGIN}, argMaxMerge(latest) AS last,
        last.time AS time, last.action AS action, last.cause AS cause, last.stage AS stage, last.binding AS binding,
        last.colos AS colos, last.metrics AS metrics
    FROM holdfast.current_verdicts
    GROUP BY rollout, source
    """

TIMELINE: Final = f"""
    CREATE VIEW IF NOT EXISTS holdfast.timeline AS
    SELECT rollout, source, {_ORIGIN}, sequence, time,
        leadInFrame(time, 1, time) OVER (
            PARTITION BY rollout, source ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS until,
        action, cause, stage, binding, colos, metrics
    FROM holdfast.verdicts FINAL
    """
