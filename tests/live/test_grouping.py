"""What goes wrong in a rebalance comes out of the client as an exception that can be caught."""

import signal
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from holdfast.cli import interrupt
from holdfast.live.grouping import subscribe
from tests.waiting import WAIT_S

POLLS_MAX = 3_000


@pytest.fixture
def bootstrap() -> Iterator[str]:
    """A cluster of librdkafka's own, which can rebalance; it lasts as long as its producer."""
    producer = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0})
    brokers = producer.list_topics(timeout=WAIT_S).brokers.values()
    producer.produce("t", b"1")
    assert producer.flush(WAIT_S) == 0
    yield ",".join(f"{each.host}:{each.port}" for each in brokers)
    producer.flush()


def member(bootstrap: str) -> Consumer:
    return Consumer({"bootstrap.servers": bootstrap, "group.id": "g", "log_level": 0})


def beyond(consumer: Consumer, _partitions: list[TopicPartition]) -> None:
    consumer.seek(TopicPartition("somebody elses", 0, 0))


def mistaken(_consumer: Consumer, partitions: list[TopicPartition]) -> None:
    dict[str, int]()["no such key"]


def nothing(_consumer: Consumer, _partitions: list[TopicPartition]) -> None:
    pass


def polled(consumer: Consumer) -> None:
    for _ in range(POLLS_MAX):
        consumer.poll(0.1)


def test_what_the_client_itself_raises_in_a_callback_is_caught_as_what_it_is(bootstrap: str) -> None:
    consumer = member(bootstrap)
    subscribe(consumer, ["t"], on_assign=beyond, on_revoke=nothing, on_lost=nothing)
    with pytest.raises(KafkaException, match="Failed to seek") as caught:
        polled(consumer)
    assert type(caught.value) is KafkaException
    consumer.close()


def test_any_other_mistake_in_a_callback_is_caught_as_what_it_is(bootstrap: str) -> None:
    consumer = member(bootstrap)
    subscribe(consumer, ["t"], on_assign=mistaken, on_revoke=nothing, on_lost=nothing)
    with pytest.raises(KeyError, match="no such key"):
        polled(consumer)
    consumer.close()


def test_partitions_come_and_go(bootstrap: str) -> None:
    told: list[tuple[str, int]] = []
    consumer = member(bootstrap)
    subscribe(
        consumer,
        ["t"],
        on_assign=lambda _consumer, partitions: told.append(("assigned", len(partitions))),
        on_revoke=lambda _consumer, partitions: told.append(("revoked", len(partitions))),
        on_lost=nothing,
    )
    for _ in range(POLLS_MAX):
        if told:
            break
        consumer.poll(0.1)
    consumer.close()
    assert [what for what, _ in told] == ["assigned", "revoked"]
    assert told[0][1] == told[1][1] > 0


def test_ctrl_c_in_a_callback_is_ctrl_c(bootstrap: str) -> None:
    consumer = member(bootstrap)
    subscribe(
        consumer,
        ["t"],
        on_assign=lambda _consumer, _partitions: signal.raise_signal(signal.SIGINT),
        on_revoke=nothing,
        on_lost=nothing,
    )
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            polled(consumer)
    finally:
        signal.signal(signal.SIGINT, before)
    consumer.close()
