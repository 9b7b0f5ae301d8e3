SELECT $__timeInterval(minute) AS bucket, place AS colo, greatest(max(log_e_greatest) / log(10), 0) AS log10_e
FROM holdfast.health
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND level = 'colo'
    AND $__conditionalAll(metric IN (${metric:singlequote}), $metric)
    AND $__conditionalAll(stage IN (${stage:singlequote}), $stage)
    AND $__timeFilter(minute)
    AND place IN
    (
        SELECT place
        FROM holdfast.health
        WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND level = 'colo'
            AND $__conditionalAll(metric IN (${metric:singlequote}), $metric)
            AND $__conditionalAll(stage IN (${stage:singlequote}), $stage)
            AND $__timeFilter(minute)
        GROUP BY place
        ORDER BY max(log_e_greatest) DESC, place
        LIMIT 40
    )
GROUP BY bucket, colo
HAVING max(log_e_greatest) != -1e308
ORDER BY bucket, colo
