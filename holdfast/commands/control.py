"""`holdfast control`, `holdfast plan`, `holdfast reach` and `holdfast agent`: rollouts released by holdfast itself."""

import signal
import sys
import uuid
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from detectors.policy import Policy
from holdfast.commands.groups import Group
from holdfast.commands.options import By
from holdfast.commands.workers import FAILED, Config
from holdfast.documents import load_policy
from holdfast.live.settings import load_settings
from rollouts.plans import Plan

plan = typer.Typer(cls=Group, help="Check plans, and submit them to control.", no_args_is_help=True)

PlanFile = Annotated[Path, typer.Argument(help="The plan.yaml.")]
PolicyFile = Annotated[Path, typer.Option("--policy", help="The policy.yaml that judges it.")]
InventoryFile = Annotated[Path | None, typer.Option("--inventory", help="The hosts; else those that report.")]
Rollout = Annotated[str, typer.Argument(help="Name of the rollout.")]
Why = Annotated[str, typer.Option("--why", help="The reason, for the record.")]


@plan.command("check")
def check_plan(
    path: PlanFile,
    inventory: Annotated[Path, typer.Option("--inventory", help="The inventory.yaml.")],
    policy: Annotated[Path | None, typer.Option("--policy", help="The policy.yaml; else ticks are of 10 s.")] = None,
) -> None:
    """Check a plan against an inventory, and show what each stage reaches."""
    from holdfast.control.documents import load_inventory, load_plan, resolved_of
    from rollouts.plans import rest_of

    fleet, given = load_inventory(inventory), load_plan(path)
    judged_by = None if policy is None else load_policy(policy)
    resolved = resolved_of(path, given, fleet)
    _advise(path, given, judged_by)
    total = len(fleet.hosts)
    reached = 0
    for stage, seats in zip(given.stages, resolved.stages, strict=True):
        reached += len(seats)
        sys.stdout.write(f"{stage.name}: {len(seats)} hosts, {reached / total:.2%} of the fleet with those before\n")
    left = len(rest_of(resolved, fleet))
    words = "which get the change at the end" if given.rest == "release" else "which never get the change"
    sys.stdout.write(f"rest: {left} hosts, {words}\n")


@plan.command("submit")
def submit_plan(
    path: PlanFile,
    policy: PolicyFile,
    by: By,
    contents: Annotated[Path | None, typer.Option("--contents", help="Folder with the units, by their names.")] = None,
    config: Config = None,
) -> None:
    """Submit a plan to control, which announces it and begins when nothing keeps it from that."""
    from holdfast.control.asking import Submission, ask
    from holdfast.control.documents import load_plan
    from holdfast.control.refusals import on_record
    from holdfast.control.units import publish

    given, judged_by, settings = load_plan(path), load_policy(policy), load_settings(config)
    if contents is not None:
        with on_record(settings, by, given.rollout, "package"):
            publish(settings, given.package, contents)
    ask(settings, Submission(plan=given, policy=judged_by, by=by))
    _advise(path, given, judged_by)
    sys.stdout.write(f"{given.rollout}: under control\n")


def _advise(path: Path, given: Plan, judged_by: Policy | None) -> None:
    from holdfast.control.documents import advised

    for each in advised(path, given, "10s" if judged_by is None else judged_by.tick):
        sys.stderr.write(f"warning: {each}\n")


def pause(rollout: Rollout, why: Why, by: By, config: Config = None) -> None:
    """Keep a rollout under control from going on; what has to be taken back is."""
    _command("pause", rollout, why, by, config)


def resume(rollout: Rollout, why: Why, by: By, config: Config = None) -> None:
    """Let a paused rollout go on."""
    _command("resume", rollout, why, by, config)


def abort(rollout: Rollout, why: Why, by: By, config: Config = None) -> None:
    """Call a rollout under control off, and take it back wherever it is."""
    _command("abort", rollout, why, by, config)


def _command(what: Literal["pause", "resume", "abort"], rollout: str, why: str, by: str, config: Path | None) -> None:
    from holdfast.control.asking import Instruction, ask
    from rollouts.inputs import Command

    given = Command(id=uuid.uuid4().hex, command=what, by=by, why=why)
    ask(load_settings(config), Instruction(rollout=rollout, command=given))
    sys.stdout.write(f"{rollout}: {what}\n")


def reach(rollout: Rollout, inventory: InventoryFile = None, config: Config = None) -> None:
    """Show, as JSON, what a rollout has reached, what it could reach next, and what keeps it from that."""
    from holdfast.control.reaching import reach_of

    found = reach_of(load_settings(config), rollout, inventory)
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found)).decode() + "\n")


def control(
    inventory: InventoryFile = None,
    limits: Annotated[
        Path | None, typer.Option("--limits", help="What is too much at once, for all rollouts together.")
    ] = None,
    config: Config = None,
) -> None:
    """Release plans stage by stage, as the verdicts say; several of it stand by for each other."""
    from holdfast.control import deployers
    from holdfast.control.documents import load_inventory, load_limits
    from holdfast.control.worker import Control
    from holdfast.live.clients import admin
    from holdfast.live.http import Server
    from holdfast.live.logs import configure
    from holdfast.live.loop import Fenced
    from holdfast.live.topics import require

    settings = load_settings(config)
    configure(settings.log.level, settings.log.form)
    deployers.require(settings)
    require(admin(settings), settings)
    worker = Control(
        settings,
        lambda: deployers.deployer_of(settings),
        None if inventory is None else load_inventory(inventory),
        None if limits is None else load_limits(limits),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    try:
        with Server(settings.http, [worker.telemetry], lambda: worker.is_ready):
            worker.run()
    except Fenced as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(FAILED) from error


def agent(
    root: Annotated[Path, typer.Option("--root", help="Folder that is the agent's alone.")],
    colo: Annotated[str, typer.Option("--colo", help="Where the host is.")],
    host: Annotated[str, typer.Option("--host", help="Its name, which no other host has.")],
    region: Annotated[str | None, typer.Option("--region", help="Its region; else the colo's name.")] = None,
    config: Config = None,
) -> None:
    """Give this host what it is to have, all of it or nothing, and report what it has."""
    from holdfast.control.agents import Agents, Place
    from holdfast.live.logs import configure

    settings = load_settings(config)
    configure(settings.log.level, settings.log.form)
    worker = Agents(settings, [Place(host, colo, region or colo, root, {})])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    worker.run()
