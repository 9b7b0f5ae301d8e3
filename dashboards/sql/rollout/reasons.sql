SELECT
    time,
    action,
    cause,
    stage,
    JSONExtractString(reason, 'metric') AS metric,
    JSONExtractString(reason, 'colo') AS colo,
    JSONExtract(reason, 'effect', 'Nullable(Float64)') AS effect,
    JSONExtract(reason, 'interval', 1, 'Nullable(Float64)') AS low,
    JSONExtract(reason, 'interval', 2, 'Nullable(Float64)') AS high,
    JSONExtractFloat(reason, 'e_value') AS e_value,
    JSONExtractFloat(reason, 'samples', 'canary') AS canary_samples,
    JSONExtractFloat(reason, 'samples', 'control') AS control_samples,
    JSONExtractString(reason, 'sentence') AS sentence
FROM holdfast.verdicts FINAL
ARRAY JOIN JSONExtractArrayRaw(body, 'data', 'reasons') AS reason
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote}
    AND $__conditionalAll(stage IN (${stage:singlequote}), $stage)
    AND $__timeFilter_ms(time)
ORDER BY sequence DESC, colo != '', e_value DESC, metric, colo
LIMIT 500
