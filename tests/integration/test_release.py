"""Packages are released to a fleet of 50 colos by the engine itself: its own judge, its own control, its own agents.

The documents and the fleet are those of `examples/release`. What a host answers depends on what it has applied, and on
nothing else: so a bad package hurts where it is, and heals where it was taken back.
"""

import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import msgspec
import pytest

from holdfast.control.audit_log import read
from holdfast.control.documents import load_plan
from rollouts.controlled import Event, RevertBegun, StageBegun, State, decode
from rollouts.folding import fold
from tests.integration.cluster import PATIENT, Cluster
from tests.integration.forking import ROOT
from tests.kafka.broker import free_ports
from tests.waiting import WAIT_S, until

EXAMPLE = ROOT / "examples" / "release"
HOLDFAST = str(Path(sys.executable).parent / "holdfast")
HOSTS = 200
V2 = (EXAMPLE / "contents" / "v2" / "bots" / "features.json").read_bytes()


class Engine:
    """All of the engine, each worker as the command line starts it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.hosts = cluster, folder
        self.port = free_ports(1)[0]
        self._environment = {**os.environ, "HOLDFAST_CONFIG": str(cluster.path), "USER": "ann"}
        self._processes = [
            self._start("run", HOLDFAST, "run"),
            self._start("control", HOLDFAST, "control", HOLDFAST_HTTP__PORT=str(self.port)),
            self._start("fleet", sys.executable, str(EXAMPLE / "fleet.py"), "--root", str(folder)),
        ]

    def _start(self, name: str, *command: str, **more: str) -> subprocess.Popen[bytes]:
        with (self.cluster.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, env={**self._environment, **more}, stdout=log, stderr=log)

    def stop(self) -> list[int]:
        """Stop all as whoever runs them does, and return how they ended."""
        for process in self._processes:
            process.terminate()
        return [process.wait(WAIT_S) for process in self._processes]

    def command(self, *words: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [HOLDFAST, *words],
            cwd=ROOT,
            env=self._environment,
            check=False,
            capture_output=True,
        )

    def submit(self, version: str) -> None:
        """Submit a plan, once all of the fleet is known."""
        end = time.monotonic() + WAIT_S
        while len(self.cluster.read(self.cluster.settings.topics.applied)) < HOSTS:
            assert time.monotonic() < end, self.cluster.logs()
            time.sleep(0.5)
        plan, contents = EXAMPLE / f"bots-{version}.yaml", EXAMPLE / "contents" / version
        words = ("plan", "submit", str(plan), "--policy", str(EXAMPLE / "policy.yaml"), "--contents", str(contents))
        while (done := self.command(*words)).returncode:
            assert time.monotonic() < end, done.stderr.decode()
            assert b"no host has reported" in done.stderr or b"no answer" in done.stderr, done.stderr.decode()
            time.sleep(0.5)

    def history(self, rollout: str) -> list[Event]:
        entries = self.cluster.read(self.cluster.settings.topics.control)
        found = [entry.value for entry in entries if entry.key == rollout.encode()]
        return decode(found[-1]) if found else []

    def until_ended(self, rollout: str) -> State:
        end = time.monotonic() + WAIT_S
        state: State | None = None
        while time.monotonic() < end:
            state = fold(self.history(rollout))
            if state is not None and state.is_ended and not state.outbox:
                return state
            time.sleep(0.5)
        found = "nothing" if state is None else f"{state.phase}, {state.halted}, {state.judged}"
        raise AssertionError(f"{rollout}: found {found}\n{self.cluster.logs()}")

    def page(self, path: str) -> str:
        """Return a page of control; nothing while it says that it is not well."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=WAIT_S) as answer:
                return str(answer.read(), "utf-8")
        except HTTPError as error:
            error.close()
            return ""

    def has(self) -> Counter[bytes]:
        """Count what the hosts have on their disks."""
        return Counter(path.read_bytes() for path in self.hosts.glob("*/current/units/bots/features.json"))


@pytest.fixture
def engine(kafka, tmp_path: Path) -> Iterator[Engine]:
    example = msgspec.yaml.decode((EXAMPLE / "holdfast.yaml").read_bytes())
    given = {key: example[key] for key in ("partitions", "heartbeat")}
    with Cluster(kafka.bootstrap, tmp_path, **given, **PATIENT) as cluster:
        made = Engine(cluster, tmp_path / "hosts")
        try:
            yield made
        finally:
            ends = made.stop()
    assert ends == [0, 0, 0]


def begun(events: list[Event]) -> list[int]:
    return [event.stage for event in events if isinstance(event, StageBegun)]


def test_a_harmless_package_reaches_everybody_and_a_bad_one_is_taken_back_from_all_who_had_it(engine: Engine) -> None:
    engine.submit("v2")
    assert engine.until_ended("bots-v2").phase == "completed"
    assert begun(engine.history("bots-v2")) == [0, 1, 2, 3]
    assert engine.has() == {V2: HOSTS}

    engine.submit("v3")
    state, events = engine.until_ended("bots-v3"), engine.history("bots-v3")
    assert state.phase == "reverted"
    bound = load_plan(EXAMPLE / "bots-v3.yaml").stages[len(begun(events)) - 1].most.fleet
    reached = [seat for one in state.reached for group in one.before for seat in group.seats]
    assert 0 < len(reached) <= bound * HOSTS
    (why,) = [event.why for event in events if isinstance(event, RevertBegun)]
    assert why.startswith("verdict")
    assert engine.has() == {V2: HOSTS}

    verdicts = engine.cluster.verdicts("bots-v3")
    assert "revert" in [event.data.action for event in verdicts]
    assert verdicts == engine.cluster.judged_again("bots-v3")
    chain = read(engine.cluster.settings)
    assert chain.first_break() is None
    assert f"reverted: {why}" in [link.entry.body["sentence"] for link in chain.links]

    who = f'role="control",worker="{engine.cluster.settings.worker}"'
    until(lambda: "ready" in engine.page("/readyz"))
    until(lambda: "alive" in engine.page("/healthz"))
    lines = {
        f'holdfast_control_rollouts{{phase="completed",{who}}} 1.0',
        f'holdfast_control_rollouts{{phase="reverted",{who}}} 1.0',
        f"holdfast_control_reports_overdue{{{who}}} 0.0",
        f"holdfast_control_hosts{{{who}}} {HOSTS}.0",
    }
    until(lambda: lines <= {*engine.page("/metrics").splitlines()}, lambda: engine.page("/metrics"))
