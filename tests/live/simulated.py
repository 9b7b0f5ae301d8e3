"""A broker that is a few lists: what the steps of the live engine are driven through in tests without a network.

It shows what a step does with what it reads; that Kafka behaves so is shown on a real broker, in tests/integration.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, TopicPartition

from holdfast.live.loop import Step
from holdfast.live.records import Outputs, Record


class SimMessage:
    """A message as confluent_kafka gives it, or the end of a partition."""

    def __init__(self, topic: str, partition: int, offset: int, record: Record | None) -> None:
        self._topic, self._partition, self._offset, self._record = topic, partition, offset, record

    def topic(self):
        return self._topic

    def partition(self):
        return self._partition

    def offset(self):
        return self._offset

    def error(self):
        return None if self._record else KafkaError(KafkaError._PARTITION_EOF)

    def key(self):
        return self._record and self._record.key

    def value(self):
        return self._record and self._record.value

    def headers(self):
        return self._record and self._record.headers

    def timestamp(self):
        return 1, 0


@dataclass
class SimBroker:
    """Topics as lists of records for each partition, and the offsets that groups have committed."""

    partitions: dict[str, int]
    logs: dict[tuple[str, int], list[Record]] = field(default_factory=lambda: defaultdict(list))
    committed: dict[tuple[str, str, int], TopicPartition] = field(default_factory=dict)
    first: dict[tuple[str, int], int] = field(default_factory=dict)  # what retention has deleted lies before it

    @property
    def records(self) -> int:
        return sum(len(log) for log in self.logs.values())

    def produce(self, record: Record) -> None:
        number = record.partition
        if number < 0:
            number = sum(record.key or b"") % self.partitions[record.topic]
        self.logs[record.topic, number].append(record)

    def commit(self, group: str, outputs: Outputs) -> None:
        for record in outputs.records:
            self.produce(record)
        for place in outputs.offsets:
            self.committed[group, place.topic, place.partition] = place


class SimPast:
    """Reads a second time, a few messages at once; the end of a partition is told once it is reached."""

    def __init__(self, broker: SimBroker, most: int = 15) -> None:
        self.broker, self.most = broker, most
        self.at: dict[tuple[str, int], int] = {}
        self.ended: set[tuple[str, int]] = set()

    def read_from(self, source, offset):
        self.at[source] = max(offset, self.broker.first.get(source, 0))
        self.ended.discard(source)

    def stop(self, source):
        self.at.pop(source, None)

    def take(self, messages):
        taken = []
        for (topic, number), at in self.at.items():
            log = self.broker.logs[topic, number]
            stop = min(at + self.most, len(log))
            taken += [SimMessage(topic, number, offset, log[offset]) for offset in range(at, stop)]
            if stop == len(log) and (stop > at or (topic, number) not in self.ended):
                taken.append(SimMessage(topic, number, stop, None))
                self.ended.add((topic, number))
            self.at[topic, number] = stop
        return taken

    def close(self):
        self.at = {}


class SimWorker:
    """Drives one step over all partitions of its topics, as the loop does over its share."""

    def __init__(self, broker: SimBroker, group: str, topics: Sequence[str], make: Callable[[], Step]) -> None:
        self.broker, self.group, self.topics, self.make = broker, group, topics, make
        self.step = make()
        self.at: dict[tuple[str, int], int] = {}
        self.open()

    def open(self) -> None:
        """Be assigned everything, as after a start."""
        places = []
        for topic in self.topics:
            for number in range(self.broker.partitions[topic]):
                known = self.broker.committed.get((self.group, topic, number))
                fresh = TopicPartition(topic, number, OFFSET_BEGINNING)
                places.append(
                    TopicPartition(topic, number, known.offset, metadata=known.metadata or "") if known else fresh
                )
        self.at = {(place.topic, place.partition): max(place.offset, 0) for place in self.step.assigned(places)}

    def kill(self) -> None:
        """Die without a word, and be started again."""
        self.step = self.make()
        self.open()

    def poll(
        self, rng: np.random.Generator, now: float, most: int = 50, is_ending: bool = True, is_lost: bool = False
    ) -> int:
        """Take some messages of each partition, and commit what comes of it, or die before that."""
        taken = 0
        batch = []
        for (topic, number), at in self.at.items():
            log = self.broker.logs[topic, number]
            count = min(int(rng.integers(0, most + 1)), len(log) - at)
            batch += [SimMessage(topic, number, at + i, log[at + i]) for i in range(count)]
            self.at[topic, number] = at + count
            taken += count
            if is_ending and at + count == len(log):
                batch.append(SimMessage(topic, number, at + count, None))
        self.step.take(cast("Sequence[Message]", batch), now)
        outputs = self.step.outputs(now)
        if is_lost:
            self.kill()
        elif outputs:
            self.broker.commit(self.group, outputs)
        return taken

    def leave(self) -> None:
        """Give everything up in good order."""
        places = [TopicPartition(topic, number) for topic, number in self.at]
        self.broker.commit(self.group, self.step.revoked(places))
        self.at = {}
