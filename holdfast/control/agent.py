"""An agent: it gives a host what it is to have, all of it or nothing, and says what the host has.

Under its root, each state of the host is a folder of `states`, with a file for each unit and `state.json`. The link
`current` says which one counts. A new state is written beside it, brought to the disk, and put in its place by renaming
a link, which the file system does at once or not at all. The state before is kept.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from holdfast.control.desired import Unit, Wanted
from holdfast.errors import BadInput
from rollouts.document import Unit as PackageUnit
from rollouts.packages import verified

KEPT: Final = 2
"""How many states are kept: the one that counts, and the one before."""


class Held(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a host has: its units, and the newest action of each rollout that it has done."""

    number: int = 0
    units: dict[str, Unit] = {}
    numbers: dict[str, int] = {}


class Agent:
    """Keeps one host.

    Parameters
    ----------
    root
        The folder that is the agent's alone.

    Raises
    ------
    BadInput
        If what is there cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        (root / "states").mkdir(parents=True, exist_ok=True)
        self.held = self._read()
        self._tidy()

    def path(self, unit: str) -> Path:
        """Name the file of a unit, in whichever state counts when it is opened."""
        return self._root / "current" / "units" / unit

    def is_news(self, wanted: Wanted) -> bool:
        """Tell whether an action is asked for that has not been done."""
        return any(number > self.held.numbers.get(rollout, 0) for rollout, number in wanted.numbers.items())

    def lacks(self, wanted: Wanted) -> set[str]:
        """Name the digests of contents that are needed, and not here."""
        return {
            unit.digest
            for name, unit in wanted.units.items()
            if unit.digest is not None and self.held.units.get(name) != unit
        }

    def apply(self, wanted: Wanted, contents: Mapping[str, bytes]) -> None:
        """Give the host what it is to have. What is not named stays as it is.

        Parameters
        ----------
        wanted
            Units, and the actions that asked for them.
        contents
            By digest, at least those that `lacks` names.

        Raises
        ------
        BadInput
            If a content is not there, or not the one that its digest names; nothing is changed then.
        """
        units = {name: unit for name, unit in {**self.held.units, **wanted.units}.items() if unit.digest is not None}
        files = {name: self._content(name, unit, contents) for name, unit in units.items()}
        held = Held(number=self.held.number + 1, units=units, numbers={**self.held.numbers, **wanted.numbers})
        folder = self._root / "states" / f"{held.number:012d}"
        if folder.exists():
            shutil.rmtree(folder)  # left behind by an agent that was killed before it counted
        for name, content in files.items():
            _write(folder / "units" / name, content)
        _write(folder / "state.json", msgspec.json.encode(held, order="deterministic"))
        for place, _, _ in os.walk(folder):
            _sync(Path(place))
        _sync(folder.parent)
        aside = self._root / "next"
        aside.unlink(missing_ok=True)
        aside.symlink_to(Path("states") / folder.name)
        aside.replace(self._root / "current")
        _sync(self._root)
        self.held = held
        self._tidy()

    def _content(self, name: str, unit: Unit, contents: Mapping[str, bytes]) -> bytes:
        digest = str(unit.digest)
        same = self.held.units.get(name) == unit
        content = self.path(name).read_bytes() if same and digest not in contents else contents.get(digest)
        if content is None:
            message = f"{name}: its content {digest} is not there"
            raise BadInput(message)
        return verified(PackageUnit(unit=name, kind=unit.kind, digest=digest), content)

    def _read(self) -> Held:
        path = self._root / "current" / "state.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Held)
        except FileNotFoundError:
            return Held()
        except (OSError, msgspec.DecodeError) as error:
            message = f"{path}: cannot be read: {error}"
            raise BadInput(message) from error

    def _tidy(self) -> None:
        """Remove states that nobody goes back to, and those that never counted."""
        kept = {f"{self.held.number - back:012d}" for back in range(KEPT)}
        for folder in (self._root / "states").iterdir():
            if folder.name not in kept:
                shutil.rmtree(folder)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
