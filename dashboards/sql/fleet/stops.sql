SELECT
    time,
    rollout,
    stage,
    action,
    cause,
    if(binding, 'enforce', 'shadow') AS mode,
    arrayStringConcat(colos, ', ') AS colos_hurt,
    JSONExtractString(body, 'data', 'reasons', 1, 'sentence') AS why
FROM holdfast.verdicts FINAL
WHERE origin = ${origin:singlequote} AND action IN ('halt', 'revert') AND $__timeFilter_ms(time)
ORDER BY time DESC, rollout, sequence DESC
LIMIT 100
