"""The journal of a search: every finished evaluation, appended, so that a search that was stopped goes on."""

from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import msgspec

from detectors.errors import BadInput
from holdfast.documents import digest
from holdfast.setting import ENGINE
from holdfast.tuning.evaluating import Evaluated
from holdfast.tuning.space import Candidate

NAME: Final = "evaluations.jsonl"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation: by which engine, candidate and bytes of a recording, and what came of it."""

    engine: str
    policy: str
    bake: float
    recording: str
    found: Evaluated


Key = tuple[str, float, str]
"""Digest of a policy, factor of the bake time, digest of a recording."""


class Journal:
    """What was evaluated, in a file of a folder; without a folder in memory alone.

    Lines of another engine, of other policies and of other recordings are left as they are: they do no harm, and a run
    to which they belong finds them again. A last line that was cut off by a kill is not counted.

    Parameters
    ----------
    folder
        Is made if it is not there.

    Raises
    ------
    BadInput
        If the folder or its file cannot be used, or a line that is not the last is no evaluation.
    """

    def __init__(self, folder: Path | None) -> None:
        self._known: dict[Key, Evaluated] = {}
        self._file: BinaryIO | None = None
        self.found = 0
        if folder is None:
            return
        place = folder / NAME
        try:
            folder.mkdir(parents=True, exist_ok=True)
            whole = self._read(place)
            self._file = place.open("ab")
            self._file.truncate(whole)
        except OSError as error:
            msg = f"{place}: cannot be used: {error.strerror or error}"
            raise BadInput(msg) from error
        self.found = len(self._known)

    def _read(self, place: Path) -> int:
        """Read what is there, and return how many bytes of it are whole lines."""
        if not place.exists():
            return 0
        content = place.read_bytes()
        whole = content.rfind(b"\n") + 1
        for number, text in enumerate(content[:whole].splitlines(), 1):
            try:
                line = msgspec.json.decode(text, type=Line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                msg = f"{place}:{number}: no evaluation ({error}); allowed: what holdfast tune wrote, or another folder"
                raise BadInput(msg) from error
            if line.engine == ENGINE:
                self._known[line.policy, line.bake, line.recording] = line.found
        return whole

    def get(self, key: Key) -> Evaluated | None:
        """Return what is known of an evaluation."""
        return self._known.get(key)

    def add(self, key: Key, found: Evaluated) -> None:
        """Note an evaluation, and hand it to the operating system: it outlives this process however that ends."""
        self._known[key] = found
        if self._file is not None:
            line = Line(engine=ENGINE, policy=key[0], bake=key[1], recording=key[2], found=found)
            self._file.write(msgspec.json.encode(line) + b"\n")
            self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def name_of(candidate: Candidate) -> tuple[str, float]:
    """Name a candidate by its content."""
    return digest(candidate.policy), candidate.bake
