SELECT
    $__timeInterval(time) AS bucket,
    quantileExact(0.5)(lag) AS p50,
    quantileExact(0.99)(lag) AS p99,
    max(lag) AS longest
FROM holdfast.decisions
WHERE $__conditionalAll(rollout IN (${rollout:singlequote}), $rollout) AND $__timeFilter_ms(time)
GROUP BY bucket
ORDER BY bucket
