WITH
    JSONExtractFloat(policy_document, 'alpha') AS alpha,
    arrayMap(metric -> JSONExtractFloat(metric, 'weight'), JSONExtractArrayRaw(policy_document, 'metrics')) AS weights,
    length(JSONExtractArrayRaw(document, 'stages')) AS stages
SELECT
    arrayJoin([$__fromTime, $__toTime]) AS bucket,
    -log10(alpha) AS `1 / alpha`,
    log10(2 * stages * (arraySum(weights) + 1) / least(arrayMin(weights), 1) / alpha) AS `stops by itself`
FROM holdfast.rollouts FINAL
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote} AND alpha > 0
    AND JSONExtractString(policy_document, 'judge') != 'classical'
ORDER BY bucket
