SELECT bucket, rollout, seconds
FROM
(
    SELECT bucket, rollout, seconds, dense_rank() OVER (ORDER BY longest DESC, rollout) AS place
    FROM
    (
        SELECT $__timeInterval(time) AS bucket, rollout, max(lag) AS seconds, max(seconds) OVER (PARTITION BY rollout) AS longest
        FROM holdfast.decisions
        WHERE $__conditionalAll(rollout IN (${rollout:singlequote}), $rollout) AND $__timeFilter_ms(time)
        GROUP BY bucket, rollout
    )
)
WHERE place <= 20
ORDER BY bucket, rollout
