"""How an incident stands after each of its events."""

from collections.abc import Iterable
from datetime import datetime
from functools import reduce, singledispatch
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from detectors.errors import BadInput
from rollouts.document import Timestamp
from rollouts.incidents.history import (
    Acknowledged,
    ActionAdded,
    ActionDone,
    ActionItem,
    Assessed,
    Candidate,
    Cause,
    Closed,
    Dated,
    Escalated,
    Event,
    History,
    Impact,
    IncidentId,
    Joined,
    Kept,
    MergedInto,
    Mitigated,
    Opened,
    Overdue,
    Person,
    Phase,
    Ranked,
    Reminded,
    Reopened,
    Resolved,
    Reviewed,
    Role,
    RoleTaken,
    Severity,
    Title,
    Updated,
)

ENGINE: Final = "holdfast"
"""Who does what nobody did by hand."""


class Incident(Struct, frozen=True, kw_only=True):
    """How an incident stands.

    `escalations` counts the steps taken; `next_update` is when the next update was promised for, `overdue` whether
    that was missed, `reminded` which promise was reminded of last; `reviewed` is the digest of the newest review,
    `kept` the recording that it became.
    """

    id: IncidentId
    title: Title
    severity: Severity
    phase: Phase
    is_drill: bool
    opened: Timestamp
    changed: Timestamp
    impact: Impact
    causes: list[Cause] = []
    candidates: list[Candidate] = []
    roles: dict[Role, Person] = {}
    acknowledged: Timestamp | None = None
    escalations: int = 0
    updates: list[Updated] = []
    next_update: Timestamp | None = None
    overdue: bool = False
    reminded: Timestamp | None = None
    mitigated: Timestamp | None = None
    resolved: Timestamp | None = None
    actions: list[ActionItem] = []
    reviewed: str | None = None
    kept: str | None = None
    reopened: Timestamp | None = None
    merged_into: IncidentId | None = None
    count: int = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more is expected of anybody but its review."""
        return self.phase in ("resolved", "closed")


def fold(history: History) -> Incident:
    """Return how an incident stands.

    Raises
    ------
    BadInput
        If its history is none: the first event opens it, and each of the others may follow those before it.
    """
    if not history.events or not isinstance(history.events[0], Opened):
        message = f"{history.incident}: the history of an incident begins with 'opened'"
        raise BadInput(message)
    return folded(_opened(history.incident, history.events[0]), history.events[1:])


def folded(incident: Incident, events: Iterable[Event]) -> Incident:
    """Return how an incident stands after some more events; `BadInput` if one of them may not follow."""
    return reduce(evolve, events, incident)


def evolve(incident: Incident, event: Event) -> Incident:
    """Return how an incident stands after one more event; `BadInput` if it may not follow."""
    why = objection(incident, event)
    if why is not None:
        message = f"{incident.id}: {why}"
        raise BadInput(message)
    moved = _after(event, incident)
    return replace(moved, changed=max(incident.changed, event.at), count=incident.count + 1)


def objection(incident: Incident, event: Event) -> str | None:
    """Say why an event may not follow; None if it may."""
    name = type(event).__struct_config__.tag
    if incident.merged_into is not None:
        return f"found {name}; it went on as {incident.merged_into}"
    if isinstance(event, Opened):
        return "found a second 'opened'"
    if incident.phase == "closed" and not isinstance(event, ActionAdded | ActionDone | Kept | Reopened):
        return f"found {name} after it was closed; allowed: reopen it first"
    if isinstance(event, RoleTaken):
        return _role_objection(incident, event)
    if isinstance(event, Mitigated) and incident.phase != "open":
        return f"found {name} while it is {incident.phase}; allowed while it is open"
    if isinstance(event, Resolved) and incident.phase not in ("open", "mitigated"):
        return f"found {name} while it is {incident.phase}; allowed while it is open or mitigated"
    if isinstance(event, Reopened) and not incident.is_over and incident.phase != "mitigated":
        return f"found {name} while it is open"
    if isinstance(event, ActionDone) and event.id not in {item.id for item in incident.actions}:
        known = ", ".join(item.id for item in incident.actions) or "none"
        return f"found no action item {event.id}; there are: {known}"
    if isinstance(event, Closed):
        return _open_ends(incident)
    return None


def _role_objection(incident: Incident, event: RoleTaken) -> str | None:
    """Say why somebody may not have a role: it is one person's until that one, or the incident lead, hands it over."""
    holder, lead = incident.roles.get(event.role), incident.roles.get("lead")
    if holder is None or holder == event.person or event.by in (holder, lead):
        return None
    others = "" if lead in (None, holder) else f" or {lead}, who is the incident lead,"
    return f"found {event.role} taken by {event.by}; {holder} has it, and {holder}{others} may hand it over"


