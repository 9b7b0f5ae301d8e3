"""Notices of incidents on a real broker, to real servers: soon, each at least once, and not too many."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import msgspec
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.control.board import Board
from holdfast.live.clients import producer
from holdfast.notifying.journal import Delivered, Key, decode
from holdfast.notifying.notifier import Notifier
from holdfast.wall import now
from rollouts.incidents.history import History, Resolved, encode
from rollouts.incidents.response import Response
from tests.integration.cluster import Cluster
from tests.integration.conftest import Kafka
from tests.integration.forking import ROOT
from tests.notifying.making import history, minutes, response, updated
from tests.notifying.servers import free_port, hook, mail, silent, status
from tests.waiting import WAIT_S

NOTIFY = {"attempts": 3, "timeout": "60s", "backoff": "50ms", "backoff_max": "200ms", "age_max": "1h"}

log = logging.getLogger(__name__)


class Told:
    """An engine whose incidents are written here, and its notifiers."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.settings = cluster.settings
        self._producer: Producer = producer(self.settings)
        self._processes: list[subprocess.Popen[bytes]] = []

    def write(self, *histories: History) -> None:
        """Put histories on the topic, as the record does."""
        for each in histories:
            self._producer.produce(self.settings.topics.incidents, encode(each), each.incident.encode())
        assert self._producer.flush(WAIT_S) == 0

    @contextmanager
    def notifier(self, document: Response) -> Iterator[Notifier]:
        """Run a notifier, from when it is in charge on."""
        made, stop = Notifier(self.settings, document), threading.Event()
        thread = threading.Thread(target=made.run, args=(stop,), daemon=True)
        thread.start()
        until(lambda: made.is_ready)
        try:
            yield made
        finally:
            stop.set()
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def start(self, document: Response, point: str = "none", count: int = 0) -> subprocess.Popen[bytes]:
        """Start a notifier as a process, to be killed when it passes a point."""
        path = self.cluster.folder / "response.yaml"
        path.write_bytes(msgspec.yaml.encode(document))
        command = [sys.executable, "-m", "tests.integration.notifying", str(path), point, str(count)]
        environment = {**os.environ, "HOLDFAST_CONFIG": str(self.cluster.path), "HOLDFAST_WORKER": "one"}
        with (self.cluster.folder / "notifier.log").open("ab") as out:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
        self._processes.append(process)
        return process

    def journal(self) -> dict[Key, Delivered]:
        """Read what was kept."""
        board = Board(self.settings, self.settings.topics.notified)
        try:
            return dict(decode(key, value) for key, value in dict(board.load()).items() if value is not None)
        finally:
            board.close()

    def stop(self) -> None:
        """Stop what runs."""
        for process in self._processes:
            process.terminate()
            process.wait(WAIT_S)


@pytest.fixture
def told(kafka: Kafka, tmp_path: Path) -> Iterator[Told]:
    """Give an engine."""
    document = tmp_path / "response.yaml"
    with Cluster(kafka.bootstrap, tmp_path, notify=NOTIFY, response={"document": str(document)}) as cluster:
        found = Told(cluster)
        try:
            yield found
        finally:
            found.stop()


def until(is_so: Callable[[], object]) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_incident_is_told_by_mail_and_to_a_webhook_and_kept(told: Told) -> None:
    with mail() as server, hook() as web:
        document = response({"mail": [server.url()], "web": [web.url]})
        with told.notifier(document) as notifier:
            begun = time.monotonic()
            told.write(history(1, now()))
            until(lambda: server.taken and web.posted)
            log.warning("seconds to mail %.2f, to webhook %.2f", server.times[0] - begun, web.times[0] - begun)
            until(lambda: len(told.journal()) == 2)
            counted, labels = notifier.telemetry.registry.get_sample_value, {"recipient": "mail", "state": "sent"}
            until(lambda: counted("holdfast_notices_total", labels) == 1)  # once it is kept
        assert {value.state for value in told.journal().values()} == {"sent"}


