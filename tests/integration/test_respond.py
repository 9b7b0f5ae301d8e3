"""The worker of incidents on a real broker: no stop is lost and none counts twice, wherever it is killed."""

import os
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer

from holdfast.control.board import Board
from holdfast.documents import load_truth
from holdfast.live.settings import Settings
from holdfast.notifying.journal import Delivered, Key, decode
from holdfast.response.record import amend, append, read_all
from holdfast.wall import now, now_ms
from rollouts.controlled import encode
from rollouts.incidents.folding import Incident, fold
from rollouts.incidents.history import (
    Acknowledged,
    Escalated,
    History,
    Impact,
    Mitigated,
    Opened,
    Overdue,
    Ranked,
    Resolved,
)
from sinks.cloudevents import epoch_ms, verdict_event
from sinks.messages import Message
from sinks.verdict_messages import heartbeat_message, verdict_message
from tests.integration.cluster import Cluster
from tests.integration.conftest import Kafka
from tests.integration.responding import working
from tests.integration.topics import installed, publish
from tests.live.engine import announced, end_of
from tests.notifying.servers import hook
from tests.rollouts.fleet import World
from tests.rollouts.incidents.making import stop
from tests.waiting import WAIT_S

DOCUMENT = """\
response: team
merge_within: 10m
components:
  - {name: edge, title: Edge, metrics: [errors], colos: ["ams*"]}
recipients:
  - {name: oncall, urls: ["json://localhost"]}
escalation:
  - {after: 1s, tell: [oncall]}
  - {after: 2s, tell: [oncall]}
promises: {major: 3s}
"""

TELLING = """\
response: team
recipients:
  - {{name: web, urls: ["{url}"]}}
rules:
  - {{tell: [web]}}
promises: {{major: 1d}}
"""


@pytest.fixture
def settings(kafka: Kafka, tmp_path: Path) -> Iterator[Settings]:
    """Give settings whose topics nobody else has."""
    document = tmp_path / "response.yaml"
    document.write_text(DOCUMENT, encoding="utf-8")
    own = {"WORKER": "one", "SESSION_TIMEOUT": "15s", "RESPONSE__DOCUMENT": str(document)}
    with installed(kafka.bootstrap, PARTITIONS="2", **own) as found:
        yield found


