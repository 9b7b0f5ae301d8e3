"""A sink between a real broker and a real ClickHouse: a load that does not cease, and what came of it."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import numpy as np
import pyarrow as pa
from confluent_kafka import Message, TopicPartition

from holdfast.live.clients import admin, consumer, producer
from holdfast.live.dead_letters import Letter, read_letter
from holdfast.live.reading import read_to_end
from holdfast.live.settings import Settings, load_settings
from holdfast.live.topics import create
from sinks.connection import Connection
from sinks.errors import StoreError
from sinks.schema import ROWS
from streams.records import EVIDENCE
from tests.clickhouse.old import client, is_old
from tests.clickhouse.server import Server
from tests.replays import START_MS
from tests.test_live_rows import stream
from tests.waiting import WAIT_S

ROOT = Path(__file__).resolve().parent.parent.parent
PLACES = 20
SPECIAL = 777.0
"""An effect that a table can be made to refuse."""

Row = tuple[object, ...]


def message_rows(number: int, draw: np.random.Generator, special: bool = False) -> pa.Table:
    """Make the rows of one message: a tick of one rollout."""
    effect = draw.normal(size=PLACES)
    if special:
        effect[PLACES // 2] = SPECIAL
    columns: dict[str, object] = {
        "rollout": [f"rollout-{number % 7}"] * PLACES,
        "time": pa.array([START_MS + 10_000 * number] * PLACES, EVIDENCE.field("time").type),
        "stage": ["canary"] * PLACES,
        "metric": ["errors"] * PLACES,
        "edge": [0.0] * PLACES,
        "level": ["colo"] * PLACES,
        "place": [f"colo-{place:02d}" for place in range(PLACES)],
        "effect": effect,
        **{name: draw.normal(size=PLACES) for name in ("lower", "upper", "log_e", "mde", "information")},
    }
    return pa.table(columns, schema=EVIDENCE)


class Stored:
    """A sink's topics, its process, and the server that it writes to.

    Parameters
    ----------
    bootstrap
        Of the broker.
    server
        Where rows go.
    folder
        For settings and logs.
    port
        By which the sink reaches the server, if not by its own.
    """

    def __init__(self, bootstrap: str, server: Server, folder: Path, port: int | None = None) -> None:
        self.server, self._folder = server, folder
        self.connection = Connection("127.0.0.1", server.port)
        self._version = "old" if is_old(self.connection) else "new"
        prefix = f"t{uuid.uuid4().hex[:10]}"
        self._config = folder / "holdfast.yaml"
        document = {
            "kafka": {"bootstrap.servers": bootstrap},
            "prefix": prefix,
            "metrics": [{"topic": f"{prefix}.metrics"}],
            "partitions": 2,
            "worker": "one",
            "session_timeout": "1m",
            "http": {"port": 0},
            "clickhouse": {
                "host": "127.0.0.1",
                "port": port or server.port,
                "batch": {"rows": 1_000, "seconds": "200ms"},
            },
        }
        self._config.write_bytes(msgspec.yaml.encode(document))
        self.settings: Settings = load_settings(self._config, {})
        self._admin = admin(self.settings)
        create(self._admin, self.settings)
        self._producer = producer(self.settings)
        self._draw = np.random.default_rng(5)
        self._standing: dict[tuple[int, int], pa.Table] = {}
        self._sent = 0
        self._failed: list[str] = []
        self.seen = "nothing"
        self._feeder: threading.Thread | None = None
        self._full = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    # ------------------------------------------------------------ load

    def send(self, *, special: bool = False) -> None:
        """Put one message on the topic."""
        rows = message_rows(self._sent, self._draw, special)

        def delivered(error: object, _: Message) -> None:
            if error is not None:
                self._failed.append(str(error))

        self._producer.produce(
            self.settings.topics.evidence,
            stream(rows),
            f"rollout-{self._sent % 7}".encode(),
            headers=[("table", b"evidence")],
            on_delivery=delivered,
        )
        self._sent += 1
        self._producer.poll(0)

    def load(self, pause: float = 0.02) -> None:
        """Begin to send, without end."""

        def feed() -> None:
            while not self._full.wait(pause):
                self.send()

        self._feeder = threading.Thread(target=feed)
        self._feeder.start()

    def unload(self) -> None:
        """Cease to send, and see what stands on the topic: that, and nothing else, is what the sink can know of."""
        if self._feeder is not None:
            self._full.set()
            self._feeder.join()
            self._feeder = None
        assert self._producer.flush(WAIT_S) == 0
        assert not self._failed
        self._standing = self._read()

    def _read(self) -> dict[tuple[int, int], pa.Table]:
        reader = consumer(self.settings, f"{self.settings.prefix}-test")
        topic = self.settings.topics.evidence
        try:
            return {
                (number, message.offset() or 0): pa.ipc.open_stream(message.value()).read_all()
                for number in range(self.settings.partitions)
                for message in read_to_end(self._admin, reader, topic, number)
            }
        finally:
            reader.close()

    def work(self, seconds: tuple[float, float], draw: np.random.Generator) -> None:
        """Let it go on for a while."""
        time.sleep(draw.uniform(*seconds))

    # ------------------------------------------------------------ sink

    def start(self, kills: int = 0, seed: str = "0") -> None:
        """Start the sink."""
        command = [sys.executable, "-m", "tests.clickhouse.sinking", self._version, str(kills), seed]
        with (self._folder / "sink.log").open("ab") as log:
            environment = {**os.environ, "HOLDFAST_CONFIG": str(self._config)}
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def log(self) -> str:
        """Return what the sink said."""
        return (self._folder / "sink.log").read_text()

    def wait_until(self, is_there: Callable[[], bool], what: str) -> None:
        """Wait for something, as long as the sink lives."""
        end = time.monotonic() + WAIT_S
        while not is_there():
            assert self._process is not None
            if time.monotonic() > end or self._process.poll() is not None:
                raise AssertionError(f"{what}: it did not come to that: {self.stands()}")
            time.sleep(0.1)

    def wait_for_failures(self, count: int = 1, words: str = "the store refused") -> None:
        """Wait until the sink has said so."""
        self.wait_until(lambda: self.log().count(words) >= count, words)

    def wait_for_rows(self, count: int) -> None:
        """Wait until so many rows are in the server."""
        self.wait_until(lambda: self.count() >= count, f"{count} rows")

    # ------------------------------------------------------------ what came of it

    def select(self, sql: str) -> list[Row]:
        """Ask the server itself."""
        asked = client(self.connection)
        try:
            return asked.select(sql)
        finally:
            asked.close()

    def run(self, statement: str) -> None:
        """Have the server do something."""
        asked = client(self.connection)
        try:
            asked.run(statement)
        finally:
            asked.close()

    def count(self) -> int:
        """Return how many rows are there; none while the server is away."""
        try:
            self.seen = str(self.select("SELECT count() FROM holdfast.evidence FINAL")[0][0])
        except StoreError as error:
            self.seen = str(error)
            return 0
        return int(self.seen)

    def stands(self) -> str:
        """Say how far it has come, and what the sink is at."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)
            time.sleep(0.5)
        reasons = {each.reason for each in self.letters()}
        offsets = f"sent {self._sent}, committed {self.committed()}, ends {self.ends()}"
        return f"{self.seen}; dead letters {reasons}; {offsets}\n{self.log()[-4_000:]}"

    def wanted(self) -> list[Row]:
        """Return all rows that stand on the topic, in order."""
        names = [name for name in ROWS["evidence"].names if name not in ("source", "version")]
        topic = self.settings.topics.evidence
        return sorted(
            (
                (f"{topic}/{partition}", offset, *row.values())
                for (partition, offset), table in self._standing.items()
                for row in table.set_column(1, "time", table["time"].cast(pa.int64())).select(names).to_pylist()
            ),
            key=repr,
        )

    def found(self) -> list[Row]:
        """Return all rows that are in the server, in order, read deduplicated."""
        names = ["source", "version", *(n for n in ROWS["evidence"].names if n not in ("source", "version"))]
        columns = ["toInt64(toUnixTimestamp(time)) * 1000" if name == "time" else name for name in names]
        return sorted(self.select(f"SELECT {', '.join(columns)} FROM holdfast.evidence FINAL"), key=repr)

    def letters(self) -> list[Letter]:
        """Return the dead letters."""
        reader = consumer(self.settings, f"{self.settings.prefix}-test")
        topic = self.settings.topics.dead_letters
        read = [
            read_letter(message)
            for number in self._admin.list_topics(topic, timeout=WAIT_S).topics[topic].partitions
            for message in read_to_end(self._admin, reader, topic, number)
        ]
        reader.close()
        return [each for each in read if isinstance(each, Letter)]

    def committed(self) -> list[int]:
        """Return the offsets that the sink's group has committed for the evidence."""
        return [place.offset for place in self._group(lambda reader, places: reader.committed(places, WAIT_S))]

    def ends(self) -> list[int]:
        """Return the ends of the partitions."""
        return [
            max((offset + 1 for number, offset in self._standing if number == partition), default=-1001)
            for partition in range(self.settings.partitions)
        ]

    def _group(self, ask):
        reader = consumer(self.settings, f"{self.settings.prefix}-sink")
        places = [TopicPartition(self.settings.topics.evidence, number) for number in range(self.settings.partitions)]
        try:
            return ask(reader, places)
        finally:
            reader.close()

    def all_is_there(self, refused: int = 0) -> None:
        """Wait until the server holds what was sent, and say so if it holds anything else."""
        self.unload()
        self.wait_for_rows(len(self._standing) * PLACES - refused)
        wanted = [row for row in self.wanted() if not refused or row[9] != SPECIAL]
        assert self.found() == wanted
        assert len(self.letters()) == refused
        self.wait_until(lambda: self.committed() == self.ends(), "all committed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._full.set()
        if self._feeder is not None:
            self._feeder.join()
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        names = [
            name for name in self._admin.list_topics(timeout=WAIT_S).topics if name.startswith(self.settings.prefix)
        ]
        for future in self._admin.delete_topics(names).values():
            future.result()
