"""Action items of incidents that should have been done by now: one of the things that drift is."""

from datetime import datetime

from rollouts.drift_facts import Facts, Finding, or_none, unknown
from rollouts.incidents.folding import overdue_actions


def action_overdue(facts: Facts, now: datetime) -> list[Finding]:
    """Find action items that are overdue, of incidents, closed or not; those of drills are none: nothing broke."""
    return unknown("action-overdue", facts.incidents) + [
        Finding(
            kind="action-overdue",
            subject=f"{name}/{item.id}",
            sentence=f"{item.owner} was to have it done by {item.due:%Y-%m-%d}: {item.what}",
        )
        for name, incident in sorted(or_none(facts.incidents).items())
        if not incident.is_drill
        for item in overdue_actions(incident, now)
    ]
