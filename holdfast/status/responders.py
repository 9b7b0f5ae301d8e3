"""Whether somebody opens incidents: the signs of life of the `holdfast respond` that is in charge."""

import time
from datetime import datetime
from typing import Final

from confluent_kafka import Consumer

from holdfast.api.watching import Watch
from holdfast.live.clients import consumer
from holdfast.live.settings import Settings
from holdfast.live.standing_by import group_of, sign_of_life
from holdfast.status.snapshot import Heard
from holdfast.wall import now

NOBODY: Final = "no holdfast respond is in charge: nobody opens incidents"
UNSEEN: Final = "whether a holdfast respond is in charge is not known yet"

SEEN_S: Final = 60.0
"""How long ago a sign of life may be, as while workers take over from each other."""

_ASK_S: Final = 5.0
_ANSWER_S: Final = 10.0
_POLL_S: Final = 0.25


class Responders(Watch):
    """Looks again and again for a new sign of life of the `holdfast respond` that is in charge.

    One that has ended, or no longer comes to its loop, gives none. It is read as the place of a consumer group, and not
    asked for as an administrator would ask about members: librdkafka may end the process if a broker goes away in the
    middle of such a question about a group (its pull request 5397).

    Parameters
    ----------
    settings
        Brokers, the prefix, and the name of the topic.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__("respond")
        self._settings = settings
        self._seen_s: float | None = None
        self._seen: datetime | None = None
        self._trouble = "the brokers were not asked yet"

    def is_there(self) -> bool:
        """Tell whether there was a sign of life a moment ago."""
        return self._seen_s is not None and time.monotonic() - self._seen_s < SEEN_S

    def heard(self) -> Heard:
        """Say when there was a sign of life, and why there is none."""
        return Heard(name=self.name, at=self._seen, trouble=None if self.is_there() else self._trouble)

    def failed(self, why: str) -> None:
        """Say why nothing is known."""
        self._trouble = why

    def watch(self) -> None:
        """Look until stopped."""
        reader = consumer(self._settings, group_of(self._settings, "respond"))
        try:
            begun_s, asked_s, sign = time.monotonic(), float("-inf"), None
            while not self.is_stopped:
                self.alive()
                if time.monotonic() - asked_s >= _ASK_S:
                    asked_s = time.monotonic()
                    sign = self._look(reader, sign)
                    self._trouble = NOBODY if asked_s - begun_s >= SEEN_S else UNSEEN
                reader.poll(_POLL_S)  # nothing to read: what the client itself has to say does not pile up
        finally:
            reader.close()

    def _look(self, reader: Consumer, before: str | None) -> str:
        """Read the newest sign of life, which tells something if it is another than at the look before."""
        sign = sign_of_life(reader, self._settings.topics.incidents, _ANSWER_S)
        if sign and before is not None and sign != before:
            self._seen_s, self._seen = time.monotonic(), now()
        return sign
