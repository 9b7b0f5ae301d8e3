"""Signs of life of the worker of incidents on a real broker, as the status page sees them."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka import TopicPartition

from holdfast.live import standing_by
from holdfast.live.clients import consumer
from holdfast.live.settings import Settings
from holdfast.live.standing_by import LOOK_S, Candidate
from holdfast.status import responders
from holdfast.status.responders import Responders
from holdfast.wall import now, now_ms
from sinks.cloudevents import epoch_ms, verdict_event
from sinks.verdict_messages import verdict_message
from tests.integration.conftest import Kafka
from tests.integration.responding import working
from tests.integration.topics import installed, publish
from tests.rollouts.incidents.making import stop
from tests.waiting import WAIT_S, until


@pytest.fixture
def settings(kafka: Kafka) -> Iterator[Settings]:
    """Give settings whose topics nobody else has."""
    with installed(kafka.bootstrap, WORKER="one", SESSION_TIMEOUT="6s") as found:
        yield found


@pytest.fixture
def watch(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Responders]:
    """Give what looks for signs of life, in a hurry."""
    monkeypatch.setattr(standing_by, "BEAT_S", 0.2)
    monkeypatch.setattr(responders, "_ASK_S", 0.2)
    watch = Responders(settings)
    watch.start()
    yield watch
    watch.stop()
    watch.join(WAIT_S)


def revert(settings: Settings) -> None:
    """Say that a rollout is to be reverted, which opens an incident."""
    said = verdict_event("features", epoch_ms(now()) // 1_000 * 1_000, stop("features").said)
    message = verdict_message(said, now_ms(), None)
    publish(settings.kafka["bootstrap.servers"], settings.topics.verdicts, [message])


def test_the_page_knows_whether_somebody_opens_incidents(
    watch: Responders, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: watch.heard().trouble == responders.UNSEEN)
    assert not watch.is_there()
    with working(settings):
        until(watch.is_there)
        assert watch.heard().trouble is None
        monkeypatch.setattr(responders, "SEEN_S", 0.5)
        for _ in range(3):  # what was seen once is soon too long ago, and one sign follows the other
            seen = watch.heard().at
            until(lambda: watch.is_there() and watch.heard().at != seen)  # noqa: B023 - now
    until(lambda: watch.heard().trouble == responders.NOBODY)
    assert not watch.is_there()


def test_one_that_hangs_opens_no_incidents_as_far_as_the_page_knows(
    watch: Responders, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, goes_on = threading.Event(), threading.Event()

    def hook(point: str) -> None:
        if point == "committed":
            hangs.set()
            goes_on.wait(WAIT_S)

    with working(settings, hook):
        until(watch.is_there)
        revert(settings)
        assert hangs.wait(WAIT_S)
        monkeypatch.setattr(responders, "SEEN_S", 0.5)
        until(lambda: watch.heard().trouble == responders.NOBODY)
        goes_on.set()
        until(watch.is_there)


def test_one_that_stands_by_gives_no_sign_of_life(
    watch: Responders, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_so(told: Callable[[], bool]) -> bool:
        silent.poll(LOOK_S)
        return told()

    silent = Candidate(msgspec.structs.replace(settings, worker="two"), settings.topics.incidents, "respond")
    try:
        until(lambda: is_so(lambda: silent.is_in_charge))
        with working(settings) as worker:
            until(lambda: is_so(lambda: worker.is_ready))
            monkeypatch.setattr(responders, "SEEN_S", 0.5)
            until(lambda: is_so(lambda: watch.heard().trouble == responders.NOBODY))
            assert worker.is_ready
            assert watch.heard().at is None
    finally:
        silent.close()


def test_a_sign_of_life_says_how_far_the_topic_was_read(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing_by, "BEAT_S", 0.2)
    reader = consumer(settings, standing_by.group_of(settings, "respond"))
    place = TopicPartition(settings.topics.incidents, 0)

    def is_at_the_end() -> bool:
        ends: Any = reader.get_watermark_offsets(place, timeout=WAIT_S)
        (found,) = reader.committed([place], timeout=WAIT_S)
        return bool(found.offset == ends[1] > 0)

    try:
        with working(settings):
            revert(settings)
            until(is_at_the_end)
    finally:
        reader.close()
