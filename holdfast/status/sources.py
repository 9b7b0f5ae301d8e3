"""What a page is made of, wherever it comes from."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from holdfast.api.board import Board
from holdfast.api.watching import RolloutWatch, VerdictWatch, Watch
from holdfast.control.glass import Glass
from holdfast.control.people_file import load_roster
from holdfast.live.settings import Settings
from holdfast.status.internal import Facts
from holdfast.status.responders import Responders
from holdfast.status.sealing import Seal
from holdfast.status.snapshot import Heard
from holdfast.status.watching import Applied, Control, Incidents, Table, blasts
from holdfast.wall import now
from rollouts.incidents.history import History


class Sources(Protocol):
    """What a page is made of."""

    def version(self) -> int:
        """Return a number that grows when something is heard."""
        ...

    def as_of(self) -> datetime | None:
        """Return until when all incidents are known; None if they never were."""
        ...

    def histories(self) -> Mapping[str, History]:
        """Return the incidents."""
        ...

    def watched(self, as_of: datetime) -> Sequence[tuple[datetime, datetime]]:
        """List when the page was listening."""
        ...

    def is_responding(self) -> bool:
        """Tell whether somebody opens incidents."""
        ...

    def facts(self, at: datetime) -> Facts:
        """Return all else."""
        ...

    def listened(self, day: str, span: tuple[int, int]) -> None:
        """Keep that the page was listening; raises `Unreachable` if that cannot be."""
        ...


class Topics:
    """What the topics say, each followed in a thread of its own.

    Parameters
    ----------
    settings
        Brokers, topics and people.
    seal
        Hides subscribers' addresses; None where nobody can subscribe.

    Raises
    ------
    BadInput
        If a file that the settings name cannot be used.
    """

    def __init__(self, settings: Settings, seal: Seal | None) -> None:
        self.table = Table(settings, seal)
        self._incidents = Incidents(settings)
        self._control, self._applied = Control(settings), Applied(settings)
        self._responders = Responders(settings)
        self._board = Board()
        self._rollouts, self._verdicts = RolloutWatch(settings), VerdictWatch(settings, self._board)
        self._glass = Glass(settings, None if settings.people is None else load_roster(settings))

    @property
    def watches(self) -> list[Watch]:
        """The threads."""
        return [
            self._incidents,
            self.table,
            self._control,
            self._applied,
            self._rollouts,
            self._verdicts,
            self._responders,
        ]

    def start(self) -> None:
        """Begin to listen."""
        for each in self.watches:
            each.start()
        self._glass.start()

    def close(self, seconds: float) -> None:
        """Stop listening."""
        for each in self.watches:
            each.stop()
        self._glass.close()
        for each in self.watches:
            each.join(seconds)

    def version(self) -> int:
        """Return a number that grows when something is heard of incidents or of days."""
        return self._incidents.version + self.table.version

    def as_of(self) -> datetime | None:
        """Return until when all incidents are known; None if they never were."""
        return self._incidents.heard

    def histories(self) -> Mapping[str, History]:
        """Return the incidents."""
        return self._incidents.histories()

    def watched(self, as_of: datetime) -> Sequence[tuple[datetime, datetime]]:
        """List when the page was listening."""
        return self.table.watched(as_of)

    def listened(self, day: str, span: tuple[int, int]) -> None:
        """Keep that the page was listening; raises `Unreachable` if that cannot be."""
        self.table.listened(day, span)

    def is_responding(self) -> bool:
        """Tell whether somebody opens incidents."""
        return self._responders.is_there()

    def facts(self, at: datetime) -> Facts:
        """Return what is under way."""
        followers = (self._incidents, self.table, self._control, self._applied)
        heard = [Heard(name=each.name, at=each.heard, trouble=each.trouble) for each in followers]
        verdicts = Heard(name="verdicts", at=at if self._board.doubt is None else None, trouble=self._board.doubt)
        unsent = self.table.unsent()
        return Facts(
            announced=self._rollouts.current(),
            board=self._board,
            blasts=blasts(self._control, self._applied, self._glass.overrides(at), at),
            overrides=self._glass.held(at),
            overrides_unknown=self._glass.unknown,
            sources=[*heard, verdicts, self._responders.heard(), *([] if unsent is None else [unsent])],
        )


def moment() -> datetime:
    """Return the time, in whole seconds: pages made within one second are alike."""
    return now().replace(microsecond=0)
