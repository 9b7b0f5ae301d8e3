"""Subscribing to verdicts on a real broker: once each, in order, nothing skipped, and silence told."""

import asyncio
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka import Message as Record

import holdfast
from holdfast.live.events import Event, Fresh, Gap, Received, Stale, Untrusted
from holdfast.live.partitioner import MURMUR2, partition_of
from holdfast.live.subscription import Subscription
from sinks.messages import Message
from sinks.signatures import Signer
from tests.integration.topics import publish, topic
from tests.kafka.broker import Broker
from tests.test_following import at, beat, verdict
from tests.test_signatures import private
from tests.waiting import WAIT_S, until


@pytest.fixture
def verdicts(kafka) -> Iterator[str]:
    name = f"verdicts-{uuid.uuid4().hex}"
    with topic(kafka.bootstrap, name, partitions=3):
        yield name


def about_rollouts(subscription: Subscription) -> Iterator[Event]:
    """Leave out that the brokers were not heard yet: tests with a short patience begin with that on a busy machine."""
    return (event for event in subscription if event.rollout is not None)


class Room:
    """Subscribes to one topic with one group, and publishes on it."""

    def __init__(self, bootstrap: str, name: str) -> None:
        self.bootstrap, self.topic, self.group = bootstrap, name, f"group-{uuid.uuid4().hex}"

    def subscribe(self, stale_after: str = f"{WAIT_S:g}s", **rest) -> Subscription:
        return holdfast.subscribe(self.bootstrap, group=self.group, topic=self.topic, stale_after=stale_after, **rest)

    def publish(self, *messages: Message, partition: int = 0) -> None:
        publish(self.bootstrap, self.topic, messages, partition)

    def remembered(self) -> int:
        """Return where the group is in the first partition; negative as long as it has not said so."""
        reader = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group})
        (place,) = reader.committed([TopicPartition(self.topic, 0)], timeout=WAIT_S)
        reader.close()
        return int(place.offset)

    def first(self, count: int, **rest) -> list[Event]:
        """Return the first events that a new subscriber deals with."""
        with self.subscribe(**rest) as subscription:
            found = list(islice(about_rollouts(subscription), count))
            subscription.acknowledge()
        return found


@pytest.fixture
def room(kafka, verdicts) -> Room:
    return Room(kafka.bootstrap, verdicts)


def sequences(told: list[Event]) -> list[int]:
    return [event.sequence for event in told if isinstance(event, Received)]


def test_verdicts_come_once_each_and_in_order(room: Room) -> None:
    room.publish(verdict(1, 1), beat(1, 2), verdict(2, 3), verdict(2, 3), verdict(3, 4), beat(3, 5))
    room.publish(verdict(1, 9, "last"))
    told = room.first(4)
    assert sequences(told) == [1, 2, 3, 1]
    assert told[3].rollout == "last"


def test_a_subscriber_goes_on_where_the_last_one_was(room: Room) -> None:
    room.publish(verdict(1, 1), verdict(2, 2), verdict(2, 2), verdict(3, 3))
    assert sequences(room.first(2)) == [1, 2]
    assert sequences(room.first(1)) == [3]


def test_an_event_that_was_not_dealt_with_comes_again(room: Room) -> None:
    room.publish(verdict(1, 1), verdict(2, 2))
    with room.subscribe() as subscription:
        assert sequences([next(subscription), next(subscription)]) == [1, 2]
    assert sequences(room.first(1)) == [2]


def test_an_event_that_was_not_dealt_with_comes_again_though_something_was_read_before_it(room: Room) -> None:
    room.publish(verdict(1, 1), beat(1, 2), verdict(2, 3))
    with room.subscribe() as subscription:
        assert sequences([next(subscription), next(subscription)]) == [1, 2]
    with room.subscribe() as subscription:  # to which the heartbeat tells that the engine speaks
        told = next(event for event in subscription if isinstance(event, Received | Stale))
    assert sequences([told]) == [2]


