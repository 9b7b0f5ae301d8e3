"""What several commands are told in the same way."""

import getpass
import os
from datetime import datetime
from typing import Annotated

import typer

from holdfast.errors import BadInput
from holdfast.live.durations import zoned


def user() -> str:
    """Return the name of whoever uses this machine; a container may know but a number."""
    try:
        return os.environ.get("USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


By = Annotated[
    str, typer.Option("--by", default_factory=user, show_default="the user of this machine", help="Who says so.")
]


def moment(option: str, text: str) -> datetime:
    """Read a time that an option gives.

    Raises
    ------
    BadInput
        If it is none, or says nothing of its zone.
    """
    at = zoned(text)
    if at is None:
        message = f"{option}: found {text[:80]!r}; allowed: a time with its zone, as in 2026-03-12T11:20:00Z"
        raise BadInput(message)
    return at
