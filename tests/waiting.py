"""How tests wait: for a condition, never for a time, and so long that only what never comes takes all of it."""

import time
from collections.abc import Callable
from typing import Final

WAIT_S: Final = 300.0
"""Longer than anything takes on a machine that is five times slower and has other work besides."""


def until(is_so: Callable[[], object], why: Callable[[], object] = lambda: "not so in time") -> None:
    """Wait for something to be so; if it does not come, fail with a reason."""
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end, why()
        time.sleep(0.1)
