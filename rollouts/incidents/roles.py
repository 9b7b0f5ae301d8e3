"""Taking a role, and handing it over. A role is held by one person."""

from datetime import datetime

from detectors.errors import BadInput
from rollouts.incidents.folding import Incident
from rollouts.incidents.history import Role, RoleTaken


def taken(incident: Incident, role: Role, by: str, now: datetime) -> RoleTaken | None:
    """Have a person take a role that nobody has; None if it is that person's already.

    Raises
    ------
    BadInput
        If somebody else has it.
    """
    holder = incident.roles.get(role)
    if holder is not None and holder != by:
        message = f"{incident.id}: {role}: {holder} has it; {_who(incident, role)} may hand it over"
        raise BadInput(message)
    return None if holder == by else RoleTaken(at=now, by=by, role=role, person=by)


def handed_over(incident: Incident, role: Role, person: str, by: str, now: datetime) -> RoleTaken | None:
    """Hand a role over to a person; None if it is that person's already.

    Who has the role may hand it over, and the incident lead any of them.

    Raises
    ------
    BadInput
        If anybody else does.
    """
    if by not in (incident.roles.get(role), incident.roles.get("lead")):
        message = f"{incident.id}: {role}: {by} may not hand it over; allowed: {_who(incident, role)}"
        raise BadInput(message)
    return None if incident.roles.get(role) == person else RoleTaken(at=now, by=by, role=role, person=person)


def _who(incident: Incident, role: Role) -> str:
    named = [incident.roles[each] for each in (role, "lead") if each in incident.roles]
    return " or ".join(dict.fromkeys(named)) or f"nobody: `holdfast incident take {incident.id} {role}` takes it"