def _open_ends(incident: Incident) -> str | None:
    """Say what still has to be done before it may be closed."""
    if incident.phase != "resolved":
        return f"it is {incident.phase}; only what is resolved can be closed"
    if incident.reviewed is None:
        return f"it was not reviewed; `holdfast incident review {incident.id}` writes a draft"
    return None


def overdue_actions(incident: Incident, now: datetime) -> list[ActionItem]:
    """Return the action items that should have been done by now."""
    return [item for item in incident.actions if item.done is None and item.due < now]


def _opened(name: IncidentId, event: Opened) -> Incident:
    return Incident(
        id=name,
        title=event.title,
        severity=event.severity,
        phase="open",
        is_drill=event.is_drill,
        opened=event.at,
        changed=event.at,
        impact=event.impact,
        causes=[] if event.cause is None else [event.cause],
        count=1,
    )


@singledispatch
def _after(event: Event, incident: Incident) -> Incident:
    message = f"{incident.id}: no incident knows {type(event).__name__}"
    raise TypeError(message)


@_after.register
def _(event: Joined, incident: Incident) -> Incident:
    # A verdict that comes a second time is the same one.
    causes = [each for each in incident.causes if each.verdict != event.cause.verdict]
    return replace(incident, causes=[*causes, event.cause], impact=event.impact)


@_after.register
def _(event: Ranked, incident: Incident) -> Incident:
    return replace(incident, candidates=event.candidates)


@_after.register
def _(event: Assessed, incident: Incident) -> Incident:
    return replace(incident, severity=event.severity or incident.severity, impact=event.impact or incident.impact)


@_after.register
def _(event: Dated, incident: Incident) -> Incident:
    if incident.impact.onset is not None and not incident.impact.is_onset_estimated:
        return incident
    return replace(incident, impact=replace(incident.impact, onset=event.onset, is_onset_estimated=True))


@_after.register
def _(event: RoleTaken, incident: Incident) -> Incident:
    return replace(
        incident,
        roles={**incident.roles, event.role: event.person},
        acknowledged=incident.acknowledged or event.at,
    )


@_after.register
def _(event: Acknowledged, incident: Incident) -> Incident:
    return replace(incident, acknowledged=incident.acknowledged or event.at)


@_after.register
def _(event: Escalated, incident: Incident) -> Incident:
    return replace(incident, escalations=max(incident.escalations, event.step + 1))


@_after.register
def _(event: Updated, incident: Incident) -> Incident:
    return replace(incident, updates=[*incident.updates, event], next_update=event.next_update, overdue=False)


@_after.register
def _(event: Reminded, incident: Incident) -> Incident:
    return replace(incident, reminded=event.promised)


@_after.register
def _(event: Overdue, incident: Incident) -> Incident:
    # As long as nobody has promised one, the response document has: `promised` says until when.
    promised = incident.next_update or event.promised
    return replace(incident, next_update=promised, overdue=promised == event.promised)


@_after.register
def _(event: Mitigated, incident: Incident) -> Incident:
    return replace(incident, phase="mitigated", mitigated=event.at)


@_after.register
def _(event: Resolved, incident: Incident) -> Incident:
    return replace(
        incident,
        phase="resolved",
        mitigated=incident.mitigated or event.at,
        resolved=event.at,
        next_update=None,
        overdue=False,
    )


@_after.register
def _(event: Reopened, incident: Incident) -> Incident:
    # What was written about it before says nothing of what goes on now.
    return replace(incident, phase="open", mitigated=None, resolved=None, reviewed=None, reopened=event.at)


@_after.register
def _(event: ActionAdded, incident: Incident) -> Incident:
    others = [item for item in incident.actions if item.id != event.item.id]
    return replace(incident, actions=[*others, event.item])


@_after.register
def _(event: ActionDone, incident: Incident) -> Incident:
    actions = [replace(item, done=item.done or event.at) if item.id == event.id else item for item in incident.actions]
    return replace(incident, actions=actions)


@_after.register
def _(event: Reviewed, incident: Incident) -> Incident:
    return replace(incident, reviewed=event.digest)


@_after.register
def _(event: Kept, incident: Incident) -> Incident:
    return replace(incident, kept=event.recording)


@_after.register
def _(event: MergedInto, incident: Incident) -> Incident:
    return replace(incident, merged_into=event.incident, phase="closed", next_update=None, overdue=False)


@_after.register
def _(_: Closed, incident: Incident) -> Incident:
    return replace(incident, phase="closed")
