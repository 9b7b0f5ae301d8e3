SELECT delay_ticks
FROM holdfast.outcomes
WHERE $__conditionalAll(origin IN (${origin:singlequote}), $origin) AND $__timeFilter_ms(time) AND isFinite(delay_ticks)
ORDER BY delay_ticks
LIMIT 100000
