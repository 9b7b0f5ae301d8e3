"""What a report asks the store. Rows come deduplicated, and the database is holdfast's, whatever a query says."""

from typing import Final

_PARTS: Final = {
    "step": "toInt64(intDiv(intDiv(toUnixTimestamp64Milli(time), {tick}) - {first}, {per}))",
    "found": "if(isNaN(evidence.log_e), -inf, evidence.log_e)",
}


def quoted(text: str) -> str:
    """Write a text so that nothing in it can be taken for SQL.

    Examples
    --------
    >>> quoted("a'b")
    "unhex('612762')"
    """
    return f"unhex('{text.encode().hex()}')"


def put(query: str, **values: object) -> str:
    """Put values into a query; texts must have been `quoted`."""
    for name, part in _PARTS.items():
        query = query.replace("{" + name + "}", part)
    return query.format(**values)


SOURCES: Final = "SELECT DISTINCT source FROM rollouts WHERE rollout = {rollout} ORDER BY source"

NAMES: Final = "SELECT DISTINCT rollout FROM rollouts ORDER BY rollout"

VERDICTS: Final = "SELECT body FROM verdicts WHERE {whose} ORDER BY sequence, time"

DOCUMENTS: Final = """
    SELECT document, policy_document FROM rollouts WHERE {whose} ORDER BY version DESC, source LIMIT 1
"""

TRUTHS: Final = """
    SELECT bad, expect, onset, within_ticks, colos, metrics
    FROM truths WHERE {whose} ORDER BY version DESC LIMIT 1
"""

STARTS: Final = """
    SELECT stage, max(effective_at) AS at
    FROM rollout_events WHERE {whose} AND event = 'started' AND stage != '' GROUP BY stage ORDER BY stage
"""

INTAKE: Final = """
    SELECT toInt64(countIf(is_live)) AS ticks, toInt64(sum(samples)) AS samples, toInt64(count()) AS rows
    FROM ticks WHERE {whose}
"""

DROPPED: Final = """
    SELECT reason, toInt64(sum(count)) AS count
    FROM ticks ARRAY JOIN reasons AS reason, dropped AS count WHERE {whose} GROUP BY reason ORDER BY reason
"""

SPANS: Final = """
    SELECT stage, toInt64(intDiv(toUnixTimestamp64Milli(min(time)), {tick})) AS first,
        toInt64(intDiv(toUnixTimestamp64Milli(max(time)), {tick})) AS last
    FROM (
        SELECT stage, time FROM evidence WHERE {whose} UNION ALL SELECT stage, time FROM cohort_ticks WHERE {whose}
    )
    GROUP BY stage ORDER BY first, stage
"""

EFFECTS: Final = """
    SELECT stage, metric, edge, {step} AS step,
        argMax(evidence.effect, time) AS effect, argMax(evidence.lower, time) AS lower,
        argMax(evidence.upper, time) AS upper, argMax(evidence.mde, time) AS mde,
        argMax(evidence.log_e, time) AS log_e, max({found}) AS log_e_max
    FROM evidence WHERE {whose} AND level = 'fleet'
    GROUP BY stage, metric, edge, step ORDER BY stage, metric, edge, step
"""

SIDES: Final = """
    SELECT stage, metric, edge, step, sum(c) AS canary, sum(co) AS canary_of,
        ifNull(minOrNull(cv), nan) AS canary_min, ifNull(maxOrNull(cv), nan) AS canary_max,
        sum(k) AS control, sum(ko) AS control_of,
        ifNull(minOrNull(kv), nan) AS control_min, ifNull(maxOrNull(kv), nan) AS control_max,
        toInt64(count()) AS ticks, toInt64(countIf(isNull(cv) OR isNull(kv))) AS empty
    FROM (
        SELECT stage, metric, edge, {step} AS step, sum(top) AS c, sum(of) AS co,
            sumIf(of * other / other_of, of > 0 AND other_of > 0) AS k, sumIf(of, of > 0 AND other_of > 0) AS ko,
            if(co > 0, c / co, NULL) AS cv, if(ko > 0, k / ko, NULL) AS kv
        FROM (
            SELECT stage, metric, edge, time, colo,
                sumIf(bad + sum, cohort = 'canary') AS top, sumIf(total + units, cohort = 'canary') AS of,
                sumIf(bad + sum, cohort = 'control') AS other, sumIf(total + units, cohort = 'control') AS other_of
            FROM cohort_ticks WHERE {whose} AND metric = {metric}
            GROUP BY stage, metric, edge, time, colo
        )
        GROUP BY stage, metric, edge, time
    )
    GROUP BY stage, metric, edge, step ORDER BY stage, metric, edge, step
"""

PARTS: Final = """
    SELECT metric, time, edge, if(evidence.level = 'stratum', 'colo', evidence.level) AS level,
        toInt64(count()) AS tests, groupArray({found}) AS all, arrayMax(all) AS top,
        if(top = -inf, -inf, top + log(arraySum(x -> exp(x - top), all))) AS log_e_sum
    FROM evidence WHERE {whose} AND metric = {metric}
    GROUP BY metric, time, edge, level ORDER BY metric, time, edge, level
"""

HEAT: Final = """
    SELECT place AS colo, {step} AS step, max({found}) AS log_e,
        argMin(evidence.metric, (-{found}, time, evidence.metric)) AS metric
    FROM evidence WHERE {whose} AND level IN ('colo', 'stratum')
    GROUP BY colo, step ORDER BY colo, step
"""

SILENT: Final = """
    SELECT colo, cohort, sum(bad) AS silent, sum(total) AS seen, max(bad) AS silent_max, max(total) AS units
    FROM cohort_ticks WHERE {whose} AND metric = {metric} GROUP BY colo, cohort ORDER BY colo, cohort
"""
