SELECT
    arrayJoin(metrics) AS metric,
    count() AS harmful,
    countIf(outcome IN ('caught', 'late')) AS stopped_right,
    countIf(outcome = 'missed') AS missed_ones,
    countIf(outcome = 'false alarm') AS too_early,
    quantileExactIf(0.5)(delay, isFinite(delay)) AS delay_p50,
    quantileExactIf(0.9)(delay, isFinite(delay)) AS delay_p90
FROM holdfast.outcomes
WHERE $__conditionalAll(origin IN (${origin:singlequote}), $origin) AND $__timeFilter_ms(time)
    AND bad AND outcome != 'unjudged'
GROUP BY metric
ORDER BY missed_ones DESC, harmful DESC, metric
LIMIT 200
