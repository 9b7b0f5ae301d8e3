"""A fleet of agents on a real broker gets a bad package, and has what it had before; whoever is killed meanwhile."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from detectors.policy import Metric, Policy
from detectors.verdict import Scope, Verdict
from holdfast.control.agent import Agent
from holdfast.control.agents import Agents, Place
from holdfast.control.asking import Instruction, Submission, ask
from holdfast.control.audit_log import read
from holdfast.control.desired import Unit as WantedUnit
from holdfast.control.desired import Wanted
from holdfast.control.overriding import say
from holdfast.control.scribe import DID, REFUSED
from holdfast.errors import BadInput
from holdfast.live.clients import admin, producer
from holdfast.wall import now, now_ms
from rollouts.breakglass import APPROVE, REQUEST, Request, id_of
from rollouts.controlled import Event, Note, RevertBegun, StageBegun, State, decode
from rollouts.document import Unit
from rollouts.folding import fold
from rollouts.inputs import Command
from rollouts.inventory import Reach
from rollouts.packages import digest_of
from rollouts.people import OverrideKind
from rollouts.plans import Most, Plan, PlanStage
from sinks.cloudevents import verdict_event
from sinks.verdict_messages import heartbeat_message, verdict_message
from tests.integration.cluster import Cluster
from tests.integration.forking import ROOT
from tests.overrides import PEOPLE, WHO, hand, request, vote
from tests.waiting import WAIT_S, until

COLOS = 50
OLD, NEW = b"old", b"new and bad"
NAME = "bots/features.bin"
POLICY = Policy(policy="edge", metrics=[Metric(name="busy", gauge="cpu", worse="increase", breach="halt")])


def stage(name: str, host: str, most: float) -> PlanStage:
    reach, bound = Reach(hosts={"host": host}), Most(fleet=most, region=1.0)
    return PlanStage(name=name, reach=reach, most=bound, bake="100ms", deadline="10m", apply_within="1m")


PLAN = Plan(
    rollout="bots",
    package=[Unit(unit=NAME, kind="data-file", digest=digest_of(NEW))],
    stages=[stage("one", "c00-a", 0.01), stage("tenth", "c0?-a", 0.1), stage("half", "*-a", 0.5)],
    policy="edge",
)


class Fleet:
    """Agents of two hosts in each colo, and control workers as processes."""

    def __init__(self, cluster: Cluster, folder: Path, colos: int = COLOS, names: str = "ab") -> None:
        self.cluster, self.settings = cluster, cluster.settings
        self.places = [
            Place(f"c{colo:02d}-{name}", f"c{colo:02d}", f"r{colo % 5}", folder / f"c{colo:02d}-{name}", {})
            for colo in range(colos)
            for name in names
        ]
        old = WantedUnit(digest=digest_of(OLD), kind="data-file")
        for place in self.places:
            Agent(place.root).apply(Wanted(units={NAME: old}), {digest_of(OLD): OLD})
        writer = producer(self.settings)
        for content in (OLD, NEW):
            writer.produce(self.settings.topics.units, key=digest_of(content).encode(), value=content)
        assert writer.flush(WAIT_S) == 0
        self._agents = Agents(self.settings, self.places)
        self._thread = threading.Thread(target=self._agents.run, daemon=True)
        self._thread.start()
        self._stopping = False
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._keepers: list[threading.Thread] = []
        self.killed = 0

    def control(self, worker: str, deaths: Sequence[tuple[str, int]] = ()) -> None:
        """Keep a control worker, which is killed at one point after the other and then lives."""
        keeper = threading.Thread(target=self._keep, args=(worker, deaths), daemon=True)
        keeper.start()
        self._keepers.append(keeper)

    def _keep(self, worker: str, deaths: Sequence[tuple[str, int]]) -> None:
        left = [*deaths]
        while not self._stopping:
            point, count = left.pop(0) if left else ("none", 0)
            command = [sys.executable, "-m", "tests.integration.controlling", point, str(count)]
            environment = {**os.environ, "HOLDFAST_CONFIG": str(self.cluster.path), "HOLDFAST_WORKER": worker}
            with (self.cluster.folder / f"control-{worker}.log").open("ab") as log:
                process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            self._processes[worker] = process
            self.killed += process.wait() == -signal.SIGKILL

    def stop(self) -> None:
        self._stopping = True
        for process in self._processes.values():
            process.terminate()
        for keeper in self._keepers:
            keeper.join(WAIT_S)
        self._agents.stop()
        self._thread.join(WAIT_S)

    def history(self, rollout: str = "bots") -> list[Event]:
        found: list[Event] = []
        for entry in self.cluster.read(self.settings.topics.control):
            if entry.key == rollout.encode():
                found = decode(entry.value)
        return found

    def until(self, phase: str, stage: str | None = None, rollout: str = "bots") -> State:
        end = time.monotonic() + WAIT_S
        state: State | None = None
        while time.monotonic() < end:
            state = fold(self.history(rollout))
            current = None if state is None or state.current is None else state.name_of(state.current.stage)
            if state is not None and state.phase == phase and stage in (None, current):
                return state
            time.sleep(0.2)
        found = "nothing" if state is None else f"{state.phase}, {state.halted}"
        raise AssertionError(f"{rollout}: found {found} instead of {phase} {stage}\n{self.cluster.logs()}")

    def until_finished(self) -> None:
        """Wait until the last announcement says that it is over, which is told after the state is kept."""
        topic = self.settings.topics.rollouts
        until(lambda: b'"event":"finished"' in self.cluster.read(topic)[-1].value, self.cluster.logs)

    def judge(self, sequence: int, action: str, stage: str, rollout: str = "bots") -> None:
        """Publish a verdict, as a judge does."""
        said = Verdict(
            sequence=sequence,
            action=action,  # type: ignore[arg-type]
            cause="evidence",
            stage=stage,
            binding=True,
            scope=Scope(colos=[], metrics=["busy"]),
            reasons=[],
            abstained=[],
            policy="sha256:00",
            engine="test",
        )
        message = verdict_message(verdict_event(rollout, 1_773_314_400_000 + sequence * 10_000, said), 0, None)
        writer = producer(self.settings)
        writer.produce(self.settings.topics.verdicts, message.value, message.key, headers=[*message.headers])
        assert writer.flush(WAIT_S) == 0

    def beat(self, rollout: str = "bots") -> None:
        """Say that a rollout has been judged up to now, as a judge does."""
        message = heartbeat_message(rollout, 0, None, now_ms() + 1_000, now_ms(), None, finished=False)
        writer = producer(self.settings)
        writer.produce(self.settings.topics.verdicts, message.value, message.key, headers=[*message.headers])
        assert writer.flush(WAIT_S) == 0

    def has(self) -> dict[str, bytes]:
        return {place.host: (place.root / "current" / "units" / NAME).read_bytes() for place in self.places}

    def changed(self) -> int:
        return sum(content == NEW for content in self.has().values())


@pytest.fixture
def fleet(kafka, tmp_path: Path) -> Iterator[Fleet]:
    folder, people = tmp_path / "hosts", tmp_path / "people.yaml"
    people.write_bytes(msgspec.json.encode(PEOPLE))
    with Cluster(kafka.bootstrap, tmp_path, people=str(people)) as cluster:
        made = Fleet(cluster, folder)
        try:
            yield made
        finally:
            made.stop()


def submit(fleet: Fleet) -> None:
    """Submit the plan until the fleet is known, as the first report of a host may come later than the plan."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            ask(fleet.settings, Submission(plan=PLAN, policy=POLICY, by="ann"), WAIT_S)
        except BadInput:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)
        else:
            fleet.beat()
            return


