SELECT rollout
FROM holdfast.current
WHERE origin = ${origin:singlequote}
ORDER BY time DESC, rollout
LIMIT 1000
