"""The incident that a replayed rollout would have caused, as it would have been told."""

from datetime import datetime
from pathlib import Path

import msgspec
from msgspec.structs import replace

from holdfast.documents import load_rollout, load_truth
from holdfast.files import write_whole
from holdfast.replaying import Outcome
from holdfast.reviewing.draft import draft
from holdfast.reviewing.facts import Evidence, ReviewFacts
from holdfast.reviewing.gathering import evidence_of, knew
from holdfast.reviewing.markdown import written
from holdfast.reviewing.page import page
from rollouts.document import Rollout
from rollouts.incidents.attribution import Change, Start, Surroundings
from rollouts.incidents.folding import fold
from rollouts.incidents.history import History, Opened
from rollouts.incidents.opening import Stop, opens, respond
from rollouts.incidents.response import Response
from sinks.cloudevents import VerdictEvent

_RESPONSE = Response(response="replay", opens=["revert", "halt"])


def review_of(recording: Path, outcome: Outcome, out: Path, store: Path | None) -> Path | None:
    """Write the draft of a review of a recording's rollout, if that was stopped; return its page.

    Parameters
    ----------
    recording
        Whose replay it was.
    outcome
        What came of it.
    out
        Folder for the draft in Markdown and HTML, and for the page of evidence. Drafts in it are replaced.
    store
        Folder of the embedded store that holds the replay's evidence; None for no pictures.
    """
    events = [msgspec.convert(event, VerdictEvent) for event in outcome.verdicts]
    truth = recording / "truth.yaml"
    onset = load_truth(truth).onset if truth.is_file() else None
    history = history_of(events, load_rollout(recording / "rollout.yaml"), onset)
    if history is None:
        return None
    incident = fold(history)
    out.mkdir(parents=True, exist_ok=True)
    missing: list[str] = []
    evidence: tuple[Evidence, ...] = ()
    if store is not None:
        found = evidence_of(outcome.rollout, out / f"{incident.id}-evidence-1.html", store, missing)
        evidence = () if found is None else (found,)
    facts = ReviewFacts(
        incident,
        tuple(history.events),
        tuple(knew(event) for event in events),
        evidence=evidence,
        missing=(*missing, "a replay tells neither of hosts nor of people: how far it got is not known here"),
    )
    made = draft(facts)
    write_whole(out / f"{incident.id}.md", written(made).encode())
    write_whole(out / f"{incident.id}.html", page(made).encode())
    return out / f"{incident.id}.html"


def history_of(events: list[VerdictEvent], plan: Rollout, onset: datetime | None) -> History | None:
    """Return the incident that verdicts on a rollout open; None if they stop nothing. `onset` is when harm began."""
    stops = [
        Stop(rollout=event.subject, verdict=event.id, at=datetime.fromisoformat(event.time), said=event.data)
        for event in events
        if opens(event.data, _RESPONSE)
    ][:1]
    if not stops:
        return None
    starts = [Start(stage=stage.name, at=at) for stage in plan.stages if (at := stage.started) is not None]
    change = Change(
        rollout=plan.rollout,
        units=frozenset(f"{unit.unit}@{unit.digest}" for unit in plan.package),
        starts=starts or [Start(stage=plan.stages[0].name, at=plan.started)],
    )
    around = Surroundings(changes={plan.rollout: change})
    [(name, added)] = respond({}, stops, _RESPONSE, around, stops[0].at).items()
    told = [
        replace(event, impact=replace(event.impact, onset=onset)) if isinstance(event, Opened) else event
        for event in added
    ]
    return History(incident=name, events=told)
