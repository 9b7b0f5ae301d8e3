"""What is refused on a real broker, by control and at the command line: with a reason, and on the audit topic."""

import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from detectors.policy import Metric, Policy
from detectors.verdict import Scope, Verdict
from holdfast.cli import main
from holdfast.control.asking import Instruction, Submission, ask
from holdfast.control.audit_log import read
from holdfast.control.deployers import TopicDeployer
from holdfast.control.scribe import REFUSED
from holdfast.control.worker import Control
from holdfast.errors import BadInput
from holdfast.live.clients import producer
from holdfast.wall import now
from rollouts.inputs import Command
from rollouts.inventory import Host, Inventory, Reach
from rollouts.packages import digest_of
from rollouts.plans import Plan
from rollouts.reports import Report, encode
from sinks.cloudevents import verdict_event
from sinks.verdict_messages import verdict_message
from tests.integration.cluster import Cluster
from tests.rollouts.fleet import OLD, UNIT, plan, stage
from tests.waiting import WAIT_S

POLICY = Policy(policy="edge", metrics=[Metric(name="busy", gauge="cpu", worse="increase", breach="halt")])
FLEET = Inventory(
    hosts=[Host(host=f"c{colo}-h{host}", colo=f"c{colo}", region="r") for colo in range(4) for host in range(5)]
)


