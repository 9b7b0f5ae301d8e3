"""A circuit breaker: after a failure nothing is asked for a while, which grows with each further one."""

import zlib
from typing import Final, Literal

import numpy as np

State = Literal["closed", "open", "half-open"]

_SECONDS: Final = (0.5, 60.0)
"""After how long it is tried again at first, and at most."""


class Breaker:
    """Says when to ask.

    `closed`: all is well. `open`: it failed, and is left alone. `half-open`: it is tried again. Pauses double with each
    failure and are drawn from their upper half, so that workers that failed together do not come back together.

    Parameters
    ----------
    seed
        Tells this worker's pauses from others'.
    """

    def __init__(self, seed: str) -> None:
        self._random = np.random.default_rng(zlib.crc32(seed.encode()))
        self._failures = 0
        self._until: float | None = None

    def state(self, now: float) -> State:
        """Tell how it stands."""
        if self._until is None:
            return "closed"
        return "open" if now < self._until else "half-open"

    def failed(self, now: float) -> float:
        """Note a failure, and return how many seconds to leave it alone."""
        shortest, longest = _SECONDS
        pause = min(longest, shortest * 2.0**self._failures) * self._random.uniform(0.5, 1.0)
        self._failures += 1
        self._until = now + pause
        return pause

    def succeeded(self) -> None:
        """Note that it works."""
        self._failures, self._until = 0, None
