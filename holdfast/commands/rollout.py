"""`holdfast rollout`: what is announced on the rollouts topic, and what has happened to it."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from detectors.policy import Policy
from holdfast.commands.groups import Group
from holdfast.commands.options import By, moment
from holdfast.commands.workers import Config
from holdfast.documents import digest, load_policy, load_rollout
from holdfast.errors import BadInput
from holdfast.live.settings import Settings, load_settings
from holdfast.wall import now
from rollouts.announced import (
    Announcement,
    EventName,
    announce,
    encode,
    finished_at,
    replaced,
    same,
    start_of,
    with_event,
)
from rollouts.certificate import SignedCertificate
from sinks.signatures import Keys

app = typer.Typer(cls=Group, help="Announce rollouts, and tell how far they are.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the rollout.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class StageStart(msgspec.Struct, frozen=True, kw_only=True):
    """A stage, and when it starts; null if nothing says when, or if the rollout is finished by then."""

    stage: str
    start: datetime | None


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout as `holdfast rollout list --json` prints it; `stage` is the one it is in now."""

    rollout: str
    version: int
    policy: str
    mode: str
    stages: list[StageStart]
    stage: str | None
    finished: datetime | None


@app.command()
def submit(
    rollout: Annotated[Path, typer.Argument(help="The rollout.yaml.")],
    policy: Annotated[Path, typer.Option(help="The policy.yaml that judges it.")],
    by: By,
    replace: Annotated[bool, typer.Option("--replace", help="Replace what was submitted and has not started.")] = False,
    certificate: Annotated[Path | None, typer.Option(help="The gate certificate of the policy.")] = None,
    config: Config = None,
) -> None:
    """Announce a rollout. The same one again changes nothing; another one under its name is refused."""
    from holdfast.control.refusals import on_record
    from holdfast.live.announcing import change

    plan, judged_by = load_rollout(rollout), load_policy(policy)
    if plan.policy is not None and plan.policy != judged_by.policy:
        message = f"{rollout}: policy: found {plan.policy!r}, but {policy} is {judged_by.policy!r}; allowed: that one"
        raise BadInput(message)
    settings, at = load_settings(config), now()
    with on_record(settings, by, plan.rollout, "announcement"):
        signed = _certificate(certificate, judged_by, policy, settings)

    def make(before: Announcement | None) -> Announcement:
        if before is None:
            return announce(plan, judged_by, signed)
        if not replace and not same(before, plan, judged_by):
            message = (
                f"{rollout}: {plan.rollout} is announced already, in version {before.version}, with another plan or "
                "policy; allowed: the same, another name, or --replace if it has not started"
            )
            raise BadInput(message)
        return replaced(before, plan, judged_by, at, signed)

    with on_record(settings, by, plan.rollout, "announcement"):
        made = change(_client(settings), settings.topics.rollouts, plan.rollout, make)
    sys.stdout.write(f"{plan.rollout}: announced, version {made.version}\n")


@app.command()
def event(
    rollout: Name,
    what: Annotated[str, typer.Argument(metavar="started|finished", help="What happened.")],
    by: By,
    stage: Annotated[str | None, typer.Option(help="The stage that started.")] = None,
    at: Annotated[str | None, typer.Option(help="Since when, as in 2026-03-12T11:20:00Z; by default now.")] = None,
    config: Config = None,
) -> None:
    """Tell that a stage has started, or that the rollout is finished. The same event again changes nothing."""
    from holdfast.control.refusals import on_record
    from holdfast.live.announcing import change

    name, since = _event_name(what), now() if at is None else moment("--at", at)
    settings = load_settings(config)

    def make(before: Announcement | None) -> Announcement:
        if before is None:
            raise BadInput(_unknown(rollout))
        return with_event(before, name, stage, since)

    with on_record(settings, by, rollout, "event"):
        made = change(_client(settings), settings.topics.rollouts, rollout, make)
    sys.stdout.write(f"{rollout}: {what} at {_written(since)}, version {made.version}\n")


