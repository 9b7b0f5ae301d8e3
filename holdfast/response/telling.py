"""What has happened to an incident, in a sentence each."""

from datetime import UTC, datetime
from typing import Final

from rollouts.incidents.history import (
    Acknowledged,
    ActionAdded,
    ActionDone,
    Assessed,
    Closed,
    Dated,
    Escalated,
    Event,
    Joined,
    Kept,
    MergedInto,
    Mitigated,
    Opened,
    Overdue,
    Ranked,
    Reminded,
    Reopened,
    Resolved,
    Reviewed,
    Role,
    RoleTaken,
    Updated,
)
from rollouts.incidents.opening import listed

ROLES: Final[dict[Role, str]] = {
    "lead": "incident lead",
    "communications": "communications",
    "expert": "subject expert",
}


def written(moment: datetime) -> str:
    """Write a time to the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def told(event: Event) -> str:
    """Say in a sentence what happened."""
    match event:
        case Opened():
            by = "" if event.cause is None else f", by the {event.cause.action} of {event.cause.rollout}"
            said = "" if event.cause is None or not event.cause.sentences else f": {event.cause.sentences[0]}"
            return f"opened as {event.severity}{by}{said}"
        case Joined():
            return f"the {event.cause.action} of {event.cause.rollout} is part of it: {event.why}"
        case Ranked():
            best = event.candidates[0]
            return f"likeliest cause: {best.rollout or 'unattributed'}, score {best.score:.2f}"
        case Assessed():
            return f"now {event.severity or 'with another impact'}: {event.why}"
        case RoleTaken():
            return f"{event.person} is {ROLES[event.role]}"
        case Acknowledged():
            return "acknowledged"
        case Escalated():
            return f"not acknowledged: step {event.step + 1} tells {listed(event.tell)}"
        case Dated():
            return f"the harm began at about {written(event.onset)}: {event.why}"
        case Reminded():
            return f"reminded of the update promised for {written(event.promised)}"
        case Overdue():
            return f"the update promised for {written(event.promised)} did not come"
        case _:
            return _said(event)


def _said(event: Event) -> str:
    match event:
        case Updated():
            until = "" if event.next_update is None else f" (next update {written(event.next_update)})"
            return f"{'public update' if event.is_public else 'update'}: {event.text}{until}"
        case Mitigated():
            return f"mitigated: {event.how}"
        case Resolved():
            return f"resolved: {event.how}"
        case Reopened():
            return f"reopened: {event.why}"
        case ActionAdded():
            return f"action item {event.item.id}: {event.item.what}, by {event.item.owner}"
        case ActionDone():
            return f"action item {event.id} is done"
        case Reviewed():
            return f"reviewed: {event.digest[:12]}"
        case Kept():
            return f"kept as the recording {event.recording}"
        case MergedInto():
            return f"goes on as {event.incident}"
        case Closed():
            return "closed"
        case _:
            return str(type(event).__struct_config__.tag)
