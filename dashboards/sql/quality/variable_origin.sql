SELECT source AS origin
FROM holdfast.truths
GROUP BY origin
ORDER BY origin != 'live', origin
LIMIT 1000
