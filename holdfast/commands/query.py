"""`holdfast query`: what is asked of the store in SQL."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from holdfast.commands.workers import Config

Data = Annotated[Path | None, typer.Option("--data", help="Folder of an embedded store; else what the settings say.")]


def query(
    sql: Annotated[str, typer.Argument(help="A SELECT over the tables and views of the store.")],
    output: Annotated[
        str, typer.Option("--format", help="A ClickHouse format: PrettyCompact, JSON, CSV, …")
    ] = "PrettyCompact",
    data: Data = None,
    config: Config = None,
) -> None:
    """Ask the store, embedded or a server, what was seen and decided."""
    from holdfast.live.stores import reading, where

    with reading(where(data, config)) as found:
        sys.stdout.buffer.write(found.reads.read(sql, output))
