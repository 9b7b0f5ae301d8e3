"""What dashboards ask most, made ready while rows come in, and names for what they would ask over and over.

A row may come twice, and a batch may be cut differently the second time. So nothing here is summed on insert: states
keep the latest or the greatest of what they are shown (`argMax`, `max`), and being shown a row again changes nothing.

`origin` is what a person tells rows apart by: `live`, or the replay that they come from.
"""

from typing import Final

_OF_SOURCE: Final = "if(startsWith(source, 'replay:'), source, 'live')"
_ORIGIN: Final = f"{_OF_SOURCE} AS origin"

ORIGINS: Final = tuple(
    f"ALTER TABLE holdfast.{name} ADD COLUMN IF NOT EXISTS origin LowCardinality(String) ALIAS {_OF_SOURCE}"
    for name in ("cohort_ticks", "evidence", "verdicts", "rollouts", "rollout_events", "ticks")
)
"""A name for what is worked out of `source`; it takes no room, and `SELECT *` leaves it out."""

FAR: Final = "toDateTime64('2200-01-01 00:00:00', 3, 'UTC')"
"""Until when what is in force now is said to be."""

_COMPARED: Final = (
    "Tuple(time DateTime64(3, 'UTC'), effect Float64, lower Float64, upper Float64, log_e Float64, mde Float64)"
)

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
        log_e_max SimpleAggregateFunction(max, Float64) COMMENT '-1e308 where there is none at all',
        origin LowCardinality(String) ALIAS {_OF_SOURCE}
    )
    ENGINE = AggregatingMergeTree
    PARTITION BY toYYYYMM(minute)
    ORDER BY (rollout, source, metric, stage, level, place, minute)
    """

_HEALTH_OF_EVIDENCE: Final = f"""
    SELECT rollout, source, toStartOfMinute(time) AS minute, stage, metric, level, place,
        argMaxState(
            (time, effect, lower, upper, log_e, mde)::{_COMPARED}, (time, if(isNaN(log_e), -1e308, log_e), version)
        ) AS latest,
        max(if(isNaN(log_e), -1e308, log_e)) AS log_e_max
    FROM holdfast.evidence
    GROUP BY rollout, source, minute, stage, metric, level, place
    """

_PLACED: Final = "Tuple(metric String, stage String, effect Float64, lower Float64, upper Float64, log_e Float64)"

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
            (metric, stage, effect, lower, upper, log_e)::{_PLACED}, (if(isNaN(log_e), -1e308, log_e), time, version)
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

_UNITS: Final = "Tuple(time DateTime64(3, 'UTC'), units Float64)"

REACHED_UNITS: Final = f"""
    CREATE TABLE IF NOT EXISTS holdfast.reached_units
    (
        rollout LowCardinality(String),
        source LowCardinality(String),
        stage LowCardinality(String),
        colo LowCardinality(String),
        cohort LowCardinality(String),
        latest AggregateFunction(argMax, {_UNITS}, Tuple(DateTime64(3, 'UTC'), UInt64))
            COMMENT 'units that should report, at the last tick'
    )
    ENGINE = AggregatingMergeTree
    ORDER BY (rollout, source, stage, colo, cohort)
    """

# The one metric that every rollout has; its total is how many units there are, whether or not they report.
_UNITS_OF_COHORTS: Final = f"""
    SELECT rollout, source, stage, colo, cohort,
        argMaxState((time, total)::{_UNITS}, (time, version)) AS latest
    FROM holdfast.cohort_ticks
    WHERE metric = 'reporting_hosts'
    GROUP BY rollout, source, stage, colo, cohort
    """

MATERIALISED: Final = {
    "health_minutes": _HEALTH_OF_EVIDENCE,
    "colo_minutes": _COLOS_OF_EVIDENCE,
    "current_verdicts": _CURRENT_OF_VERDICTS,
    "reached_units": _UNITS_OF_COHORTS,
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
        argMaxMerge(latest) AS last, last.time AS time,
        last.effect AS effect, last.lower AS lower, last.upper AS upper, last.log_e AS log_e, last.mde AS mde,
        max(log_e_max) AS log_e_greatest
    FROM holdfast.health_minutes
    GROUP BY rollout, source, minute, stage, metric, level, place
    """

HEAT: Final = f"""
    CREATE VIEW IF NOT EXISTS holdfast.heat AS
    SELECT rollout, source, {_ORIGIN}, minute, colo,
        argMaxMerge(worst) AS most, most.metric AS metric, most.stage AS stage, most.effect AS effect,
        most.lower AS lower, most.upper AS upper, most.log_e AS log_e
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
        leadInFrame(time, 1, {FAR}) OVER (
            PARTITION BY rollout, source ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS until,
        action, cause, stage, binding, colos, metrics
    FROM holdfast.verdicts FINAL
    """

