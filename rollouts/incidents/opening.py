"""Verdicts that open an incident, how bad it is, and what of it joins one that there is."""

import hashlib
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Final, Literal

import msgspec
from msgspec import Struct

from detectors.verdict import Verdict
from rollouts.document import Timestamp
from rollouts.incidents.attribution import Change, Surroundings, rank, rehearsed
from rollouts.incidents.folding import ENGINE, Incident, evolve, fold
from rollouts.incidents.history import (
    SEVERITIES,
    UNSEEN,
    Assessed,
    Candidate,
    Cause,
    Event,
    History,
    Impact,
    IncidentId,
    Joined,
    Opened,
    Ranked,
    Reopened,
    Severity,
)
from rollouts.incidents.merging import Arrived, onset_of, place_of, together
from rollouts.incidents.response import Grade, Response

UNGRADED: Final[Severity] = "major"
"""How bad something is that no grade of the response document speaks of."""

DRILL_KIND: Final = "drill"
"""Kind of all units in the package of a drill. Its name alone makes no rollout a drill, of which few people hear."""

SENTENCES_MAX: Final = 5
"""Most reasons of a verdict that an incident repeats; the verdict itself has all."""

COLOS_MAX: Final = 2_000
"""Most colos that an incident names; the verdict itself names all."""

_SENTENCE_MAX: Final = 300
_NAMES_MAX: Final = 3
_TITLE_MAX: Final = 200
_UNSEEN: Final = re.compile(f"[{UNSEEN}]")


class Stop(Struct, frozen=True, kw_only=True):
    """A verdict that may open an incident: `verdict` is the id of its CloudEvent, `at` the end of its last tick."""

    rollout: str
    verdict: str
    at: Timestamp
    said: Verdict

    def is_drill(self, around: Surroundings) -> bool:
        """Tell whether its rollout is a drill's: by name, and announced with the package of one."""
        change = around.changes.get(self.rollout)
        return change is not None and rehearsed(change)


def opens(said: Verdict, response: Response) -> bool:
    """Tell whether a verdict opens an incident: one that binds, of a kind that the response document names."""
    return said.binding and said.action in response.opens


def name_of(at: datetime, what: Sequence[str], taken: Container[str] = ()) -> IncidentId:
    """Name an incident after its day and what opened it, as a rollout and the id of a verdict.

    The same gives the same name, unless another incident of the day has it already: eight digits are few.

    Examples
    --------
    >>> from datetime import UTC
    >>> name_of(datetime(2026, 3, 12, tzinfo=UTC), ["bot-features-0312", "2f1c"])
    'inc-20260312-a1620d0c'
    """
    tries = 0
    while True:
        content = msgspec.json.encode([*what] if tries == 0 else [*what, tries])
        name = f"inc-{at:%Y%m%d}-{hashlib.sha256(content).hexdigest()[:8]}"
        if name not in taken:
            return name
        tries += 1


def services_of(colos: Sequence[str], metrics: Sequence[str], response: Response) -> list[str]:
    """Name the components that are hurt if these metrics are, in these colos; without colos wherever they are."""
    return [
        each.name
        for each in response.components
        if _any(metrics or ["*"], each.metrics) and (not colos or _any(colos, each.colos))
    ]


def impact_of(stop: Stop, response: Response, around: Surroundings) -> Impact:
    """Say what a stop says is hurt, where what is known beside it says more."""
    change = around.changes.get(stop.rollout, Change(rollout=stop.rollout))
    colos = sorted(stop.said.scope.colos or change.colos or ())
    metrics = sorted(stop.said.scope.metrics)
    return Impact(
        colos=[plain(colo) for colo in colos[:COLOS_MAX]],
        services=services_of(colos, metrics, response),
        metrics=[plain(metric) for metric in metrics],
        traffic_share=around.share_of(colos),
        hosts_share=change.hosts_share,
    )


def severity_of(impact: Impact, action: Literal["revert", "halt"], response: Response) -> Severity:
    """Return the severity of the first grade whose conditions all hold; `UNGRADED` if none does."""
    for grade in response.grades:
        if _holds(grade, impact, action):
            return grade.severity
    return UNGRADED


def _holds(grade: Grade, impact: Impact, action: Literal["revert", "halt"]) -> bool:
    return (
        action in grade.actions
        and _any(impact.services, grade.services)
        and _any(impact.colos, grade.colos)
        and (impact.traffic_share is None or impact.traffic_share >= grade.traffic_share)
        and (impact.hosts_share is None or impact.hosts_share >= grade.hosts_share)
    )


def _any(names: Sequence[str], globs: Sequence[str]) -> bool:
    """Tell whether a glob matches one of some names; the one that matches everything matches none of them too."""
    return any(glob == "*" or any(fnmatchcase(name, glob) for name in names) for glob in globs)


def cause_of(stop: Stop) -> Cause:
    """Write a stop as the cause of an incident."""
    said = stop.said
    compared = said.cause == "evidence" and said.judge is msgspec.UNSET and bool(said.reasons)
    return Cause(
        rollout=stop.rollout,
        verdict=stop.verdict,
        sequence=said.sequence,
        action="revert" if said.action == "revert" else "halt",
        stage=said.stage,
        at=stop.at,
        sentences=[plain(reason.sentence, _SENTENCE_MAX) for reason in said.reasons[:SENTENCES_MAX]],
        e_value=max(reason.e_value for reason in said.reasons) if compared else None,
    )


