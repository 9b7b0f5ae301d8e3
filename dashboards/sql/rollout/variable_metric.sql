SELECT arrayJoin(arrayPushBack(
    arrayMap(metric -> JSONExtractString(metric, 'name'), JSONExtractArrayRaw(policy_document, 'metrics')),
    'reporting_hosts'
)) AS metric
FROM holdfast.rollouts FINAL
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote}