def test_what_was_told_is_not_told_again_after_a_restart_and_what_came_meanwhile_is(told: Told) -> None:
    with hook() as web:
        document, at = response({"web": [web.url]}), now()
        with told.notifier(document):
            told.write(history(1, at))
            until(lambda: web.posted)
        told.write(history(1, at, updated(at + minutes(0.001))), history(2, at))
        with told.notifier(document):
            until(lambda: len(web.posted) >= 3)
            told.write(history(3, at))
            until(lambda: len(web.posted) >= 4)
    ids = [headers["X-Holdfast-Notice"].split("-", 2)[2] for _, headers, _ in web.posted]
    assert sorted(ids) == [
        "00000001-0000-opened",
        "00000001-0001-updated",
        "00000002-0000-opened",
        "00000003-0000-opened",
    ]


def test_who_does_not_answer_delays_nobody_else(told: Told) -> None:
    with hook(silent) as stuck, mail("slow") as slow, hook() as web:
        document = response({"stuck": [stuck.url], "slow": [slow.url()], "web": [web.url]})
        with told.notifier(document):
            told.write(*(history(number, now()) for number in range(5)))
            until(lambda: len(web.posted) == 5)
            assert slow.taken == []
            assert not [key for key in told.journal() if key[1].recipient != "web"]
            for each in (stuck, slow):
                each.over.set()


def test_what_is_refused_at_first_is_tried_again_and_what_always_is_is_given_up(told: Told) -> None:
    with mail("busy-first") as busy, hook(status(500), status(503), status(200)) as late, hook(status(500)) as never:
        document = response({"busy": [busy.url()], "late": [late.url], "never": [never.url]})
        with told.notifier(document):
            told.write(history(1, now()))
            until(lambda: len(told.journal()) == 3)
    found = {key[1].recipient: value for key, value in told.journal().items()}
    assert [found[name].state for name in ("busy", "late", "never")] == ["sent", "sent", "undelivered"]
    assert [found[name].attempts for name in ("busy", "late", "never")] == [2, 3, 3]
    assert (len(busy.taken), len(late.posted), len(never.posted)) == (1, 3, 3)
    told.cluster.folder.joinpath("response.yaml").write_bytes(msgspec.yaml.encode(document))
    listed = CliRunner().invoke(app, ["notify", "undelivered", "--config", str(told.cluster.path)])
    assert listed.exit_code == 0
    (line,) = listed.stdout.splitlines()
    assert "never[0]" in line
    assert "error=500" in line
    assert "s3cr3t" not in line


def test_a_flood_is_summed_up_and_nothing_of_it_is_forgotten(told: Told) -> None:
    with hook() as web:
        document, at = response({"web": [web.url]}, 20), now()
        with told.notifier(document):
            told.write(*(history(number, at) for number in range(1_000)))
            until(lambda: len(told.journal()) == 1_000 or len(web.posted) > 20)
            time.sleep(1.0)
    assert len(web.posted) <= 20
    counts = Counter(value.state for value in told.journal().values())
    assert counts["sent"] == 15
    assert counts["summed"] >= 500
    assert counts["undelivered"] == 0
    sums = [body for _, _, body in web.posted if "more notices since" in body["title"]]
    assert sums


@pytest.mark.parametrize("point", ["sent", "kept"])
def test_killed_at_any_point_nothing_is_lost_and_one_at_most_comes_twice(told: Told, point: str) -> None:
    with hook() as web:
        document, at = response({"web": [web.url]}), now()
        told.write(*(history(number, at) for number in range(6)))
        killed = told.start(document, point, 3)
        assert killed.wait(WAIT_S) == -signal.SIGKILL
        told.start(document)
        until(lambda: len(told.journal()) == 6)
    counts = Counter(headers["X-Holdfast-Notice"] for _, headers, _ in web.posted)
    assert len(counts) == 6
    assert sum(counts.values()) <= 7
    assert sum(counts.values()) == (7 if point == "sent" else 6)


