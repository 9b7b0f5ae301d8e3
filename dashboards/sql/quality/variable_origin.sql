SELECT origin
FROM holdfast.outcomes
GROUP BY origin
ORDER BY origin != 'live', origin
LIMIT 1000
