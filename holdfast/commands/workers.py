"""The commands that run workers."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from holdfast.live.settings import load_settings

FAILED = 1

Config = Annotated[Path | None, typer.Option("--config", help="The settings; else HOLDFAST_CONFIG, else defaults.")]


def aggregate(config: Config = None) -> None:
    """Sum up metrics topics into cohort ticks."""
    _run(config, ["aggregate"])


def judge(config: Config = None) -> None:
    """Judge rollouts by their cohort ticks, and publish verdicts."""
    _run(config, ["judge"])


def rekey(config: Config = None) -> None:
    """Pass metrics topics that are not keyed by colo on, keyed by it."""
    _run(config, ["rekey"])


def run(config: Config = None) -> None:
    """Run aggregate, judge and sink together, and rekey where a topic needs it: for small fleets."""
    from holdfast.live.logs import configure
    from holdfast.live.together import run as run_together
    from holdfast.live.workers import Failed

    settings = load_settings(config)
    configure(settings.log.level, settings.log.form)
    with _told(Failed):
        run_together(settings)


def _run(config: Path | None, roles: list[str]) -> None:
    from holdfast.live.logs import configure
    from holdfast.live.workers import Failed
    from holdfast.live.workers import run as run_roles

    settings = load_settings(config)
    configure(settings.log.level, settings.log.form)
    with _told(Failed):
        run_roles(settings, roles)


@contextmanager
def _told(kind: type[Exception]) -> Iterator[None]:
    """End with status 1 and one line, where the log has the rest."""
    try:
        yield
    except kind as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(FAILED) from error
