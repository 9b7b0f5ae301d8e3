"""A drill on a whole installation: judge, responders, a recipient that listens, and the page; all of it real."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from holdfast.cli import app
from holdfast.drilling.drill import Drill
from holdfast.drilling.steps import Step
from holdfast.response.record import read_all
from rollouts.incidents.folding import fold
from tests.integration.cluster import Cluster
from tests.integration.forking import ROOT
from tests.kafka.broker import free_ports
from tests.waiting import WAIT_S

HOLDFAST = [sys.executable, "-W", "ignore", "-c", "from holdfast.cli import main; main()"]
LIMIT = f"{WAIT_S:g}s"


class Listener:
    """A web hook that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        heard = self.heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                heard.append(self.rfile.read(int(self.headers["content-length"])).decode())
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Installation:
    """An engine with everything that responds to incidents."""

    def __init__(self, cluster: Cluster, folder: Path, page: int) -> None:
        self.cluster, self.folder, self.page = cluster, folder, page
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> None:
        """Start a worker."""
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            command = [*HOLDFAST, *words, "--config", str(self.cluster.path)]
            self._processes.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))

    def drill(self, *words: str) -> tuple[int, dict[str, object]]:
        """Run the drill; return its exit status and what it prints."""
        command = [*HOLDFAST, "drill", "--config", str(self.cluster.path), "--json", "--out", str(self.folder)]
        done = subprocess.run(
            [*command, "--limit", LIMIT, *words],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**os.environ},
        )
        assert done.returncode in (0, 5), done.stderr
        return done.returncode, json.loads(done.stdout)

    def stop(self) -> None:
        """End all of it."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def installed(bootstrap: str, folder: Path, listener: Listener) -> Iterator[Installation]:
    document = folder / "response.yaml"
    recipients = [{"name": "drill-listeners", "urls": [f"json://127.0.0.1:{listener.port}/"]}]
    document.write_bytes(
        msgspec.yaml.encode({"response": "test", "recipients": recipients, "drills": ["drill-listeners"]})
    )
    [page] = free_ports(1)
    given = {"response": {"document": str(document)}, "status": {"port": page}, "patience": "1s"}
    with Cluster(bootstrap, folder, **given) as cluster:
        found = Installation(cluster, folder, page)
        try:
            yield found
        finally:
            found.stop()


def test_a_drill_goes_from_the_first_bad_sample_to_the_review(kafka, tmp_path: Path) -> None:
    listener = Listener()
    try:
        with installed(kafka.bootstrap, tmp_path, listener) as here:
            here.cluster.start("aggregate,judge")
            here.start("respond")
            here.start("status", "serve")
            status, found = here.drill("--page", f"http://127.0.0.1:{here.page}")
            sys.stdout.write(f"{found}\n")
            assert (status, found["failed"], found["not_tried"]) == (0, [], [])
            incident = fold(read_all(here.cluster.settings)[str(found["incident"])])
            assert incident.is_drill
            assert incident.phase == "resolved"
            assert any("drill" in said.lower() for said in listener.heard)
            assert "This was a drill" in (tmp_path / f"{incident.id}.md").read_text()
            public = subprocess.run(
                ["curl", "-s", f"http://127.0.0.1:{here.page}/status.json"], check=True, capture_output=True, text=True
            )
            assert incident.id not in public.stdout
    finally:
        listener.close()


@pytest.mark.parametrize(("missing", "before"), [("verdict", "harm"), ("incident", "verdict")])
def test_a_drill_names_the_step_that_does_not_happen(
    kafka, tmp_path: Path, monkeypatch, missing: str, before: str
) -> None:
    class Hasty(Drill):
        """Waits as long as it takes for what comes, and a moment only for what nobody is there to do."""

        def _add(self, step: Step) -> None:
            super()._add(step)
            if step.name == before:
                self._limit_s = 1.0

    monkeypatch.setattr("holdfast.drilling.drill.Drill", Hasty)
    listener = Listener()
    try:
        with installed(kafka.bootstrap, tmp_path, listener) as here:
            if missing != "verdict":
                here.cluster.start("aggregate,judge")
            options = ["--config", str(here.cluster.path), "--out", str(tmp_path), "--limit", LIMIT, "--json"]
            done = CliRunner().invoke(app, ["drill", *options])
            found = json.loads(done.stdout)
            assert (done.exit_code, found["failed"]) == (5, [missing])
            assert "; it takes `holdfast r" in found["notes"][missing]
    finally:
        listener.close()
