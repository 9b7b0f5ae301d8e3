"""What happens to an incident, as events; and what is said of it: its impact, and the changes that may have caused it.

An incident's history is a list of events, kept as one message, and how it stands is a fold over them
(`rollouts.incidents.folding`). Words are those of the field: severity, incident lead, mitigated, resolved, action item.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from detectors.errors import BadInput
from detectors.policy import Name
from rollouts.document import Timestamp

Severity = Literal["critical", "major", "minor"]
SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "major", "minor")
"""Worst first."""

Role = Literal["lead", "communications", "expert"]
"""Incident lead, communications, subject expert."""

Phase = Literal["open", "mitigated", "resolved", "closed"]

IncidentId = Annotated[str, Meta(pattern=r"^inc-[0-9]{8}-[0-9a-f]{8}$", max_length=21)]
"""Day on which it was opened, and eight digits of a digest of what opened it: safe in paths and addresses.

The length keeps a line break at the end out, which the pattern would let pass.
"""

UNSEEN: Final = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""Characters that nobody sees, and that move what one sees: controls, separators of lines, changes of direction."""

# The whole text is looked at ahead of being matched: `$` alone lets a line break at the end pass.
_ONE_LINE: Final = rf"^(?![\s\S]*[{UNSEEN}])[\s\S]*$"
_LINES: Final = r"^(?![\s\S]*[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069])[\s\S]*$"


def _line(longest: int) -> Meta:
    allowed = f"a line of 1 to {longest} characters, without such as nobody sees"
    return Meta(min_length=1, max_length=longest, pattern=_ONE_LINE, extra={"allowed": allowed})


Title = Annotated[str, _line(200)]
"""One line."""

Text = Annotated[str, Meta(min_length=1, max_length=5_000, pattern=_LINES)]
"""Lines of plain text."""

Person = Annotated[str, _line(100)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]


