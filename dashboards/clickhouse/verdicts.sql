-- The verdict topic as a table, read by ClickHouse itself: for the dashboard that docker-compose.yml brings up.
CREATE DATABASE IF NOT EXISTS live;

CREATE TABLE IF NOT EXISTS live.messages (message String)
ENGINE = Kafka
SETTINGS kafka_broker_list = 'kafka:9092', kafka_topic_list = 'holdfast.verdicts',
    kafka_group_name = 'holdfast-dashboard', kafka_format = 'JSONAsString';

CREATE TABLE IF NOT EXISTS live.verdicts
(
    rollout String,
    time DateTime64(3, 'UTC') COMMENT 'end of the last tick used',
    sequence UInt64,
    stage String,
    action String,
    binding Bool,
    colos Array(String),
    reasons Array(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (rollout, sequence);

-- Heartbeats are on the topic too.
CREATE MATERIALIZED VIEW IF NOT EXISTS live.verdicts_of_messages TO live.verdicts AS
SELECT
    JSONExtractString(message, 'subject') AS rollout,
    parseDateTime64BestEffort(JSONExtractString(message, 'time'), 3, 'UTC') AS time,
    JSONExtractUInt(message, 'data', 'sequence') AS sequence,
    JSONExtractString(message, 'data', 'stage') AS stage,
    JSONExtractString(message, 'data', 'action') AS action,
    JSONExtractBool(message, 'data', 'binding') AS binding,
    JSONExtract(message, 'data', 'scope', 'colos', 'Array(String)') AS colos,
    arrayMap(reason -> JSONExtractString(reason, 'sentence'), JSONExtractArrayRaw(message, 'data', 'reasons')) AS reasons
FROM live.messages
WHERE JSONExtractString(message, 'type') = 'dev.holdfast.verdict.v1';
