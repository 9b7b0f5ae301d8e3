"""Which stops have one cause, and so are one incident.

A stop joins an incident that is not over, whose newest stop is at most `merge_within` away, if

1. it is of the same rollout; or
2. its package has a unit that a rollout of the incident has too, in the same version (digest); or
3. it hurts one of the same metrics in one of the same colos, and one change is clearly the likelier cause of all of it
   together: likelier than that it was none, and at least `LIKELIER` times as likely as this rollout if the incident's
   own are the cause, as the incident's own if this rollout is, or as all of them if it is another one.

Of several incidents the first rule that holds counts, and then the one that was opened first. Drills are apart.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from detectors.errors import BadInput
from detectors.policy import duration_ms
from rollouts.incidents.attribution import Change, Surroundings, rank
from rollouts.incidents.folding import Incident, objection
from rollouts.incidents.history import Assessed, Cause, Event, Impact, IncidentId, Joined, MergedInto
from rollouts.incidents.response import Response

LIKELIER: Final = 2.0
"""How many times as likely a change has to be to count as the one cause."""

CAUSES_MAX: Final = 500
"""Most stops of an incident: its history is one message. What comes after opens another one."""

ROOM: Final = 200_000
"""About how many names all its stops together may repeat, as each says again what is hurt: some megabytes."""


class Arrived(Struct, frozen=True, kw_only=True):
    """A stop that has to go somewhere."""

    cause: Cause
    impact: Impact
    is_drill: bool


def place_of(
    arrived: Arrived, incidents: Iterable[Incident], response: Response, around: Surroundings
) -> tuple[IncidentId, str] | None:
    """Return the incident that a stop joins, and why; None if it opens one."""
    near = timedelta(milliseconds=duration_ms(response.merge_within))
    found: tuple[int, datetime, IncidentId, str] | None = None
    for incident in incidents:
        if incident.is_over or incident.is_drill != arrived.is_drill or _is_full(incident):
            continue
        if abs(arrived.cause.at - newest_of(incident)) > near:
            continue
        rule = _rule(arrived, incident, around)
        if rule is not None:
            place = (rule[0], incident.opened, incident.id, rule[1])
            found = place if found is None else min(found, place)
    return None if found is None else (found[2], found[3])


def _is_full(incident: Incident) -> bool:
    names = len(incident.impact.colos) + len(incident.impact.metrics) + len(incident.impact.services)
    return len(incident.causes) >= min(CAUSES_MAX, ROOM // max(1, names))


def newest_of(incident: Incident) -> datetime:
    """Return when the newest stop of an incident was; of one without, when it was opened."""
    return max((cause.at for cause in incident.causes), default=incident.opened)


def onset_of(incident: Incident) -> datetime:
    """Return when the harm began by the word of a person, or by when it had.

    An estimate is no ground to acquit a change that began after it: it may be too early.
    """
    impact = incident.impact
    said = None if impact.is_onset_estimated else impact.onset
    return said or min((cause.at for cause in incident.causes), default=incident.opened)


def _rule(arrived: Arrived, incident: Incident, around: Surroundings) -> tuple[int, str] | None:
    """Return the number of the first rule by which they are one, and why."""
    name = arrived.cause.rollout
    theirs = {cause.rollout for cause in incident.causes}
    if name in theirs:
        return 1, f"{name} was stopped before"
    same = _units(name, around) & frozenset[str]().union(*(_units(each, around) for each in theirs))
    if same:
        return 2, f"{name} brings {min(same)} too"
    colos = {*arrived.impact.colos} & {*incident.impact.colos}
    metrics = {*arrived.impact.metrics} & {*incident.impact.metrics}
    if not colos or not metrics:
        return None
    likelier = _likelier(arrived, incident, theirs, around)
    return None if likelier is None else (3, f"{min(metrics)} in {min(colos)} is hurt too, and {likelier} is likelier")


def _units(rollout: str, around: Surroundings) -> frozenset[str]:
    return around.changes.get(rollout, Change(rollout=rollout)).units


def _likelier(arrived: Arrived, incident: Incident, theirs: set[str], around: Surroundings) -> str | None:
    """Name the one change that may have caused both, if there is one."""
    colos = {*arrived.impact.colos, *incident.impact.colos}
    onset = min(onset_of(incident), arrived.impact.onset or arrived.cause.at)
    changes = around.apart(is_drill=incident.is_drill)
    ranked = rank(colos, onset, [*incident.causes, arrived.cause], changes)
    best, name = ranked[0], arrived.cause.rollout
    if best.rollout is None:
        return None
    scores = {candidate.rollout: candidate.score for candidate in ranked}
    # What was put together before is one cause, and no rival of itself.
    rivals = {name} if best.rollout in theirs else theirs if best.rollout == name else {name, *theirs}
    rival = max((scores.get(each, 0.0) for each in rivals), default=0.0)
    return best.rollout if best.score >= LIKELIER * rival else None


def together(one: Impact, other: Impact, around: Surroundings) -> Impact:
    """Return what two stops hurt together."""
    colos = sorted({*one.colos, *other.colos})
    # The earlier one counts; of a person's word and an estimate that say the same, the word.
    onsets = [(each.onset, each.is_onset_estimated) for each in (one, other) if each.onset is not None]
    onset, is_estimated = min(onsets, default=(None, False))
    shares = [each for each in (one.hosts_share, other.hosts_share) if each is not None]
    return Impact(
        colos=colos,
        services=sorted({*one.services, *other.services}),
        metrics=sorted({*one.metrics, *other.metrics}),
        traffic_share=_traffic(one, other, colos, around),
        hosts_share=max(shares, default=None),
        onset=onset,
        is_onset_estimated=is_estimated,
    )


def _traffic(one: Impact, other: Impact, colos: list[str], around: Surroundings) -> float | None:
    """Return what is known now; else what was known before, if there are no more colos than then."""
    now = around.share_of(colos)
    if now is not None:
        return now
    return next((each.traffic_share for each in (one, other) if each.colos == colos), None)


def united(one: Incident, other: Incident, by: str, now: datetime) -> dict[IncidentId, list[Event]]:
    """Have an incident go on as another one, by the word of a person.

    Parameters
    ----------
    one
        What ends with that.
    other
        What goes on, and has the stops and the impact of both from then on.
    by, now
        Who says so, and when.

    Raises
    ------
    BadInput
        If they are the same, one of them went on as another one already, the other one is closed, or one is a drill.
    """
    why = None
    if one.id == other.id:
        why = "found the same incident twice; allowed: two"
    elif one.is_drill != other.is_drill:
        why = "one is a drill, and the other is not"
    elif other.phase == "closed":
        why = f"{other.id} is closed; allowed: reopen it first"
    if why is not None:
        message = f"{one.id}: {why}"
        raise BadInput(message)
    impact = together(one.impact, other.impact, Surroundings())
    words = f"{one.id} is one with it"
    known = {cause.verdict for cause in other.causes}
    events: list[Event] = [
        Joined(at=now, by=by, cause=cause, impact=impact, why=words)
        for cause in one.causes
        if cause.verdict not in known
    ]
    if not events and impact != other.impact:
        events = [Assessed(at=now, by=by, impact=impact, why=words)]
    for kept, added in ((one, MergedInto(at=now, by=by, incident=other.id)), *((other, each) for each in events)):
        found = objection(kept, added)
        if found is not None:
            message = f"{kept.id}: {found}"
            raise BadInput(message)
    return {one.id: [MergedInto(at=now, by=by, incident=other.id)], other.id: events}
