"""A real Apache Kafka broker out of Maven's artifacts: one node, KRaft, with its data in a temporary folder.

Run as a program it stays in the foreground until Ctrl-C: `make broker`.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from itertools import count, islice
from pathlib import Path
from typing import Final, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.fetching import one_at_a_time
from tests.waiting import WAIT_S

ROOT = Path(__file__).resolve().parent.parent.parent
POM = Path(__file__).with_name("pom.xml")
VERSION = os.environ.get("HOLDFAST_TEST_KAFKA_VERSION", "4.1.0")
CLUSTER = "aG9sZGZhc3QtdGVzdC1rYQ"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.num.partitions=5
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.flush.interval.messages=9223372036854775807
message.max.bytes=16777216
replica.fetch.max.bytes=16777216
socket.request.max.bytes=209715200
"""


class NoBroker(Exception):
    """There is none to be had; the text says why."""


@one_at_a_time
def jars() -> Path:
    """Fetch the broker's jars, once, and return their folder."""
    folder = ROOT / ".broker" / f"jars-{VERSION}"
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None or shutil.which("java") is None:
        msg = "a broker needs Java 17 and Maven on the PATH"
        raise NoBroker(msg)
    folder.parent.mkdir(exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="fetching-", dir=folder.parent))
    command = [maven, "-q", "-B", "-f", str(POM), f"-Dkafka.version={VERSION}", "dependency:copy-dependencies"]
    for attempt in (1, 2):
        done = subprocess.run(
            [*command, f"-DoutputDirectory={partial}"], check=False, capture_output=True, text=True, timeout=600
        )
        if done.returncode == 0:
            break
        if attempt == 2:
            shutil.rmtree(partial, ignore_errors=True)
            msg = f"Maven could not fetch Kafka {VERSION}: {(done.stdout + done.stderr)[-500:]}"
            raise NoBroker(msg)
    if folder.is_dir():  # another run was quicker
        shutil.rmtree(partial)
    else:
        partial.rename(folder)
    return folder


_PORTS: Final = range(20_000, 32_000)
"""Below those that a system gives to whoever connects: none of them is taken by a client while a server is down."""

_turns = count(os.getpid() * 101)  # processes that test side by side begin at different ones


def free_ports(wanted: int) -> list[int]:
    """Find ports that nobody listens on, and that this process has not given to anybody."""
    found: list[int] = []
    for turn in islice(_turns, len(_PORTS)):
        port = _PORTS[turn % len(_PORTS)]
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        found.append(port)
        if len(found) == wanted:
            return found
    msg = f"no {wanted} ports are free between {_PORTS.start} and {_PORTS.stop}"
    raise NoBroker(msg)


class Broker:
    """One broker; as a context manager it is started, and stopped and removed at the end."""

    def __init__(self) -> None:
        self._jars = jars()
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-broker-"))
        self._port, self._controller = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        properties = self.folder / "server.properties"
        properties.write_text(
            PROPERTIES.format(port=self._port, controller=self._controller, data=self.folder / "data")
        )
        self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(properties), wait=True)

    @property
    def bootstrap(self) -> str:
        """Where clients connect to."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The process of the broker."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it answers."""
        self._process = self._java("kafka.Kafka", str(self.folder / "server.properties"), wait=False)
        # By itself the client would wait for up to ten seconds between two looks at a port where nobody listens yet.
        looks = {"reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 250}
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, **looks})
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                break
            try:
                client.list_topics(timeout=2.0)
            except KafkaException:
                continue
            return
        log = (self.folder / "log").read_text(errors="replace")[-2_000:]
        self.stop()
        msg = f"the broker did not start: {log}"
        raise NoBroker(msg)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop in good order, or by another signal."""
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restart(self, number: int = signal.SIGTERM) -> None:
        """Stop, and start again with the same data at the same place."""
        self.stop(number)
        self.start()

    def remove(self) -> None:
        """Stop, and remove the data."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start."""
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and remove the data."""
        self.remove()

    def _java(self, *arguments: str, wait: bool) -> subprocess.Popen[bytes]:
        log = (self.folder / "log").open("ab")
        heap = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        process = subprocess.Popen(
            ["java", *heap, "-cp", f"{self._jars}/*", *arguments], stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        if wait and process.wait(300):
            msg = f"{arguments[0]}: {(self.folder / 'log').read_text(errors='replace')[-2_000:]}"
            raise NoBroker(msg)
        return process


def main() -> None:
    """Run a broker until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with Broker() as broker:
            sys.stdout.write(f"Kafka {VERSION} answers at {broker.bootstrap}; Ctrl-C stops it and removes its data\n")
            sys.stdout.flush()
            signal.pause()
    except NoBroker as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.stdout.write("\n")


if __name__ == "__main__":
    main()
