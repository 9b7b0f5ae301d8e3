"""Two control workers hand rollouts over to each other in good order, while they are under way; nobody is killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from msgspec.structs import replace

from holdfast.control.asking import Submission, ask
from holdfast.control.audit_log import read
from holdfast.control.desired import decode as decode_desired
from holdfast.control.scribe import DID
from holdfast.errors import BadInput
from holdfast.live.clients import admin
from rollouts.controlled import Note, RevertBegun, StageBegun
from rollouts.document import Unit
from rollouts.folding import fold
from rollouts.packages import digest_of
from rollouts.plans import Plan
from tests.integration.cluster import Cluster
from tests.integration.forking import ROOT
from tests.integration.test_control import NEW, PLAN, POLICY, Fleet, stage
from tests.waiting import WAIT_S

SESSION_S = 6.0
JOINING_S = 4.0
"""What it takes beside the session: the broker looks for silent members now and then, and the others have to join."""

STAGES = ["one", "tenth", "half"]


def plan(name: str) -> Plan:
    """Release a unit of its own on a third of the hosts; the stages of all three are in the same colos."""
    letter = name[-1]
    stages = [stage("one", f"c00-{letter}", 0.1), stage("tenth", f"c0[1-4]-{letter}", 0.3)]
    unit = Unit(unit=f"bots/{name}.bin", kind="data-file", digest=digest_of(NEW))
    return replace(
        PLAN, rollout=name, package=[unit], stages=[*stages, stage("half", f"c*-{letter}", 0.5)], rest="hold"
    )


NAMES = ["release-a", "release-b", "release-c"]


class Pair:
    """Control workers that are started and stopped by name, and who is in charge as the broker sees it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._group = fleet, f"{fleet.settings.prefix}-control"
        self._client = admin(fleet.settings)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._is_over = False
        self.gaps: list[float] = []
        self.owners: list[str] = []
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self, worker: str) -> None:
        command = [sys.executable, "-m", "tests.integration.controlling", "none", "0"]
        environment = {**os.environ, "HOLDFAST_CONFIG": str(self._fleet.cluster.path), "HOLDFAST_WORKER": worker}
        with (self._fleet.cluster.folder / f"control-{worker}.log").open("ab") as log:
            self._running[worker] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        if not self._watcher.is_alive():
            self._watcher.start()

    def leave(self, worker: str) -> None:
        """Stop a worker as whoever runs it does."""
        process = self._running.pop(worker)
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0, self._fleet.cluster.logs()

    def until(self, worker: str) -> None:
        """Wait until a worker is in charge."""
        end = time.monotonic() + WAIT_S
        while self.owners[-1:] != [worker]:
            assert time.monotonic() < end, self._fleet.cluster.logs()
            time.sleep(0.05)

    def members(self) -> set[str]:
        """Name the workers that the broker counts as members."""
        group = self._client.describe_consumer_groups([self._group])[self._group].result(10)
        return {str(member.group_instance_id).removesuffix("-control") for member in group.members}

    def close(self) -> None:
        self._is_over = True
        for worker in [*self._running]:
            self.leave(worker)
        self._watcher.join(10)

    def _watch(self) -> None:
        """Note who has the partition and runs, and how long nobody did since somebody had."""
        since = time.monotonic()
        while not self._is_over:
            try:
                group = self._client.describe_consumer_groups([self._group])[self._group].result(10)
            except (KafkaException, TimeoutError):
                continue
            found = [
                str(member.group_instance_id).removesuffix("-control")
                for member in group.members
                if member.assignment is not None and member.assignment.topic_partitions
            ]
            owner = next((each for each in found if each in self._running), None)
            if owner is not None:
                if self.owners:
                    self.gaps.append(time.monotonic() - since)
                since = time.monotonic()
                if self.owners[-1:] != [owner]:
                    self.owners.append(owner)
            time.sleep(0.05)


@pytest.fixture
def fleet(kafka, tmp_path: Path) -> Iterator[Fleet]:
    with Cluster(kafka.bootstrap, tmp_path, session_timeout=f"{SESSION_S:g}s", partitions=4) as cluster:
        made = Fleet(cluster, tmp_path / "hosts", colos=10, names="abcdef")
        try:
            yield made
        finally:
            made.stop()