def test_one_of_two_notifiers_tells_and_the_other_takes_over(told: Told) -> None:
    with hook() as web:
        document, at = response({"web": [web.url]}), now()
        first = told.start(document)
        told.write(history(1, at))
        until(lambda: web.posted)
        second = told.start(document)
        told.write(history(2, at))
        until(lambda: len(told.journal()) == 2)
        first.kill()
        first.wait(WAIT_S)
        told.write(history(3, at))
        until(lambda: len(told.journal()) == 3)
        assert second.poll() is None
    assert len({headers["X-Holdfast-Notice"] for _, headers, _ in web.posted}) == 3


def page(port: int, name: str) -> bytes:
    """Return a page of a worker."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/{name}", timeout=WAIT_S) as answer:
            return bytes(answer.read())
    except HTTPError as error:
        with error:
            return error.read()


def test_the_command_tells_serves_what_it_counts_and_ends_when_it_is_told_to(told: Told) -> None:
    with hook() as web:
        port = free_port()
        path = told.cluster.folder / "response.yaml"
        path.write_bytes(msgspec.yaml.encode(response({"web": [web.url]})))
        environment = {**os.environ, "HOLDFAST_CONFIG": str(told.cluster.path), "HOLDFAST_HTTP__PORT": str(port)}
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("holdfast")), "notify", "run"], cwd=ROOT, env=environment
        )
        told.write(history(1, now()))
        until(lambda: len(told.journal()) == 1)
        until(lambda: b'holdfast_notices_total{recipient="web",state="sent"} 1.0' in page(port, "metrics"))
        until(lambda: b'"ready"' in page(port, "readyz"))
        process.terminate()
        assert process.wait(WAIT_S) == 0


def test_no_secret_is_on_a_topic_or_in_a_log(told: Told) -> None:
    with hook(status(500)) as web:
        document = response({"web": [f"{web.url}?-key=hush-hush&+Authorization=Bearer%20t0psecret"]})
        told.write(history(1, now()))
        told.start(document)
        until(told.journal)
    (key,) = told.journal()
    log_text = (told.cluster.folder / "notifier.log").read_text()
    assert "given up" in log_text
    for place in (log_text, repr(key), repr(told.journal())):
        assert not [word for word in ("s3cr3t", "hush-hush", "t0psecret", str(web.port)) if word in place]


def test_what_is_no_history_is_left_out_and_the_others_are_told(told: Told) -> None:
    with hook() as web:
        raw: Producer = producer(told.settings)
        raw.produce(told.settings.topics.incidents, b"{not json", b"inc-20260312-00000009")
        raw.produce(told.settings.topics.incidents, b'{"incident":"inc-20260312-0000000a","events":[]}', b"x")
        assert raw.flush(WAIT_S) == 0
        with told.notifier(response({"web": [web.url]})) as notifier:
            told.write(history(1, now()))
            until(lambda: web.posted)
        assert notifier.telemetry.registry.get_sample_value("holdfast_notify_refused_total") == 2


def test_old_and_over_is_not_told_but_an_open_incident_of_which_nobody_heard_is_not_passed_over(told: Told) -> None:
    long_ago = now() - minutes(120)
    with hook() as web:
        over = history(1, long_ago, Resolved(at=long_ago + minutes(1), by="ada", how="reverted"))
        told.write(over, history(2, long_ago))
        with told.notifier(response({"web": [web.url]})):
            told.write(history(3, now()))
            until(lambda: len(told.journal()) == 2)
    states = {key[0].split("-")[2]: (value.state, value.reason) for key, value in told.journal().items()}
    assert states == {
        "00000002": ("undelivered", "it was too old when it was first seen"),
        "00000003": ("sent", None),
    }
    assert len(web.posted) == 1