def test_a_message_that_tells_two_things_comes_again_whole(room: Room) -> None:
    room.publish(verdict(1, 1), verdict(3, 3))
    with room.subscribe() as subscription:
        next(subscription)
        assert isinstance(next(subscription), Gap)
    told = room.first(2)
    assert (told[0], sequences(told)) == (Gap("bots", 2, 2, None), [3])


def test_only_the_rollouts_that_were_asked_for_come(room: Room) -> None:
    room.publish(verdict(1, 1, "cats"), Message(b"cats", b"{", []), verdict(1, 2, "bots"))
    assert [event.rollout for event in room.first(1, rollouts=["bots"])] == ["bots"]


def test_what_a_judge_took_back_never_comes(kafka, room: Room) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": room.group})
    producer.init_transactions(WAIT_S)
    for sequence, end in ((7, producer.abort_transaction), (1, producer.commit_transaction)):
        producer.begin_transaction()
        message = verdict(sequence, 1)
        producer.produce(room.topic, message.value, message.key, headers=[*message.headers])
        producer.flush(WAIT_S)
        end(WAIT_S)
    assert sequences(room.first(1)) == [1]


def test_silence_is_told_and_so_is_its_end(room: Room) -> None:
    room.publish(verdict(1, 1))
    with room.subscribe("200ms") as subscription:
        events = about_rollouts(subscription)
        assert sequences([next(events)]) == [1]
        assert next(events) == Stale("bots", at(1))
        room.publish(beat(1, 2))
        assert next(events) == Fresh("bots", "wait")


def test_a_rollout_that_was_asked_for_and_never_heard_is_stale(room: Room) -> None:
    assert room.first(1, rollouts=["bots"], stale_after="200ms") == [Stale("bots", None)]


def test_a_rollout_that_is_finished_is_not_missed(room: Room) -> None:
    room.publish(verdict(1, 1), beat(1, 2, finished=True), verdict(1, 1, "cats"))
    told = room.first(3, stale_after="200ms")
    assert told[2] == Stale("cats", at(1))


def test_brokers_that_do_not_answer_are_silence() -> None:
    with holdfast.subscribe("127.0.0.1:1", group="g", stale_after="200ms") as subscription:
        assert next(subscription) == Stale(None, None)


def test_brokers_that_do_not_answer_are_silence_of_the_rollouts_that_were_asked_for() -> None:
    with holdfast.subscribe("127.0.0.1:1", group="g", rollouts=["bots"], stale_after="200ms") as subscription:
        assert next(subscription) == Stale("bots", None)


def test_what_is_known_of_a_rollout_outlives_a_restart(room: Room) -> None:
    room.publish(verdict(1, 1))
    room.first(1)
    assert room.first(1, stale_after="200ms") == [Stale("bots", None)]
    room.publish(verdict(1, 1), beat(1, 2))
    assert room.first(1) == [Fresh("bots", "wait")]


def signed(message: Message, signer: Signer) -> Message:
    decided_at = message.header("decided_at") or b""
    return Message(
        message.key, message.value, [*message.headers, *signer.headers(message.key, decided_at, message.value)]
    )


def test_what_is_not_signed_is_told_as_untrusted(room: Room, tmp_path: Path) -> None:
    signer = Signer.load(private(tmp_path, "march", 1), "march")
    forged = signed(verdict(2, 2), Signer.load(private(tmp_path, "forged", 2), "march"))
    room.publish(signed(verdict(1, 1), signer), verdict(2, 2), forged, signed(verdict(2, 2), signer))
    told = room.first(4, trusted_keys={"march": tmp_path / "march.pub"})
    assert [type(event) for event in told] == [Received, Untrusted, Untrusted, Received]
    assert [event.reason for event in told if isinstance(event, Untrusted)] == [
        "not signed; allowed: a signature by one of the keys march",
        "the signature by the key 'march' is not that of this message",
    ]


