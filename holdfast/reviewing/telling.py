"""What happened to an incident or a rollout, in a sentence each."""

from functools import singledispatch
from typing import Final

import msgspec

from rollouts import controlled
from rollouts.incidents import history

_ROLES: Final = {"lead": "incident lead", "communications": "communications", "expert": "subject expert"}


@singledispatch
def told(event: history.Event) -> str:
    """Say what happened to an incident."""
    message = f"no words for {type(event).__name__}"
    raise TypeError(message)


@told.register
def _(event: history.Opened) -> str:
    how = f"by the {event.cause.action} of {event.cause.rollout}" if event.cause else "by hand"
    return f"{'drill ' if event.is_drill else ''}opened {how} as {event.severity}: {event.title}"


@told.register
def _(event: history.Joined) -> str:
    return f"the {event.cause.action} of {event.cause.rollout} joined it: {event.why}"


@told.register
def _(event: history.Ranked) -> str:
    first = event.candidates[0] if event.candidates else None
    if first is None:
        return "no change was found that may have caused it"
    named = first.rollout or "no known change (unattributed)"
    return f"likeliest cause, of {len(event.candidates)}: {named}, with a score of {first.score:.2f}"


@told.register
def _(event: history.Assessed) -> str:
    new = f"severity {event.severity}" if event.severity else "its impact"
    return f"{new}: {event.why}"


@told.register
def _(event: history.RoleTaken) -> str:
    return f"{event.person} is {_ROLES[event.role]}"


@told.register
def _(_: history.Acknowledged) -> str:
    return "acknowledged"


@told.register
def _(event: history.Escalated) -> str:
    return f"nobody had acknowledged it: escalated to {', '.join(event.tell)}"


@told.register
def _(event: history.Updated) -> str:
    return f"{'public ' if event.is_public else ''}update: {event.text}"


@told.register
def _(event: history.Overdue) -> str:
    return f"the update that was promised for {msgspec.to_builtins(event.promised)} did not come"


@told.register
def _(event: history.Mitigated) -> str:
    return f"mitigated: {event.how}"


@told.register
def _(event: history.Resolved) -> str:
    return f"resolved: {event.how}"


@told.register
def _(event: history.Reopened) -> str:
    return f"opened again: {event.why}"


@told.register
def _(event: history.ActionAdded) -> str:
    return f"action item {event.item.id}: {event.item.what}, by {event.item.owner}"


@told.register
def _(event: history.ActionDone) -> str:
    return f"action item {event.id} is done"


@told.register
def _(event: history.Reviewed) -> str:
    return f"reviewed (SHA-256 of the text: {event.digest[:16]})"


@told.register
def _(event: history.Kept) -> str:
    return f"kept as the recording {event.recording}"


@told.register
def _(event: history.MergedInto) -> str:
    return f"went on as {event.incident}"


@told.register
def _(_: history.Closed) -> str:
    return "closed"


@singledispatch
def controlled_as(event: controlled.Event) -> str | None:
    """Say what control did with a rollout; None for what is said elsewhere, as in verdicts and the audit log."""
    del event
    return None


@controlled_as.register
def _(event: controlled.StageBegun) -> str:
    hosts = sum(len(each.seats) for each in event.before)
    return f"stage {event.stage + 1} begins: {hosts:,} hosts are to get the package"


@controlled_as.register
def _(_: controlled.StageApplied) -> str:
    return "all hosts of the stage have reported that they have the package"


@controlled_as.register
def _(event: controlled.Halted) -> str:
    return f"halted: {event.why}"


@controlled_as.register
def _(event: controlled.RevertBegun) -> str:
    where = "everywhere" if event.colos is None else f"in {', '.join(event.colos)}"
    return f"taking it back {where}: {event.why}"


@controlled_as.register
def _(event: controlled.Restored) -> str:
    lost = f"; {len(event.missing):,} hosts did not report" if event.missing else ""
    return f"hosts of a stage have reported that they have what they had{lost}"


@controlled_as.register
def _(_: controlled.Reverted) -> str:
    return "taken back: every host has reported so"


@controlled_as.register
def _(event: controlled.Commanded) -> str:
    return f"{event.command} by {event.by}: {event.why}"


@controlled_as.register
def _(_: controlled.Aborted) -> str:
    return "called off before it reached a host"


@controlled_as.register
def _(_: controlled.Completed) -> str:
    return "completed"
