"""Reading a partition of a compacted topic to its end, as it is now."""

import logging
import time
from collections.abc import Iterator
from typing import Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec

log = logging.getLogger(__name__)

# Their names begin with an underscore since librdkafka made them, not the broker; they are public all the same.
PARTITION_END: Final = KafkaError._PARTITION_EOF  # noqa: SLF001
TIMED_OUT: Final = KafkaError._TIMED_OUT  # noqa: SLF001

_ANSWER_SECONDS: Final = 10.0
_ATTEMPTS_MAX: Final = 10
_PAUSE_SECONDS: Final = 0.5
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
    end = end_of(admin, TopicPartition(topic, partition))
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


def end_of(admin: AdminClient, place: TopicPartition) -> int:
    """Ask for the end of a partition; a broker that has just come back may have to be asked more than once."""
    attempt = 0
    while True:
        attempt += 1
        try:
            asked = admin.list_offsets({place: OffsetSpec.latest()}, request_timeout=_ANSWER_SECONDS)  # type: ignore[no-untyped-call]
            return int(asked[place].result().offset)
        except KafkaException as exception:
            if attempt == _ATTEMPTS_MAX:
                raise
            log.warning("%s/%d: %s; asking again", place.topic, place.partition, exception.args[0].str())
            time.sleep(_PAUSE_SECONDS)
            admin.list_topics(timeout=_ANSWER_SECONDS)  # who leads the partition may have changed


def since(consumer: Consumer, places: list[TopicPartition], timeout_s: float) -> list[TopicPartition]:
    """Say from where to read what was written at a time or later.

    Where nothing was yet, that is the end as it is now. Brokers would answer with the end as it will be once somebody
    reads there, and what is written until then would be passed over.

    Parameters
    ----------
    consumer
        Asked for it.
    places
        Partitions, with the time (epoch ms) as the offset.
    timeout_s
        How long brokers may take to answer each question.

    Raises
    ------
    KafkaException
        If they do not answer in time, or refuse.
    """
    ends = {place.partition: consumer.get_watermark_offsets(place, timeout=timeout_s)[1] for place in places}
    found = consumer.offsets_for_times(places, timeout=timeout_s) if places else []
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
        if place.offset == OFFSET_END:
            place.offset = ends[place.partition]
    return found


def behind(consumer: Consumer) -> dict[str, int]:
    """Count the messages of a consumer's partitions that are not read yet, by topic and without asking a broker."""
    counts: dict[str, int] = {}
    for place in consumer.position(consumer.assignment()):
        _, end = consumer.get_watermark_offsets(place, cached=True)
        # Before the first fetch neither is known: negative, and then nothing is told of the partition.
        if place.offset >= 0 and end >= 0:
            counts[place.topic] = counts.get(place.topic, 0) + max(0, end - place.offset)
    return counts
