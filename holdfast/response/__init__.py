"""Incidents on Kafka: kept, opened by verdicts, and changed by people. None of it is on the way of a verdict."""
