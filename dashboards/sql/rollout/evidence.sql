SELECT $__timeInterval(minute) AS bucket, metric, greatest(max(log_e_greatest) / log(10), -3) AS log10_e
FROM holdfast.health
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND level = 'fleet'
    AND $__conditionalAll(metric IN (${metric:singlequote}), $metric)
    AND $__conditionalAll(stage IN (${stage:singlequote}), $stage)
    AND $__timeFilter(minute)
GROUP BY bucket, metric
HAVING max(log_e_greatest) != -1e308
ORDER BY bucket, metric
