"""Data going out: verdicts as CloudEvents, and the store in ClickHouse."""
