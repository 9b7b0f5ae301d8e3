SELECT
    $__timeInterval(minute) AS bucket,
    argMax(if(isFinite(effect), effect, NULL), time) AS estimate,
    argMax(if(isFinite(lower), lower, NULL), time) AS low,
    argMax(if(isFinite(upper), upper, NULL), time) AS high,
    argMax(if(isFinite(mde), mde, NULL), time) AS visible
FROM holdfast.health
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND metric = ${metric:singlequote}
    AND level = 'fleet'
    AND $__conditionalAll(stage IN (${stage:singlequote}), $stage)
    AND $__timeFilter(minute)
GROUP BY bucket
ORDER BY bucket
