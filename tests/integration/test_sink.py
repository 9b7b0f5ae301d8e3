"""The sink on a real broker: everything is kept once, and nothing is committed before it is."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, TopicPartition

from holdfast.live.clients import admin, consumer, producer
from holdfast.live.dead_letters import Letter, read_letter
from holdfast.live.grouping import subscribe
from holdfast.live.reading import read_to_end
from holdfast.live.settings import Settings, load_settings
from holdfast.live.sink import Reader
from holdfast.live.sinking import SinkLoop
from holdfast.live.store_owner import ask
from holdfast.live.stores import reading
from holdfast.live.telemetry import Telemetry
from holdfast.live.topics import create
from rollouts.announced import encode
from sinks.cloudevents import verdict_event
from sinks.errors import StoreAway, StoreError, StoreRefused
from sinks.live_rows import LiveRows
from sinks.store import Store
from sinks.verdict_messages import heartbeat_message, verdict_message
from tests.integration.conftest import Kafka
from tests.live.engine import announced, make_recording
from tests.replays import START_MS, contents, evidence, ticks, verdict
from tests.test_live_rows import stream
from tests.waiting import WAIT_S

ROOT = Path(__file__).resolve().parent.parent.parent
COUNTS = "SELECT (SELECT count() FROM cohort_ticks), (SELECT count() FROM evidence), (SELECT count() FROM verdicts), 1"


class Engine:
    """The topics that a sink reads, and what a test puts there."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self.path = folder / "holdfast.yaml"
        prefix = f"t{uuid.uuid4().hex[:10]}"
        document = {
            "kafka": {"bootstrap.servers": kafka.bootstrap},
            "prefix": prefix,
            "metrics": [{"topic": f"{prefix}.metrics"}],
            "partitions": 2,
            "worker": "one",
            "session_timeout": "1m",
            "http": {"port": 0},
            "data": str(folder / "store"),
        }
        self.path.write_bytes(msgspec.yaml.encode(document))
        self.settings: Settings = load_settings(self.path, {})
        self.data = self.settings.data
        self._admin = admin(self.settings)
        create(self._admin, self.settings)
        self._producer = producer(self.settings)
        self._processes: list[subprocess.Popen[bytes]] = []

    def send(self, topic: str, value: bytes | None, key: bytes = b"bot-0312", headers=()) -> None:
        self._producer.produce(topic, value, key, headers=list(headers))

    def flush(self) -> None:
        assert self._producer.flush(WAIT_S) == 0

    def evidence(self, table: str, rows: pa.Table) -> None:
        self.send(self.settings.topics.evidence, stream(rows), headers=[("table", table.encode())])

    def verdict(self, sequence: int) -> None:
        event = verdict_event("bot-0312", START_MS + 10_000 * sequence, verdict(sequence))
        message = verdict_message(event, START_MS, None)
        self.send(self.settings.topics.verdicts, message.value, message.key, message.headers)

    def heartbeat(self) -> None:
        message = heartbeat_message("bot-0312", 1, "wait", START_MS, START_MS, None)
        self.send(self.settings.topics.verdicts, message.value, message.key, message.headers)

    def fill(self, count: int = 5) -> None:
        """Put some of everything on the topics: `count` messages of each kind."""
        for number in range(count):
            self.evidence("cohort_ticks", ticks(4 * count).slice(4 * number, 4))
            self.evidence("evidence", evidence(4 * count).slice(4 * number, 4))
            self.verdict(number + 1)
            self.heartbeat()
        self.flush()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the command."""
        command = [sys.executable, "-c", "from holdfast.cli import main; main()", "sink", "--config", str(self.path)]
        with (self.path.parent / "sink.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=dict(os.environ))
        self._processes.append(process)
        return process

    def log(self) -> str:
        return (self.path.parent / "sink.log").read_text()

    def ask(self, sql: str) -> str:
        """Ask whoever owns the store."""
        with reading(self.data) as found:
            return found.reads.read(sql, "CSV").decode().strip()

    def wait_for(self, sql: str, wanted: str) -> None:
        def is_there() -> bool:
            try:
                return ask(self.data, sql, "CSV").decode().strip() == wanted
            except StoreError:  # it is starting
                return False

        wait_until(is_there, lambda: f"{sql}: not {wanted}\n{self.log()}", self._processes)

    def committed(self, *topics: str) -> int:
        """Return the sum of the committed offsets of the sink's group, in some topics or in all."""
        reader = self.reader()
        places = [TopicPartition(topic, number) for topic in topics or self.read for number in range(self.count(topic))]
        found = [max(place.offset, 0) for place in reader.committed(places, WAIT_S)]
        reader.close()
        return sum(found)

    @property
    def read(self) -> list[str]:
        topics = self.settings.topics
        return [topics.verdicts, topics.evidence, topics.rollouts]

    def count(self, topic: str) -> int:
        return len(self._admin.list_topics(topic, timeout=WAIT_S).topics[topic].partitions)

    def reader(self, member: str | None = None) -> Consumer:
        return consumer(self.settings, f"{self.settings.prefix}-sink", member=member)

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        names = [
            name for name in self._admin.list_topics(timeout=WAIT_S).topics if name.startswith(self.settings.prefix)
        ]
        for future in self._admin.delete_topics(names).values():
            future.result()


