SELECT
    place AS colo,
    argMax(metric, log_e_greatest) AS worst_metric,
    max(log_e_greatest) / log(10) AS log10_e,
    argMax(effect, log_e_greatest) AS effect_last,
    argMax(lower, log_e_greatest) AS lower_last,
    argMax(upper, log_e_greatest) AS upper_last,
    has(
        (
            SELECT groupArrayArray(colos)
            FROM holdfast.current
            WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND action IN ('halt', 'revert')
        ),
        place
    ) AS is_hurt
FROM holdfast.health
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND level = 'colo'
    AND $__conditionalAll(metric IN (${metric:singlequote}), $metric)
    AND $__conditionalAll(stage IN (${stage:singlequote}), $stage)
    AND minute =
    (
        SELECT max(minute)
        FROM holdfast.health
        WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND level = 'fleet'
            AND $__conditionalAll(stage IN (${stage:singlequote}), $stage)
            AND $__timeFilter(minute)
    )
GROUP BY colo
HAVING log10_e > -1e300
ORDER BY is_hurt DESC, log10_e DESC, colo
LIMIT 500
