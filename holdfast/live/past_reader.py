"""Reading metrics topics a second time, beside the live reading."""

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from holdfast.live.reading import PARTITION_END
from streams.live.frames import SourcePartition
from streams.live.search import BEGINNING

log = logging.getLogger(__name__)

_CHUNK_MESSAGES: Final = 100
_CHUNK_BYTES: Final = 4 << 20
"""How much is taken at a time: frames of collectors may be large, those of hosts are small."""


class PastReader(Protocol):
    """Reads source partitions beside the live reading, without any trace at the broker."""

    def read_from(self, source: SourcePartition, offset: int) -> None:
        """Have `take` return the messages of a partition from an offset on, or from the first that is still there."""
        ...

    def stop(self, source: SourcePartition) -> None:
        """Have no more messages of a partition come."""
        ...

    def take(self, messages: int) -> Sequence[Message]:
        """Return what is there, at most so many messages; ends of partitions are among them."""
        ...

    def close(self) -> None:
        """Let go of everything, until something is to be read again."""
        ...


class KafkaPast:
    """Reads by a consumer of its own, which is there as long as there is something to read.

    Parameters
    ----------
    make
        Makes the consumer: read_committed, from the earliest if an offset is gone, and reporting partition ends. It
        is in no group, and commits nothing.
    """

    def __init__(self, make: Callable[[], Consumer]) -> None:
        self._make = make
        self._consumer: Consumer | None = None
        self._reading: set[SourcePartition] = set()

    def read_from(self, source: SourcePartition, offset: int) -> None:
        """See `PastReader`."""
        self.stop(source)
        if self._consumer is None:
            self._consumer = self._make()
        start = OFFSET_BEGINNING if offset == BEGINNING else offset
        self._consumer.incremental_assign([TopicPartition(source.topic, source.partition, start)])
        self._reading.add(source)

    def stop(self, source: SourcePartition) -> None:
        """See `PastReader`."""
        if self._consumer is not None and source in self._reading:
            # Not `seek`: what was fetched before must not be taken for what comes from elsewhere.
            self._consumer.incremental_unassign([TopicPartition(source.topic, source.partition)])
            self._reading.discard(source)

    def take(self, messages: int) -> Sequence[Message]:
        """See `PastReader`."""
        taken: list[Message] = []
        size = 0
        while self._consumer is not None and self._reading and len(taken) < messages and size < _CHUNK_BYTES:
            chunk = self._consumer.consume(min(_CHUNK_MESSAGES, messages - len(taken)), 0.0)
            if not chunk:
                break
            for message in chunk:
                if self._is_readable(message):
                    taken.append(message)
                    size += len(message.value() or b"")
        return taken

    def _is_readable(self, message: Message) -> bool:
        """Keep messages and ends of partitions; other errors pass by themselves, or end the worker."""
        error = message.error()
        if error is None or error.code() == PARTITION_END:
            return True
        if error.fatal():
            raise KafkaException(error)
        log.warning("reading the past, the broker says: %s", error.str())
        return False

    def close(self) -> None:
        """See `PastReader`."""
        if self._consumer is not None:
            self._consumer.close()
        self._consumer = None
        self._reading = set()
