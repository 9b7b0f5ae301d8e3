SELECT
    if(origin = 'live', 'live', 'replay') AS kind,
    countIf(NOT bad) AS harmless,
    countIf(outcome = 'false alarm' AND NOT bad) AS false_alarms,
    false_alarms / nullIf(harmless, 0) AS false_alarm_share,
    countIf(outcome = 'false alarm' AND NOT bad AND cause = 'evidence') / nullIf(harmless, 0) AS by_evidence_share,
    avgIf(alpha, NOT bad AND alpha > 0) AS alpha_mean,
    countIf(bad) AS harmful,
    countIf(outcome = 'missed') AS missed_ones,
    missed_ones / nullIf(harmful, 0) AS missed_share,
    countIf(outcome = 'late') AS late_ones,
    countIf(is_misplaced) AS misplaced
FROM holdfast.outcomes
WHERE $__conditionalAll(origin IN (${origin:singlequote}), $origin) AND $__timeFilter_ms(time) AND outcome != 'unjudged'
GROUP BY kind
ORDER BY kind