def said(rollout: str, verdict: str = "", *, colos: Sequence[str] = ("ams01",), is_binding: bool = True) -> Message:
    """Give a message that reverts a rollout; another `verdict` is another one."""
    one = stop(rollout, colos=colos, is_binding=is_binding, sentence=f"errors {verdict}").said
    return verdict_message(verdict_event(rollout, epoch_ms(now()) // 1_000 * 1_000, one), now_ms(), None)


def started(settings: Settings, point: str, count: int, *more: str, worker: str = "one") -> subprocess.Popen[bytes]:
    """Start a worker that is killed when it passes a point."""
    environ = {
        **os.environ,
        "HOLDFAST_KAFKA__BOOTSTRAP_SERVERS": settings.kafka["bootstrap.servers"],
        "HOLDFAST_PREFIX": settings.prefix,
        "HOLDFAST_PARTITIONS": "2",
        "HOLDFAST_WORKER": worker,
        "HOLDFAST_SESSION_TIMEOUT": "15s",
        "HOLDFAST_RESPONSE__DOCUMENT": str(settings.response.document),
        "HOLDFAST_NOTIFY__TIMEOUT": "1m",
    }
    command = [sys.executable, "-m", "tests.integration.responding", point, str(count), *more]
    return subprocess.Popen(command, env=environ)


def until(settings: Settings, is_so: Callable[[dict[str, Incident]], bool]) -> dict[str, Incident]:
    """Wait until incidents stand so."""
    end = time.monotonic() + WAIT_S
    while True:
        found = {name: fold(history) for name, history in read_all(settings).items()}
        if is_so(found):
            return found
        assert time.monotonic() < end, found
        time.sleep(0.2)


def causes_of(found: dict[str, Incident]) -> list[str]:
    return sorted(cause.rollout for one in found.values() for cause in one.causes)


def test_a_revert_opens_an_incident_and_escalates_until_somebody_acknowledges_it(settings: Settings) -> None:
    with working(settings):
        publish(settings.kafka["bootstrap.servers"], settings.topics.verdicts, [said("features")])
        found = until(settings, lambda found: any(one.escalations == 2 and one.overdue for one in found.values()))
        name, one = next(iter(found.items()))
        assert (one.severity, one.impact.services, one.impact.traffic_share) == ("major", ["edge"], None)
        amend(settings, name, lambda _, at: [Acknowledged(at=at, by="ada")])
        time.sleep(1.0)
    events = read_all(settings)[name].events
    kinds = [type(event) for event in events]
    assert (kinds[:2], kinds.count(Escalated), kinds.count(Overdue)) == ([Opened, Ranked], 2, 1)


def test_what_people_write_is_counted_soon(settings: Settings) -> None:
    def open_ones() -> float:
        return worker.telemetry.registry.get_sample_value("holdfast_incidents_open", {"severity": "major"}) or 0.0

    with working(settings) as worker:
        publish(settings.kafka["bootstrap.servers"], settings.topics.verdicts, [said("features")])
        (name,) = until(settings, bool)
        amend(settings, name, lambda _, at: [Resolved(at=at, by="ada", how="over")])
        end = time.monotonic() + WAIT_S
        while open_ones() and time.monotonic() < end:
            time.sleep(0.1)
        assert open_ones() == 0.0


def test_what_does_not_bind_or_is_no_stop_opens_nothing(settings: Settings) -> None:
    where, topic = settings.kafka["bootstrap.servers"], settings.topics.verdicts
    with working(settings):
        beat = heartbeat_message("quiet", 0, None, 1_000, now_ms(), None)
        publish(where, topic, [said("shadow", is_binding=False), beat, said("last")])
        found = until(settings, bool)
    assert causes_of(found) == ["last"]


def test_a_message_that_is_no_verdict_is_put_aside(settings: Settings) -> None:
    where, topic = settings.kafka["bootstrap.servers"], settings.topics.verdicts
    with working(settings):
        publish(where, topic, [Message(b"features", b"{", []), said("features")])
        until(settings, bool)
    reader = Consumer({"bootstrap.servers": where, "group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest"})
    reader.subscribe([settings.topics.dead_letters])
    letter = reader.poll(WAIT_S)
    reader.close()
    assert letter is not None
    assert letter.value() == b"{"


@pytest.mark.parametrize("point", ["produced", "offsets_added", "committed"])
@pytest.mark.slow
def test_killed_at_any_point_it_loses_no_stop_and_counts_none_twice(settings: Settings, point: str) -> None:
    where, topic = settings.kafka["bootstrap.servers"], settings.topics.verdicts
    publish(where, topic, [said(f"before{number}", colos=[f"c{number}"]) for number in range(3)])
    first = started(settings, point, 1)
    assert first.wait(WAIT_S) == -9
    publish(where, topic, [said(f"after{number}", colos=[f"d{number}"]) for number in range(3)])
    second = started(settings, point, 2)
    assert second.wait(WAIT_S) == -9
    wanted = sorted([f"before{number}" for number in range(3)] + [f"after{number}" for number in range(3)])
    with working(settings):
        found = until(settings, lambda found: len(causes_of(found)) >= len(wanted))
        time.sleep(2.0)
        found = until(settings, bool)
    assert causes_of(found) == wanted
    for history in read_all(settings).values():
        steps = [event.step for event in history.events if isinstance(event, Escalated)]
        assert steps == sorted({*steps})


def test_one_that_stands_by_takes_over_and_nothing_is_said_twice_or_lost(settings: Settings) -> None:
    where, topic = settings.kafka["bootstrap.servers"], settings.topics.verdicts
    with hook() as web:
        Path(str(settings.response.document)).write_text(TELLING.format(url=web.url), encoding="utf-8")
        workers = [started(settings, "none", 0, "tell")]
        try:
            publish(where, topic, [said("first", colos=["c0"])])
            until(settings, bool)  # so it is the first that is in charge
            workers.append(started(settings, "none", 0, "tell", worker="two"))
            publish(where, topic, [said(f"before{number}", colos=[f"c{number}"]) for number in range(1, 4)])
            wait_until(lambda: len(kept(settings)) == 4)
            workers[0].kill()
            publish(where, topic, [said(f"after{number}", colos=[f"d{number}"]) for number in range(3)])
            wait_until(lambda: len(kept(settings)) == 7)
            assert workers[1].poll() is None
        finally:
            for each in workers:
                each.kill()
                each.wait(WAIT_S)
    found = {name: fold(history) for name, history in read_all(settings).items()}
    names = ["first", *(f"before{number}" for number in range(1, 4)), *(f"after{number}" for number in range(3))]
    assert causes_of(found) == sorted(names)
    counts = Counter(headers["X-Holdfast-Notice"] for _, headers, _ in web.posted)
    assert counts == {f"{name}-0000-opened": 1 for name in found}


def kept(settings: Settings) -> dict[Key, Delivered]:
    """Read what people were told, as it is kept."""
    board = Board(settings, settings.topics.notified)
    try:
        return dict(decode(key, value) for key, value in dict(board.load()).items() if value is not None)
    finally:
        board.close()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + 3 * WAIT_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_flood_is_worked_off_while_people_write(settings: Settings) -> None:
    where, topic = settings.kafka["bootstrap.servers"], settings.topics.verdicts
    by_hand = Opened(at=now() - timedelta(days=1), by="ada", title="x", severity="minor", impact=Impact())
    append(settings, "inc-20260312-0a1b2c3d", [by_hand])
    with working(settings):
        same = [said("storm", str(number), colos=[f"c{number % 40}"]) for number in range(500)]
        others = [said(f"r{number}", colos=[f"d{number}"]) for number in range(200)]
        publish(where, topic, [*same, *others])
        amend(settings, "inc-20260312-0a1b2c3d", lambda _, at: [Acknowledged(at=at, by="ada")])
        found = until(settings, lambda found: len(causes_of(found)) >= 700)
    assert len(causes_of(found)) == 700
    assert sum(cause == "storm" for one in found.values() for cause in {each.rollout for each in one.causes}) == 1
    assert found["inc-20260312-0a1b2c3d"].acknowledged is not None


def test_what_is_on_the_topic_is_what_was_decided(settings: Settings) -> None:
    append(
        settings, "inc-20260312-0a1b2c3d", [Opened(at=now(), by="ada", title="x", severity="minor", impact=Impact())]
    )
    with working(settings):
        until(settings, lambda found: any(one.candidates for one in found.values()))
    history = read_all(settings)["inc-20260312-0a1b2c3d"]
    assert msgspec.json.decode(msgspec.json.encode(history), type=History) == history


def test_what_the_engine_reverts_opens_an_incident_with_shares_of_traffic_and_hosts(
    kafka: Kafka, tmp_path: Path, bad: Path
) -> None:
    with Cluster(kafka.bootstrap, tmp_path) as cluster, working(cluster.settings):
        announcement = announced(bad)
        cluster.finish(announcement, end_of(bad))
        cluster.feed(cluster.frames(bad))
        cluster.start("aggregate")
        cluster.start("judge")
        cluster.wait_until_finished(announcement.rollout.rollout)
        found = until(
            cluster.settings,
            lambda found: any(one.impact.traffic_share and one.impact.onset for one in found.values()),
        )
    one = next(iter(found.values()))
    assert one.causes[0].rollout == announcement.rollout.rollout
    assert 0.0 < (one.impact.traffic_share or 0.0) < 1.0
    assert one.impact.hosts_share is not None
    assert 0.0 < one.impact.hosts_share < 1.0
    assert one.candidates[0].rollout == announcement.rollout.rollout
    onset = load_truth(bad / "truth.yaml").onset
    assert onset is not None
    assert one.impact.onset is not None
    assert one.impact.is_onset_estimated
    assert abs(one.impact.onset - onset) <= 2 * timedelta(seconds=10)  # ticks: the evidence is the same each time


def test_what_hosts_report_as_taken_back_is_mitigated_and_not_resolved(settings: Settings) -> None:
    where = settings.kafka["bootstrap.servers"]
    world = World()
    world.advance_to("half")
    world.verdict(900, "revert", "half")
    at = epoch_ms(world.now) // 1_000 * 1_000
    with working(settings):
        told = verdict_message(verdict_event("bots", at, stop("bots").said), now_ms(), None)
        publish(where, settings.topics.verdicts, [told])
        publish(where, settings.topics.control, [Message(b"bots", encode(world.events), [])])
        until(settings, bool)
        world.settle()
        publish(where, settings.topics.control, [Message(b"bots", encode(world.events), [])])
        (one,) = until(settings, lambda found: all(one.phase != "open" for one in found.values())).values()
    assert one.phase == "mitigated"
    mitigated = next(event for event in read_all(settings)[one.id].events if isinstance(event, Mitigated))
    assert (mitigated.by, mitigated.how) == ("holdfast", "taken back, as the hosts report: bots")