def test_untrusted_heartbeats_are_no_sign_of_life(room: Room, tmp_path: Path) -> None:
    signer = Signer.load(private(tmp_path, "march", 1), "march")
    room.publish(signed(verdict(1, 1), signer), beat(1, 2))
    told = room.first(3, trusted_keys={"march": tmp_path / "march.pub"}, stale_after="200ms")
    assert [type(event) for event in told] == [Received, Untrusted, Stale]


def stepped(subscriptions: list[Subscription], is_done: Callable[[], bool]) -> None:
    """Let subscribers go on, one after the other, until something is so."""
    end = time.monotonic() + WAIT_S
    while not is_done():
        assert time.monotonic() < end
        for subscription in subscriptions:
            subscription._step()


def test_two_of_a_group_share_the_rollouts_and_neither_takes_the_others_for_silent(room: Room) -> None:
    names = [f"rollout-{number}" for number in range(12)]
    both = [room.subscribe(rollouts=names), room.subscribe(rollouts=names)]
    stepped(both, lambda: all(one._ours for one in both) and sum(len(one._ours) for one in both) == 3)
    missed = [[str(event.rollout) for event in one._following.silent(time.monotonic() + 2 * WAIT_S)] for one in both]
    for subscription in both:
        subscription.close()
    assert all(missed)
    assert sorted(missed[0] + missed[1]) == sorted(names)


def test_whoever_takes_over_goes_on_where_the_other_one_was(room: Room) -> None:
    room.publish(*[verdict(sequence, sequence) for sequence in (1, 2, 3)])
    first = room.subscribe()
    assert sequences([next(first), next(first)]) == [1, 2]
    second = room.subscribe()
    closing = threading.Thread(target=first.close)
    closing.start()
    assert sequences(list(islice(second, 2))) == [2, 3]
    closing.join(WAIT_S)
    second.close()


CRASHING = """
import sys, time
import holdfast

settings = {"session.timeout.ms": 10_000, "heartbeat.interval.ms": 1_000}
for event in holdfast.subscribe(sys.argv[1], topic=sys.argv[2], group=sys.argv[3], settings=settings):
    print(event.sequence, flush=True)
    if event.sequence == 2:
        time.sleep(600)
"""


def test_whoever_is_killed_in_the_middle_of_a_verdict_gets_it_again(room: Room) -> None:
    room.publish(*[verdict(sequence, sequence) for sequence in (1, 2, 3)])
    command = [sys.executable, "-c", CRASHING, room.bootstrap, room.topic, room.group]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [process.stdout.readline(), process.stdout.readline()] == ["1\n", "2\n"]
        until(lambda: room.remembered() == 1)
        process.kill()
    assert sequences(room.first(2)) == [2, 3]