def stages_begun(fleet: Fleet) -> list[int]:
    return [event.stage for event in fleet.history() if isinstance(event, StageBegun)]


def released_and_reverted(fleet: Fleet) -> None:
    submit(fleet)
    fleet.until("baking", "one")
    assert fleet.changed() == 1
    fleet.judge(1, "advance", "one")
    fleet.until("baking", "tenth")
    assert fleet.changed() == 10
    fleet.judge(2, "revert", "tenth")
    fleet.until("reverted")
    assert set(fleet.has().values()) == {OLD}
    assert stages_begun(fleet) == [0, 1]


@pytest.mark.slow
def test_a_bad_package_is_taken_back_from_all_colos_that_had_it(fleet: Fleet) -> None:
    fleet.control("a")
    released_and_reverted(fleet)
    fleet.until_finished()


@pytest.mark.slow
def test_control_is_killed_again_and_again_and_no_stage_is_skipped_or_done_twice(fleet: Fleet) -> None:
    points = ("produced", "kept", "done")
    fleet.control("a", [(point, count) for count in (1, 2, 3, 5) for point in points])
    released_and_reverted(fleet)
    assert fleet.killed >= 5


@pytest.mark.slow
def test_two_workers_that_are_killed_hand_rollouts_over_to_each_other(fleet: Fleet) -> None:
    fleet.control("a", [("kept", 2), ("done", 3), ("produced", 4)])
    fleet.control("b", [("done", 2), ("kept", 3), ("done", 4)])
    released_and_reverted(fleet)
    assert fleet.killed >= 2


