"""`holdfast topics`: the topics that the engine needs."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from holdfast.commands.groups import Group
from holdfast.commands.workers import Config
from holdfast.live.settings import load_settings

if TYPE_CHECKING:
    from holdfast.live.topics import Standing

app = typer.Typer(cls=Group, help="Make the topics that the engine needs.", no_args_is_help=True)

DIFFERS = 2

Partitions = Annotated[int | None, typer.Option(min=1, max=100_000, help="Instead of `partitions` in the settings.")]
Replication = Annotated[int | None, typer.Option(min=1, max=100, help="Instead of `replication` in the settings.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Make nothing; tell what would be made.")]


@app.callback()
def topics() -> None:
    """Make the topics that the engine needs."""


@app.command()
def create(
    partitions: Partitions = None, replication: Replication = None, dry_run: DryRun = False, config: Config = None
) -> None:
    """Make the topics that are missing. Those that exist are never changed; if one differs the exit status is 2."""
    from holdfast.live import topics as live
    from holdfast.live.clients import admin

    settings = load_settings(config)
    given = {"partitions": partitions, "replication": replication}
    settings = msgspec.structs.replace(settings, **{name: value for name, value in given.items() if value is not None})
    client = admin(settings)
    before = live.standings(client, settings)
    if not dry_run:
        live.create(client, settings)
    sys.stdout.write(in_columns(before, "would be made" if dry_run else "made"))
    differing = [each for each in before if each.differences]
    for each in differing:
        sys.stderr.write(f"topic {each.wanted.topic}: {', '.join(each.differences)}; it was left as it is\n")
    if differing:
        raise typer.Exit(DIFFERS)


def in_columns(standings: "Sequence[Standing]", missing: str) -> str:
    """Write a table of topics, one a line.

    Parameters
    ----------
    standings
        How they stood before.
    missing
        What to say of one that was not there.
    """
    rows = [("TOPIC", "PARTITIONS", "REPLICATION", "CLEANUP", "RETENTION", "")]
    for each in standings:
        topic, config = each.wanted, each.wanted.config
        kept = config.get("retention.ms")
        rows.append(
            (
                topic.topic,
                str(topic.partitions),
                str(topic.replication),
                config.get("cleanup.policy", "the broker's"),
                "for ever" if kept == "-1" else f"{int(kept) / 3_600_000:g}h" if kept else "",
                "differs" if each.differences else "there already" if each.exists else missing,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)
