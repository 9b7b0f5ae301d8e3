"""A compacted topic as a whole: read to its end at first, and followed from there."""

import time
from collections.abc import Iterator
from typing import Final, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from holdfast.errors import Unreachable
from holdfast.live.announcing import partitions_of
from holdfast.live.clients import consumer
from holdfast.live.reading import PARTITION_END
from holdfast.live.settings import Settings

_BATCH: Final = 500
_ANSWER_S: Final = 30.0


class Board:
    """Reads all partitions of a topic, from their beginning on and in no group.

    Parameters
    ----------
    settings
        Of the engine.
    topic
        Which one.

    Raises
    ------
    BadInput
        If there is no such topic.
    """

    def __init__(self, settings: Settings, topic: str) -> None:
        self._topic = topic
        self._consumer: Consumer = consumer(settings, f"{settings.prefix}-board")
        self._unread = set(partitions_of(self._consumer, topic, _ANSWER_S))
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in sorted(self._unread)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def load(self, timeout_s: float = _ANSWER_S) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield keys and values to the end of the topic.

        Raises
        ------
        Unreachable
            If it is not reached in time.
        """
        end = time.monotonic() + timeout_s
        while self._unread:
            if time.monotonic() > end:
                message = f"{self._topic}: not read to its end in {timeout_s:g} s"
                raise Unreachable(message)
            yield from self.poll(0.2)

    def poll(self, wait_s: float) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield what came since; it waits for the first message at most so long."""
        first = self._consumer.poll(wait_s)
        if first is None:
            return
        for record in (first, *self._consumer.consume(_BATCH, 0.0)):
            yield from self._readable(record)

    def close(self) -> None:
        """Leave the topic."""
        self._consumer.close()

    def _readable(self, record: Record) -> Iterator[tuple[bytes, bytes | None]]:
        error = record.error()
        if error is None:
            yield record.key() or b"", record.value()
        elif error.code() == PARTITION_END:
            self._unread.discard(record.partition() or 0)
        elif error.fatal():
            raise KafkaException(error)


def newest(settings: Settings, topic: str) -> dict[bytes, bytes]:
    """Read what a topic has by now: the newest value of each key that has one; raises as `Board` does."""
    with Board(settings, topic) as board:
        found = dict(board.load())
    return {key: value for key, value in found.items() if value is not None}
