"""`holdfast demo`: a harmless and a bad rollout, judged before your eyes."""

from pathlib import Path
from typing import Annotated, Final

import typer

from sinks.folder import DEFAULT_FOLDER

SEED: Final = 300


def demo(
    folder: Annotated[Path, typer.Option("--data", help="Folder of the embedded store.")] = DEFAULT_FOLDER,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulated fleet.")] = SEED,
    fast: Annotated[bool, typer.Option("--fast", help="Do not slow down to be watched.")] = False,
) -> None:
    """Watch a harmless rollout pass and a bad one being caught, on a simulated fleet."""
    from holdfast.demo import SPEED, run

    raise typer.Exit(run(folder, seed, speed=None if fast else SPEED))