class Desk:
    """A control worker, and what people, hosts and judges say to it."""

    def __init__(self, cluster: Cluster, capsys, monkeypatch) -> None:
        self.cluster, self.settings = cluster, cluster.settings
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.worker = Control(self.settings, lambda: TopicDeployer(self.settings), FLEET)
        self._thread = threading.Thread(target=self.worker.run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.worker.stop()
        self._thread.join(WAIT_S)

    def submit(self, given: Plan, policy: Policy = POLICY) -> str:
        """Submit a plan; return why it is refused."""
        with pytest.raises(BadInput) as refused:
            ask(self.settings, Submission(plan=given, policy=policy, by="ann"), WAIT_S)
        return str(refused.value)

    def put(self, topic: str, key: bytes, value: bytes, **given: Any) -> None:
        writer = producer(self.settings)
        writer.produce(topic, key=key, value=value, **given)
        assert writer.flush(WAIT_S) == 0

    def report(self, sequence: int, **given: Any) -> None:
        fields = {"at": now(), "units": {UNIT.unit: OLD}, **given}
        made = Report(host="c0-h0", colo="c0", region="r", sequence=sequence, **fields)
        self.put(self.settings.topics.applied, b"c0-h0", encode(made))

    def verdict(self, sequence: int, action: str, on: str) -> None:
        said = Verdict(
            sequence=sequence,
            action=action,  # type: ignore[arg-type]
            cause="evidence",
            stage=on,
            binding=True,
            scope=Scope(colos=[], metrics=["busy"]),
            reasons=[],
            abstained=[],
            policy="sha256:00",
            engine="test",
        )
        message = verdict_message(verdict_event("bots", 1_773_314_400_000 + sequence * 10_000, said), 0, None)
        self.put(self.settings.topics.verdicts, message.key, message.value, headers=[*message.headers])

    def run(self, *words: str) -> tuple[int, str]:
        """Run a command; return its exit status and its errors."""
        line = ["holdfast", *words, "--by", "bo", "--config", str(self.cluster.path)]
        self._monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as left:
            main()
        return int(str(left.value.code)), self._capsys.readouterr().err

    def is_on_record(self, *words: str) -> None:
        """Wait for an entry that says all of this."""
        end = time.monotonic() + WAIT_S
        while True:
            said = [
                str(link.entry.body["sentence"]) for link in read(self.settings).links if link.entry.kind == REFUSED
            ]
            if any(all(word in sentence for word in words) for sentence in said):
                return
            assert time.monotonic() < end, said
            time.sleep(0.3)


@pytest.fixture
def desk(kafka, tmp_path: Path, capsys, monkeypatch) -> Iterator[Desk]:
    with Cluster(kafka.bootstrap, tmp_path) as cluster:
        made = Desk(cluster, capsys, monkeypatch)
        try:
            yield made
        finally:
            made.close()


def test_plans_that_are_bad_input_are_refused_with_a_reason_on_the_audit_topic(desk: Desk) -> None:
    unknown = plan("kinds", package=[replace(UNIT, kind="kernel")])
    assert "kind: found 'kernel'" in desk.submit(unknown)
    desk.is_on_record("submission refused, by ann", "kinds: package[0]", "kind: found 'kernel'")

    circle = plan("circle", stages=[*plan().stages, stage("one", hosts={"host": "c3-h4"})])
    assert "a rollout never goes back to a stage" in desk.submit(circle)
    desk.is_on_record("submission refused, by ann", "circle: stages[3] (one)")
    assert "circle" in desk.submit(plan("circle", after=["circle"]))
    desk.is_on_record("submission refused, by ann", "circle: after")

    ask(desk.settings, Submission(plan=plan(), policy=POLICY, by="ann"), WAIT_S)
    first, *others = plan().stages
    grown = plan(stages=[replace(first, reach=Reach(hosts={"host": "c0-h[0-3]"})), *others])
    assert "another plan has that name" in desk.submit(grown)
    assert "another plan has that name" in desk.submit(plan(rest="hold"))
    desk.is_on_record("submission refused, by ann", "bots: rollout: another plan has that name")


def test_what_hosts_say_that_cannot_be_is_refused_on_the_audit_topic(desk: Desk) -> None:
    desk.report(1, at=now() + timedelta(hours=1))
    desk.is_on_record("report refused, by c0-h0", "clocks disagree")
    wrong = f"{UNIT.unit}: the content has the digest {digest_of(b'x')}; the package says {UNIT.digest}"
    desk.report(2, problem=wrong)
    desk.report(3, problem=wrong)
    desk.is_on_record("package refused, by c0-h0", wrong)


def test_a_content_that_its_digest_does_not_name_is_refused_where_it_is_submitted(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_bytes(msgspec.yaml.encode(plan()))
    (tmp_path / "policy.yaml").write_bytes(msgspec.yaml.encode(POLICY))
    content = tmp_path / "contents" / UNIT.unit
    content.parent.mkdir(parents=True)
    content.write_bytes(b"not what it says")
    options = ["--policy", str(tmp_path / "policy.yaml"), "--contents", str(tmp_path / "contents")]
    status, err = desk.run("plan", "submit", str(tmp_path / "plan.yaml"), *options)
    assert (status, "the content has the digest" in err) == (2, True)
    desk.is_on_record("package refused, by bo", "the content has the digest")


def test_what_comes_for_a_rollout_that_has_ended_is_refused_on_the_audit_topic(desk: Desk) -> None:
    for index, host in enumerate(FLEET.hosts):
        made = Report(host=host.host, colo=host.colo, region=host.region, sequence=index + 1, at=now())
        desk.put(desk.settings.topics.applied, host.host.encode(), encode(made))
    submission = Submission(plan=plan(started=now() + timedelta(hours=1)), policy=POLICY, by="ann")
    ask(desk.settings, submission, WAIT_S)
    ask(desk.settings, submission, WAIT_S)  # as whoever does not know whether it got through
    abort = Command(id="1", command="abort", by="ann", why="no")
    ask(desk.settings, Instruction(rollout="bots", command=abort), WAIT_S)
    again = replace(abort, id="2", command="pause")
    with pytest.raises(BadInput, match="the rollout is aborted"):
        ask(desk.settings, Instruction(rollout="bots", command=again), WAIT_S)
    desk.is_on_record("pause refused", "the rollout is aborted; allowed: nothing more")
    with pytest.raises(BadInput, match="bots: the rollout is aborted; allowed: a plan by another name"):
        ask(desk.settings, submission, WAIT_S)
    desk.verdict(3, "revert", "one")
    desk.is_on_record("verdict 3, revert, on stage 'one': the rollout is aborted")
    end = time.monotonic() + WAIT_S
    status, err = desk.run("rollout", "event", "bots", "started", "--stage", "one")
    while "after the rollout finished" not in err and time.monotonic() < end:  # its end is told in a moment
        status, err = desk.run("rollout", "event", "bots", "started", "--stage", "one")
    assert (status, "after the rollout finished" in err) == (2, True)
    desk.is_on_record("event refused, by bo", "after the rollout finished")
