"""How long to wait before something is tried again."""

import hashlib
from typing import Final

_STEPS: Final = 1 << 16


def pause_ms(first_ms: int, longest_ms: int, attempt: int, *names: str) -> float:
    """Return how long to wait after an attempt: twice as long each time, within its bound, and of that half to all.

    The share is a function of what the names say and of the attempt, so that many who wait do not all come back at
    once, and the same wait can be worked out again.

    Parameters
    ----------
    first_ms, longest_ms
        The bounds of the pause, in milliseconds.
    attempt
        Which attempt has failed, from 1 on.
    names
        Whose attempt, and at what.

    Examples
    --------
    >>> [round(pause_ms(1_000, 3_000, attempt, "a", "e")) for attempt in (1, 2, 3)]
    [581, 1579, 2271]
    """
    longest = min(longest_ms, first_ms << min(attempt - 1, 40))
    digest = hashlib.sha256("\n".join((*names, str(attempt))).encode()).digest()
    return longest * (0.5 + int.from_bytes(digest[:2], "big") / _STEPS / 2)