def submit(fleet: Fleet, name: str) -> None:
    end = time.monotonic() + WAIT_S
    while True:
        try:
            ask(fleet.settings, Submission(plan=plan(name), policy=POLICY, by="ann"), WAIT_S)
        except BadInput:
            assert time.monotonic() < end
            time.sleep(0.3)
        else:
            fleet.beat(name)
            return


def said(fleet: Fleet, actions: Mapping[str, str], sequence: int, of: str) -> None:
    for name, action in actions.items():
        fleet.judge(sequence, action, of, name)


def numbers(fleet: Fleet) -> Counter[tuple[str, str, int]]:
    """Count how often a host was given an action: host, rollout and number."""
    before: dict[str, dict[str, int]] = {}
    found: Counter[tuple[str, str, int]] = Counter()
    for entry in fleet.cluster.read(fleet.settings.topics.desired):
        for host, wanted in decode_desired(entry.value).hosts.items():
            old = before.get(host, {})
            found.update((host, name, number) for name, number in wanted.numbers.items() if old.get(name) != number)
            before[host] = wanted.numbers
    return found


@pytest.mark.slow
def test_two_workers_hand_rollouts_over_and_no_stage_is_skipped_or_done_twice(fleet: Fleet) -> None:
    pair = Pair(fleet)
    try:
        pair.start("a")
        pair.until("a")
        for name in NAMES:
            submit(fleet, name)
        for name in NAMES:
            fleet.until("baking", "one", name)
        pair.start("b")  # joins while rollouts are under way
        said(fleet, dict.fromkeys(NAMES, "advance"), 1, "one")
        while pair.members() != {"a", "b"}:
            time.sleep(0.1)
        pair.leave("a")  # with stages that have just begun, or are about to
        pair.until("b")
        for name in NAMES:
            fleet.until("baking", "tenth", name)
        pair.start("a")
        said(fleet, dict.fromkeys(NAMES[:2], "advance") | {NAMES[2]: "revert"}, 2, "tenth")
        while pair.members() != {"a", "b"}:
            time.sleep(0.1)
        pair.leave("b")
        pair.until("a")
        for name in NAMES[:2]:
            fleet.until("baking", "half", name)
        fleet.until("reverted", None, NAMES[2])
        said(fleet, dict.fromkeys(NAMES[:2], "advance"), 3, "half")
        for name in NAMES[:2]:
            fleet.until("completed", None, name)
        hold_together(fleet)
        assert pair.owners == ["a", "b", "a"]
        assert max(pair.gaps) < SESSION_S + JOINING_S
    finally:
        pair.close()


def written_down(fleet: Fleet) -> Counter[tuple[str, str]]:
    """Wait until all that was done is on the audit topic, which is whole, and count its entries."""
    end = time.monotonic() + WAIT_S
    while any((state := fold(fleet.history(name))) is None or state.outbox for name in NAMES):
        assert time.monotonic() < end, fleet.cluster.logs()
        time.sleep(0.2)
    chain = read(fleet.settings)
    assert chain.first_break() is None
    entries = [link.entry for link in chain.links if link.entry.kind == DID]
    return Counter((entry.subject, str(entry.body["id"])) for entry in entries)


def hold_together(fleet: Fleet) -> None:
    """Check histories, what hosts were given, and the audit log: everything once and in order."""
    given = numbers(fleet)
    assert set(given.values()) == {1}
    for name, stages in zip(NAMES, ([0, 1, 2], [0, 1, 2], [0, 1]), strict=True):
        events = fleet.history(name)
        begun = [event for event in events if isinstance(event, StageBegun)]
        assert [event.stage for event in begun] == stages
        assert sum(isinstance(event, RevertBegun) for event in events) == (name == NAMES[2])
        state = fold(events)
        assert state is not None
        assert {number for _, rollout, number in given if rollout == name} == set(range(1, state.number + 1))
        for event in begun:
            hosts = {seat.host for group in event.before for seat in group.seats}
            assert hosts == {host for host, rollout, number in given if (rollout, number) == (name, event.number)}
    states = [
        state
        for name in NAMES
        for events in [fleet.history(name)]
        for count in range(1, len(events))
        if (state := fold(events[:count])) is not None
    ]
    notes = {(state.rollout, one.id) for state in states for one in state.outbox if isinstance(one, Note)}
    assert written_down(fleet) == Counter(notes)
