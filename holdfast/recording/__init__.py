"""Recordings out of what keeps metrics: Kafka, ClickHouse, Prometheus, Parquet and CSV."""
