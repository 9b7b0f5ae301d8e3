"""A real Kafka broker for the tests in this folder: one for all of them, however many processes run them."""

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kafka.broker import Broker, NoBroker, free_ports
from tests.live.engine import make_recording

MINE: list[Broker] = []
"""What this process has started, which another one may have to stop."""

IMAGE = "apache/kafka:4.1.0"


@dataclass(frozen=True)
class Kafka:
    """Where the broker answers."""

    bootstrap: str


@contextmanager
def locked(path: Path) -> Iterator[dict[str, object]]:
    """Hold a file of JSON for this process alone, and write back what became of it."""
    with path.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        state = json.loads(file.read() or "{}")
        yield state
        file.seek(0)
        file.truncate()
        json.dump(state, file)


def start() -> dict[str, object]:
    """Start a broker out of Maven's artifacts, or else with Docker."""
    try:
        broker = Broker()
        broker.start()
    except NoBroker as error:
        return with_docker(str(error))
    MINE.append(broker)
    return {"bootstrap": broker.bootstrap, "pid": broker.pid, "folder": str(broker.folder)}


def with_docker(why: str) -> dict[str, object]:
    """Start a broker with Docker, if an engine answers."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], check=False, capture_output=True, timeout=30).returncode:
        return {"missing": f"no Kafka broker to test with: {why}; and no Docker engine answers"}
    port = free_ports(1)[0]
    listeners = [
        "KAFKA_NODE_ID=1",
        "KAFKA_PROCESS_ROLES=broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS=1@localhost:9093",
        f"KAFKA_LISTENERS=PLAINTEXT://:{port},CONTROLLER://:9093",
        f"KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR=1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR=1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0",
    ]
    environment = [part for name in listeners for part in ("-e", name)]
    made = subprocess.run(
        [docker, "run", "-d", "--rm", "-p", f"{port}:{port}", *environment, IMAGE],
        check=True,
        capture_output=True,
        text=True,
    )
    time.sleep(10)
    return {"bootstrap": f"127.0.0.1:{port}", "container": made.stdout.strip()}


def stop(state: dict[str, object]) -> None:
    """Stop what `start` started."""
    if "container" in state:
        subprocess.run(["docker", "kill", str(state["container"])], check=False, capture_output=True)
    for broker in MINE:
        broker.remove()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Kafka]:
    """Give a broker: that of HOLDFAST_TEST_KAFKA, or one from Maven, or one from Docker. In CI it must be there."""
    if given := os.environ.get("HOLDFAST_TEST_KAFKA"):
        yield Kafka(given)
        return
    base = tmp_path_factory.getbasetemp()
    path = (base if worker_id == "master" else base.parent) / "kafka.json"
    with locked(path) as state:
        if not state.get("users"):
            state.update(start())
        state["users"] = int(str(state.get("users", 0))) + 1
        known = dict(state)
    if "missing" in known:
        if "CI" in os.environ:
            pytest.fail(str(known["missing"]))
        pytest.skip(str(known["missing"]))
    yield Kafka(str(known["bootstrap"]))
    with locked(path) as state:
        state["users"] = int(str(state["users"])) - 1
        left = state["users"]
    # Whoever started the broker stops it, once nobody uses it any more.
    while MINE and left:
        time.sleep(0.5)
        with locked(path) as state:
            left = state["users"]
    if not left:
        stop(known)


@pytest.fixture(scope="session")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a recording of a small fleet whose rollout does harm."""
    return make_recording(tmp_path_factory.mktemp("bad"), scenario="errors", size=3.0, onset_ticks=10)
