"""The rollouts topic: read by every worker before its first sample, written by `holdfast rollout`."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as Record

from holdfast.documents import recheck
from holdfast.errors import BadInput, Unreachable
from holdfast.live.partitioner import MURMUR2
from holdfast.live.reading import PARTITION_END
from rollouts.announced import Announcement, decode, encode, follows

ROLLOUTS_MAX: Final = 10_000
"""Most rollouts that are kept; what is announced beyond them is refused and counted."""

ATTEMPTS_MAX: Final = 5
"""How often a change is tried again because somebody else changed the same rollout meanwhile."""

_BATCH_MESSAGES: Final = 500
_READ_S: Final = 0.05
_ANSWER_S: Final = 30.0
"""How long each answer of the brokers is waited for."""

FENCED: Final = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001 - the library's name for an error of its own
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.PRODUCER_FENCED,
        KafkaError.CONCURRENT_TRANSACTIONS,
        KafkaError.INVALID_TXN_STATE,
    }
)
"""Codes of errors that say that another writer was there."""

_log = logging.getLogger(__name__)


class Announced:
    """What is announced, by rollout: takes records in the order of their partition, and keeps the last good one.

    A record that is not good is counted in `rejected` and logged with its place; it changes nothing. `refused` says
    why the newest record of a rollout is not, as long as it is the newest.
    """

    def __init__(self) -> None:
        self.current: dict[str, Announcement] = {}
        self.refused: dict[str, str] = {}
        self.rejected = 0

    def take(self, key: bytes | None, value: bytes | None, place: str) -> str | None:
        """Take a record, and return whose announcement it changed, if it changed any.

        Parameters
        ----------
        key
            The rollout's name in UTF-8.
        value
            The announcement; None, a tombstone, removes it.
        place
            Topic, partition and offset, for the log.
        """
        name = (key or b"").decode(errors="replace")
        self.refused.pop(name, None)
        try:
            name = (key or b"").decode()
            if value is None:
                return name if self.current.pop(name, None) is not None else None
            return self._taken(name, value, place)
        except (BadInput, UnicodeDecodeError) as error:
            self.rejected += 1
            if len(self.refused) < ROLLOUTS_MAX:
                self.refused[name] = str(error)
            _log.error("%s: left out: %s", place, error)
            return None

    def _taken(self, name: str, value: bytes, place: str) -> str | None:
        announcement = decode(value)
        if announcement.rollout.rollout != name:
            message = f"rollout.rollout: found {announcement.rollout.rollout!r} under the key {name!r}"
            raise BadInput(message)
        recheck(announcement.policy, announcement.rollout, place)
        before = self.current.get(name)
        if before == announcement:
            return None
        problem = follows(announcement, before) if before is not None else None
        if problem is None and before is None and len(self.current) >= ROLLOUTS_MAX:
            problem = f"there are {ROLLOUTS_MAX} rollouts already, which is the most that are kept"
        if problem is not None:
            raise BadInput(problem)
        self.current[name] = announcement
        return name


class Announcements:
    """Reads the rollouts topic, from its beginning on and in no consumer group.

    Parameters
    ----------
    client
        Settings of librdkafka, at least `bootstrap.servers`.
    topic
        The rollouts topic.
    """

    def __init__(self, client: Mapping[str, object], topic: str) -> None:
        self._topic = topic
        self._board = Announced()
        ours = {"group.id": "holdfast-rollouts", "enable.auto.commit": False, "isolation.level": "read_committed"}
        # A replica nearby may lag behind its leader, and what a change is made on must be the newest.
        near = {key: value for key, value in client.items() if key != "client.rack"}
        ends = {"enable.partition.eof": True, "fetch.wait.max.ms": 100}  # the end is told with an empty answer
        self._consumer = Consumer({**near, **ours, **ends})

    @property
    def current(self) -> dict[str, Announcement]:
        """What is announced, by the name of the rollout."""
        return self._board.current

    @property
    def rejected(self) -> int:
        """How many records were left out because they could not be used."""
        return self._board.rejected

    def load(self, timeout_s: float = _ANSWER_S) -> None:
        """Read the topic to its end. Call it once, before the first `poll`.

        Raises
        ------
        BadInput
            If there is no such topic.
        Unreachable
            If the end is not reached in time.
        """
        end = time.monotonic() + timeout_s
        unread = set(self.partitions(timeout_s))
        self._consumer.assign([TopicPartition(self._topic, partition, 0) for partition in sorted(unread)])
        while unread:
            left_s = end - time.monotonic()
            if left_s <= 0:
                message = f"{self._topic}: not read to its end in {timeout_s:g} s; partitions left: {sorted(unread)}"
                raise Unreachable(message)
            for record in self._consumer.consume(_BATCH_MESSAGES, min(left_s, 0.5)):
                self._take(record)
                error, partition = record.error(), record.partition()
                if error is not None and error.code() == PARTITION_END and partition is not None:
                    unread.discard(partition)

    def partitions(self, timeout_s: float) -> list[int]:
        """List the partitions of the topic; raises what `load` raises."""
        return partitions_of(self._consumer, self._topic, timeout_s)

    def poll(self, wait_s: float = 0.0) -> set[str]:
        """Take what came since, by default without waiting, and return the names of the rollouts that changed."""
        changed: set[str] = set()
        records = self._consumer.consume(_BATCH_MESSAGES, wait_s)
        for record in records:
            name = self._take(record)
            if name is not None:
                changed.add(name)
        return changed

    def close(self) -> None:
        """Leave the topic."""
        self._consumer.close()

    def _take(self, record: Record) -> str | None:
        error = record.error()
        if error is None:
            place = f"{record.topic()}[{record.partition()}]@{record.offset()}"
            return self._board.take(record.key(), record.value(), place)
        if error.fatal():
            raise KafkaException(error)
        if error.code() != PARTITION_END:
            _log.warning("%s: %s", self._topic, error.str())
        return None


def partitions_of(consumer: Consumer, topic: str, timeout_s: float) -> list[int]:
    """List the partitions of a topic.

    Raises
    ------
    BadInput
        If there is no such topic, or none that this client may read.
    Unreachable
        If no broker answers in time.
    """
    try:
        found = consumer.list_topics(topic, timeout=timeout_s).topics[topic]
    except KafkaException as error:
        raise no_answer(error) from error
    if found.error is not None:
        message = f"topic {topic}: {found.error.str()}; `holdfast topics create` makes the topics that are missing"
        raise BadInput(message)
    return sorted(found.partitions)


def no_answer(error: KafkaException) -> Unreachable:
    """Say that no broker answers, and where it is said which ones are asked."""
    said = f"no broker answers: {error.args[0].str()}; `kafka.bootstrap.servers` in the settings says where they are"
    return Unreachable(said)


def change(
    client: Mapping[str, object],
    topic: str,
    rollout: str,
    make: Callable[[Announcement | None], Announcement],
) -> Announcement:
    """Change what is announced of a rollout, and wait until the brokers have it.

    Two who change the same rollout at once do not lose each other's change: each writes in a transaction of the id
    `<topic>-<name>`, whose beginning ends or completes that of the other, and reads the topic only after
    that. Whoever was fenced reads again and tries again.

    Parameters
    ----------
    client
        Settings of librdkafka, at least `bootstrap.servers`.
    topic
        The rollouts topic.
    rollout
        Whose announcement it is.
    make
        Makes the new announcement from the one on the topic, or from None; called again for another try. If it gives
        back what it was given, nothing is written.

    Raises
    ------
    BadInput
        What `make` raises, or that there is no such topic.
    Unreachable
        If the brokers do not answer in time, or others changed the rollout all the time. Whether the change was made
        is not known then.
    """
    for _ in range(ATTEMPTS_MAX):
        try:
            return _attempt(client, topic, rollout, make)
        except KafkaException as error:
            if error.args[0].code() not in FENCED:
                message = f"{rollout}: not known to be written: {error.args[0].str()}"
                raise Unreachable(message) from error
            _log.info("%s: somebody else changed it meanwhile; trying again", rollout)
    message = f"{rollout}: not written: somebody else changed it {ATTEMPTS_MAX} times meanwhile"
    raise Unreachable(message)


def _attempt(
    client: Mapping[str, object],
    topic: str,
    rollout: str,
    make: Callable[[Announcement | None], Announcement],
) -> Announcement:
    reader = Announcements(client, topic)
    try:
        reader.partitions(_ANSWER_S)  # a missing topic is told before a producer waits for it
        producer = writer(client, topic, rollout)
        producer.init_transactions(_ANSWER_S)
        reader.load()
        before = reader.current.get(rollout)
        made = make(before)
        if made is not before:
            producer.begin_transaction()
            producer.produce(topic, key=rollout.encode(), value=encode(made))
            producer.commit_transaction(_ANSWER_S)
            _wait_until_read(reader, made)
        return made
    finally:
        reader.close()


def _wait_until_read(reader: Announcements, made: Announcement) -> None:
    """Wait until readers see what was committed: brokers say that it is before it can be read."""
    name, end = made.rollout.rollout, time.monotonic() + _ANSWER_S
    while (found := reader.current.get(name)) is None or found.version < made.version:
        if time.monotonic() > end:
            message = f"{name}: version {made.version} is written, but could not be read in {_ANSWER_S:g} s"
            raise Unreachable(message)
        reader.poll(_READ_S)


def writer(client: Mapping[str, object], topic: str, rollout: str) -> Producer:
    """Make the producer that alone may change a rollout until the next one is made."""
    ours = {
        "transactional.id": f"{topic}-{rollout}",  # rollouts of one name in two installations are two rollouts
        "transaction.timeout.ms": 15_000,
        "partitioner": MURMUR2,  # that of Java clients, so that all records of a rollout are in one partition
        "message.max.bytes": 8_000_000,
    }
    return Producer({**client, **ours})
