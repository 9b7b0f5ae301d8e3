SELECT
    JSONExtractString(abstained, 'metric') AS metric,
    JSONExtractString(abstained, 'colo') AS colo,
    JSONExtract(abstained, 'minimum_detectable_effect', 'Nullable(Float64)') AS smallest_visible,
    JSONExtractString(abstained, 'why') AS why
FROM
(
    SELECT body
    FROM holdfast.verdicts FINAL
    WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote}
        AND $__conditionalAll(stage IN (${stage:singlequote}), $stage)
        AND time <= $__toTime_ms
    ORDER BY sequence DESC
    LIMIT 1
)
ARRAY JOIN JSONExtractArrayRaw(body, 'data', 'abstained') AS abstained
LIMIT 500
