"""Drift on a real broker: every kind of finding appears, is mended and vanishes; with the command line alone."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import TopicPartition
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec.structs import replace

from detectors.verdict import Scope, Verdict
from holdfast.cli import main
from holdfast.control.audit_log import Draft, append, read
from holdfast.control.drift_watch import record
from holdfast.control.drifting import gather, load_kept
from holdfast.control.overriding import say
from holdfast.documents import digest
from holdfast.live.announcing import change
from holdfast.live.clients import admin, base, producer
from holdfast.live.settings import load_settings
from holdfast.replaying import ENGINE
from holdfast.response.record import append as add_to_incident
from holdfast.wall import now
from rollouts.announced import Announcement, announce, replaced, with_event
from rollouts.breakglass import APPROVE, DRILL, REQUEST
from rollouts.controlled import encode as encode_history
from rollouts.drift import audit
from rollouts.drift_facts import KINDS, Finding
from rollouts.drift_notes import FOUND, GONE
from rollouts.incidents.history import ActionAdded, ActionDone, ActionItem, Impact, Opened
from rollouts.packages import digest_of
from rollouts.plans import rollout_of
from rollouts.reports import Report
from rollouts.reports import encode as encode_report
from sinks.cloudevents import epoch_ms, verdict_event
from sinks.signatures import Signer
from sinks.verdict_messages import verdict_message
from tests.integration.cluster import Cluster
from tests.integration.forking import ROOT
from tests.overrides import PEOPLE, WHO, hand, request, vote
from tests.rollouts.fleet import NEW, OLD, POLICY, UNIT, World
from tests.rollouts.test_controller import baking, command
from tests.test_certificate import KEY
from tests.test_certificate import made as certificate
from tests.waiting import WAIT_S

LATER = timedelta(minutes=5)
INCIDENT = "inc-20261126-0a1b2c3d"


class Site:
    """An installation in which everything is wrong at first."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.settings = cluster, cluster.settings
        self.now = now()
        self._sequence = 0
        self.world: World = baking("one")
        self.world.verdict(1, "halt", "one")
        plan = rollout_of(self.world.state.resolved, "host")
        self.rollout = replace(plan, started=self.now - timedelta(hours=3))

    def put(self, topic: str, key: bytes | None, value: bytes | None, **given: Any) -> None:
        writer = producer(self.settings)
        writer.produce(topic, key=key, value=value, **given)
        assert writer.flush(WAIT_S) == 0

    def report(self, unit_digest: str) -> None:
        self._sequence += 1
        one = Report(
            host="c0-h0", colo="c0", region="r0", sequence=self._sequence, at=now(), units={UNIT.unit: unit_digest}
        )
        self.put(self.settings.topics.applied, b"c0-h0", encode_report(one))

    def announce(self, made: Announcement) -> None:
        name = made.rollout.rollout
        change(base(self.settings), self.settings.topics.rollouts, name, lambda _before: made)

    def control(self) -> None:
        self.put(self.settings.topics.control, b"bots", encode_history(self.world.events))

    def verdict(self, policy: str) -> None:
        at_ms = epoch_ms(self.now) // 10_000 * 10_000
        said = Verdict(
            sequence=7,
            action="halt",
            cause="evidence",
            stage="one",
            binding=True,
            scope=Scope(colos=[], metrics=["busy"]),
            reasons=[],
            abstained=[],
            policy=policy,
            engine=ENGINE,
        )
        message = verdict_message(verdict_event("bots", at_ms, said), at_ms, Signer("ci", KEY))
        self.put(self.settings.topics.verdicts, message.key, message.value, headers=[*message.headers])

    def sample(self, metric: str) -> None:
        row = {"time": "2026-03-12T11:20:00Z", "metric": metric, "value": 1.0, "colo": "c0", "host": "c0-h0"}
        self.put(self.cluster.metrics, b"c0", json.dumps(row).encode())

    def override(self, kind: str, expires_in: timedelta, *approvers: int) -> None:
        asked = request(1, kind, signed=now(), expires=now() + expires_in, nonce=os.urandom(16).hex())  # type: ignore[arg-type]
        assert say(self.settings, WHO, hand(1), REQUEST, asked).refusal is None
        for approver in approvers:
            assert say(self.settings, WHO, hand(approver), APPROVE, vote(approver, asked, now())).refusal is None

    def found(self, after: timedelta = timedelta(0)) -> list[Finding]:
        """Look at what is there as if it were some time later."""
        at = now() + after
        return audit(gather(self.settings, load_kept(self.settings), at), at)