def plain(text: str, longest: int = 200) -> str:
    """Make one line that people see as it is out of a text that came from elsewhere."""
    line = _UNSEEN.sub(" ", text)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def title_of(stop: Stop, impact: Impact) -> str:
    """Say in a line what happened."""
    what = "reverted" if stop.said.action == "revert" else "halted"
    metrics = f": {listed(impact.metrics)}" if impact.metrics else ""
    colos = f" in {listed(impact.colos)}" if impact.colos else ""
    return plain(f"{stop.rollout} {what}{metrics}{colos}", _TITLE_MAX)


def listed(names: Sequence[str]) -> str:
    """List names, and only count those beyond the first few."""
    more = len(names) - _NAMES_MAX
    return ", ".join(names[:_NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def respond(
    known: Mapping[str, Incident],
    stops: Iterable[Stop],
    response: Response,
    around: Surroundings,
    now: datetime,
) -> dict[IncidentId, list[Event]]:
    """Say what verdicts bring: each joins an incident of the same cause, or opens one, or was there already.

    Parameters
    ----------
    known
        All incidents, by id: a verdict that one of them names brings nothing.
    stops
        Verdicts in the order in which they came; those that open nothing are left out by `opens`.
    response
        The response document.
    around
        What is known beside them.
    now
        The time.

    Returns
    -------
    dict[IncidentId, list[Event]]
        What is to be added to the history of each incident.
    """
    seen = {cause.verdict for incident in known.values() for cause in incident.causes}
    taken = {*known}
    live = {name: incident for name, incident in known.items() if not incident.is_over}
    added: dict[IncidentId, list[Event]] = {}
    for stop in stops:
        if stop.verdict in seen or not opens(stop.said, response):
            continue
        seen.add(stop.verdict)
        impact, cause = impact_of(stop, response, around), cause_of(stop)
        arrived = Arrived(cause=cause, impact=impact, is_drill=stop.is_drill(around))
        place = place_of(arrived, live.values(), response, around)
        if place is None:
            name = name_of(stop.at, [stop.rollout, stop.verdict], taken)
            taken.add(name)
            added[name] = [
                Opened(
                    at=now,
                    by=ENGINE,
                    title=title_of(stop, impact),
                    severity=severity_of(impact, cause.action, response),
                    impact=impact,
                    cause=cause,
                    is_drill=stop.is_drill(around),
                )
            ]
            live[name] = fold(History(incident=name, events=added[name]))
        else:
            name, why = place
            for event in _joining(live[name], arrived, plain(why), response, around, now):
                live[name] = evolve(live[name], event)
                added.setdefault(name, []).append(event)
    for name, events in added.items():
        candidates = candidates_of(live[name], around)
        if candidates != live[name].candidates:
            events.append(Ranked(at=now, by=ENGINE, candidates=candidates))
    return added


def sharpened(incident: Incident, response: Response, around: Surroundings, now: datetime) -> list[Event]:
    """Say what is known by now of how much an incident hurts, and was not when it was opened; nothing if nothing is."""
    impact, action = incident.impact, incident.causes[0].action if incident.causes else "revert"
    names = {cause.rollout for cause in incident.causes} & {*around.changes}
    reached = [share for name in sorted(names) if (share := around.changes[name].hosts_share) is not None]
    traffic = impact.traffic_share if impact.traffic_share is not None else around.share_of(impact.colos)
    hosts = impact.hosts_share if impact.hosts_share is not None else max(reached, default=None)
    known = msgspec.structs.replace(impact, traffic_share=traffic, hosts_share=hosts)
    if incident.is_over or known == impact:
        return []
    graded = severity_of(known, action, response)
    worse = graded if _is_worse(graded, incident.severity) else None
    why = "how much it hurts is known by now"
    events: list[Event] = [Assessed(at=now, by=ENGINE, severity=worse, impact=known, why=why)]
    candidates = candidates_of(evolve(incident, events[0]), around)
    if candidates != incident.candidates:
        events.append(Ranked(at=now, by=ENGINE, candidates=candidates))
    return events


def candidates_of(incident: Incident, around: Surroundings) -> list[Candidate]:
    """Rank what may have caused an incident."""
    return rank(incident.impact.colos, onset_of(incident), incident.causes, around.apart(is_drill=incident.is_drill))


def _joining(
    incident: Incident, arrived: Arrived, why: str, response: Response, around: Surroundings, now: datetime
) -> list[Event]:
    """Join; reopen before if it seemed over, and call it worse after if what it hurts has become worse."""
    cause, impact = arrived.cause, together(incident.impact, arrived.impact, around)
    events: list[Event] = [Joined(at=now, by=ENGINE, cause=cause, impact=impact, why=why)]
    if incident.phase == "mitigated":
        events.insert(0, Reopened(at=now, by=ENGINE, why=plain(f"{cause.rollout} was stopped too")))
    # What people have called it stands until it gets worse than what they knew.
    before: Severity = severity_of(incident.impact, cause.action, response)
    after: Severity = severity_of(impact, cause.action, response)
    if _is_worse(after, before) and _is_worse(after, incident.severity):
        events.append(Assessed(at=now, by=ENGINE, severity=after, why=plain(f"{cause.rollout} was stopped too")))
    return events


def _is_worse(one: Severity, other: Severity) -> bool:
    return SEVERITIES.index(one) < SEVERITIES.index(other)
