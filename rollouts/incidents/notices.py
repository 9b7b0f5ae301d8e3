"""Which notices follow from what happened to an incident: who is to hear what, by the rules of a response document.

A verdict that says `wait` opens no incident, hence nobody hears of it. Each notice has an id that is the same whenever
it is asked for, since a history only ever grows: so whoever sends them can tell which he has sent.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from msgspec import Struct

from rollouts.document import Timestamp
from rollouts.incidents.folding import Incident, evolve, fold
from rollouts.incidents.history import (
    Assessed,
    Closed,
    Escalated,
    Event,
    History,
    Joined,
    MergedInto,
    Mitigated,
    Opened,
    Overdue,
    Reminded,
    Reopened,
    Resolved,
    Updated,
)
from rollouts.incidents.response import Response, Rule, What

_TOLD: Final[dict[type[Event], What]] = {
    Opened: "opened",
    Escalated: "escalated",
    Updated: "updated",
    Reminded: "due",
    Overdue: "overdue",
    Assessed: "assessed",
    Mitigated: "mitigated",
    Resolved: "resolved",
    Reopened: "reopened",
    Closed: "closed",
    MergedInto: "closed",
}
_RELIEF: Final[frozenset[What]] = frozenset(("mitigated", "resolved", "reopened"))
"""What those hear who were called by an escalation: whether they are still needed."""

_OF_LEAD: Final[frozenset[What]] = frozenset(("due", "overdue"))
"""What is the incident lead's to see to."""

_DRILLED: Final = Rule(tell=["drills"])
"""Of a drill everything is told that a rule tells if it says nothing else."""


class Notice(Struct, frozen=True, kw_only=True):
    """Something that one recipient is to hear.

    `incident` is how it stood after the event, `before` how it stood until then, None for the first event.
    """

    id: str
    recipient: str
    what: What
    at: Timestamp
    event: Event
    incident: Incident
    before: Incident | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What names it: a recipient has each id once."""
        return self.id, self.recipient


def notices(history: History, response: Response) -> list[Notice]:
    """List all that is to be told of an incident, in the order in which it happened.

    Who has once fitted a rule goes on hearing by it, whatever is thought of severity and impact later: who was woken by
    a critical incident hears that it is minor after all, and that it is over. A rule that fits for the first time when
    an incident gets worse tells of that as it would have told of its opening.

    Parameters
    ----------
    history
        All that happened.
    response
        Who hears what.

    Returns
    -------
    list of Notice
        At most one for each event and recipient. A recipient may be one that the document does not know.

    Raises
    ------
    BadInput
        If the history is none.
    """
    found: list[Notice] = []
    fitting: set[int] = set()
    called: set[str] = set()
    opened = fold(History(incident=history.incident, events=history.events[:1]))
    before: Incident | None = None
    for index, event in enumerate(history.events):
        after = opened if before is None else evolve(before, event)
        what = _what(event, before)
        names = _drilled(response, what) if after.is_drill else _by_rules(response, after, what, before, fitting)
        if what in _OF_LEAD and not after.is_drill:
            names = _for_lead(names, after, response, what)
        if isinstance(event, Escalated) and not after.is_drill:
            names += event.tell
            called.update(event.tell)
        elif what in _RELIEF:
            names += sorted(called)
        if what is not None:
            name = f"{history.incident}-{index:04d}-{what}"
            found += [
                Notice(id=name, recipient=one, what=what, at=event.at, event=event, incident=after, before=before)
                for one in dict.fromkeys(names)
            ]
        before = after
    return found


def _what(event: Event, before: Incident | None) -> What | None:
    """Say as what an event is told; None if it is not."""
    if isinstance(event, Joined) and before is not None:
        known, found = before.impact, event.impact
        has_grown = set(found.colos) - set(known.colos) or set(found.services) - set(known.services)
        return "assessed" if has_grown else None
    return _TOLD.get(type(event))


def _for_lead(names: list[str], incident: Incident, response: Response, what: What | None) -> list[str]:
    """Have the incident lead hear by the recipient of that name, if there is one: of a reminder nobody else does."""
    lead = incident.roles.get("lead")
    if lead is None or lead not in {each.name for each in response.recipients}:
        return names
    return [lead] if what == "due" else [*names, lead]


def _drilled(response: Response, what: What | None) -> list[str]:
    return [*response.drills] if what in _DRILLED.of else []


def _by_rules(
    response: Response, incident: Incident, what: What | None, before: Incident | None, fitting: set[int]
) -> list[str]:
    """Name those whom rules tell, and note which rules fit."""
    names: list[str] = []
    for index, rule in enumerate(response.rules):
        is_new = index not in fitting and _fits(rule, incident)
        if is_new:
            fitting.add(index)
        if index in fitting and (what in rule.of or (is_new and before is not None and "opened" in rule.of)):
            names += rule.tell
    return names


def _fits(rule: Rule, incident: Incident) -> bool:
    impact = incident.impact
    return (
        incident.severity in rule.severities and _any(impact.services, rule.services) and _any(impact.colos, rule.colos)
    )


def _any(names: Sequence[str], globs: Iterable[str]) -> bool:
    """Tell whether a glob fits a name. Of what nobody knows everybody hears."""
    return not names or any(fnmatchcase(name, glob) for glob in globs for name in names)
