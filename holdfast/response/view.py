"""Incidents for people: a table of them, and one of them as a timeline."""

import sys
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text as Shown

from holdfast.response.telling import ROLES, told, written
from rollouts.incidents.folding import Incident, overdue_actions
from rollouts.incidents.history import SEVERITIES, History, Impact

WIDE: Final = 140
"""Columns of a terminal from which on incidents are shown as a table."""

_PIPE_WIDTH: Final = 160
"""Columns of what is read in no terminal: rich takes 80 there, and what programs look for may be broken by them."""


def console_of() -> Console:
    """Return the console that incidents are printed to."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH)


def in_order(incidents: Iterable[Incident]) -> list[Incident]:
    """Sort incidents: what is not over first, then the worst, then the newest."""
    return sorted(
        incidents, key=lambda one: (one.is_over, SEVERITIES.index(one.severity), -one.opened.timestamp(), one.id)
    )


def show_list(console: Console, incidents: Iterable[Incident], now: datetime) -> None:
    """Show incidents as a table."""
    found = in_order(incidents)
    if not found:
        console.print("no incidents")
        return
    if console.width < WIDE:
        for one in found:
            _show_narrow(console, one)
    else:
        console.print(_table(found))
    late = sum(len(overdue_actions(one, now)) for one in found)
    if late:
        console.print(f"{late} action {'item is' if late == 1 else 'items are'} overdue")


def _show_narrow(console: Console, one: Incident) -> None:
    """Show one in lines that may be broken: in columns there would be no room for what it is about."""
    due = _next(one)
    stands = [one.severity, phase(one), f"opened {written(one.opened)}", f"lead {one.roles.get('lead', 'nobody')}"]
    stands += [f"next update {due}"] if due else []
    console.print(Shown(one.id, style="bold"), Shown(f"{'DRILL: ' if one.is_drill else ''}{one.title}"))
    console.print(Padding(Shown(", ".join(stands)), (0, 0, 0, 2)))


def _table(found: Iterable[Incident]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("incident", "severity", "phase", "opened", "lead", "next update", "what"):
        table.add_column(name, no_wrap=name != "what", overflow="fold")
    for one in found:
        what = f"{'DRILL: ' if one.is_drill else ''}{one.title}"
        stands = (one.id, one.severity, phase(one), written(one.opened), one.roles.get("lead", "nobody"), _next(one))
        table.add_row(*map(Shown, (*stands, what)))
    return table


def phase(incident: Incident) -> str:
    """Say in words how far an incident is."""
    if incident.merged_into is not None:
        return f"now {incident.merged_into}"
    return incident.phase if incident.acknowledged or incident.is_over else f"{incident.phase}, not acknowledged"


def _next(incident: Incident) -> str:
    if incident.next_update is None:
        return ""
    return f"{written(incident.next_update)}{', overdue' if incident.overdue else ''}"


def show(console: Console, incident: Incident, history: History, now: datetime) -> None:
    """Show an incident: how it stands, and what has happened."""
    drill = "DRILL: " if incident.is_drill else ""
    console.print(Shown(f"{incident.id}  {drill}{incident.title}", style="bold"))
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in _facts(incident, now):
        facts.add_row(Shown(name), Shown(value, overflow="fold"))
    console.print(facts)
    console.print()
    timeline = Table(box=None, show_header=False, pad_edge=False)
    timeline.add_column(no_wrap=True)
    timeline.add_column(no_wrap=True)
    timeline.add_column(overflow="fold")
    for event in history.events:
        timeline.add_row(Shown(written(event.at)), Shown(event.by), Shown(told(event)))
    console.print(Padding(timeline, 0))


def _facts(incident: Incident, now: datetime) -> list[tuple[str, str]]:
    late = {item.id for item in overdue_actions(incident, now)}
    rows = [
        ("severity", incident.severity),
        ("phase", phase(incident)),
        *_impact(incident.impact),
        *((ROLES[role], person) for role, person in incident.roles.items()),
    ]
    if incident.next_update is not None:
        rows.append(("next update", _next(incident)))
    for number, each in enumerate(incident.candidates):
        name = each.rollout or "unattributed"
        rows.append(("candidates" if number == 0 else "", f"{each.score:.2f} {name}: {'; '.join(each.evidence)}"))
    for number, item in enumerate(incident.actions):
        until = f"due {written(item.due)}{', overdue' * (item.id in late)}"
        state = f"done {written(item.done)}" if item.done else until
        rows.append(("action items" if number == 0 else "", f"{item.id}: {item.what}, by {item.owner}, {state}"))
    return rows


def _impact(impact: Impact) -> list[tuple[str, str]]:
    return [
        ("colos", ", ".join(impact.colos) or "not known"),
        ("services", ", ".join(impact.services) or "none that is named"),
        ("metrics", ", ".join(impact.metrics) or "not known"),
        ("share of traffic", _share(impact.traffic_share)),
        ("share of hosts", _share(impact.hosts_share)),
        ("began", _began(impact)),
    ]


def _began(impact: Impact) -> str:
    if impact.onset is None:
        return "not known"
    return f"{'about ' if impact.is_onset_estimated else ''}{written(impact.onset)}"


def _share(share: float | None) -> str:
    return "not known" if share is None else f"{share:.2%}"
