"""`holdfast run`, as it is typed: the verdict path in one process, the store in another."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.cluster import PATIENT, Cluster
from tests.integration.holding import hold_together
from tests.integration.test_faults import begun, slices, wait_for_journal
from tests.waiting import WAIT_S, until

HOLDFAST = [sys.executable, "-W", "ignore", "-c", "from holdfast.cli import main; main()"]


@contextmanager
def running(cluster: Cluster) -> Iterator[subprocess.Popen[bytes]]:
    """Run the engine, all of it."""
    with (cluster.folder / "run.log").open("ab") as log:
        process = subprocess.Popen(
            [*HOLDFAST, "run", "--config", str(cluster.path)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(WAIT_S)


def children(process: int) -> list[int]:
    """Name the processes that a process has begun."""
    threads = Path(f"/proc/{process}/task").glob("*/children")
    return [int(word) for thread in threads for word in thread.read_text().split()]


def asked(cluster: Cluster, sql: str) -> str:
    """Ask the store."""
    command = [*HOLDFAST, "query", sql, "--format", "CSV", "--data", str(cluster.settings.data)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=WAIT_S).stdout.strip()


def test_all_of_it_in_one_place_is_killed_and_goes_on_and_answers_queries(kafka, tmp_path, bad):
    with Cluster(kafka.bootstrap, tmp_path, batch_messages=50, **PATIENT) as cluster:
        announcement, frames = begun(cluster, bad)
        name = announcement.rollout.rollout
        first, second = slices(frames, 2)
        samples = cluster.feed(first)
        with running(cluster) as process:
            wait_for_journal(cluster, name)
            beside = children(process.pid)
            process.kill()
            process.wait()
            assert beside
            until(
                lambda: not any(Path(f"/proc/{child}").exists() for child in beside),
                lambda: "what runs beside the engine has to end with it",
            )
        samples += cluster.feed(second)
        cluster.change(patience="1s")
        with running(cluster) as process:
            cluster.wait_until_finished(name)
            hold_together(cluster, bad, samples)
            expected = len(cluster.verdicts(name))
            until(lambda: asked(cluster, "SELECT count() FROM verdicts") == str(expected), cluster.logs)
            assert int(asked(cluster, "SELECT count() FROM evidence")) > 0
            process.terminate()
            assert process.wait(WAIT_S) == 0
