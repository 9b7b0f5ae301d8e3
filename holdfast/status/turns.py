"""Of several servers one writes to subscribers; this says whose turn it is."""

from datetime import datetime, timedelta
from typing import Final

from holdfast.api.watching import Watch
from holdfast.live.settings import Settings
from holdfast.live.standing_by import LOOK_S, Candidate
from holdfast.wall import now

SETTLED: Final = timedelta(seconds=4)
"""How long after a server's turn has begun it has surely read what the one before it has told."""


class Turn(Watch):
    """Waits for this server's turn, and gives it up when it ends or the brokers say so.

    Parameters
    ----------
    settings
        Brokers, and the topic whose partition says whose turn it is.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__("status-mail-turn")
        self._settings = settings
        self._since: datetime | None = None

    def is_mine(self, heard: datetime | None) -> bool:
        """Tell whether it is this server's turn, which knows what was told until `heard`."""
        since = self._since
        return since is not None and heard is not None and heard >= since + SETTLED

    def watch(self) -> None:
        """Stand by, and take the turn when it comes."""
        candidate = Candidate(self._settings, self._settings.topics.status, "status-mail", is_worker=False)
        try:
            while not self.is_stopped:
                self.alive()
                candidate.poll(LOOK_S)
                if not candidate.is_in_charge:
                    self._since = None
                elif self._since is None:
                    self._since = now()
        finally:
            self._since = None
            candidate.close()
