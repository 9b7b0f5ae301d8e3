"""What is due for an incident at a time: steps of the escalation, and updates that were promised.

Everything here follows from how the incident stands and the time, so that after a pause each step is taken once, and
none twice.
"""

from datetime import datetime, timedelta

from detectors.policy import duration_ms
from rollouts.incidents.folding import ENGINE, Incident
from rollouts.incidents.history import Escalated, Event, Overdue, Reminded
from rollouts.incidents.response import Response


def due(incident: Incident, response: Response, now: datetime) -> list[Event]:
    """Return what has come due, oldest first.

    Steps of the escalation are taken in their order until somebody acknowledges the incident, or it is over; a step
    of other severities is passed by. Of each promised update is reminded once, and that it did not come is told once.
    """
    if incident.is_over:
        return []
    found: list[tuple[datetime, Event]] = [
        (incident.opened + _length(step.after), Escalated(at=now, by=ENGINE, step=number, tell=step.tell))
        for number, step in enumerate(response.escalation)
        if number >= incident.escalations
        and incident.acknowledged is None
        and incident.severity in step.severities
        and incident.opened + _length(step.after) <= now
    ]
    promised = promised_for(incident, response)
    if promised is not None and promised <= now and not incident.overdue:
        found.append((promised, Overdue(at=now, by=ENGINE, promised=promised)))
    if promised is not None and now < promised != incident.reminded:
        # Of a short promise at half of its time: a reminder that comes with the promise reminds of nothing.
        early = min(_length(response.remind), (promised - _since(incident)) / 2)
        if promised - early <= now:
            found.append((promised - early, Reminded(at=now, by=ENGINE, promised=promised)))
    return [event for _, event in sorted(found, key=lambda pair: pair[0])]


def promised_for(incident: Incident, response: Response) -> datetime | None:
    """Return when the next word is promised for; None once it is over.

    Where nobody has said when, the response document does: so long after it was opened or reopened, or after the last
    word.
    """
    if incident.is_over:
        return None
    if incident.next_update is not None:
        return incident.next_update
    return _since(incident) + promise_of(incident, response)


def _since(incident: Incident) -> datetime:
    """Return when the newest word was, or what has one expect a word."""
    since = incident.opened if incident.reopened is None else max(incident.opened, incident.reopened)
    return max(since, incident.updates[-1].at) if incident.updates else since


def promise_of(incident: Incident, response: Response) -> timedelta:
    """Return how long after a word the next one is promised, by the severity."""
    return _length(getattr(response.promises, incident.severity))


def _length(duration: str) -> timedelta:
    return timedelta(milliseconds=duration_ms(duration))
