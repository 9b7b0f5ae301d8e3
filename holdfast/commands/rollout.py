"""`holdfast rollout`: what is announced on the rollouts topic, and what has happened to it."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from holdfast.documents import load_policy, load_rollout
from holdfast.errors import BadInput
from holdfast.live.connection import Config, connection
from holdfast.validation import as_time
from holdfast.wall import now_ms
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

app = typer.Typer(help="Announce rollouts, and tell how far they are.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the rollout.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def submit(
    rollout: Annotated[Path, typer.Argument(help="The rollout.yaml.")],
    policy: Annotated[Path, typer.Option(help="The policy.yaml that judges it.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace what was submitted and has not started.")] = False,
    config: Config = None,
) -> None:
    """Announce a rollout. The same one again changes nothing; another one under its name is refused."""
    from holdfast.live.announcing import change

    plan, judged_by = documents(rollout, policy)
    now = _now()

    def make(before: Announcement | None) -> Announcement:
        if before is None:
            return announce(plan, judged_by)
        if not replace and not same(before, plan, judged_by):
            message = (
                f"{rollout}: {plan.rollout} is announced already, in version {before.version}, with another plan or "
                "policy; allowed: the same, another name, or --replace if it has not started"
            )
            raise BadInput(message)
        return replaced(before, plan, judged_by, now)

    client, topics = connection(config)
    made = change(client, topics.rollouts, plan.rollout, make)
    sys.stdout.write(f"{plan.rollout}: announced, version {made.version}\n")
