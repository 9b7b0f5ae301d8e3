SELECT $__timeInterval(time) AS bucket, sum(samples) / $__interval_s AS samples_per_second, count() / $__interval_s AS ticks_per_second
FROM holdfast.decisions
WHERE $__conditionalAll(rollout IN (${rollout:singlequote}), $rollout) AND $__timeFilter_ms(time)
GROUP BY bucket
ORDER BY bucket
