SELECT
    time,
    rollout,
    origin,
    outcome,
    if(bad, 'harmful', 'harmless') AS truth,
    arrayStringConcat(expect, ' or ') AS expected,
    ended,
    cause,
    if(toUnixTimestamp64Milli(onset) = 0, NULL, onset) AS harm_began,
    if(isFinite(delay_ticks), delay_ticks, NULL) AS ticks_after_onset,
    nullIf(within_ticks, 0) AS due_within,
    arrayStringConcat(colos_hurt, ', ') AS hurt,
    arrayStringConcat(colos_blamed, ', ') AS blamed
FROM holdfast.outcomes
WHERE $__conditionalAll(origin IN (${origin:singlequote}), $origin) AND $__timeFilter_ms(time)
    AND (outcome IN ('false alarm', 'missed', 'late', 'unjudged') OR is_misplaced OR NOT is_expected)
ORDER BY indexOf(['false alarm', 'missed', 'late', 'caught', 'passed', 'unjudged'], outcome), time DESC, rollout, origin
LIMIT 500
