"""How far a consumer is behind the end of its partitions, by what it knows without asking."""

import time
from typing import Final

from confluent_kafka import Consumer

from holdfast.live.reading import behind
from holdfast.live.telemetry import Telemetry

_SECONDS: Final = 5.0
"""Time between two looks: it takes a call for each partition."""


class Backlog:
    """Tells telemetry every so often how many messages are still to be read.

    Parameters
    ----------
    consumer
        Whose partitions.
    telemetry
        Who is told.
    """

    def __init__(self, consumer: Consumer, telemetry: Telemetry) -> None:
        self._consumer, self._telemetry = consumer, telemetry
        self._looked: float | None = None

    def look(self, waiting: int) -> None:
        """Look, if it is time to; `waiting` is how many messages the producer holds."""
        now = time.monotonic()
        if self._looked is not None and now - self._looked < _SECONDS:
            return
        self._looked = now
        self._telemetry.queues(behind(self._consumer), waiting)
