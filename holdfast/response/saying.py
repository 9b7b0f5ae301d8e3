"""What people say of an incident, read as strictly as it is read from the topic: what is wrong is said in one line."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from detectors.policy import duration_ms
from holdfast.errors import BadInput
from rollouts.incidents.history import UNSEEN, IncidentId

_UNSEEN: Final = re.compile(f"[{UNSEEN}]")
_LINES: Final = frozenset("\t\n")

TITLE_MAX: Final = 200
TEXT_MAX: Final = 5_000
PERSON_MAX: Final = 100


def line(what: str, text: str, longest: int = TITLE_MAX) -> str:
    """Return one line of text without what surrounds it.

    Raises
    ------
    BadInput
        If it is empty or longer than `longest`, or has a character that nobody sees.
    """
    return _checked(what, text.strip(), longest, frozenset())


def lines(what: str, text: str) -> str:
    """Return lines of text; raises as `line` does."""
    return _checked(what, text.replace("\r\n", "\n").strip(), TEXT_MAX, _LINES)


def person(text: str) -> str:
    """Return the name of a person; raises as `line` does."""
    return line("--by", text, PERSON_MAX)


def incident_id(text: str) -> IncidentId:
    """Return the id of an incident; `BadInput` if it is none."""
    try:
        return msgspec.convert(text, IncidentId)
    except msgspec.ValidationError as error:
        message = f"incident: found {text[:100]!r}; allowed: an id, as in inc-20260312-0a1b2c3d"
        raise BadInput(message) from error


def when(what: str, text: str, now: datetime) -> datetime:
    """Read a duration from now on, or a day or time of the calendar.

    Raises
    ------
    BadInput
        If it is neither, or has passed.
    """
    try:
        at = now + timedelta(milliseconds=duration_ms(text))
    except ValueError:
        try:
            at = datetime.fromisoformat(text)
        except ValueError as error:
            message = f"{what}: found {text[:40]!r}; allowed: a duration, as in 30m or 14d, or a day, as in 2026-04-01"
            raise BadInput(message) from error
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    if at <= now:
        message = f"{what}: found {text[:40]!r}, which has passed; allowed: later than now"
        raise BadInput(message)
    return at


def _checked(what: str, text: str, longest: int, allowed: frozenset[str]) -> str:
    unseen = next((found[0] for found in _UNSEEN.finditer(text) if found[0] not in allowed), None)
    if unseen is not None:
        message = f"{what}: found the character U+{ord(unseen):04X}, which nobody sees; allowed: text that is plain"
        raise BadInput(message)
    if not 1 <= len(text) <= longest:
        message = f"{what}: found {len(text)} characters; allowed: 1 to {longest}"
        raise BadInput(message)
    return text
