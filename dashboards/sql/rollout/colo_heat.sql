SELECT bucket, colo, log10_e
FROM
(
    SELECT bucket, colo, greatest(log_e / log(10), 0) AS log10_e, dense_rank() OVER (ORDER BY most DESC, colo) AS place
    FROM
    (
        SELECT
            $__timeInterval(minute) AS bucket,
            place AS colo,
            max(log_e_max) AS log_e,
            max(log_e) OVER (PARTITION BY colo) AS most
        FROM holdfast.health_minutes
        WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND level = 'colo'
            AND $__conditionalAll(metric IN (${metric:singlequote}), $metric)
            AND $__conditionalAll(stage IN (${stage:singlequote}), $stage)
            AND $__timeFilter(minute)
        GROUP BY bucket, colo
        HAVING log_e != -1e308
    )
)
WHERE place <= 40
ORDER BY bucket, colo