@pytest.mark.slow
def test_a_good_package_reaches_everybody_and_is_paused_when_asked(fleet: Fleet) -> None:
    fleet.control("a")
    submit(fleet)
    fleet.until("baking", "one")
    pause = Command(id="1", command="pause", by="ann", why="lunch")
    ask(fleet.settings, Instruction(rollout="bots", command=pause), WAIT_S)
    fleet.judge(1, "advance", "one")
    time.sleep(1)
    assert fleet.until("baking", "one").paused is not None
    ask(fleet.settings, Instruction(rollout="bots", command=replace(pause, id="2", command="resume")), WAIT_S)
    fleet.until("baking", "tenth")
    fleet.judge(2, "advance", "tenth")
    fleet.until("baking", "half")
    fleet.judge(3, "advance", "half")
    fleet.until("completed")
    assert set(fleet.has().values()) == {NEW}
    assert stages_begun(fleet) == [0, 1, 2, 3]


@pytest.mark.slow
def test_an_unknown_rollout_and_another_plan_of_the_same_name_are_refused(fleet: Fleet) -> None:
    fleet.control("a")
    submit(fleet)
    with pytest.raises(BadInput, match="another plan has that name"):
        ask(fleet.settings, Submission(plan=replace(PLAN, rest="hold"), policy=POLICY, by="ann"), WAIT_S)
    abort = Command(id="1", command="abort", by="ann", why="no")
    with pytest.raises(BadInput, match="not under control"):
        ask(fleet.settings, Instruction(rollout="nothing", command=abort), WAIT_S)
    end = time.monotonic() + WAIT_S
    while len(said(fleet, REFUSED)) < 2 and time.monotonic() < end:
        time.sleep(0.3)
    assert [words.split(": ")[0] for words in said(fleet, REFUSED) if "reported yet" not in words] == [
        "submission refused, by ann",
        "abort refused, by ann",
    ]


def said(fleet: Fleet, kind: str = DID) -> list[str]:
    """List what control has written to the audit topic, which is whole."""
    chain = read(fleet.settings)
    assert chain.first_break() is None
    return [str(link.entry.body["sentence"]) for link in chain.links if link.entry.kind == kind]


