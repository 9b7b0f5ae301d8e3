SELECT
    effective_at AS time,
    if(stage = '', concat(rollout, ' ', event), concat(stage, ' ', event)) AS text,
    event AS tags
FROM holdfast.rollout_events FINAL
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND $__timeFilter_ms(effective_at)
ORDER BY number
