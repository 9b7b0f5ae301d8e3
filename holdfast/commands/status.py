"""`holdfast status`: the status page, served or written into a folder."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from holdfast.commands.groups import Group
from holdfast.commands.workers import Config
from holdfast.errors import BadInput
from holdfast.live.settings import load_settings

app = typer.Typer(cls=Group, help="The status page: for everybody, and for those who respond.", no_args_is_help=True)


@app.command()
def serve(
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Keep the public pages there as files too, for when all else is down."),
    ] = None,
    config: Config = None,
) -> None:
    """Serve the status page, live, with the topics as its only source."""
    from holdfast.live.logs import configure
    from holdfast.response.documents import response_of
    from holdfast.status.server import serve as run

    settings = load_settings(config)
    configure(settings.log.level, settings.log.form)
    given = folder or (None if settings.status.folder is None else Path(settings.status.folder))
    scheme, host = "https" if settings.status.certificate else "http", settings.status.host
    shown = f"[{host}]" if ":" in host else host
    run(settings, response_of(settings), given, lambda port: _tell(f"{scheme}://{shown}:{port}"))


@app.command()
def export(
    folder: Annotated[Path | None, typer.Option("--folder", help="Where to; else status.folder.")] = None,
    config: Config = None,
) -> None:
    """Write the public pages into a folder, which any web server can hand out."""
    from holdfast.response.documents import response_of
    from holdfast.status.server import export as write

    settings = load_settings(config)
    given = folder or (None if settings.status.folder is None else Path(settings.status.folder))
    if given is None:
        message = "status.folder: found nothing; allowed: the path of a folder, there or by --folder"
        raise BadInput(message)
    count = write(settings, response_of(settings), given)
    sys.stdout.write(f"{given}: {count} {'file' if count == 1 else 'files'} written\n")


def _tell(address: str) -> None:
    """Tell where it listens."""
    sys.stderr.write(f"holdfast status serve: {address}\n")
    sys.stderr.flush()
