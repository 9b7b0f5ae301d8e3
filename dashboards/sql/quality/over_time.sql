SELECT $__timeInterval(time) AS bucket, outcome, count() AS rollouts
FROM holdfast.outcomes
WHERE $__conditionalAll(origin IN (${origin:singlequote}), $origin) AND $__timeFilter_ms(time)
GROUP BY bucket, outcome
ORDER BY bucket, outcome
