"""States, severities and times in words; and texts that people wrote, made fit to be shown."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final

from holdfast.status.snapshot import Kind, PublicPhase, State
from rollouts.incidents.history import Severity

STATE: Final[dict[State, str]] = {
    "operational": "Operational",
    "unknown": "Unknown",
    "degraded": "Degraded",
    "partial-outage": "Partial outage",
    "outage": "Outage",
}
HEADLINE: Final[dict[State, str]] = {
    "operational": "All services are operational",
    "unknown": "Nothing is known to be wrong, but not everything is known",
    "degraded": "Some services are degraded",
    "partial-outage": "Some services are partly out",
    "outage": "Some services are out",
}
SEVERITY: Final[dict[Severity, str]] = {"critical": "Outage", "major": "Partial outage", "minor": "Degraded service"}
"""What an incident is called where everybody reads it."""

PHASE: Final[dict[PublicPhase, str]] = {"open": "Ongoing", "mitigated": "Mitigated", "resolved": "Resolved"}
KIND: Final[dict[Kind, str]] = {
    "opened": "Opened",
    "updated": "Update",
    "mitigated": "Mitigated",
    "resolved": "Resolved",
    "reopened": "Reopened",
}
SAID: Final[dict[Kind, str]] = {
    "opened": "We know of this and are looking into it.",
    "updated": "",
    "mitigated": "Services work again. We go on watching them.",
    "resolved": "This is over.",
    "reopened": "This was not over. We are looking into it again.",
}
"""What is said in public of what has no public text of its own: the words of those who respond are theirs."""

_UNFIT: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
"""Control characters, those that turn the direction of text or cannot be seen, and those that XML does not have."""


def fit(text: str) -> str:
    r"""Put a text into a form that can be shown anywhere: what cannot be seen is replaced, lines end alike.

    Examples
    --------
    >>> fit("a\r\nb\x00\u202ec")
    'a\nb\ufffd\ufffdc'
    """
    return _UNFIT.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def line(text: str) -> str:
    """Put a text into one line."""
    return " ".join(fit(text).split())


def listed(names: list[str]) -> str:
    """List names in a sentence.

    Examples
    --------
    >>> listed(["DNS"]), listed(["DNS", "HTTP", "KV"])
    ('DNS', 'DNS, HTTP and KV')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def moment(at: datetime) -> str:
    """Write a moment: the day and the minute, in UTC."""
    return at.astimezone(UTC).strftime("%d %b %Y, %H:%M UTC").removeprefix("0")


def second(at: datetime) -> str:
    """Write a moment to the second."""
    return at.astimezone(UTC).strftime("%H:%M:%S UTC")


def exact(at: datetime) -> str:
    """Write a moment: the day and the second, in UTC."""
    return at.astimezone(UTC).strftime("%d %b %Y, %H:%M:%S UTC").removeprefix("0")


def minute(at: datetime) -> str:
    """Write the time of day."""
    return at.astimezone(UTC).strftime("%H:%M UTC")


def day(text: str) -> str:
    """Write a day that is given as 2026-03-12."""
    return date.fromisoformat(text).strftime("%d %B %Y").removeprefix("0")


def iso(at: datetime) -> str:
    """Write a moment for machines."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def age(span: timedelta) -> str:
    """Write how long ago something was, or how long it took.

    Examples
    --------
    >>> age(timedelta(seconds=8)), age(timedelta(minutes=12)), age(timedelta(hours=26))
    ('8 seconds', '12 minutes', '26 hours')
    """
    seconds = max(0, int(span.total_seconds()))
    for size, word in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= 2 * size or (seconds >= size and size == 60):
            count = seconds // size
            return f"{count} {word}{'s' if count != 1 else ''}"
    return f"{seconds} second{'s' if seconds != 1 else ''}"


def percent(share: float | None) -> str:
    """Write a share as a percentage, never rounded up to what it is not.

    Examples
    --------
    >>> percent(1.0), percent(0.999999), percent(0.98765), percent(None)
    ('100 %', '99.99 %', '98.76 %', 'unknown')
    """
    if share is None:
        return "unknown"
    if share >= 1:
        return "100 %"
    return f"{int(share * 10_000) / 100:.2f} %"
