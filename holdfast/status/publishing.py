"""What everybody may read of incidents. Nothing is copied that is not named here.

Of an incident that is: which public services it names, how bad it is, when it was opened, mitigated and resolved, and
the updates that somebody made public. Its title, its texts, its people, colos, metrics, rollouts and shares are not.
Drills are not in public at all.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from holdfast.status.harm import HARM, Interval, Span, days_of, readable, spans, worst
from holdfast.status.snapshot import Kind, Public, PublicComponent, PublicIncident, PublicPhase, PublicUpdate, State
from holdfast.status.words import SAID, SEVERITY, fit, line, listed
from rollouts.incidents.folding import Incident
from rollouts.incidents.history import (
    Event,
    History,
    MergedInto,
    Mitigated,
    Opened,
    Reopened,
    Resolved,
    Updated,
)
from rollouts.incidents.response import Component, Response

INCIDENTS_MAX: Final = 2_000
"""Most incidents that are told of, the newest; older ones are on the topic."""

NAMED_MAX: Final = 3
"""Most services that are named in a title."""

DESCRIPTION_MAX: Final = 300

_KINDS: Final[dict[type[Event], Kind]] = {
    Opened: "opened",
    Mitigated: "mitigated",
    Resolved: "resolved",
    Reopened: "reopened",
}


def public(
    histories: Mapping[str, History], response: Response, watched: Sequence[Interval], as_of: datetime
) -> Public:
    """Say what everybody may read.

    Parameters
    ----------
    histories
        Incidents by id.
    response
        What services there are.
    watched
        When the page was listening, oldest first.
    as_of
        Until when.
    """
    folded, unreadable = readable(histories)
    shown = [each for each in response.components if each.is_public]
    real = {name: each for name, each in folded.items() if not each.is_drill}
    told = {name: _incident(histories[name], each, shown) for name, each in real.items() if _is_told(each, shown)}
    newest = sorted(told.values(), key=lambda each: (each.opened, each.id), reverse=True)[:INCIDENTS_MAX]
    kept = {each.id for each in newest}
    hurt = [span for name in real for span in spans(histories[name])]
    components = [_component(each, hurt, list(real.values()), watched, as_of) for each in shown]
    states: list[State] = [
        *(each.state for each in components),
        *(HARM[each.severity] for each in newest if each.phase == "open" and each.merged_into is None),
        *(("unknown",) if unreadable else ()),
    ]
    return Public(
        as_of=as_of,
        state=worst(states),
        components=components,
        # An incident that went on as one that nobody may read of leads nowhere.
        incidents=[each for each in newest if each.merged_into is None or each.merged_into in kept],
    )


def _is_told(incident: Incident, shown: Sequence[Component]) -> bool:
    services = set(incident.impact.services)
    return any(each.is_public for each in incident.updates) or any(each.name in services for each in shown)


def _component(
    one: Component,
    hurt: Sequence[Span],
    incidents: Sequence[Incident],
    watched: Sequence[Interval],
    as_of: datetime,
) -> PublicComponent:
    days, up = days_of([span for span in hurt if one.name in span.services], watched, as_of)
    now: list[State] = [
        HARM[each.severity]
        for each in incidents
        if each.phase == "open" and each.merged_into is None and one.name in each.impact.services
    ]
    return PublicComponent(
        name=one.name,
        title=line(one.title),
        description=line(one.description)[:DESCRIPTION_MAX],
        state=worst(now),
        up=up,
        days_known=sum(each.state != "unknown" for each in days),
        days=days,
    )


def _incident(history: History, incident: Incident, shown: Sequence[Component]) -> PublicIncident:
    services = set(incident.impact.services)
    titles = [line(each.title) for each in shown if each.name in services]
    updates = [each for event in history.events if (each := _said(event)) is not None]
    phase: PublicPhase = "resolved" if incident.is_over else incident.phase  # type: ignore[assignment]
    spoken = [each for each in incident.updates if each.is_public]
    return PublicIncident(
        id=incident.id,
        title=f"{SEVERITY[incident.severity]}{_of(titles)}",
        severity=incident.severity,
        phase=phase,
        components=titles,
        opened=incident.opened,
        changed=max((each.at for each in updates), default=incident.opened),
        mitigated=incident.mitigated,
        resolved=incident.resolved,
        next_update=spoken[-1].next_update if spoken and not incident.is_over else None,
        merged_into=incident.merged_into,
        updates=updates[::-1],
    )


def _of(titles: list[str]) -> str:
    """Say which services it is of, in few words."""
    if not titles:
        return ""
    rest = len(titles) - NAMED_MAX
    return f" of {listed(titles)}" if rest <= 0 else f" of {', '.join(titles[:NAMED_MAX])} and {rest} more"


def _said(event: Event) -> PublicUpdate | None:
    if isinstance(event, Updated):
        return PublicUpdate(at=event.at, kind="updated", text=fit(event.text)) if event.is_public else None
    if isinstance(event, MergedInto):
        return PublicUpdate(at=event.at, kind="updated", text="This is one with another incident, and goes on there.")
    kind = _KINDS.get(type(event))
    return None if kind is None else PublicUpdate(at=event.at, kind=kind, text=SAID[kind])
