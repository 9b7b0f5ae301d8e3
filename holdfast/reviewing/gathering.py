"""Gathering what a review is made of: from Kafka, which has to be there, and from the store, if it answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from holdfast.control.asking import ANSWERED, ASKED, NOTED
from holdfast.control.audit_log import AuditLog
from holdfast.control.board import Board
from holdfast.errors import BadInput, Unreachable
from holdfast.files import write_whole
from holdfast.live.announcing import Announcements
from holdfast.live.clients import base
from holdfast.live.settings import Settings
from holdfast.live.stores import Where
from holdfast.notifying.journal import decode as delivered
from holdfast.notifying.journal import incident_of
from holdfast.reviewing.draft import REASONS_MAX, second
from holdfast.reviewing.facts import Evidence, Knew, Moment, Reached, ReviewFacts
from holdfast.reviewing.telling import controlled_as
from rollouts.announced import start_of
from rollouts.audit import Entry
from rollouts.controlled import Event, Restored, Reverted, State, Submitted
from rollouts.controlled import decode as decode_history
from rollouts.folding import fold as fold_rollout
from rollouts.incidents.folding import fold
from rollouts.incidents.history import History
from sinks.cloudevents import VerdictEvent
from sinks.cloudevents import decode as decode_verdict
from sinks.errors import StoreError

VERDICTS_MAX = 2_000
"""Most verdicts of a rollout that a review holds; a rollout that speaks at every tick of a day has 8,640."""


@dataclass(slots=True)
class _Found:
    """What was found so far."""

    verdicts: list[Knew] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    reached: list[Reached] = field(default_factory=list)
    restored: datetime | None = None
    overrides: list[str] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def gather(settings: Settings, history: History, out: Path | None = None, store: Where | None = None) -> ReviewFacts:
    """Gather what is stored about an incident.

    Parameters
    ----------
    settings
        Brokers and names of topics.
    history
        The incident.
    out
        Folder that pages of evidence are written to; None writes none.
    store
        Where evidence is kept; None if nowhere.

    Raises
    ------
    Unreachable
        If the brokers do not answer. What else is away is told in `missing`.
    """
    incident = fold(history)
    rollouts = sorted({cause.rollout for cause in incident.causes})
    found = _Found()
    _verdicts(settings, rollouts, found)
    _announced(settings, rollouts, found)
    _controlled(settings, rollouts, found)
    _notified(settings, incident.id, found)
    _audited(settings, rollouts, (incident.opened, incident.resolved), found)
    if out is not None:
        for number, rollout in enumerate(rollouts, start=1):
            page = evidence_of(rollout, out / f"{incident.id}-evidence-{number}.html", store, found.missing)
            found.evidence += [] if page is None else [page]
    return ReviewFacts(
        incident,
        tuple(history.events),
        tuple(sorted(found.verdicts, key=lambda each: (each.at, each.rollout, each.sequence))),
        tuple(found.moments),
        tuple(found.reached),
        found.restored,
        tuple(found.overrides),
        tuple(found.evidence),
        tuple(found.missing),
    )


def _records(settings: Settings, topic: str, found: _Found) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield what stands on a topic; one that is not there is told, and nobody stumbles over it."""
    try:
        board = Board(settings, topic)
    except BadInput as error:
        found.missing.append(f"{topic}: {error}")
        return
    with board:
        yield from board.load()


def _verdicts(settings: Settings, rollouts: Sequence[str], found: _Found) -> None:
    keys = {name.encode() for name in rollouts}
    known: dict[str, VerdictEvent] = {}
    for key, value in _records(settings, settings.topics.verdicts, found):
        if key in keys and value is not None:
            try:
                event = decode_verdict(value)
            except BadInput:
                continue  # a heartbeat, which has the same key
            known[event.id] = event
    of = {name: [event for event in known.values() if event.subject == name] for name in rollouts}
    for name, events in of.items():
        if not events:
            found.missing.append(f"{settings.topics.verdicts}: no verdict on {name} is there any more")
        elif len(events) > VERDICTS_MAX:
            left_out = len(events) - VERDICTS_MAX
            found.missing.append(f"{name}: the first {left_out:,} of its verdicts are left out here")
        ordered = sorted(events, key=lambda event: event.data.sequence)
        found.verdicts += [knew(event) for event in ordered[-VERDICTS_MAX:]]


def knew(event: VerdictEvent) -> Knew:
    """Say what a verdict says, as far as a review tells it."""
    said = event.data
    return Knew(
        datetime.fromisoformat(event.time),
        event.subject,
        said.sequence,
        said.action,
        said.cause,
        said.stage,
        said.binding,
        tuple(said.scope.colos),
        tuple(said.scope.metrics),
        tuple(reason.sentence for reason in said.reasons[:REASONS_MAX]),
        tuple(
            f"{each.metric}{f' in {each.colo}' if each.colo else ''}: {each.why}"
            for each in said.abstained[:REASONS_MAX]
        ),
    )


