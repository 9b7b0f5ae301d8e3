SELECT cause, count() AS false_alarms
FROM holdfast.outcomes
WHERE $__conditionalAll(origin IN (${origin:singlequote}), $origin) AND $__timeFilter_ms(time)
    AND outcome = 'false alarm'
GROUP BY cause
ORDER BY false_alarms DESC, cause
