"""Topics for one test alone, and records on them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from sinks.messages import Message

WAIT_S = 30.0


@contextmanager
def topic(bootstrap: str, name: str, partitions: int = 1, **config: str) -> Iterator[str]:
    """Make a topic that nobody else has, and take it away again."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = NewTopic(name, num_partitions=partitions, replication_factor=1, config=config)
    admin.create_topics([made])[name].result(WAIT_S)
    try:
        yield name
    finally:
        admin.delete_topics([name])[name].result(WAIT_S)


def publish(bootstrap: str, name: str, messages: Iterable[Message], partition: int | None = None) -> None:
    """Put messages on a topic, and wait until the broker has them."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0})
    for message in messages:
        where = {} if partition is None else {"partition": partition}
        producer.produce(name, key=message.key, value=message.value, headers=message.headers, **where)
    assert producer.flush(WAIT_S) == 0
