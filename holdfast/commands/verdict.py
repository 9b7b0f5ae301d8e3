"""`holdfast verdict`: what the engine says about a rollout, for pipelines."""

import sys
from typing import Annotated, Final

import msgspec
import typer

from detectors.verdict import Verdict
from holdfast.commands.groups import Group
from holdfast.commands.rollout import AsJson, Name, announced
from holdfast.commands.workers import Config
from holdfast.errors import BadInput, Unreachable
from holdfast.live.durations import seconds_of
from holdfast.live.heard import Outcome, Waited
from holdfast.live.settings import load_settings

EXIT: Final[dict[Outcome, int]] = {
    "advance": 0,
    "halt": 10,
    "revert": 11,
    "timeout": 12,
    "stale": 13,
    "finished": 14,
}
"""Exit status of `holdfast verdict wait`; 2 is bad input."""

_SAID: Final[dict[Outcome, str]] = {
    "advance": "advance: the next stage may begin",
    "halt": "halt: stop here, and have a person look",
    "revert": "revert: roll the change back",
    "timeout": "no decision in time: hold",
    "stale": "the engine is silent: hold",
    "finished": "finished without a decision on this stage",
}

app = typer.Typer(cls=Group, help="Ask for verdicts.", no_args_is_help=True)


@app.callback()
def verdict() -> None:
    """Ask for verdicts."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `holdfast verdict wait --json` prints; `verdict` is the deciding one, else the newest on the stage."""

    rollout: str
    stage: str
    outcome: Outcome
    exit: int
    time: str | None
    id: str | None
    verdict: Verdict | None
    untrusted: str | None


@app.command()
def wait(
    rollout: Name,
    stage: Annotated[str, typer.Option(help="The stage whose decision is waited for.")],
    timeout: Annotated[str, typer.Option(help="How long to wait, as in 30m.")] = "30m",
    stale_after: Annotated[str, typer.Option(help="How long the engine may be silent.")] = "60s",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Wait for a binding decision on a stage.

    Exit status: 0 advance, 10 halt, 11 revert, 12 no decision in time, 13 the engine is silent, 14 finished without a
    decision, 2 bad input.
    """
    from holdfast.live.waiting import wait as wait_for

    timeout_s, stale_s = seconds_of("--timeout", timeout), seconds_of("--stale-after", stale_after)
    settings = load_settings(config)
    try:
        found = announced(settings).get(rollout)
    except Unreachable as error:
        sys.stderr.write(f"{error}\n")
        waited = Waited("stale", None, None)
    else:
        names = [one.name for one in found.rollout.stages] if found is not None else []
        if stage not in names:
            allowed = f"allowed: {', '.join(names)}" if names else "no such rollout is announced"
            message = f"{rollout}: --stage: found {stage!r}; {allowed}"
            raise BadInput(message)
        if found is not None and found.rollout.mode == "shadow":
            message = (
                f"{rollout}: mode: found shadow, whose verdicts bind nobody; allowed: to wait for one in mode enforce"
            )
            raise BadInput(message)
        waited = wait_for(settings, rollout, stage, timeout_s, stale_s)
    report = _report(rollout, stage, waited)
    sys.stdout.write((msgspec.json.encode(report).decode() if as_json else in_words(report)) + "\n")
    raise typer.Exit(report.exit)


def in_words(report: Report) -> str:
    """Write how the waiting ended for people, with the reasons."""
    lines = [f"{report.rollout}: {report.stage}: {_SAID[report.outcome]}"]
    if report.verdict is not None:
        place = f"verdict {report.verdict.sequence} of {report.time} on {report.verdict.stage}"
        lines.append(f"    {place}: {report.verdict.action} ({report.verdict.cause})")
        lines += [f"    {reason.sentence}" for reason in report.verdict.reasons]
        lines += [f"    not judged: {one.metric}: {one.why}" for one in report.verdict.abstained]
    if report.untrusted is not None:
        lines.append(f"    not trusted: {report.untrusted}")
    return "\n".join(lines)


def _report(rollout: str, stage: str, waited: Waited) -> Report:
    found, doubt = waited.verdict, waited.untrusted
    return Report(
        rollout=rollout,
        stage=stage,
        outcome=waited.outcome,
        exit=EXIT[waited.outcome],
        time=None if found is None else found.time.isoformat().replace("+00:00", "Z"),
        id=None if found is None else found.id,
        verdict=None if found is None else found.verdict,
        untrusted=None if doubt is None else f"{doubt.topic}[{doubt.partition}]@{doubt.offset}: {doubt.reason}",
    )
