SELECT
    rollout,
    stage,
    action,
    cause,
    time AS since,
    if(binding, 'enforce', 'shadow') AS mode,
    if(action IN ('halt', 'revert'), arrayStringConcat(colos, ', '), '') AS colos_hurt,
    if(action IN ('halt', 'revert'), arrayStringConcat(metrics, ', '), '') AS metrics_blamed
FROM holdfast.active
WHERE origin = ${origin:singlequote}
ORDER BY indexOf(['revert', 'halt', 'wait', 'advance'], action), since DESC, rollout
LIMIT 500