def audited(fleet: Fleet) -> list[str]:
    """Wait until all that was done is on the audit topic, and list it."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        state = fold(fleet.history())
        if state is not None and not state.outbox:
            return said(fleet)
        time.sleep(0.2)
    raise AssertionError(f"it is not on the audit topic\n{fleet.cluster.logs()}")


def overridden(fleet: Fleet, kind: OverrideKind, seconds: float = 600, **target: str) -> Request:
    """Ask for an override, and have two others approve it; one is enough to revert."""
    at = now()
    asked = request(1, kind, signed=at, expires=at + timedelta(seconds=seconds), **target)
    assert say(fleet.settings, WHO, hand(1), REQUEST, asked).refusal is None
    for seed in (2,) if kind == "force_revert" else (2, 3):
        assert say(fleet.settings, WHO, hand(seed), APPROVE, vote(seed, asked, now())).refusal is None
    time.sleep(1)  # control reads it within a moment
    return asked


def baking(fleet: Fleet) -> None:
    fleet.control("a")
    submit(fleet)
    fleet.until("baking", "one")


@pytest.mark.slow
def test_two_people_take_a_healthy_rollout_back(fleet: Fleet) -> None:
    baking(fleet)
    asked = overridden(fleet, "force_revert")
    fleet.until("reverted")
    assert set(fleet.has().values()) == {OLD}
    done = audited(fleet)
    assert done[:2] == ["submitted, by ann", "stage one begun: 1 hosts"]
    assert f"revert everywhere, by override {id_of(asked)}: people decided it" in done
    assert done[-1] == "reverted: people decided it"


@pytest.mark.slow
def test_a_freeze_holds_an_advance_until_it_ends(fleet: Fleet) -> None:
    baking(fleet)
    asked = overridden(fleet, "freeze_all", seconds=60)
    fleet.judge(1, "advance", "one")
    fleet.until("waiting")
    command = [str(Path(sys.executable).parent / "holdfast"), "reach", "bots", "--config", str(fleet.cluster.path)]
    reach = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert f"frozen by override {id_of(asked)[:12]}" in reach.stdout.decode()
    fleet.until("baking", "tenth")
    begun = [event.at for event in fleet.history() if isinstance(event, StageBegun)]
    assert begun[0] < asked.expires <= begun[1]
    assert audited(fleet)[-2:] == ["stage one passed", "stage tenth begun: 9 hosts"]


@pytest.mark.slow
def test_a_stop_by_an_ignored_metric_alone_is_passed_over(fleet: Fleet) -> None:
    baking(fleet)
    overridden(fleet, "ignore_metric", metric="busy")
    fleet.judge(1, "revert", "one")
    fleet.judge(2, "advance", "one")
    fleet.until("baking", "tenth")
    assert not [event for event in fleet.history() if isinstance(event, RevertBegun)]
    assert "stage one passed" in audited(fleet)


@pytest.mark.slow
def test_without_an_audit_topic_nothing_further_begins_and_everything_is_taken_back(fleet: Fleet) -> None:
    baking(fleet)
    audited(fleet)
    client, topic = admin(fleet.settings), fleet.settings.topics.audit
    client.delete_topics([topic])[topic].result(WAIT_S)
    fleet.judge(1, "advance", "one")
    fleet.until("waiting")
    time.sleep(2)
    fleet.judge(2, "revert", "one")
    fleet.until("reverted")
    assert set(fleet.has().values()) == {OLD}
    assert stages_begun(fleet) == [0]
    assert "entries wait for the audit topic" in fleet.cluster.logs()


@pytest.mark.slow
def test_each_thing_that_was_done_is_on_the_audit_topic_once_whoever_is_killed(fleet: Fleet) -> None:
    fleet.control("a", [("noted", 1), ("done", 2), ("noted", 1), ("noted", 2)])
    released_and_reverted(fleet)
    audited(fleet)
    events = fleet.history()
    states = [state for count in range(1, len(events)) if (state := fold(events[:count])) is not None]
    ids = {effect.id for state in states for effect in state.outbox if isinstance(effect, Note)}
    assert sorted(str(link.entry.body["id"]) for link in read(fleet.settings).links) == sorted(ids)
    assert fleet.killed >= 3
