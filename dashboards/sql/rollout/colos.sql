SELECT
    colo,
    metric AS worst_metric,
    stage,
    if(isFinite(log_e), log_e / log(10), NULL) AS log10_e,
    effect,
    if(isFinite(lower), lower, NULL) AS low,
    if(isFinite(upper), upper, NULL) AS high,
    has(
        (
            SELECT groupArrayArray(colos)
            FROM holdfast.current
            WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND action IN ('halt', 'revert')
        ),
        colo
    ) AS is_hurt
FROM holdfast.heat
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND minute =
(
    SELECT max(minute)
    FROM holdfast.heat
    WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND $__timeFilter(minute)
)
ORDER BY is_hurt DESC, log_e DESC, colo
LIMIT 500
