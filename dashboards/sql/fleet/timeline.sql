SELECT greatest(began, $__fromTime_ms) AS shown, rollout, state
FROM
(
    SELECT time AS began, until, rollout, action AS state
    FROM holdfast.timeline
    WHERE origin = ${origin:singlequote}
    UNION ALL
    SELECT effective_at AS began, toDateTime64('2200-01-01 00:00:00', 3, 'UTC') AS until, rollout, 'finished' AS state
    FROM holdfast.rollout_events FINAL
    WHERE origin = ${origin:singlequote} AND event = 'finished'
)
WHERE began <= $__toTime_ms AND until > $__fromTime_ms AND rollout IN
(
    SELECT rollout
    FROM holdfast.current
    WHERE origin = ${origin:singlequote}
    ORDER BY time DESC
    LIMIT 40
)
ORDER BY shown, began, rollout
LIMIT 10000