def _announced(settings: Settings, rollouts: Sequence[str], found: _Found) -> None:
    reader = Announcements(base(settings), settings.topics.rollouts)
    try:
        reader.load()
    except BadInput as error:
        found.missing.append(str(error))
        return
    finally:
        reader.close()
    for name in rollouts:
        announcement = reader.current.get(name)
        if announcement is None:
            found.missing.append(f"{settings.topics.rollouts}: {name} is not announced there any more")
            continue
        for index, stage in enumerate(announcement.rollout.stages):
            start = start_of(announcement, index)
            if start is not None:
                found.moments.append(Moment(start, "rollout", "", f"{name}: stage {stage.name} starts"))


def _controlled(settings: Settings, rollouts: Sequence[str], found: _Found) -> None:
    histories: dict[str, list[Event]] = {}
    for key, value in _records(settings, settings.topics.control, found):
        name = key.decode(errors="replace")
        if name in rollouts and not key.startswith((ASKED, ANSWERED, NOTED)):
            if value is None:
                histories.pop(name, None)
            else:
                histories[name] = decode_history(value)
    for name, events in sorted(histories.items()):
        for event in events:
            what = controlled_as(event)
            if what is not None:
                by = event.by if isinstance(event, Submitted) else ""
                found.moments.append(Moment(event.at, "control", by, f"{name}: {what}"))
        state = fold_rollout(events)
        if state is not None:
            found.reached.append(_reached(state))
        ended = [event.at for event in events if isinstance(event, Reverted | Restored)]
        if ended and state is not None and state.phase == "reverted":
            found.restored = max([*ended, *([found.restored] if found.restored else [])])
    for name in rollouts:
        if name not in histories:
            found.missing.append(f"{name} was carried out by another rollout system: how far it got is not stored here")


def _reached(state: State) -> Reached:
    seats = {seat.host: seat.colo for stage in state.reached for before in stage.before for seat in before.seats}
    return Reached(state.rollout, len(seats), tuple(sorted(set(seats.values()))))


def _notified(settings: Settings, incident: str, found: _Found) -> None:
    for key, value in _records(settings, settings.topics.notified, found):
        if value is not None and incident_of(key) == incident:
            (_, place), what = delivered(key, value)
            why = f" ({what.reason})" if what.reason else ""
            found.moments.append(Moment(what.at, "notice", str(place), f"{what.state}{why}: {what.subject}"))


def _audited(
    settings: Settings, rollouts: Sequence[str], span: tuple[datetime, datetime | None], found: _Found
) -> None:
    try:
        with AuditLog(settings) as log:
            log.load()
            links = list(log.chain.links)
    except (BadInput, Unreachable) as error:
        found.missing.append(str(error))
        return
    begins, ends = span
    for link in links:
        entry = link.entry
        is_override = entry.kind.startswith("breakglass.")
        is_then = entry.time >= begins and (ends is None or entry.time <= ends)
        if entry.subject in rollouts or (is_override and is_then):
            what = f"{entry.subject}: {_said(entry)}".removeprefix(": ")
            found.moments.append(Moment(entry.time, "audit", entry.who, what))
            if is_override:
                found.overrides.append(f"{second(entry.time)}, {entry.who}: {what}")


def _said(entry: Entry) -> str:
    """Say what an entry says: its own sentence, or what was signed and why."""
    body = entry.body
    if "sentence" in body:
        return str(body["sentence"])
    named = [str(body[name]) for name in ("override", "stage", "metric") if body.get(name) is not None]
    why = f" ({body['reason']})" if body.get("reason") else ""
    drill = ", a drill" if body.get("drill") else ""
    return f"{' '.join([entry.kind, *named])}{drill}{why}"


def evidence_of(rollout: str, file: Path, store: Where | None, missing: list[str]) -> Evidence | None:
    """Write the page with all evidence about a rollout; why there is none is added to what is missing."""
    from holdfast.reporting.build import report_data
    from holdfast.reporting.page import render
    from holdfast.reporting.stored import asking, gather_stored
    from holdfast.reviewing.page import pictures

    if store is None:
        missing.append(f"{rollout}: no store was named, so there are no pictures of its evidence")
        return None
    try:
        with asking(store) as answer:
            data = report_data(gather_stored(answer, rollout))
    except (BadInput, StoreError) as error:
        missing.append(f"{rollout}: no pictures of its evidence: {error}")
        return None
    write_whole(file, render(data).encode())
    return Evidence(rollout, file.name, pictures(data))
