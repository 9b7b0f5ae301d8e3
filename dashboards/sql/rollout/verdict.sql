SELECT
    action,
    cause,
    stage,
    time AS since,
    if(binding, 'enforce', 'shadow') AS mode,
    arrayStringConcat(colos, ', ') AS colos,
    arrayStringConcat(metrics, ', ') AS metrics
FROM holdfast.current
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote}
