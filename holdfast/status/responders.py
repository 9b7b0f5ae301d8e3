"""Whether somebody opens incidents: `holdfast respond`, as the brokers know of it."""

import time
from datetime import datetime
from typing import Final

from confluent_kafka.admin import AdminClient

from holdfast.api.watching import Watch
from holdfast.live.clients import admin
from holdfast.live.settings import Settings
from holdfast.status.snapshot import Heard
from holdfast.wall import now

NOBODY: Final = "no holdfast respond is in charge: nobody opens incidents"

SEEN_S: Final = 60.0
"""How long ago a sign of life may be, as while workers take over from each other."""

_ASK_S: Final = 10.0
_ANSWER_S: Final = 10.0
_POLL_S: Final = 0.25


class Responders(Watch):
    """Asks the brokers again and again whether a member of the group of `holdfast respond` has the topic of incidents.

    One that has ended, or no longer comes to its loop, loses it.

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
        self._trouble: str | None = "the brokers were not asked yet"

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
        """Ask until stopped."""
        client = admin(self._settings)
        asked_s = float("-inf")
        while not self.is_stopped:
            self.alive()
            if time.monotonic() - asked_s >= _ASK_S:
                asked_s = time.monotonic()
                self._look(client)
            self._stopped.wait(_POLL_S)

    def _look(self, client: AdminClient) -> None:
        group, topic = f"{self._settings.prefix}-respond", self._settings.topics.incidents
        found = client.describe_consumer_groups([group], request_timeout=_ANSWER_S)[group].result()
        if any(part.topic == topic for one in found.members for part in one.assignment.topic_partitions):
            self._seen_s, self._seen, self._trouble = time.monotonic(), now(), None
        else:
            self._trouble = NOBODY
