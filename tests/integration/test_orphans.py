"""Partitions that belong to nobody come to a sink; for aggregate and judge see `test_faults`."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, TopicPartition
from msgspec.structs import replace

from holdfast.live.clients import admin, consumer, producer
from holdfast.live.orphans import Orphans
from holdfast.live.settings import Settings
from holdfast.live.sink import Reader
from holdfast.live.sinking import SinkLoop
from holdfast.live.telemetry import Telemetry
from tests.integration.conftest import Kafka
from tests.integration.crashing import hold
from tests.integration.forking import Forked
from tests.integration.test_sink import Engine, Refusing
from tests.waiting import WAIT_S, until

LOOK_S = 0.3


@pytest.fixture
def engine(kafka: Kafka, tmp_path: Path) -> Iterator[Engine]:
    opened = Engine(kafka, tmp_path)
    yield opened
    opened.close()


class Member:
    """A sink that works in a thread of its own, and looks at its group more often than sinks do."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.kept, self._telemetry = Refusing(0), Telemetry("sink", name)
        group, reader = f"{settings.prefix}-sink", Reader(settings)
        source = consumer(settings, group, member=name)
        self.loop = SinkLoop(
            settings,
            source,
            producer(settings),
            self.kept,
            reader,
            self._telemetry,
            rows_max=100_000,
            seconds_max=0.0,
            orphans=Orphans(admin(settings), source, group, reader.topics, LOOK_S, self._telemetry),
        )
        self._thread = threading.Thread(target=self.loop.run)
        self._thread.start()

    @property
    def rejoined(self) -> float:
        """How often it has joined its group anew."""
        return self._telemetry.registry.get_sample_value("holdfast_rejoins_total", self._who) or 0.0

    @property
    def _who(self) -> dict[str, str]:
        return {"role": self._telemetry.role, "worker": self._telemetry.worker}

    def stop(self) -> None:
        self.loop.stop()
        self._thread.join(WAIT_S)


@pytest.mark.filterwarnings("ignore:list_groups")
def test_partitions_that_a_sink_gave_up_just_before_it_died_come_to_belong_to_somebody(
    engine: Engine, tmp_path: Path
) -> None:
    settings = replace(engine.settings, session_ms=60_000)
    group, topics, client = f"{settings.prefix}-sink", Reader(settings).topics, admin(settings)

    def owned() -> list[TopicPartition]:
        try:
            found = client.describe_consumer_groups([group])[group].result(WAIT_S)
        except KafkaException:  # a broker that has just been started has to be asked more than once
            return []
        return [place for each in found.members if each.assignment for place in each.assignment.topic_partitions]

    dying = Forked(hold, (settings, group, "one", topics), dict(os.environ), tmp_path / "holding.log")
    until(owned)
    members = [Member(settings, "two")]  # has "one" give up half of what it has
    try:
        dying.wait(WAIT_S)
        members.append(Member(settings, "one"))
        until(lambda: len(owned()) == sum(engine.count(topic) for topic in topics))
        engine.fill()
        until(lambda: engine.committed() == 20)
        assert sum(len(rows.rows) for member in members for rows in member.kept.kept) == 45
        assert sum(member.rejoined for member in members) == 1.0
    finally:
        for member in members:
            member.stop()
