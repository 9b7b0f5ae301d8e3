"""`holdfast drill`: an incident that hurts nobody, end to end, and how long each step of it took."""

import os
import sys
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from holdfast.commands.workers import Config
from holdfast.errors import BadInput
from holdfast.wall import now, now_ms

if TYPE_CHECKING:
    from holdfast.drilling.drill import Drill

FAILED: Final = 5
"""Exit status where a step did not happen."""

TOKEN: Final = "HOLDFAST_STATUS_TOKEN"  # noqa: S105 - the name of a variable


def drill(
    out: Annotated[Path, typer.Option(help="Folder for the draft of the review.")] = Path(),
    page: Annotated[str | None, typer.Option(help=f"Address of the status page; its token stands in {TOKEN}.")] = None,
    limit: Annotated[str, typer.Option(help="How long each step may take.")] = "60s",
    seed: Annotated[int, typer.Option(min=0, help="Another seed is other samples.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the incident open.")] = False,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Rehearse an incident on this installation. Exit status: 0 all steps happened, 5 one did not, 2 bad input."""
    from detectors.policy import duration_ms
    from holdfast.drilling.drill import Drill, page_of
    from holdfast.drilling.fleet import rehearsal
    from holdfast.drilling.steps import in_words, rehearsed
    from holdfast.live.settings import load_settings
    from rollouts.incidents.attribution import DRILL

    try:
        limit_s = duration_ms(limit) / 1_000
    except ValueError as error:
        message = f"--limit: {error}"
        raise BadInput(message) from error
    if not out.is_dir():
        message = f"{out}: no such folder; allowed: a folder that is there"
        raise BadInput(message)
    settings = load_settings(config)
    name = f"{DRILL}{now().astimezone(UTC):%Y%m%d-%H%M%S}"
    address = None if page is None else page_of(page)
    run = Drill(settings, rehearsal(name, seed, now_ms()), page=address, token=os.environ.get(TOKEN), limit_s=limit_s)
    run.run(lambda incident: _review(incident, out, config))
    if not keep:
        _end(run, config)
    found = rehearsed(name, run.incident, run.steps)
    sys.stdout.write((msgspec.json.encode(found).decode() if as_json else in_words(found)) + "\n")
    if found.failed:
        raise typer.Exit(FAILED)


def _review(incident: str, out: Path, config: Path | None) -> Path:
    from holdfast.commands.incident_review import draft_of

    return draft_of(incident, out, None, config)[2]


def _end(run: "Drill", config: Path | None) -> None:
    """Resolve the incident, so that nobody is asked to do anything about it."""
    from holdfast.live.settings import load_settings
    from holdfast.response.record import append
    from rollouts.incidents.folding import ENGINE
    from rollouts.incidents.history import Resolved

    if run.incident is not None:
        append(load_settings(config), run.incident, [Resolved(at=now(), by=ENGINE, how="the drill is over")])
