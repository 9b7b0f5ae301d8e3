"""Fetching what tests need, by one process at a time.

Several test processes begin at once, and on a new machine with the same servers: Debian's lists of packages and Maven's
repository are not made for that.
"""

import fcntl
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

LOCK = Path(__file__).resolve().parent.parent / ".fetching"


P = ParamSpec("P")
R = TypeVar("R")


def one_at_a_time(fetch: Callable[P, R]) -> Callable[P, R]:
    """Have a function wait until no other process of this checkout is in one of these."""

    @wraps(fetch)
    def alone(*args: P.args, **kwargs: P.kwargs) -> R:
        with LOCK.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return fetch(*args, **kwargs)

    return alone
