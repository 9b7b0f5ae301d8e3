"""Durations that a caller gives by name: one clear error where there is none."""

from detectors.policy import duration_ms
from holdfast.errors import BadInput


def seconds_of(name: str, text: str) -> float:
    """Read a duration longer than 0, in seconds.

    Raises
    ------
    BadInput
        If it is none; the text begins with `name`.
    """
    try:
        found = duration_ms(text)
    except ValueError as error:
        message = f"{name}: found {text!r}; {error}"
        raise BadInput(message) from error
    if found == 0:
        message = f"{name}: found {text!r}; allowed: longer than 0"
        raise BadInput(message)
    return found / 1_000
