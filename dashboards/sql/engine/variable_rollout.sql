SELECT rollout
FROM holdfast.current
WHERE origin = 'live'
ORDER BY time DESC, rollout
LIMIT 1000
