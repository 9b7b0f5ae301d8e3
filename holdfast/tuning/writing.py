"""Writing a file aside, then renaming it: a reader finds the old one or the new one, and nothing in between."""

import tempfile
from pathlib import Path

from detectors.errors import BadInput


def require_place(out: Path) -> None:
    """Refuse a place that cannot hold a file, before anything is worked out for it.

    Raises
    ------
    BadInput
        If it is a folder, or its folder is not there.
    """
    if out.is_dir():
        msg = f"{out}: is a folder; allowed: a file to write"
        raise BadInput(msg)
    if not out.absolute().parent.is_dir():
        msg = f"{out}: there is no folder {out.absolute().parent}; allowed: a file in a folder that is there"
        raise BadInput(msg)


def write_aside(out: Path, text: str) -> None:
    """Write a text file.

    Raises
    ------
    BadInput
        If it cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=f".{out.name}.") as aside:
            made = Path(aside) / out.name
            made.write_text(text, encoding="utf-8")
            made.replace(out)
    except OSError as error:
        msg = f"{out}: cannot be written: {error.strerror or error}"
        raise BadInput(msg) from error
