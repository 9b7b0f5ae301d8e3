"""What the topic of incidents holds, read from its beginning on."""

import logging
import time
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as Read

from holdfast.errors import BadInput, Unreachable
from holdfast.live.announcing import partitions_of
from holdfast.live.clients import consumer
from holdfast.live.reading import PARTITION_END
from holdfast.live.settings import Settings
from rollouts.incidents.folding import Incident, fold
from rollouts.incidents.history import History, IncidentId, decode

ANSWER_SECONDS: Final = 30.0
"""How long each answer of the brokers is waited for."""

POLL_SECONDS: Final = 0.1
_BATCH: Final = 500

log = logging.getLogger(__name__)


class Ledger:
    """All incidents, as the topic has them: read from its beginning on, in no consumer group.

    What cannot be read is logged with its place and counted in `rejected`; what was known of that incident stays.

    Parameters
    ----------
    settings
        Brokers, and the name of the topic.

    Attributes
    ----------
    histories, incidents
        Each history by the incident's id, and how it stands.
    offset
        Up to where the topic was read.
    """

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topics.incidents
        self.histories: dict[IncidentId, History] = {}
        self.incidents: dict[IncidentId, Incident] = {}
        self.rejected = self.offset = 0
        # A replica nearby may lag behind its leader, and what is decided on must be the newest.
        near = {key: value for key, value in settings.kafka.items() if key != "client.rack"}
        self._consumer: Consumer = consumer(
            msgspec.structs.replace(settings, kafka=near), f"{settings.prefix}-incidents-reader"
        )

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the topic."""
        self._consumer.close()

    def check(self) -> None:
        """Make sure that there is a topic.

        Raises
        ------
        BadInput
            If there is none.
        Unreachable
            If no broker answers.
        """
        partitions_of(self._consumer, self._topic, ANSWER_SECONDS)

    def load(self) -> None:
        """Read the topic anew, to the end that it has now.

        Raises
        ------
        BadInput, Unreachable
            As `check` does, or if the end is not reached in time.
        """
        self.check()
        self.histories, self.incidents = {}, {}
        self._consumer.assign([TopicPartition(self._topic, 0, 0)])
        end = time.monotonic() + ANSWER_SECONDS
        is_end = False
        while not is_end:
            if time.monotonic() > end:
                message = f"{self._topic}: not read to its end in {ANSWER_SECONDS:g} s"
                raise Unreachable(message)
            is_end = self._read(POLL_SECONDS)[1]

    def poll(self, wait_s: float = 0.0) -> list[IncidentId]:
        """Take what came since, waiting for it at most so long, and name the incidents that it is of, in order."""
        return self._read(wait_s)[0]

    def put(self, history: History) -> None:
        """Take a history for what the topic has, as whoever has just written it there may."""
        incident = fold(history)
        self.histories[history.incident], self.incidents[history.incident] = history, incident

    def _read(self, wait_s: float) -> tuple[list[IncidentId], bool]:
        """Take what is there; tell whose it was, and whether the end was reached."""
        found: list[IncidentId] = []
        is_end = False
        for message in self._consumer.consume(_BATCH, wait_s):
            error = message.error()
            if error is None:
                self.offset = (message.offset() or 0) + 1
                found += self._taken(message)
            elif error.code() == PARTITION_END:
                self.offset, is_end = message.offset() or 0, True
            elif error.fatal():
                raise KafkaException(error)
            else:
                log.warning("%s: %s", self._topic, error.str())
        return found, is_end

    def _taken(self, message: Read) -> list[IncidentId]:
        value = message.value()
        try:
            name = (message.key() or b"").decode()
            if value is None:
                self.histories.pop(name, None)
                return [] if self.incidents.pop(name, None) is None else [name]
            history = _under(name, value)
            # A history only grows: what is shorter was written before what is known, perhaps by ourselves.
            if len(history.events) < len(self.histories.get(name, history).events):
                return []
            self.put(history)
        except (BadInput, UnicodeDecodeError) as error:
            self.rejected += 1
            log.warning("%s[%s]@%s: left out: %s", self._topic, message.partition(), message.offset(), error)
            return []
        return [name]


def _under(name: str, value: bytes) -> History:
    history = decode(value)
    if history.incident != name:
        message = f"incident: found {history.incident} under the key {name!r}"
        raise BadInput(message)
    return history