def wait_until(is_there: Callable[[], bool], why: Callable[[], str], processes=()) -> None:
    end = time.monotonic() + WAIT_S
    while not is_there():
        if time.monotonic() > end or any(process.poll() for process in processes if process.poll() != -signal.SIGKILL):
            raise AssertionError(why())
        time.sleep(0.1)


@pytest.fixture
def engine(kafka: Kafka, tmp_path: Path) -> Iterator[Engine]:
    opened = Engine(kafka, tmp_path)
    yield opened
    opened.close()


class Refusing:
    """A store that is full for a while, and never takes rows of one offset of the evidence."""

    def __init__(self, times: int, refused: int | None = None) -> None:
        self.times, self.refused = times, refused
        self.kept: list[LiveRows] = []

    def prepare(self) -> None:
        """Do nothing."""

    def insert(self, table, rows, token="") -> None:
        if self.times:
            self.times -= 1
            raise StoreAway("the disk is full")
        if table == "evidence" and self.refused in rows["version"].to_pylist():
            raise StoreRefused("a value out of range")
        self.kept.append(LiveRows(table, rows))


def test_what_stands_on_the_topics_can_be_asked_for_while_it_comes(engine: Engine, tmp_path: Path) -> None:
    announcement = announced(make_recording(tmp_path / "recording"))
    engine.send(engine.settings.topics.rollouts, encode(announcement), announcement.rollout.rollout.encode())
    engine.fill()
    process = engine.start()
    engine.wait_for(COUNTS, "20,20,5,1")
    engine.wait_for("SELECT rollout, mode FROM rollouts", f'"{announcement.rollout.rollout}","enforce"')
    engine.verdict(6)
    engine.flush()
    engine.wait_for(COUNTS, "20,20,6,1")
    process.terminate()
    assert process.wait(WAIT_S) == 0, engine.log()
    assert not (engine.data / "socket").exists()


def test_a_sink_waits_for_whoever_has_the_store_open_at_its_start(engine: Engine) -> None:
    engine.fill(1)
    with Store(engine.data):
        engine.start()
        wait_until(lambda: "waiting" in engine.log(), engine.log)
    engine.wait_for(COUNTS, "4,4,1,1")


def test_on_sigterm_what_was_taken_is_kept_and_committed(engine: Engine) -> None:
    engine.fill()
    process = engine.start()
    engine.wait_for("SELECT count() > 0 FROM verdicts", "1")
    process.terminate()
    assert process.wait(WAIT_S) == 0, engine.log()
    # How much it has taken by then is for the machine to say. In a topic two kinds of messages take turns.
    evidence = engine.committed(engine.settings.topics.evidence)
    verdicts = engine.committed(engine.settings.topics.verdicts)
    assert verdicts > 0
    assert engine.ask(COUNTS) == f"{4 * -(-evidence // 2)},{4 * (evidence // 2)},{-(-verdicts // 2)},1"


def test_a_sink_that_is_killed_again_and_again_leaves_the_same_rows(engine: Engine, tmp_path: Path) -> None:
    for number in range(4):
        engine.fill(number + 1)
        process = engine.start()
        wait_until((engine.data / "socket").exists, engine.log)
        time.sleep(0.4 * number)
        process.kill()
        process.wait()
        (engine.data / "socket").unlink()
    process = engine.start()
    engine.wait_for(COUNTS, "16,16,4,1")
    process.terminate()
    assert process.wait(WAIT_S) == 0, engine.log()
    with Store(engine.data) as store:
        found = contents(store)
    # The same topics, read by one that nobody disturbed.
    kept = Refusing(0)
    undisturbed = replacing(engine, kept, "other")
    with Store(tmp_path / "undisturbed") as store:
        store.append(undisturbed.kept)
        assert contents(store) == found