@pytest.fixture
def site(kafka, tmp_path: Path) -> Iterator[Site]:
    people, public, baseline = tmp_path / "people.yaml", tmp_path / "ci.pub.pem", tmp_path / "baseline.yaml"
    people.write_bytes(msgspec.json.encode(PEOPLE))
    public.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    baseline.write_bytes(msgspec.yaml.encode({"units": {UNIT.unit: [OLD]}}))
    given = {
        "people": str(people),
        "trusted_keys": {"ci": str(public)},
        "drift": {"stuck_after": "1h", "baseline": str(baseline)},
    }
    with Cluster(kafka.bootstrap, tmp_path, **given) as cluster:
        yield Site(cluster)


def all_wrong(site: Site) -> None:
    """Have something to be found of every kind."""
    site.put(site.settings.topics.audit, None, b"junk", partition=0)
    site.put(site.settings.topics.rollouts, b"broken", b"{}")
    other = replace(POLICY, alpha=0.02)
    gated = announce(replace(site.rollout, rollout="before"), other, certificate(policy=digest(other)))
    site.announce(with_event(gated, "finished", None, site.now))
    site.announce(announce(site.rollout, POLICY))
    site.control()
    site.report(digest_of(b"by hand"))
    site.sample("another")
    site.override("force_revert", timedelta(minutes=4), 2)
    site.override("freeze_all", timedelta(minutes=30), 2, 3)
    item = ActionItem(id="a1", what="Limit the size", owner="grace", due=site.now)
    opened = Opened(at=site.now, by="ada", title="errors", severity="minor", impact=Impact())
    add_to_incident(site.settings, INCIDENT, [opened, ActionAdded(at=site.now, by="ada", item=item)])


def mend(site: Site) -> None:
    """Mend what can be mended while the rollout goes on."""
    add_to_incident(site.settings, INCIDENT, [ActionDone(at=site.now, by="grace", id="a1")])
    site.put(site.settings.topics.rollouts, b"broken", None)
    signed = certificate(policy=digest(POLICY))
    change(
        base(site.settings),
        site.settings.topics.rollouts,
        "bots",
        lambda before: replaced(before, site.rollout, POLICY, now(), signed),  # type: ignore[arg-type]
    )
    site.verdict(digest(POLICY))
    site.sample("cpu")
    site.report(NEW)
    first = TopicPartition(site.settings.topics.audit, 0, 1)
    client = admin(site.settings)
    for future in client.delete_records([first]).values():
        future.result(WAIT_S)
    drill = Draft("ada", DRILL, "", {"would_not_have_worked": []})
    append(site.settings, lambda _chain, _at: drill)
    site.settings = replace(site.settings, gate=replace(site.settings.gate, required=True))


def end(site: Site) -> None:
    """End the rollout, everywhere."""
    site.world.give(command("abort"))
    site.world.settle()
    site.control()
    change(
        base(site.settings),
        site.settings.topics.rollouts,
        "bots",
        lambda before: with_event(before, "finished", None, now()),  # type: ignore[arg-type]
    )
    site.report(OLD)


def known(findings: list[Finding]) -> list[str]:
    return [one.kind for one in findings if one.known]


def test_every_kind_of_finding_appears_and_vanishes(site: Site) -> None:
    all_wrong(site)
    findings = site.found(LATER)
    assert (known(findings), [one for one in findings if not one.known]) == ([*KINDS], [])
    assert record(site.settings, findings) == len(KINDS)
    assert record(site.settings, findings) == 0
    mend(site)
    findings = site.found(LATER)
    goes_on = ["override-expiring", "override-overdue", "past-deadline", "stuck"]
    assert (known(findings), [one for one in findings if not one.known]) == (goes_on, [])
    end(site)
    findings = site.found(timedelta(minutes=40))
    assert [one.sentence for one in findings if one.known] == []
    assert [one.subject for one in findings] == ["silent hosts"]
    findings = site.found(LATER)
    assert [one.kind for one in findings] == ["override-expiring"]  # of the freeze, which has half an hour left
    assert record(site.settings, findings) == len(KINDS) - 1
    links = read(site.settings).links
    kinds = [link.entry.kind for link in links]
    assert (kinds.count(FOUND), kinds.count(GONE)) == (len(KINDS), len(KINDS) - 1)


