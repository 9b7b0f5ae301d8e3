"""Rollouts brought to hosts by a webhook and by a command, which have no Kafka; control is killed in between."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from holdfast.live.settings import load_settings
from holdfast.wall import now
from rollouts.packages import digest_of
from tests.integration.cluster import Cluster
from tests.integration.forking import ROOT
from tests.integration.test_control import COLOS, NAME, NEW, OLD, Fleet, said, stages_begun, submit
from tests.kafka.broker import free_ports
from tests.waiting import WAIT_S

SECRET = f"whsec_{base64.b64encode(b'k' * 32).decode()}"


class Elsewhere(Fleet):
    """Hosts in a file of somebody else's, who is told by holdfast and reports over HTTP."""

    def __init__(self, cluster: Cluster, deployer: dict[str, object], api: int) -> None:
        self.cluster = cluster
        document = msgspec.yaml.decode(cluster.path.read_bytes())
        cluster.path.write_bytes(msgspec.yaml.encode({**document, "deployer": deployer, "api": {"port": api}}))
        self.settings = cluster.settings = load_settings(cluster.path, {})
        self.state = cluster.folder / "state.json"
        old = {"units": {NAME: digest_of(OLD)}, "numbers": {}}
        hosts = [(f"c{colo:02d}-{name}", f"c{colo:02d}", f"r{colo % 5}") for colo in range(COLOS) for name in "ab"]
        self.hosts = {host: {"host": host, "colo": colo, "region": region, **old} for host, colo, region in hosts}
        self.state.write_text(json.dumps(self.hosts))
        self.killed, self._stopping = 0, False
        self._processes, self._keepers = {}, []
        self._others: list[subprocess.Popen[bytes]] = []

    def run(self, name: str, command: list[str], **environment: str) -> None:
        """Run a program beside, until the end."""
        with (self.cluster.folder / f"{name}.log").open("ab") as log:
            given = {**os.environ, **environment}
            self._others.append(subprocess.Popen(command, cwd=ROOT, env=given, stdout=log, stderr=log))

    def serve(self) -> str:
        """Serve the API, and return its address once it answers."""
        main = "from holdfast.cli import main; main()"
        self.run("serve", [sys.executable, "-c", main, "serve", "--config", str(self.cluster.path)])
        self.answers(self.settings.api.port, "/healthz")
        return f"http://127.0.0.1:{self.settings.api.port}"

    def answers(self, port: int, path: str) -> None:
        end = time.monotonic() + WAIT_S
        while True:
            try:
                with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                    connection.request("GET", path)
                    connection.getresponse().read()
            except OSError:
                assert time.monotonic() < end, self.cluster.logs()
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        """Kill whoever controls."""
        self._processes["a"].send_signal(signal.SIGKILL)

    def stop(self) -> None:
        self._stopping = True
        for process in [*self._processes.values(), *self._others]:
            process.terminate()
        for process in self._others:
            process.wait(WAIT_S)
        for keeper in self._keepers:
            keeper.join(WAIT_S)

    def has(self) -> dict[str, bytes]:
        """Return what hosts have: which of both contents."""
        contents = {digest_of(content): content for content in (OLD, NEW)}
        return {host: contents[state["units"][NAME]] for host, state in json.loads(self.state.read_text()).items()}


def orders(text: str) -> list[tuple[str, int]]:
    """List the actions that somebody says were done."""
    return [(action, int(number)) for action, number in re.findall(r"bots: (deploy|restore) (\d+)", text)]


def done_once_each(found: list[tuple[str, int]]) -> None:
    """Check that nothing was skipped, and that what was told again was the same under its own number."""
    assert [*dict.fromkeys(found)] == [("deploy", 1), ("deploy", 2), ("restore", 3), ("restore", 4)]


def released_and_reverted(fleet: Elsewhere) -> None:
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


class Between:
    """Stands between control and the receiver, and does something after the first time that an action was done."""

    def __init__(self, port: int, then: Callable[[], None]) -> None:
        seen: set[str] = set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
                    connection.request("POST", "/", body, dict(self.headers.items()))
                    answer = connection.getresponse()
                    content = answer.read()
                if self.headers["webhook-id"] not in seen:
                    seen.add(self.headers["webhook-id"])
                    then()
                self.send_response(answer.status)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def cluster(kafka, tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(kafka.bootstrap, tmp_path) as made:
        yield made


@pytest.mark.slow
def test_a_webhook_that_has_no_kafka_is_told_each_action_though_control_is_killed_before_it_knows(
    cluster: Cluster,
) -> None:
    port, api = free_ports(2)
    secret = cluster.folder / "secret"
    secret.write_text(f"{SECRET}\n")
    fleet: Elsewhere | None = None
    between = Between(port, lambda: fleet.kill() if fleet is not None else None)
    fleet = Elsewhere(
        cluster, {"webhook": {"url": between.url, "secret": str(secret), "backoff": "100ms", "timeout": "20s"}}, api
    )
    try:
        variables = {"WEBHOOK_SECRET": SECRET, "HOLDFAST_API": fleet.serve(), "STATE": str(fleet.state)}
        fleet.run("receiver", [sys.executable, "examples/deploy_receiver.py"], PORT=str(port), **variables)
        fleet.answers(port, "/")
        fleet.control("a")
        released_and_reverted(fleet)
        done_once_each(orders((cluster.folder / "receiver.log").read_text()))
        assert fleet.killed == 4
        comes(fleet, "restore 4 of 1 hosts delivered by webhook: acknowledged")
    finally:
        fleet.stop()
        between.close()


COMMAND = """
import os, signal, subprocess, sys
given = sys.stdin.buffer.read()
subprocess.run([sys.executable, *sys.argv[2:]], input=given, check=True)
marker = sys.argv[1] + str(len(given)) + ("restore" if b'"restore"' in given else "deploy")
if not os.path.exists(marker):
    open(marker, "w").close()
    os.kill(os.getppid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_a_command_is_given_each_action_though_control_is_killed_before_it_knows(cluster: Cluster) -> None:
    (api,) = free_ports(1)
    log = cluster.folder / "done"
    run = [sys.executable, "-c", COMMAND, str(log), "examples/deploy_command.py"]
    run += [f"http://127.0.0.1:{api}", str(cluster.folder / "state.json")]
    fleet = Elsewhere(cluster, {"command": {"run": run, "backoff": "100ms"}}, api)
    try:
        fleet.serve()
        report_all(fleet)
        fleet.control("a")
        released_and_reverted(fleet)
        assert fleet.killed >= 3
        assert [state["numbers"] for state in json.loads(fleet.state.read_text()).values()].count({"bots": 4}) == 1
        comes(fleet, "restore 3 of 9 hosts delivered by command: exit status 0: bots: restore 3")
    finally:
        fleet.stop()


def comes(fleet: Elsewhere, words: str) -> None:
    """Wait until an entry is on the audit topic, which is whole."""
    end = time.monotonic() + WAIT_S
    while not any(each.startswith(words) for each in said(fleet)):
        assert time.monotonic() < end, said(fleet)
        time.sleep(0.3)


def report_all(fleet: Elsewhere) -> None:
    """Report every host, as whoever has them does before there is a first action."""
    at = now().isoformat()
    body = json.dumps({"reports": [{**host, "sequence": 1, "at": at} for host in fleet.hosts.values()]})
    with closing(HTTPConnection("127.0.0.1", fleet.settings.api.port, timeout=WAIT_S)) as connection:
        connection.request("POST", "/v1/reports", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"taken":100}')
