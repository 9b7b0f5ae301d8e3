"""The clock on the wall: read here and nowhere else, for what is told to people and what is patience."""

import time
from datetime import UTC, datetime, timedelta


def now_ms() -> int:
    """Return the time of day in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def now() -> datetime:
    """Return the time of day, in UTC."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=now_ms())