def run(capsys, monkeypatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["holdfast", *words])
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    return int(str(left.value.code)), out, err


def test_the_command_tells_what_it_finds_in_words_as_json_and_as_metrics(
    site: Site, tmp_path: Path, capsys, monkeypatch
) -> None:
    config = ["--config", str(site.cluster.path)]
    site.report(digest_of(b"by hand"))
    text = tmp_path / "drift.prom"
    status, out, _ = run(capsys, monkeypatch, "audit", "drift", "--metrics", str(text), *config)
    assert status == 3
    assert "on 1 host (c0-h0): no rollout has announced it" in out
    assert 'holdfast_drift{kind="ungated-change"} 1.0' in text.read_text()
    status, out, _ = run(capsys, monkeypatch, "audit", "drift", "--json", *config)
    report = json.loads(out)
    assert (status, report["standing"], report["found"]["ungated-change"]) == (3, "found", 1)
    assert {one["kind"] for one in report["findings"]} == {"settings-differ", "no-drill", "ungated-change"}
    status, out, _ = run(capsys, monkeypatch, "audit", "baseline", *config)
    assert (status, digest_of(b"by hand") in out) == (0, True)


def quiet(site: Site) -> Path:
    """Write settings by which nothing is wrong with an installation that does nothing yet, and return them."""
    document = msgspec.yaml.decode(site.cluster.path.read_bytes())
    document |= {"gate": {"required": True}, "people": None}
    site.cluster.path.write_bytes(msgspec.yaml.encode(document))
    site.settings = load_settings(site.cluster.path, {})
    return site.cluster.path


def test_the_exit_status_tells_nothing_found_from_not_known(site: Site, capsys, monkeypatch) -> None:
    config = quiet(site)
    status, out, _ = run(capsys, monkeypatch, "audit", "drift", "--config", str(config))
    assert (status, "no host reports what it has" in out) == (4, True)
    site.report(OLD)
    status, out, _ = run(capsys, monkeypatch, "audit", "drift", "--config", str(config))
    assert (status, out) == (0, "no drift\n")


def test_without_a_broker_nothing_is_known(site: Site, monkeypatch, capsys) -> None:
    monkeypatch.setattr("holdfast.control.drifting._PROBE_S", 1.0)
    monkeypatch.setenv("HOLDFAST_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    status, out, _ = run(capsys, monkeypatch, "audit", "drift", "--json", "--config", str(site.cluster.path))
    report = json.loads(out)
    assert (status, report["standing"], set(report["unknown"].values())) == (4, "unknown", {1})


def metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read(), "utf-8")
    except OSError:
        return ""


def test_on_a_schedule_findings_are_metrics_log_lines_and_entries(site: Site, tmp_path: Path) -> None:
    from tests.kafka.broker import free_ports

    config, port = quiet(site), free_ports(1)[0]
    site.report(digest_of(b"by hand"))
    log = tmp_path / "drift.log"
    words = ["audit", "drift", "--every", "1s", "--record", "--config", str(config)]
    environment = {**os.environ, "HOLDFAST_HTTP__PORT": str(port)}
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", "from holdfast.cli import main; main()", *words],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=file,
        )
    try:
        _until(lambda: 'holdfast_drift{kind="ungated-change"} 1.0' in metrics(port), log)
        site.report(OLD)
        _until(lambda: 'holdfast_drift{kind="ungated-change"} 0.0' in metrics(port), log)
        _until(lambda: [link.entry.kind for link in read(site.settings).links] == [FOUND, GONE], log)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = [line for line in lines if line.get("drift") == "ungated-change"]
    assert [(line["level"], "no longer" in line["message"]) for line in told] == [("warning", False), ("info", True)]


def _until(is_so, log: Path) -> None:
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.3)
