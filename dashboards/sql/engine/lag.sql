SELECT $__timeInterval(time) AS bucket, rollout, max(lag) AS seconds
FROM holdfast.decisions
WHERE $__conditionalAll(rollout IN (${rollout:singlequote}), $rollout) AND $__timeFilter_ms(time)
    AND rollout IN
    (
        SELECT rollout
        FROM holdfast.decisions
        WHERE $__conditionalAll(rollout IN (${rollout:singlequote}), $rollout) AND $__timeFilter_ms(time)
        GROUP BY rollout
        ORDER BY max(lag) DESC, rollout
        LIMIT 20
    )
GROUP BY bucket, rollout
ORDER BY bucket, rollout
