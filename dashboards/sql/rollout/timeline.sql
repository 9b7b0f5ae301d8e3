SELECT greatest(time, $__fromTime_ms) AS shown, action AS verdict, cause, stage
FROM holdfast.timeline
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote}
    AND time <= $__toTime_ms AND until > $__fromTime_ms
ORDER BY sequence
LIMIT 10000