REACH: Final = f"""
    CREATE VIEW IF NOT EXISTS holdfast.reach AS
    SELECT rollout, source, {_ORIGIN}, stage, colo, max(now.time) AS time,
        sumIf(now.units, cohort = 'canary') AS canary, sumIf(now.units, cohort = 'control') AS control
    FROM
    (
        SELECT rollout, source, stage, colo, cohort, argMaxMerge(latest) AS now
        FROM holdfast.reached_units
        GROUP BY rollout, source, stage, colo, cohort
    )
    GROUP BY rollout, source, stage, colo
    """

ACTIVE: Final = """
    CREATE VIEW IF NOT EXISTS holdfast.active AS
    SELECT rollout, source, origin, time, action, cause, stage, binding, colos, metrics
    FROM holdfast.current
    WHERE (rollout, origin) NOT IN
        (SELECT rollout, origin FROM holdfast.rollout_events FINAL WHERE event = 'finished')
    """

DECISIONS: Final = """
    CREATE VIEW IF NOT EXISTS holdfast.decisions AS
    SELECT rollout, source, time, decided,
        (toUnixTimestamp64Milli(decided) - toUnixTimestamp64Milli(time)) / 1000 AS lag,
        is_live, samples, reasons, dropped
    FROM holdfast.ticks FINAL
    WHERE origin = 'live' AND decided > fromUnixTimestamp64Milli(0)
    """

# A duration in a policy is a number and its unit.
_TICK_MS: Final = """toFloat64OrZero(extract(JSONExtractString(policy_document, 'tick') AS tick, '^[0-9.]+'))
            * transform(extract(tick, '[a-z]+$'), ['ms', 's', 'm', 'h', 'd'], [1, 1000, 60000, 3600000, 86400000], 0)"""

_STOP: Final = "action IN ('halt', 'revert')"

OUTCOMES: Final = f"""
    CREATE VIEW IF NOT EXISTS holdfast.outcomes AS
    SELECT rollout, origin, bad, expect, onset, within_ticks, colos_hurt, metrics,
        ended, is_stopped, cause, colos_blamed, alpha,
        multiIf(verdicts = 0, onset, is_stopped, stopped, judged) AS time,
        toUnixTimestamp64Milli(stopped) - onset_ms AS after_ms,
        if(is_stopped AND bad AND onset_ms > 0, after_ms, NaN) AS delay_ms,
        if(delay_ms >= 0, delay_ms / 1000, NaN) AS delay,
        if(delay_ms >= 0 AND tick_ms > 0, delay_ms / tick_ms, NaN) AS delay_ticks,
        multiIf(
            verdicts = 0, 'unjudged',
            is_stopped AND (NOT bad OR delay_ms < 0), 'false alarm',
            NOT bad, 'passed',
            NOT is_stopped, 'missed',
            within_ticks > 0 AND delay_ticks > within_ticks, 'late',
            'caught'
        ) AS outcome,
        verdicts > 0 AND has(expect, ended) AS is_expected,
        is_stopped AND notEmpty(colos_hurt) AND NOT hasAny(colos_hurt, colos_blamed) AS is_misplaced
    FROM
    (
        SELECT rollout, source AS origin, bad, expect, onset, toUnixTimestamp64Milli(onset) AS onset_ms,
            within_ticks, colos AS colos_hurt, metrics
        FROM holdfast.truths FINAL
    ) AS told
    LEFT JOIN
    (
        SELECT rollout, origin, count() AS verdicts, max(time) AS judged, argMax(action, sequence) AS ended,
            countIf({_STOP}) > 0 AS is_stopped, argMinIf(time, sequence, {_STOP}) AS stopped,
            argMinIf(cause, sequence, {_STOP}) AS cause, argMinIf(colos, sequence, {_STOP}) AS colos_blamed
        FROM
        (
            SELECT rollout, origin, time, sequence, action, cause, colos
            FROM holdfast.verdicts FINAL
            WHERE (rollout, origin) IN (SELECT rollout, source FROM holdfast.truths)
        )
        GROUP BY rollout, origin
    ) AS said USING (rollout, origin)
    LEFT JOIN
    (
        SELECT rollout, origin, JSONExtractFloat(policy_document, 'alpha') AS alpha, {_TICK_MS} AS tick_ms
        FROM holdfast.rollouts FINAL
    ) AS planned USING (rollout, origin)
    """
