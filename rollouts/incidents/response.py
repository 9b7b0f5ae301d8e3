"""The response document: what services there are, how bad what is, who hears of it and when, and who is asked next."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from detectors.policy import Duration, Name
from rollouts.incidents.history import Severity, Share, Title

What = Literal[
    "opened", "escalated", "updated", "due", "overdue", "assessed", "mitigated", "resolved", "reopened", "closed"
]
"""What is told."""

EVERYTHING: Final = "*"


class _Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the document; a list of globs matches what any of them matches."""


class Component(_Part, frozen=True, kw_only=True):
    """A service, as people know it: it is hurt if one of its metrics is, in one of its colos."""

    name: Name
    title: Title
    description: str = ""
    metrics: list[str] = field(default_factory=lambda: [EVERYTHING])
    colos: list[str] = field(default_factory=lambda: [EVERYTHING])
    is_public: bool = True


class Grade(_Part, frozen=True, kw_only=True):
    """How bad something is: the first whose conditions all hold counts. Shares are "at least"; unknown ones hold."""

    severity: Severity
    services: list[str] = field(default_factory=lambda: [EVERYTHING])
    colos: list[str] = field(default_factory=lambda: [EVERYTHING])
    actions: list[Literal["revert", "halt"]] = field(default_factory=lambda: ["revert", "halt"])
    traffic_share: Share = 0.0
    hosts_share: Share = 0.0


class Recipient(_Part, frozen=True, kw_only=True):
    """Who is told, as Apprise's addresses; `${NAME}` in one stands for a variable of the environment.

    No more than `per_hour` messages an hour go to it; what is beyond is summed up in the next one.
    """

    name: Name
    urls: Annotated[list[str], Meta(min_length=1, max_length=20)]
    per_hour: Annotated[int, Meta(ge=1, le=3_600)] = 60


class Rule(_Part, frozen=True, kw_only=True):
    """Who hears what: all rules that match count."""

    tell: Annotated[list[Name], Meta(min_length=1)]
    severities: list[Severity] = field(default_factory=lambda: ["critical", "major", "minor"])
    services: list[str] = field(default_factory=lambda: [EVERYTHING])
    colos: list[str] = field(default_factory=lambda: [EVERYTHING])
    of: list[What] = field(
        default_factory=lambda: [
            "opened",
            "escalated",
            "updated",
            "due",
            "overdue",
            "assessed",
            "mitigated",
            "resolved",
            "reopened",
        ]
    )


class Step(_Part, frozen=True, kw_only=True):
    """Who is told if nobody has acknowledged an incident `after` it was opened."""

    after: Duration
    tell: Annotated[list[Name], Meta(min_length=1)]
    severities: list[Severity] = field(default_factory=lambda: ["critical", "major"])


class Promises(_Part, frozen=True, kw_only=True):
    """How often an update is promised while an incident is not over."""

    critical: Duration = "30m"
    major: Duration = "1h"
    minor: Duration = "4h"


class Response(_Part, frozen=True, kw_only=True):
    """The document, `response.yaml`. `merge_within`: stops with one cause within that time are one incident.

    `remind`: how long before a promised update is due the incident lead is reminded; 0s for never. `opens`: which
    verdicts open an incident. `drills`: who is told of drills, and nobody else is.
    """

    response: Name
    components: list[Component] = []
    grades: list[Grade] = []
    promises: Promises = Promises()
    remind: Duration = "5m"
    recipients: list[Recipient] = []
    rules: list[Rule] = []
    escalation: list[Step] = []
    merge_within: Duration = "1h"
    opens: list[Literal["revert", "halt"]] = field(default_factory=lambda: ["revert"])
    drills: list[Name] = []
