"""The clients on a real broker, and the broker that the tests bring up."""

import os
import uuid
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from holdfast.live import clients
from holdfast.live.partitioner import partition_of
from holdfast.live.reading import PARTITION_END, read_to_end, since
from holdfast.live.settings import Settings, load_settings
from holdfast.wall import now_ms
from tests.integration.conftest import Kafka
from tests.integration.topics import topic
from tests.kafka.broker import Broker, NoBroker
from tests.waiting import WAIT_S, until


@pytest.fixture
def settings(kafka: Kafka) -> Settings:
    prefix = f"t{uuid.uuid4().hex[:10]}"
    return load_settings(
        None, {"HOLDFAST_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap, "HOLDFAST_PREFIX": prefix, "HOLDFAST_WORKER": "w"}
    )


@pytest.fixture
def name(kafka: Kafka, settings: Settings) -> Iterator[str]:
    """Give a topic of three partitions that nobody else has."""
    with topic(kafka.bootstrap, f"{settings.prefix}.x", partitions=3) as made:
        yield made


def read(settings: Settings, name: str) -> list[Message]:
    """Read a topic to its end."""
    reader, asked = clients.consumer(settings, f"{settings.prefix}-read"), clients.admin(settings)
    try:
        return [message for number in range(3) for message in read_to_end(asked, reader, name, number)]
    finally:
        reader.close()


def written_in_transaction(settings: Settings, name: str, value: bytes) -> Producer:
    """Write one record in a transaction that is left open."""
    made = clients.transactional_producer(settings, "role")
    made.init_transactions(WAIT_S)
    made.begin_transaction()
    made.produce(name, value, b"key")
    assert made.flush(WAIT_S) == 0
    return made


def test_what_a_transaction_took_back_is_never_read(settings: Settings, name: str) -> None:
    first = written_in_transaction(settings, name, b"taken back")
    first.abort_transaction(WAIT_S)
    second = written_in_transaction(settings, name, b"kept")
    second.commit_transaction(WAIT_S)
    assert [message.value() for message in read(settings, name)] == [b"kept"]


def test_a_worker_that_comes_back_fences_off_its_earlier_self(settings: Settings, name: str) -> None:
    before = written_in_transaction(settings, name, b"of the earlier self")
    written_in_transaction(settings, name, b"of the later one").commit_transaction(WAIT_S)
    with pytest.raises(KafkaException) as caught:
        before.commit_transaction(WAIT_S)
    assert caught.value.args[0].fatal()
    assert [message.value() for message in read(settings, name)] == [b"of the later one"]


def test_a_key_is_in_the_partition_where_others_look_for_it(settings: Settings, name: str) -> None:
    keys = [f"colo-{number}".encode() for number in range(50)]
    made = clients.producer(settings)
    for key in keys:
        made.produce(name, b"", key)
    assert made.flush(WAIT_S) == 0
    found = {message.key(): message.partition() for message in read(settings, name)}
    assert found == {key: partition_of(key, 3) for key in keys}


def test_a_consumer_in_a_group_is_told_of_the_end_of_each_partition(settings: Settings, name: str) -> None:
    reader: Consumer = clients.consumer(settings, f"{settings.prefix}-group", member="one")
    reader.subscribe([name])
    ends: set[int | None] = set()

    def is_told() -> bool:
        message = reader.poll(0.1)
        error = None if message is None else message.error()
        if message is not None and error is not None and error.code() == PARTITION_END:
            ends.add(message.partition())
        return ends == {0, 1, 2}

    until(is_told, lambda: f"only {ends}")
    reader.close()


def test_what_is_written_while_somebody_finds_out_where_to_begin_is_read(settings: Settings, name: str) -> None:
    reader, made = clients.consumer(settings, f"{settings.prefix}-since"), clients.producer(settings)
    made.produce(name, b"long ago", partition=0, timestamp=1_000)
    assert made.flush(WAIT_S) == 0
    places = since(reader, [TopicPartition(name, number, now_ms() - 60_000) for number in (0, 1)], WAIT_S)
    for number in (0, 1):
        made.produce(name, b"later", partition=number)
    assert made.flush(WAIT_S) == 0
    reader.assign(places)
    found: list[tuple[int | None, bytes | None]] = []

    def is_read() -> bool:
        message = reader.poll(0.1)
        if message is not None and message.error() is None:
            found.append((message.partition(), message.value()))
        return len(found) == 2

    until(is_read, lambda: found)
    reader.close()
    assert sorted(found) == [(0, b"later"), (1, b"later")]


def test_a_broker_comes_back_with_what_it_had() -> None:
    try:
        broker = Broker()
    except NoBroker as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    with broker, topic(broker.bootstrap, "kept", partitions=3) as name:
        settings = load_settings(None, {"HOLDFAST_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap})
        written_in_transaction(settings, name, b"value").commit_transaction(WAIT_S)
        broker.restart()
        assert [message.value() for message in read(settings, name)] == [b"value"]
