SELECT stage
FROM holdfast.verdicts FINAL
WHERE rollout = ${rollout:singlequote} AND origin = ${origin:singlequote}
GROUP BY stage
ORDER BY min(sequence)
