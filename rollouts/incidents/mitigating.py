"""When holdfast itself may say that an incident hurts nobody any more."""

from collections.abc import Mapping
from datetime import datetime

from rollouts.incidents.folding import ENGINE, Incident
from rollouts.incidents.history import Mitigated
from rollouts.incidents.opening import listed, plain


def mitigated(incident: Incident, back: Mapping[str, datetime], now: datetime) -> Mitigated | None:
    """Say that an incident is mitigated, if that is proven.

    It is if every rollout that the judge stopped was taken back since, as its hosts have reported, and the likeliest of
    the candidates is one of those: what is back where something else did the harm proves nothing. Only people say that
    an incident is resolved: hosts report what they run, and not what customers see.

    Parameters
    ----------
    incident
        How it stands.
    back
        When each rollout was taken back by the word of its hosts; what is not there is not known to be.
    now
        The time.
    """
    if incident.phase != "open" or not incident.causes:
        return None
    stopped: dict[str, datetime] = {}
    for cause in incident.causes:
        stopped[cause.rollout] = max(cause.at, stopped.get(cause.rollout, cause.at))
    if any(name not in back or back[name] < at for name, at in stopped.items()):
        return None
    if incident.candidates and incident.candidates[0].rollout not in stopped:
        return None
    return Mitigated(at=now, by=ENGINE, how=plain(f"taken back, as the hosts report: {listed(sorted(stopped))}", 1_000))
