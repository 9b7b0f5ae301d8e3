"""What those who respond read: what is under way, why it was stopped, who is on it, and what is late."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from holdfast.api.board import Board, Standing
from holdfast.live.events import Received
from holdfast.status.harm import readable
from holdfast.status.snapshot import Action, Broken, Heard, Internal, LiveRollout, Note, Reach, Responded, Why
from holdfast.status.words import fit, line, second
from rollouts.announced import Announcement, finished_at
from rollouts.blast import Blast
from rollouts.breakglass import Held
from rollouts.controlled import ENDED
from rollouts.incidents import history as said
from rollouts.incidents.folding import Incident, overdue_actions
from rollouts.incidents.history import Event, History
from rollouts.incidents.response import Response
from rollouts.incidents.timers import promised_for

ROLLOUTS_MAX: Final = 100
"""Most rollouts on the page: those that are stopped first."""

REASONS_MAX: Final = 3
INCIDENTS_MAX: Final = 500
TIMELINE_MAX: Final = 300
COLOS_MAX: Final = 8
UNREADABLE_MAX: Final = 50
ACTIONS_MAX: Final = 100
ITEMS_MAX: Final = 10
"""Most action items of one incident."""


class Facts(Struct, frozen=True, kw_only=True):
    """What was heard, beside the incidents.

    `announced` is None while it is not known what is; `overrides_unknown` says why it is not known which overrides are
    in force.
    """

    announced: Mapping[str, Announcement] | None = None
    board: Board = field(default_factory=Board)
    blasts: Mapping[str, Blast] = {}
    overrides: Sequence[Held] = ()
    overrides_unknown: str | None = None
    sources: Sequence[Heard] = ()


def internal(histories: Mapping[str, History], response: Response, facts: Facts, as_of: datetime) -> Internal:
    """Say what those who respond may read.

    Parameters
    ----------
    histories
        Incidents by id.
    response
        Says how often an update is promised.
    facts
        All else that was heard.
    as_of
        Until when.
    """
    folded, unreadable = readable(histories)
    newest = sorted(folded.values(), key=lambda each: (each.opened, each.id), reverse=True)
    incidents = [_responded(histories[each.id], each, response) for each in newest[:INCIDENTS_MAX]]
    late = [
        Action(incident=each.id, id=item.id, what=line(item.what), owner=line(item.owner), due=item.due)
        for each in newest
        for item in overdue_actions(each, as_of)
    ]
    return Internal(
        as_of=as_of,
        sources=list(facts.sources),
        doubt=facts.board.doubt,
        rollouts=_rollouts(facts),
        incidents=incidents,
        actions=sorted(late, key=lambda each: (each.due, each.incident, each.id))[:ACTIONS_MAX],
        overrides=sorted((_broken(each) for each in facts.overrides), key=lambda each: (each.expires, each.id)),
        overrides_unknown=facts.overrides_unknown,
        unreadable=[line(each)[:300] for each in unreadable[:UNREADABLE_MAX]],
    )


def _rollouts(facts: Facts) -> list[LiveRollout]:
    announced = facts.announced or {}
    live = {name: each for name, each in announced.items() if finished_at(each) is None}
    names = {*live, *(name for name, blast in facts.blasts.items() if blast.phase not in ENDED)}
    found = [_rollout(name, live.get(name), facts) for name in sorted(names)]
    urgent = {"revert": 0, "halt": 1, "wait": 2, None: 3, "advance": 4}
    return sorted(found, key=lambda each: (urgent.get(each.action, 3), each.rollout))[:ROLLOUTS_MAX]


def _rollout(name: str, one: Announcement | None, facts: Facts) -> LiveRollout:
    standing = facts.board.standing(name) or Standing()
    newest: Received | None = standing.stop or standing.newest
    blast = facts.blasts.get(name)
    reasons = [] if newest is None else newest.reasons
    doubt = facts.board.doubt or standing.doubt or (None if newest is not None else "nothing was heard of it yet")
    return LiveRollout(
        rollout=line(name),
        mode="enforce" if one is None else one.rollout.mode,
        stage=newest.stage if newest is not None else blast.stage if blast is not None else None,
        action=None if newest is None else newest.action,
        cause=None if newest is None else newest.cause,
        at=None if newest is None else newest.time,
        doubt=None if doubt is None else line(doubt)[:300],
        reasons=[
            Why(metric=each.metric, colo=each.colo, sentence=line(each.sentence)) for each in reasons[:REASONS_MAX]
        ],
        reasons_left_out=max(0, len(reasons) - REASONS_MAX),
        reach=None if blast is None else _reach(blast),
    )


def _reach(blast: Blast) -> Reach:
    most = sorted(blast.changed.colos.items(), key=lambda each: (-each[1], each[0]))
    return Reach(
        phase=blast.phase,
        hosts=len(blast.reached.hosts),
        share=blast.reached.fleet,
        changed_hosts=len(blast.changed.hosts),
        changed_share=blast.changed.fleet,
        next_hosts=len(blast.following.hosts),
        next_share=blast.following.fleet,
        colos=dict(most[:COLOS_MAX]),
        colos_left_out=max(0, len(most) - COLOS_MAX),
        held=[line(each)[:200] for each in blast.held[:COLOS_MAX]],
    )


def _broken(held: Held) -> Broken:
    request = held.request
    about = [each for each in (request.rollout, request.stage, request.metric) if each is not None]
    return Broken(
        id=held.id,
        kind=request.override,
        about=line(", ".join(about) or "all rollouts"),
        reason=line(request.reason),
        by=line(request.by),
        approved_by=[line(each.by) for each in held.approvals],
        expires=request.expires,
    )


def _responded(history: History, incident: Incident, response: Response) -> Responded:
    return Responded(
        id=incident.id,
        title=line(incident.title),
        severity=incident.severity,
        phase=incident.phase,
        is_drill=incident.is_drill,
        opened=incident.opened,
        changed=incident.changed,
        impact=incident.impact,
        causes=incident.causes,
        candidates=[f"{each.rollout or 'unattributed'} (score {each.score:.2f})" for each in incident.candidates],
        roles={role: line(person) for role, person in incident.roles.items()},
        acknowledged=incident.acknowledged,
        escalations=incident.escalations,
        next_update=promised_for(incident, response),
        overdue=incident.overdue,
        merged_into=incident.merged_into,
        actions=[replace(each, what=line(each.what), owner=line(each.owner)) for each in incident.actions[:ITEMS_MAX]],
        actions_left_out=max(0, len(incident.actions) - ITEMS_MAX),
        timeline=[_note(each) for each in history.events[-TIMELINE_MAX:]][::-1],
    )


def _note(event: Event) -> Note:
    what, text = _words(event)
    is_public = isinstance(event, said.Updated) and event.is_public
    return Note(at=event.at, by=line(event.by), what=what, text=fit(text), is_public=is_public)


def _words(event: Event) -> tuple[str, str]:
    """Say in words what happened, and what was said of it."""
    match event:
        case said.Opened():
            return "Opened", "; ".join([event.title, *(event.cause.sentences if event.cause is not None else [])])
        case said.Joined():
            return f"{event.cause.action} of {line(event.cause.rollout)} joined", event.why
        case said.Ranked():
            first = event.candidates[0] if event.candidates else None
            likely = "nothing" if first is None else line(first.rollout or "unattributed")
            return f"Likeliest cause: {likely}", "; ".join(first.evidence if first is not None else [])
        case said.Assessed():
            return f"Assessed{f' as {event.severity}' if event.severity is not None else ''}", event.why
        case said.Dated():
            return f"The harm began at about {second(event.onset)}", event.why
        case said.RoleTaken():
            return f"{line(event.person)} is {event.role}", ""
        case said.Acknowledged():
            return "Acknowledged", ""
        case said.Escalated():
            return f"Escalated, step {event.step + 1}", f"told: {', '.join(event.tell)}"
        case said.Updated():
            return "Public update" if event.is_public else "Update", event.text
        case said.Reminded():
            return "Reminded of the next update", ""
        case said.Overdue():
            return "An update is overdue", ""
        case said.Mitigated() | said.Resolved():
            return type(event).__name__, event.how
        case said.Reopened():
            return "Reopened", event.why
        case said.ActionAdded():
            return f"Action item {event.item.id}", f"{event.item.what} ({event.item.owner})"
        case said.ActionDone():
            return f"Action item {event.id} done", ""
        case said.Reviewed():
            return "Reviewed", ""
        case said.Kept():
            return "Kept as a recording", event.recording
        case said.MergedInto():
            return f"Went on as {event.incident}", ""
        case said.Closed():
            return "Closed", ""
