"""`holdfast token`: who may use the HTTP API."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, get_args

import typer

from holdfast.commands.groups import Group
from holdfast.commands.workers import Config
from holdfast.errors import BadInput
from holdfast.live.durations import seconds_of
from holdfast.live.settings import load_settings
from holdfast.wall import now

app = typer.Typer(cls=Group, help="Make tokens for the HTTP API.", no_args_is_help=True)


@app.callback()
def token() -> None:
    """Make tokens for the HTTP API."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose it is, as logs name them.")],
    scope: Annotated[list[str], typer.Option("--scope", help="What it may do; may be given several times.")],
    expires: Annotated[str | None, typer.Option(help="After how long it expires, as in 90d; by default never.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="The file; by default api.tokens of the settings.")
    ] = None,
    config: Config = None,
) -> None:
    """Make a token, put its hash into the file, and print it: it is shown this once."""
    from holdfast.api.tokens import SCOPES, Scope, add, make

    known: dict[str, Scope] = {each: each for each in get_args(Scope)}
    wrong = [each for each in scope if each not in known]
    if wrong:
        message = f"--scope: found {', '.join(wrong)}; allowed: {', '.join(SCOPES)}"
        raise BadInput(message)
    path = file or _path(config)
    until = None
    if expires is not None:
        until = (now() + timedelta(seconds=seconds_of("--expires", expires))).replace(microsecond=0)
    made, kept = make(name, [known[each] for each in dict.fromkeys(scope)], until)
    if not 1 <= len(name) <= 200 or not name.isprintable():
        message = f"NAME: found {name[:200]!r}; allowed: 1 to 200 printable characters"
        raise BadInput(message)
    add(path, kept)
    sys.stderr.write(f"{path}: {name} may {', '.join(kept.scopes)}; the token is shown this once:\n")
    sys.stdout.write(f"{made}\n")


def _path(config: Path | None) -> Path:
    tokens = load_settings(config).api.tokens
    if tokens is None:
        message = "no file of tokens is named; allowed: --file FILE, or api.tokens in the settings"
        raise BadInput(message)
    return Path(tokens)
