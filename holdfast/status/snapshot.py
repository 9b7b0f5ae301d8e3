"""What a status page says, as values: what everybody may read, and what only those who respond may.

Both are made out of what the topics hold and the time alone, and equal values are equal bytes.
"""

import hashlib
from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct

from rollouts.document import Timestamp
from rollouts.incidents.history import ActionItem, Cause, Impact, Severity

State = Literal["operational", "unknown", "degraded", "partial-outage", "outage"]
STATES: Final[tuple[State, ...]] = ("operational", "unknown", "degraded", "partial-outage", "outage")
"""From good to bad; what nobody knows is no good news."""

DAYS: Final = 90
"""How far back uptime is told, in days."""

PublicPhase = Literal["open", "mitigated", "resolved"]
Kind = Literal["opened", "updated", "mitigated", "resolved", "reopened"]


class Day(Struct, frozen=True, kw_only=True):
    """A day of a component: `up` is the share of the known time that it was up, None if too little is known."""

    day: str
    state: State
    up: float | None = None


class PublicComponent(Struct, frozen=True, kw_only=True):
    """A service: how it stands, and its `DAYS` days, oldest first.

    `up` is the share of the time known that it was up; `days_known` is how many of the days that rests on.
    """

    name: str
    title: str
    description: str
    state: State
    up: float | None
    days_known: int
    days: list[Day]


class PublicUpdate(Struct, frozen=True, kw_only=True):
    """What was said in public, and when."""

    at: Timestamp
    kind: Kind
    text: str


class PublicIncident(Struct, frozen=True, kw_only=True):
    """An incident as everybody may read of it; updates are newest first, `components` are titles.

    `merged_into` is the incident that it is one with and goes on as.
    """

    id: str
    title: str
    severity: Severity
    phase: PublicPhase
    components: list[str]
    opened: Timestamp
    changed: Timestamp
    mitigated: Timestamp | None = None
    resolved: Timestamp | None = None
    next_update: Timestamp | None = None
    merged_into: str | None = None
    updates: list[PublicUpdate] = []


class Public(Struct, frozen=True, kw_only=True):
    """What everybody may read: the body of `/status.json`.

    `as_of` is until when the topics were heard; `state` is that of the worst component. Incidents are newest first.
    """

    as_of: Timestamp
    state: State
    components: list[PublicComponent]
    incidents: list[PublicIncident]

    @property
    def current(self) -> list[PublicIncident]:
        """What is not over."""
        return [each for each in self.incidents if each.phase != "resolved" and each.merged_into is None]

    @property
    def past(self) -> list[PublicIncident]:
        """What is over."""
        return [each for each in self.incidents if each.phase == "resolved" and each.merged_into is None]


class Why(Struct, frozen=True, kw_only=True):
    """A reason of a verdict; without `colo` about the whole fleet."""

    metric: str
    colo: str | None
    sentence: str


class Reach(Struct, frozen=True, kw_only=True):
    """How far a change got, in hosts and as a share of the fleet; `colos` are those reached most, with their shares.

    `next_hosts` is what the next stage would add; `held` says why that does not begin now.
    """

    phase: str
    hosts: int
    share: float
    changed_hosts: int
    changed_share: float
    next_hosts: int
    next_share: float
    colos: dict[str, float]
    colos_left_out: int
    held: list[str]


class LiveRollout(Struct, frozen=True, kw_only=True):
    """A rollout that is under way: what its newest verdict says and why, and how far the change got.

    `doubt` says why the verdict is not to be relied on; `reach` is None where holdfast does not control the rollout.
    """

    rollout: str
    mode: str
    stage: str | None
    action: str | None
    cause: str | None
    at: Timestamp | None
    doubt: str | None
    reasons: list[Why]
    reasons_left_out: int
    reach: Reach | None


class Note(Struct, frozen=True, kw_only=True):
    """A line of an incident's timeline."""

    at: Timestamp
    by: str
    what: str
    text: str = ""
    is_public: bool = False


class Responded(Struct, frozen=True, kw_only=True):
    """An incident as those who respond read of it; the timeline is newest first."""

    id: str
    title: str
    severity: Severity
    phase: str
    is_drill: bool
    opened: Timestamp
    changed: Timestamp
    impact: Impact
    causes: list[Cause]
    candidates: list[str]
    roles: dict[str, str]
    acknowledged: Timestamp | None
    escalations: int
    next_update: Timestamp | None
    overdue: bool
    merged_into: str | None
    actions: list[ActionItem]
    actions_left_out: int
    timeline: list[Note]


class Action(Struct, frozen=True, kw_only=True):
    """An action item that should have been done."""

    incident: str
    id: str
    what: str
    owner: str
    due: Timestamp


class Broken(Struct, frozen=True, kw_only=True):
    """An override that is in force: what it does, why, who asked and who approved, and until when."""

    id: str
    kind: str
    about: str
    reason: str
    by: str
    approved_by: list[str]
    expires: Timestamp


class Heard(Struct, frozen=True, kw_only=True):
    """A source of the page: when it was heard last, and why it is not heard now."""

    name: str
    at: Timestamp | None
    trouble: str | None = None


class Internal(Struct, frozen=True, kw_only=True):
    """What those who respond may read."""

    as_of: Timestamp
    sources: list[Heard]
    doubt: str | None
    rollouts: list[LiveRollout]
    incidents: list[Responded]
    actions: list[Action]
    overrides: list[Broken]
    overrides_unknown: str | None
    unreadable: list[str]

    @property
    def current(self) -> list[Responded]:
        """What somebody has to do something about."""
        return [each for each in self.incidents if each.phase != "closed" and each.merged_into is None]

    @property
    def overdue(self) -> list[Responded]:
        """Incidents whose promised update did not come."""
        late = [each for each in self.current if each.overdue or _is_late(each, self.as_of)]
        return sorted(late, key=lambda each: each.id)


class Snapshot(Struct, frozen=True, kw_only=True):
    """Both."""

    public: Public
    internal: Internal


def _is_late(incident: Responded, now: datetime) -> bool:
    return incident.next_update is not None and incident.next_update < now


def encode(value: Struct) -> bytes:
    """Write a snapshot, or a part of one, as JSON; equal ones give equal bytes."""
    return msgspec.json.encode(value, order="deterministic")


def digest(value: Struct) -> str:
    """Return what tells two snapshots apart that say something else, and not those made at another moment."""
    told = msgspec.to_builtins(value)
    for each in (told, told.get("public", {}), told.get("internal", {})):
        each.pop("as_of", None)
    for source in [*told.get("sources", []), *told.get("internal", {}).get("sources", [])]:
        source.pop("at")
    return hashlib.sha256(msgspec.json.encode(told, order="deterministic")).hexdigest()[:16]
