SELECT
    $__timeInterval(time) AS bucket,
    cohort,
    if(sum(total) > 0, sum(bad) / sum(total), sum(sum) / nullIf(sum(units), 0)) AS level
FROM holdfast.cohort_ticks FINAL
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND metric = ${metric:singlequote}
    AND $__conditionalAll(stage IN (${stage:singlequote}), $stage)
    AND $__timeFilter_ms(time)
    AND edge =
    (
        SELECT argMax(edge, log_e)
        FROM holdfast.evidence FINAL
        WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND metric = ${metric:singlequote}
            AND level = 'fleet'
            AND $__conditionalAll(stage IN (${stage:singlequote}), $stage)
            AND $__timeFilter_ms(time)
    )
GROUP BY bucket, cohort
ORDER BY bucket, cohort
