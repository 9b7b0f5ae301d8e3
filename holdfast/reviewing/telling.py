"""What control has done with a rollout, in a sentence each."""

from functools import singledispatch

from rollouts import controlled


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