@app.command()
def show(rollout: Name, as_json: AsJson = False, config: Config = None) -> None:
    """Show what is announced of a rollout; as JSON, the whole document."""
    found = announced(load_settings(config)).get(rollout)
    if found is None:
        raise BadInput(_unknown(rollout))
    sys.stdout.write((msgspec.json.format(encode(found)).decode() if as_json else in_words(found)) + "\n")


@app.command("list")
def list_all(as_json: AsJson = False, config: Config = None) -> None:
    """List the rollouts that are announced."""
    found = announced(load_settings(config))
    overviews = [overview(found[name], now()) for name in sorted(found)]
    if as_json:
        sys.stdout.write(msgspec.json.encode(overviews).decode() + "\n")
        return
    for one in overviews:
        where = f"finished at {_written(one.finished)}" if one.finished else one.stage or "not started"
        sys.stdout.write(f"{one.rollout}: version {one.version}, policy {one.policy}, {one.mode}: {where}\n")


def announced(settings: Settings) -> dict[str, Announcement]:
    """Read what is announced, by the name of the rollout.

    Raises
    ------
    BadInput, Unreachable
        If there is no rollouts topic, or no answer.
    """
    from holdfast.live.announcing import Announcements

    reader = Announcements(_client(settings), settings.topics.rollouts)
    try:
        reader.load()
    finally:
        reader.close()
    if reader.rejected:
        sys.stderr.write(f"{settings.topics.rollouts}: {reader.rejected} records could not be used and are left out\n")
    return reader.current


def overview(found: Announcement, now: datetime) -> Overview:
    """Sum up an announcement as it stands now."""
    plan, finished = found.rollout, finished_at(found)
    stages = [StageStart(stage=one.name, start=start_of(found, index)) for index, one in enumerate(plan.stages)]
    begun = [one.stage for one in stages if one.start is not None and one.start <= now]
    return Overview(
        rollout=plan.rollout,
        version=found.version,
        policy=found.policy.policy,
        mode=plan.mode,
        stages=stages,
        stage=begun[-1] if begun else None,
        finished=finished,
    )


def in_words(found: Announcement) -> str:
    """Write an announcement for people."""
    plan, finished = found.rollout, finished_at(found)
    lines = [f"{plan.rollout}: version {found.version}, policy {found.policy.policy}, {plan.mode}"]
    for index, stage in enumerate(plan.stages):
        start = start_of(found, index)
        since = "no start yet" if start is None else f"from {_written(start)}"
        deadline = "" if stage.deadline is None else f", deadline {stage.deadline}"
        lines.append(f"    {stage.name}: {since}, bake {stage.bake}{deadline}")
    if found.certificate is not msgspec.UNSET:
        lines.append(
            f"    gate certificate by the key {found.certificate.key_id}, {found.certificate.certificate.engine}"
        )
    if finished is not None:
        lines.append(f"    finished at {_written(finished)}")
    return "\n".join(lines)


def _certificate(file: Path | None, policy: Policy, place: Path, settings: Settings) -> SignedCertificate | None:
    """Read the certificate, and refuse one that workers would not take, or none where they demand one.

    Who signed it can only be told where `trusted_keys` are: without them it is left to the workers.
    """
    from holdfast.corpus.certificates import load_certificate, objection

    if file is None and not settings.gate.required:
        return None
    signed = None if file is None else load_certificate(file)
    keys = Keys.load(settings.trusted_keys) if settings.trusted_keys else None
    why = objection(signed, digest(policy), keys, settings.gate.engine)
    if why is not None:
        message = (
            f"{place}: the policy may let no stage advance: {why}; allowed: a policy that has passed `holdfast gate`"
        )
        raise BadInput(message)
    return signed


def _client(settings: Settings) -> dict[str, object]:
    from holdfast.live.clients import base

    return base(settings)


def _unknown(rollout: str) -> str:
    return f"{rollout}: not announced; `holdfast rollout submit` announces it, `holdfast rollout list` lists all"


def _event_name(what: str) -> EventName:
    if what == "started":
        return "started"
    if what == "finished":
        return "finished"
    message = f"event: found {what!r}; allowed: started or finished"
    raise BadInput(message)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
