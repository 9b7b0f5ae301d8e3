"""Reading a partition of a compacted topic to its end, as it is now."""

from collections.abc import Iterator
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

# Their names begin with an underscore since librdkafka made them, not the broker; they are public all the same.
PARTITION_END: Final = KafkaError._PARTITION_EOF  # noqa: SLF001
TIMED_OUT: Final = KafkaError._TIMED_OUT  # noqa: SLF001

_ANSWER_SECONDS: Final = 10.0
_OPEN_SECONDS: Final = 120.0
"""How long to wait for transactions that are still open; the broker ends each of them sooner."""


def read_to_end(admin: AdminClient, consumer: Consumer, topic: str, partition: int) -> Iterator[Message]:
    """Yield the committed messages of a partition from its beginning to the end that it has now.

    A transaction that is open hides everything behind it, committed or not. So the end is asked for as it is without
    regard to transactions, and waited for.

    Parameters
    ----------
    admin
        Asked for the end.
    consumer
        One of its own, read_committed: it is assigned the partition, and left without any. It must report partition
        ends.

    Raises
    ------
    KafkaException
        If the broker does not answer in time or refuses.
    """
    place = TopicPartition(topic, partition)
    end = int(admin.list_offsets({place: OffsetSpec.latest()}, request_timeout=_ANSWER_SECONDS)[place].result().offset)
    consumer.assign([TopicPartition(topic, partition, 0)])
    try:
        silent = 0.0
        at = 0
        while at < end:
            message = consumer.poll(1.0)
            if message is None:
                silent += 1.0
                if silent > _OPEN_SECONDS:
                    raise KafkaException(KafkaError(TIMED_OUT, f"reading {topic}/{partition} to its end"))
                continue
            silent = 0.0
            error = message.error()
            if error is None:
                at = (message.offset() or 0) + 1
                yield message
            elif error.code() == PARTITION_END:
                at = message.offset() or 0
            else:
                raise KafkaException(error)
    finally:
        consumer.unassign()
