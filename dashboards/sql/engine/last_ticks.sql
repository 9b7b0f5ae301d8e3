SELECT
    rollout,
    max(time) AS last_tick,
    dateDiff('second', last_tick, least(now64(3, 'UTC'), $__toTime_ms)) AS silent,
    argMax(lag, time) AS last_lag,
    argMax(samples, time) AS last_samples,
    sum(arraySum(dropped)) / nullIf(sum(samples) + sum(arraySum(dropped)), 0) AS dropped_share,
    argMax(is_live, time) AS under_way
FROM holdfast.decisions
WHERE $__conditionalAll(rollout IN (${rollout:singlequote}), $rollout) AND $__timeFilter_ms(time)
GROUP BY rollout
ORDER BY silent DESC, rollout
LIMIT 500
