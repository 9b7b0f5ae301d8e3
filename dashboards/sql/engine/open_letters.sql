SELECT
    max(time) AS latest,
    from_topic,
    reason,
    count() AS letters,
    sum(bytes) AS bytes_all,
    argMax(concat(splitByChar('/', source)[-1], ':', toString(version)), (time, version)) AS newest_at,
    argMax(worker, (time, version)) AS newest_by
FROM holdfast.dead_letters FINAL
WHERE NOT is_redriven AND $__timeFilter_ms(time)
    AND (source, version) NOT IN
    (
        SELECT source, from_offset
        FROM holdfast.dead_letters FINAL
        WHERE is_redriven AND time >= $__fromTime_ms
    )
GROUP BY from_topic, reason
ORDER BY latest DESC, from_topic, reason
LIMIT 100