def test_the_example_of_the_docs_works(room: Room) -> None:
    page = (Path(__file__).parents[2] / "docs/subscribing.md").read_text(encoding="utf-8")
    example = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0]
    assert len(example.splitlines()) <= 12
    script = example.replace('"kafka:9092"', f'"{room.bootstrap}", topic="{room.topic}"')
    room.publish(verdict(1, 1), verdict(2, 2, action="advance"), verdict(3, 3, action="revert"))
    with subprocess.Popen([sys.executable, "-u", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(3)]
        process.kill()
    assert said[0].startswith("bots: hold: Received(")
    assert said[1:] == ["bots: canary is healthy, begin the next stage\n", "bots: revert in ams01\n"]


def test_a_broker_that_dies_is_silence_and_one_that_comes_back_ends_it() -> None:
    with Broker() as broker, topic(broker.bootstrap, "verdicts"):
        room = Room(broker.bootstrap, "verdicts")
        room.publish(verdict(1, 1))
        # Who is away for longer than its session hears what it has not told the group to remember once more.
        with room.subscribe("2s", settings={"session.timeout.ms": round(WAIT_S * 1_000)}) as subscription:
            events = about_rollouts(subscription)
            assert sequences([next(events)]) == [1]
            broker.stop(signal.SIGKILL)
            assert next(events) == Stale("bots", at(1))
            broker.start()
            room.publish(beat(1, 2))
            assert next(events) == Fresh("bots", "wait")
            subscription.acknowledge()
        room.publish(verdict(1, 1), verdict(2, 3))
        assert sequences(room.first(1)) == [2]


def test_the_partition_of_a_rollout_is_where_a_producer_puts_it(kafka, room: Room) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": MURMUR2})
    found: dict[bytes, int] = {}

    def delivered(_error: object, record: Record) -> None:
        found[record.value() or b""] = record.partition() or 0

    names = ["x", "a", "ab", "abc", "abcd", "rollout-ü-0312"]
    for name in names:
        producer.produce(room.topic, name.encode(), name.encode(), on_delivery=delivered)
    assert producer.flush(WAIT_S) == 0
    assert found == {name.encode(): partition_of(name.encode(), 3) for name in names}


def test_the_same_events_come_asynchronously(room: Room) -> None:
    room.publish(verdict(1, 1), verdict(2, 2))

    async def listen() -> list[Event]:
        told: list[Event] = []
        async with room.subscribe() as subscription:
            async for event in subscription:
                told.append(event)
                if len(told) == 2:
                    break
        return told

    assert sequences(asyncio.run(listen())) == [1, 2]


def test_an_event_is_not_lost_where_waiting_for_it_is_cancelled(room: Room) -> None:
    async def listen() -> list[Event]:
        async with room.subscribe() as subscription:
            waiting = asyncio.ensure_future(anext(subscription))
            await asyncio.sleep(0.05)
            waiting.cancel()
            await asyncio.to_thread(room.publish, verdict(1, 1), verdict(2, 2))
            return [await anext(subscription), await anext(subscription)]

    assert sequences(asyncio.run(listen())) == [1, 2]


def test_closing_from_another_thread_ends_the_iteration(room: Room) -> None:
    subscription = room.subscribe()
    closer = threading.Timer(0.1, subscription.close)
    closer.start()
    assert list(subscription) == []
    closer.join()


def test_closing_from_the_handler_of_a_signal_ends_the_iteration(room: Room) -> None:
    subscription = room.subscribe()
    before = signal.signal(signal.SIGUSR1, lambda *_: subscription.close())
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGUSR1))
    timer.start()
    assert list(subscription) == []
    timer.join()
    signal.signal(signal.SIGUSR1, before)


def test_a_closed_subscription_may_be_closed_again_and_gives_nothing(room: Room) -> None:
    subscription = room.subscribe()
    subscription.close()
    subscription.close()
    assert list(subscription) == []


def test_a_topic_that_is_not_there_is_an_error(room: Room) -> None:
    room.topic = f"not-{room.topic}"
    with room.subscribe() as subscription, pytest.raises(holdfast.BadInput, match=f"^topic {room.topic}: "):
        next(subscription)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"settings": {"group.id": "x"}}, r"^settings: group.id: a parameter says it; allowed: other settings"),
        ({"settings": {"isolation.level": "x"}}, r"^settings: isolation.level: holdfast sets it itself; allowed: "),
        ({"settings": {"no.such": "x"}}, r'^settings: .*No such configuration property: "no.such"'),
        ({"stale_after": "soon"}, r"^stale_after: found 'soon'; a duration is a number and its unit"),
        ({"stale_after": "0s"}, r"^stale_after: found '0s'; allowed: longer than 0"),
        ({"rollouts": "bots"}, r"^rollouts: found 'bots'; allowed: a list of names, or None for all"),
        ({"rollouts": []}, r"^rollouts: found \[\]; allowed: a list of names, or None for all"),
        ({"trusted_keys": {}}, r"^trusted keys: found none"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, object], text: str) -> None:
    with pytest.raises(holdfast.BadInput, match=text):
        holdfast.subscribe("127.0.0.1:1", group="g", **wrong)  # type: ignore[arg-type]
