SELECT outcome, count() AS rollouts
FROM holdfast.outcomes
WHERE $__conditionalAll(origin IN (${origin:singlequote}), $origin) AND $__timeFilter_ms(time)
GROUP BY outcome
ORDER BY indexOf(['false alarm', 'missed', 'late', 'caught', 'passed', 'unjudged'], outcome)
