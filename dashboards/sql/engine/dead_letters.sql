SELECT $__timeInterval(time) AS bucket, from_topic, count() AS letters
FROM holdfast.dead_letters FINAL
WHERE NOT is_redriven AND $__timeFilter_ms(time)
GROUP BY bucket, from_topic
ORDER BY bucket, from_topic
