"""What people decide is in the store moments later: the command line, the audit topic and a live sink."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from holdfast.control.audit_log import read
from tests.integration.cluster import Cluster
from tests.integration.forking import ROOT
from tests.integration.test_breakglass import pem
from tests.overrides import PEOPLE
from tests.waiting import WAIT_S, until

HOLDFAST = str(Path(sys.executable).parent / "holdfast")
ROWS = "SELECT toUInt32(sequence), who, kind, subject, hash FROM audit ORDER BY sequence"


@pytest.fixture
def cluster(kafka, tmp_path: Path) -> Iterator[Cluster]:
    people = tmp_path / "people.yaml"
    people.write_bytes(msgspec.json.encode(PEOPLE))
    with Cluster(kafka.bootstrap, tmp_path, people=str(people)) as made:
        with (tmp_path / "sink.log").open("ab") as log:
            sink = subprocess.Popen(
                [HOLDFAST, "sink", "--config", str(made.path)], cwd=ROOT, env=dict(os.environ), stdout=log, stderr=log
            )
        try:
            yield made
        finally:
            sink.terminate()
            status = sink.wait(WAIT_S)
    assert status == 0


def run(cluster: Cluster, *words: str) -> str:
    command = [HOLDFAST, *words, "--config", str(cluster.path)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode()


def test_an_override_that_was_asked_for_and_approved_is_in_the_store_with_its_hashes(cluster: Cluster) -> None:
    for seed in (1, 2, 3):
        (cluster.folder / f"{seed}.pem").write_bytes(pem(seed))
    words = ("breakglass", "request", "freeze_all", "--reason", "packets are lost", "--for", "1h", "--json")
    asked = msgspec.json.decode(run(cluster, *words, "--key", str(cluster.folder / "1.pem")))["override"]["id"]
    for seed in (2, 3):
        run(cluster, "breakglass", "approve", asked[:12], "--yes", "--key", str(cluster.folder / f"{seed}.pem"))
    links = read(cluster.settings).links
    assert [link.entry.kind.rpartition(".")[2] for link in links] == ["request", "approve", "approve"]
    wanted = [[link.entry.sequence, link.entry.who, link.entry.kind, link.entry.subject, link.hash] for link in links]
    until(lambda: stored(cluster) == wanted, lambda: f"{stored(cluster)}\n{cluster.logs()}")


def stored(cluster: Cluster) -> list[list[object]]:
    """Ask the store, which does not answer yet while the sink starts."""
    command = [HOLDFAST, "query", ROWS, "--format", "JSONCompactEachRow", "--config", str(cluster.path)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
    return [msgspec.json.decode(line) for line in done.stdout.splitlines()]