class _Value(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A value of a history; what nobody knows is None and never 0."""


class Cause(_Value, frozen=True, kw_only=True):
    """A verdict that stopped a rollout: `verdict` is the id of its CloudEvent, `at` the end of its last tick.

    `e_value` is the largest of its reasons'; None where nothing was compared, as with an objective.
    """

    rollout: str
    verdict: str
    sequence: int
    action: Literal["revert", "halt"]
    stage: str
    at: Timestamp
    sentences: list[str] = []
    e_value: Annotated[float, Meta(ge=0.0)] | None = None


class Impact(_Value, frozen=True, kw_only=True):
    """What is hurt.

    `services` are names of components (`rollouts.incidents.response.Component`); `traffic_share` is the share of the
    fleet's traffic that the hurt colos carry, `hosts_share` the share of hosts that the change had reached; `onset` is
    when the harm began, by the word of a person or, if it `is_onset_estimated`, about then by the evidence.
    """

    colos: list[str] = []
    services: list[str] = []
    metrics: list[str] = []
    traffic_share: Share | None = None
    hosts_share: Share | None = None
    onset: Timestamp | None = None
    is_onset_estimated: bool = False


class Candidate(_Value, frozen=True, kw_only=True):
    """A change that may have caused it; `rollout` is None for "unattributed". `score` ranks, higher is likelier."""

    rollout: str | None
    score: Share
    evidence: list[str]


class ActionItem(_Value, frozen=True, kw_only=True):
    """What is to be done so that it does not happen again. `done` is when it was."""

    id: Name
    what: Title
    owner: Person
    due: Timestamp
    done: Timestamp | None = None


class _Event(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="event"):
    """`by` is a person's name, or `holdfast`."""

    at: Timestamp
    by: Person


class Opened(_Event, frozen=True, kw_only=True, tag="opened"):
    """It was opened: by a revert, which `cause` is, or by hand. A drill says so wherever it appears."""

    title: Title
    severity: Severity
    impact: Impact
    cause: Cause | None = None
    is_drill: bool = False


class Joined(_Event, frozen=True, kw_only=True, tag="joined"):
    """One more stop with the same cause; `impact` is that of all of them together."""

    cause: Cause
    impact: Impact
    why: Text


class Ranked(_Event, frozen=True, kw_only=True, tag="ranked"):
    """The changes that may have caused it, likeliest first."""

    candidates: list[Candidate]


class Assessed(_Event, frozen=True, kw_only=True, tag="assessed"):
    """Severity or impact are seen otherwise; None leaves one as it is."""

    severity: Severity | None = None
    impact: Impact | None = None
    why: Text


class Dated(_Event, frozen=True, kw_only=True, tag="dated"):
    """About when the harm began, as the evidence of its first stop tells; what a person has said of it counts more."""

    onset: Timestamp
    why: Text


class RoleTaken(_Event, frozen=True, kw_only=True, tag="role-taken"):
    """Somebody takes a role, or is handed it by whoever holds it. The first to take one acknowledges the incident."""

    role: Role
    person: Person


class Acknowledged(_Event, frozen=True, kw_only=True, tag="acknowledged"):
    """Somebody is on it: nothing escalates any further."""


class Escalated(_Event, frozen=True, kw_only=True, tag="escalated"):
    """Nobody acknowledged it in time: step `step` (from 0) of the escalation was taken, which tells `tell`."""

    step: int
    tell: list[Name]


class Updated(_Event, frozen=True, kw_only=True, tag="updated"):
    """Somebody says how it stands, and when the next word comes. Only what is public is on the public page."""

    text: Text
    is_public: bool = False
    next_update: Timestamp | None = None


class Reminded(_Event, frozen=True, kw_only=True, tag="reminded"):
    """The update that was promised for `promised` is due soon, and whoever leads was reminded of it."""

    promised: Timestamp


class Overdue(_Event, frozen=True, kw_only=True, tag="overdue"):
    """The update that was promised for `promised` did not come."""

    promised: Timestamp


class Mitigated(_Event, frozen=True, kw_only=True, tag="mitigated"):
    """It hurts nobody any more, as after a revert that hosts have reported as applied."""

    how: Text


class Resolved(_Event, frozen=True, kw_only=True, tag="resolved"):
    """It is over."""

    how: Text


class Reopened(_Event, frozen=True, kw_only=True, tag="reopened"):
    """It was not over."""

    why: Text


class ActionAdded(_Event, frozen=True, kw_only=True, tag="action-added"):
    """An action item was agreed on; one with a known id replaces it."""

    item: ActionItem


class ActionDone(_Event, frozen=True, kw_only=True, tag="action-done"):
    """An action item was done."""

    id: Name


class Reviewed(_Event, frozen=True, kw_only=True, tag="reviewed"):
    """A review was written; `digest` is the SHA-256 of its text, in hexadecimal."""

    digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Kept(_Event, frozen=True, kw_only=True, tag="kept"):
    """It became a recording in the corpus; `digest` is the recording's."""

    recording: Title
    digest: Title


class MergedInto(_Event, frozen=True, kw_only=True, tag="merged-into"):
    """It is one with another incident, and goes on there."""

    incident: IncidentId


class Closed(_Event, frozen=True, kw_only=True, tag="closed"):
    """It was reviewed, and is closed."""


Event = (
    Opened
    | Joined
    | Ranked
    | Assessed
    | Dated
    | RoleTaken
    | Acknowledged
    | Escalated
    | Updated
    | Reminded
    | Overdue
    | Mitigated
    | Resolved
    | Reopened
    | ActionAdded
    | ActionDone
    | Reviewed
    | Kept
    | MergedInto
    | Closed
)


class History(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The message on the topic of incidents: key is `incident`, the value all that happened to it."""

    incident: IncidentId
    events: list[Event]


_HISTORIES: Final = msgspec.json.Decoder(History)


def encode(history: History) -> bytes:
    """Write a history as JSON; equal histories give equal bytes."""
    return msgspec.json.encode(history, order="deterministic")


def decode(raw: bytes) -> History:
    """Read a history.

    Raises
    ------
    BadInput
        If the bytes are none; whether its events may follow each other is looked at by `folding.fold`.
    """
    try:
        return _HISTORIES.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"not an incident's history: {error}"
        raise BadInput(message) from error


def checked(history: History) -> History:
    """Return a history as it will be read again.

    Raises
    ------
    BadInput
        If a text of it is too long, empty or has characters that nobody sees: what is made in a program is only looked
        at when it is read.
    """
    return decode(encode(history))
