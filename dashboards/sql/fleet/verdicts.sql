SELECT $__timeInterval(time) AS bucket, action, count() AS verdicts
FROM holdfast.verdicts FINAL
WHERE origin = ${origin:singlequote} AND $__timeFilter_ms(time)
GROUP BY bucket, action
ORDER BY bucket, action
