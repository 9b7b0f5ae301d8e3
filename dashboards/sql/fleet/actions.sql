SELECT action, count() AS rollouts
FROM holdfast.active
WHERE origin = ${origin:singlequote}
GROUP BY action
ORDER BY indexOf(['revert', 'halt', 'wait', 'advance'], action)
