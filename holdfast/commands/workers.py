"""The commands that run workers."""

from pathlib import Path
from typing import Annotated

import typer

from holdfast.live.settings import load_settings

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


def _run(config: Path | None, roles: list[str]) -> None:
    from holdfast.live.logs import configure
    from holdfast.live.workers import run

    settings = load_settings(config)
    configure(settings.log.level, settings.log.form)
    run(settings, roles)
