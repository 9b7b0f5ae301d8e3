"""The rollouts topic on a real broker: read to its end, changed by several at once, never stopped by a bad record."""

import logging
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
import pytest
from confluent_kafka import Producer, TopicPartition

from detectors.policy import Metric, Policy
from holdfast.errors import BadInput, Unreachable
from holdfast.live.announcing import ATTEMPTS_MAX, Announcements, change, writer
from rollouts.announced import Announcement, announce, encode, with_event
from rollouts.document import Rollout, Stage
from sinks.messages import Message
from tests.integration.topics import publish, topic
from tests.waiting import WAIT_S

POLICY = Policy(policy="edge", metrics=[Metric(name="busy", gauge="cpu", worse="increase", breach="halt")])
BEGIN = datetime(2026, 3, 12, 11, 20, tzinfo=UTC)
STAGES = [Stage(name=name, canary={"cohort": name}, bake="30m") for name in ("canary", "region", "fleet")]


def plan(name: str = "bots") -> Rollout:
    return Rollout(rollout=name, started=BEGIN, stages=STAGES)


FIRST = announce(plan(), POLICY)


def started(before: Announcement | None, stage: str, minutes: float) -> Announcement:
    assert before is not None
    return with_event(before, "started", stage, BEGIN + timedelta(minutes=minutes))


def first_of(name: str, _before: Announcement | None) -> Announcement:
    return announce(plan(name), POLICY)


def record(announcement: Announcement, key: str | None = None) -> Message:
    return Message((key or announcement.rollout.rollout).encode(), encode(announcement), [])


@pytest.fixture
def client(kafka) -> dict[str, object]:
    return {"bootstrap.servers": kafka.bootstrap}


@pytest.fixture
def rollouts(kafka) -> Iterator[str]:
    name = f"rollouts-{uuid.uuid4().hex}"
    with topic(kafka.bootstrap, name, partitions=3, cleanup="compact"):
        yield name


@pytest.fixture
def reader(client, rollouts) -> Iterator[Announcements]:
    found = Announcements(client, rollouts)
    yield found
    found.close()


def test_what_was_announced_is_there_after_loading(client, rollouts, reader) -> None:
    for name in ("a", "b", "c", "d"):
        change(client, rollouts, name, partial(first_of, name))
    reader.load()
    assert {name: found.version for name, found in reader.current.items()} == {"a": 1, "b": 1, "c": 1, "d": 1}


def until_changed(reader: Announcements) -> set[str]:
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        changed = reader.poll()
        if changed:
            return changed
        time.sleep(0.02)
    raise AssertionError("nothing came")


def test_what_is_announced_later_is_told_by_name(client, rollouts, reader) -> None:
    reader.load()
    change(client, rollouts, "bots", lambda _: FIRST)
    assert until_changed(reader) == {"bots"}
    assert reader.current["bots"] == FIRST


def test_an_empty_topic_is_loaded(reader) -> None:
    reader.load()
    assert reader.current == {}


def test_a_topic_that_is_not_there_is_named_with_the_remedy(client) -> None:
    with pytest.raises(BadInput, match=r"^topic nowhere: .*; `holdfast topics create` makes"):
        change(client, "nowhere", "bots", lambda _: FIRST)


def test_a_broker_that_does_not_answer_is_told(client) -> None:
    reader = Announcements({"bootstrap.servers": "127.0.0.1:1"}, "rollouts")
    with pytest.raises(Unreachable, match=r"^no broker answers: "):
        reader.load(timeout_s=0.2)
    reader.close()


def test_nothing_is_written_where_nothing_changed(kafka, client, rollouts, reader) -> None:
    change(client, rollouts, "bots", lambda _: FIRST)
    change(client, rollouts, "bots", lambda before: before or FIRST)
    change(client, rollouts, "other", lambda _: announce(plan("other"), POLICY))
    ends = [reader._consumer.get_watermark_offsets(TopicPartition(rollouts, number), WAIT_S) for number in range(3)]
    records = sum(high for _, high in ends)
    assert records == 4  # two records, and the mark of a transaction behind each


