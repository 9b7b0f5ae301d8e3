"""Topics for one test alone, and records on them."""

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from holdfast.live.clients import admin
from holdfast.live.settings import Settings, load_settings
from holdfast.live.topics import create
from sinks.messages import Message
from tests.waiting import WAIT_S


@contextmanager
def topic(bootstrap: str, name: str, partitions: int = 1, cleanup: str = "delete") -> Iterator[str]:
    """Make a topic that nobody else has, and take it away again."""
    client = AdminClient({"bootstrap.servers": bootstrap})
    made = NewTopic(name, num_partitions=partitions, replication_factor=1, config={"cleanup.policy": cleanup})
    client.create_topics([made])[name].result(WAIT_S)
    end = time.monotonic() + WAIT_S
    # What the controller has made, the broker may take a moment to hear of.
    while client.list_topics(name, timeout=WAIT_S).topics[name].error is not None and time.monotonic() < end:
        time.sleep(0.05)
    try:
        yield name
    finally:
        client.delete_topics([name])[name].result(WAIT_S)


@contextmanager
def installed(bootstrap: str, **environ: str) -> Iterator[Settings]:
    """Make all topics of settings that nobody else has, and take them away again; HOLDFAST_ is put before names."""
    own = {"KAFKA__BOOTSTRAP_SERVERS": bootstrap, "PREFIX": f"t{uuid.uuid4().hex[:10]}"}
    found = load_settings(None, {f"HOLDFAST_{name}": value for name, value in (own | environ).items()})
    client = admin(found)
    made = create(client, found)
    yield found
    for future in client.delete_topics(made).values():
        future.result()


def publish(bootstrap: str, name: str, messages: Iterable[Message], partition: int = -1) -> None:
    """Put messages on a topic, and wait until the broker has them."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0})
    for message in messages:
        producer.produce(name, message.value, message.key, partition, headers=[*message.headers])
    assert producer.flush(WAIT_S) == 0
