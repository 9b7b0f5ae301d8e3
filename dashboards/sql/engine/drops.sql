SELECT $__timeInterval(time) AS bucket, reason, sum(number) / $__interval_s AS per_second
FROM holdfast.decisions
ARRAY JOIN reasons AS reason, dropped AS number
WHERE $__conditionalAll(rollout IN (${rollout:singlequote}), $rollout) AND $__timeFilter_ms(time)
GROUP BY bucket, reason
ORDER BY bucket, reason