def test_two_who_change_a_rollout_at_once_do_not_lose_an_event(client, rollouts, reader) -> None:
    change(client, rollouts, "bots", lambda _: FIRST)
    tries: list[int] = []

    def interrupted(before: Announcement | None) -> Announcement:
        if not tries:
            change(client, rollouts, "bots", lambda found: started(found, "canary", 1))
        tries.append(before.version if before else 0)
        return started(before, "region", 40)

    change(client, rollouts, "bots", interrupted)
    reader.load()
    assert tries == [1, 2]
    assert [event.stage for event in reader.current["bots"].events] == ["canary", "region"]


def test_an_event_that_was_acknowledged_is_there_however_many_write_at_once(client, rollouts, reader) -> None:
    stages = [Stage(name=f"s{n}", canary={"cohort": f"s{n}"}, bake="30m", started=BEGIN) for n in range(4)]
    change(client, rollouts, "bots", lambda _: announce(Rollout(rollout="bots", started=BEGIN, stages=stages), POLICY))
    with ThreadPoolExecutor(4) as pool:
        told = [
            pool.submit(change, client, rollouts, "bots", partial(started, stage=f"s{n}", minutes=0)) for n in range(4)
        ]
    written = {f"s{n}" for n, future in enumerate(told) if future.exception() is None}
    reader.load()
    # Of one that was not acknowledged it is not known.
    stages = [event.stage for event in reader.current["bots"].events]
    assert len({*stages}) == len(stages)
    assert written
    assert written <= {*stages}


def test_a_writer_who_is_always_overtaken_gives_up_and_says_so(client, rollouts) -> None:
    change(client, rollouts, "bots", lambda _: FIRST)

    def overtaken(before: Announcement | None) -> Announcement:
        writer(client, rollouts, "bots").init_transactions(WAIT_S)
        return started(before, "canary", 1)

    with pytest.raises(Unreachable, match=f"somebody else changed it {ATTEMPTS_MAX} times meanwhile"):
        change(client, rollouts, "bots", overtaken)


BROKEN = Message(b"bots", b"{", [])
LOOSE = msgspec.structs.replace(FIRST, policy=msgspec.structs.replace(POLICY, tick="0s"))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (BROKEN, "not an announcement: "),
        (record(announce(plan("cats"), POLICY), "bots"), "rollout.rollout: found 'cats' under the key 'bots'"),
        (record(LOOSE), 'tick: found "0s"; a tick must be longer than 0'),
        (record(msgspec.structs.replace(FIRST, policy=LOOSE.policy)), "tick: found"),
        (Message(b"\xff", b"{}", []), "can't decode byte 0xff"),
    ],
)
def test_a_record_that_is_no_good_is_counted_and_named_and_the_last_good_one_stays(
    kafka, client, rollouts, reader, bad: Message, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    publish(kafka.bootstrap, rollouts, [record(FIRST), bad], partition=1)
    with caplog.at_level(logging.ERROR):
        reader.load()
    assert (reader.current, reader.rejected) == ({"bots": FIRST}, 1)
    assert f"{rollouts}[1]@1: left out: " in caplog.text
    assert said in caplog.text


def test_a_version_that_goes_back_is_left_out(kafka, rollouts, reader) -> None:
    later = started(FIRST, "canary", 1)
    publish(kafka.bootstrap, rollouts, [record(later), record(FIRST)], partition=0)
    reader.load()
    assert (reader.current["bots"], reader.rejected) == (later, 1)


def test_a_tombstone_removes_the_rollout(kafka, client, rollouts, reader) -> None:
    change(client, rollouts, "bots", lambda _: FIRST)
    reader.load()
    producer = Producer({**client, "partitioner": "murmur2_random"})
    producer.produce(rollouts, key=b"bots", value=None)
    producer.flush(WAIT_S)
    assert until_changed(reader) == {"bots"}
    assert reader.current == {}


def test_what_an_open_transaction_wrote_is_not_read(client, rollouts, reader) -> None:
    producer = writer(client, rollouts, "bots")
    producer.init_transactions(WAIT_S)
    producer.begin_transaction()
    producer.produce(rollouts, key=b"bots", value=encode(FIRST))
    producer.flush(WAIT_S)
    reader.load()
    producer.abort_transaction(WAIT_S)
    assert reader.current == {}
