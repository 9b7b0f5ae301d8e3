SELECT origin
FROM holdfast.current
GROUP BY origin
ORDER BY origin != 'live', origin
LIMIT 1000