def replacing(engine: Engine, kept: Refusing, group: str, until: int = 1) -> Refusing:
    """Run a loop in this process, in a group of its own, until nothing more comes."""
    settings = engine.settings
    source = consumer(settings, f"{settings.prefix}-{group}", member=f"one-{group}")
    telemetry = Telemetry("sink", "one")
    loop = SinkLoop(
        settings, source, producer(settings), kept, Reader(settings), telemetry, rows_max=100_000, seconds_max=0.0
    )
    subscribe(source, engine.read, on_assign=loop._assigned, on_revoke=loop._revoked, on_lost=loop._lost)
    ends = sum(
        source.get_watermark_offsets(TopicPartition(topic, number), timeout=WAIT_S)[1]
        for topic in engine.read
        for number in range(engine.count(topic))
    )

    def is_done() -> bool:
        loop.once()
        places = [TopicPartition(topic, number) for topic in engine.read for number in range(engine.count(topic))]
        return ends == sum(max(0, place.offset) for place in source.committed(places, WAIT_S))

    wait_until(is_done, lambda: "not read to the end")
    source.close()
    return kept


def started(engine: Engine, kept: Refusing) -> tuple[Consumer, SinkLoop, Telemetry]:
    """Make a loop in this process, in the sink's own group."""
    source = engine.reader("one-sink")
    telemetry = Telemetry("sink", "one")
    loop = SinkLoop(
        engine.settings,
        source,
        producer(engine.settings),
        kept,
        Reader(engine.settings),
        telemetry,
        rows_max=100_000,
        seconds_max=0.0,
    )
    subscribe(source, engine.read, on_assign=loop._assigned, on_revoke=loop._revoked, on_lost=loop._lost)
    return source, loop, telemetry


def until_kept(loop: SinkLoop, kept: Refusing, rows: int) -> None:
    def is_kept() -> bool:
        loop.once()
        return sum(len(each.rows) for each in kept.kept) == rows

    wait_until(is_kept, lambda: f"only {sum(len(each.rows) for each in kept.kept)}")


def test_while_the_store_refuses_nothing_is_committed_and_nothing_is_lost(engine: Engine) -> None:
    engine.fill()
    kept = Refusing(2)
    source, loop, telemetry = started(engine, kept)

    def refused() -> bool:
        loop.once()
        return kept.times < 2

    wait_until(refused, lambda: "never tried")
    assert engine.committed() == 0
    before = source.position(source.assignment())
    engine.fill(1)
    loop.once()
    assert source.position(source.assignment()) == before  # the topics hold the data
    until_kept(loop, kept, 54)
    source.close()
    assert engine.committed() == 24
    assert telemetry.registry.get_sample_value("holdfast_store_failures_total", {"role": "sink", "worker": "one"}) == 2


def test_rows_that_are_refused_take_their_message_aside_and_the_others_go_in(engine: Engine) -> None:
    engine.fill()
    kept = Refusing(0, refused=3)
    source, loop, _ = started(engine, kept)
    until_kept(loop, kept, 41)
    source.close()
    assert engine.committed() == 20
    (letter,) = letters(engine)
    assert (letter.from_topic, letter.from_offset) == (engine.settings.topics.evidence, 3)
    assert letter.reason == "4 of its rows were refused, the others are stored: evidence: a value out of range"


def letters(engine: Engine) -> list[Letter]:
    """Read the dead letters."""
    reader = consumer(engine.settings, f"{engine.settings.prefix}-test")
    topic = engine.settings.topics.dead_letters
    found = [
        read_letter(message)
        for number in range(engine.count(topic))
        for message in read_to_end(engine._admin, reader, topic, number)
    ]
    reader.close()
    return [each for each in found if isinstance(each, Letter)]


def test_a_message_that_cannot_be_read_is_a_dead_letter_and_stops_nothing(engine: Engine) -> None:
    topics = engine.settings.topics
    engine.send(topics.evidence, b"no arrow", headers=[("table", b"evidence")])
    engine.send(topics.evidence, stream(evidence()), headers=[("table", b"other")])
    engine.send(topics.rollouts, b"{}")
    engine.send(topics.verdicts, b"{}")
    engine.fill(1)
    process = engine.start()
    engine.wait_for(COUNTS, "4,4,1,1")
    process.terminate()
    assert process.wait(WAIT_S) == 0, engine.log()
    assert sorted(letter.from_topic for letter in letters(engine)) == sorted(
        [topics.evidence, topics.evidence, topics.rollouts, topics.verdicts]
    )
    assert engine.committed() == 8
