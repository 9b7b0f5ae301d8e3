"""A file of settings that says everything that can be said."""

EVERYTHING = """\
kafka:
  bootstrap.servers: one:9092,two:9092
  linger.ms: 20
metrics:
  - topic: edge
  - topic: core
    keyed: false
prefix: hf
topics:
  verdicts: decisions
partitions: 24
replication: 3
retention: 7d
worker: a
session_timeout: 20s
transaction_timeout: 30s
patience: 1m
heartbeat: 5s
evidence: false
checkpoint_ticks: 10
batch_messages: 500
http:
  host: 0.0.0.0
  port: 8080
log:
  level: warning
  form: json
signing:
  key: keys/sign.pem
  id: k1
trusted_keys:
  k1: keys/k1.pem
gate:
  required: true
  engine: any
people: people.yaml
former_people:
  - people-2025.yaml
response:
  document: response.yaml
drift:
  exercised_within: 60d
  drilled_within: 30d
  expiring_within: 30m
  stuck_after: 2h
  silent_after: 5m
  sent_within: 30m
  policies:
    - edge.yaml
  baseline: baseline.yaml
  leave_out:
    - no-drill
data: kept
clickhouse:
  host: clickhouse-1
  port: 9440
  user: holdfast
  password: hush
  database: rollouts
  cluster: main
  secure: true
  verify: false
  ca_file: ca.pem
  compression: none
  batch:
    rows: 50000
    seconds: 1s
  keep_days:
    cohort_ticks: 30
    evidence: 30
    verdicts: 730
    ticks: 90
    dead_letters: 90
    audit: 3650
    health_minutes: 365
    colo_minutes: 365
api:
  host: 0.0.0.0
  port: 8443
  tokens: tokens.yaml
  open_probes: true
  certificate: api.pem
  key: api.key
  body_bytes_max: 1000000
  requests_max: 8
  timeout: 10s
  stale_after: 30s
  history: 1d
  webhooks:
    - name: chat
      url: https://chat.example.com/hook
      secret: chat.secret
      actions:
        - halt
        - revert
      attempts: 3
      timeout: 5s
      backoff: 2s
      backoff_max: 10s
notify:
  attempts: 4
  timeout: 20s
  backoff: 1s
  backoff_max: 30s
  age_max: 2h
  link: https://status.example.com/incidents/{incident}
status:
  host: 0.0.0.0
  port: 8444
  url: https://status.example.com
  title: Example status
  folder: site
  tokens: tokens.yaml
  certificate: status.pem
  key: status.key
  behind_proxy: true
  stale_after: 2m
  requests_max: 32
  streams_max: 100
  streams_per_client: 5
  secret: status.secret
  mail:
    host: mail.example.com
    port: 465
    security: tls
    sender: status@example.com
    user: status
    password: mail.password
    timeout: 5s
    per_minute: 100
  subscribers_max: 5000
deployer:
  webhook:
    attempts: 4
    backoff: 2s
    backoff_max: 10s
    again_after: 30s
    url: https://deploy.example.com/orders
    secret: deploy.secret
    timeout: 20s
  command:
"""
