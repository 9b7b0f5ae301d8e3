"""A folder that appears whole or not at all: filled aside, then renamed."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from holdfast.errors import BadInput
from holdfast.recording.document import FILE
from holdfast.recording.documents import BESIDE, POLICY, ROLLOUT, TRUTH

METRICS: Final = "metrics.parquet"

_OURS: Final = frozenset({METRICS, FILE, ROLLOUT, POLICY, TRUTH, BESIDE})
_LOCK: Final = "lock"
_MADE: Final = "made"
_REPLACED: Final = "replaced"


@contextmanager
def filled(out: Path, *, replaces: bool) -> Generator[tuple[Path, Path]]:
    """Give a folder to fill, which takes its place at the end of the block, unless that ends with an error.

    What an earlier run left aside, since it was killed, is removed.

    Parameters
    ----------
    out
        Where the folder is to be.
    replaces
        Whether a recording that is there already may be replaced.

    Yields
    ------
    tuple
        The folder to fill, and one for whatever is needed on the way.

    Raises
    ------
    BadInput
        If something is there already, somebody else is about to make it, or it cannot be written.
    """
    out = out.absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _clean(out)
        _require_room(out, replaces)
        aside = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
        try:
            lock = _locked(aside)
            with lock:
                made, around = aside / _MADE, aside / "around"
                made.mkdir()
                around.mkdir()
                yield made, around
                _put(made, out, aside)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        message = f"{out}: cannot be written: {error.strerror or error}"
        raise BadInput(message) from error


def _put(made: Path, out: Path, aside: Path) -> None:
    if out.exists():
        out.rename(aside / _REPLACED)
    made.rename(out)


def _prefix(out: Path) -> str:
    return f".{out.name}.recording-"


def _require_room(out: Path, replaces: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir() or not {path.name for path in out.iterdir()} <= _OURS:
        message = f"{out}: there already, and no recording; allowed: another folder"
        raise BadInput(message)
    if not replaces and any(out.iterdir()):
        message = f"{out}: there already; allowed: another folder, or --replace"
        raise BadInput(message)


def _clean(out: Path) -> None:
    """Remove what earlier runs left aside; a recording that was being replaced comes back."""
    for aside in sorted(out.parent.glob(f"{_prefix(out)}*")):
        lock = _locked(aside)
        with lock:
            if (aside / _REPLACED).exists() and not out.exists():
                (aside / _REPLACED).rename(out)
            shutil.rmtree(aside, ignore_errors=True)


def _locked(aside: Path) -> TextIO:
    """Hold a folder aside for this process; the kernel lets go of it when the process ends, however it ends."""
    file = (aside / _LOCK).open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read().strip() or "unknown"
        file.close()
        message = (
            f"{aside}: another holdfast (process {owner}) is about to write that recording; allowed: one at a time"
        )
        raise BadInput(message) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
