"""Files that are there whole or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from detectors.errors import BadInput


def require_place(file: Path) -> None:
    """Complain about a place before there is any work, not after it.

    Raises
    ------
    BadInput
        If no file can be written there.
    """
    if file.is_dir() or not file.absolute().parent.is_dir():
        what = "a folder" if file.is_dir() else "no such folder"
        msg = f"{file}: {what}; allowed: a file in a folder that is there"
        raise BadInput(msg)


def write_whole(file: Path, content: bytes) -> None:
    """Write a file in one piece: whoever looks meanwhile sees the one before, or none.

    Raises
    ------
    BadInput
        If it cannot be written.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
            mask = os.umask(0)
            os.umask(mask)
            Path(name).chmod(0o666 & ~mask)
            Path(name).replace(file)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        msg = f"{file}: cannot be written: {error.strerror or error}"
        raise BadInput(msg) from error
