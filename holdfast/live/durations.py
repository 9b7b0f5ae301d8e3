"""Durations and times as people write them."""

from datetime import datetime

from msgspec import Meta

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


def zoned(text: str) -> datetime | None:
    """Read a time with its zone; None if it is none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if found.tzinfo is None else found


def between(shortest: str, longest: str) -> Meta:
    """Describe a setting that is a duration with bounds."""
    words = f"a number and its unit (ms, s, m, h or d), from {shortest} to {longest}"

    def parse(text: str) -> None:
        if not duration_ms(shortest) <= duration_ms(text) <= duration_ms(longest):
            message = f"allowed: {words}"
            raise ValueError(message)

    pattern = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$"
    return Meta(max_length=32, pattern=pattern, extra={"allowed": words, "parse": parse})
