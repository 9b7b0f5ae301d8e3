WITH
    units AS
    (
        SELECT rollout, colo, sum(canary) AS reached, sum(canary) + argMax(control, (time, stage)) AS known
        FROM holdfast.reach
        WHERE origin = ${origin:singlequote}
        GROUP BY rollout, colo
    ),
    fleet AS (SELECT colo, max(known) AS units FROM units GROUP BY colo)
SELECT
    now.rollout AS rollout,
    countIf(units.reached > 0) / (SELECT count() FROM fleet) AS colos_reached,
    sum(units.reached) / (SELECT sum(units) FROM fleet) AS units_reached,
    if(any(now.action) IN ('halt', 'revert'), length(any(now.colos)), 0) / (SELECT count() FROM fleet) AS colos_hurt
FROM holdfast.active AS now
INNER JOIN units ON units.rollout = now.rollout
WHERE now.origin = ${origin:singlequote}
GROUP BY now.rollout
ORDER BY colos_hurt DESC, units_reached DESC, rollout
LIMIT 100
