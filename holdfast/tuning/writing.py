"""Where a tuned policy may be written to; `holdfast.files.write_whole` writes it."""

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
