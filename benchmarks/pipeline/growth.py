"""How throughput grows with partitions and workers, on one machine that runs the broker as well.

What is measured begins when every worker has its share of the partitions, knows all series, and all frames are there:
they are written in one transaction, and seen when it is committed.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

from benchmarks.measure import ROOT, cores, table
from benchmarks.pipeline.workload import Size, announcement, engine, frames_of, send, submit
from holdfast.live.clients import transactional_producer
from holdfast.live.settings import Settings
from streams.wire.encoding import Form

Frame = tuple[bytes, str]
"""Payload and content type."""

FLEET: Final = Size(colos=12, hosts=500, series=20)
"""So many colos that each of 1, 2 and 4 partitions has as many of them as the others."""

TICKS: Final[dict[Form, int]] = {"arrow": 150, "otlp": 40}
SHAPES: Final = ((1, 1), (2, 1), (2, 2), (4, 2))
"""Partitions and workers."""

_WAIT_SECONDS: Final = 120


def run(bootstrap: str, quick: bool) -> None:
    """Measure and print."""
    for form, ticks in TICKS.items():
        frames = list(frames_of(FLEET, 1 + ticks // (8 if quick else 1), form))
        found = {shape: measure(bootstrap, frames, *shape) for shape in SHAPES}
        first = _by_the_clock(found[SHAPES[0]])
        rows = [
            [
                f"{partitions} x {workers}",
                f"{_by_the_clock(each):.2f}",
                f"{_by_the_clock(each) / first:.2f}",
                f"{each['samples'] / each['cpu_s'] / 1e6:.2f}",
                f"{each['cpu_s'] / each['wall_s']:.2f}",
                f"{each['peak_mb']:.0f} MB",
            ]
            for (partitions, workers), each in found.items()
        ]
        print(
            f"{form}, {len(frames):,} frames of {FLEET.samples // FLEET.colos:,} samples; "
            f"the broker has the same {cores()} cores; millions of samples a second"
        )
        header = [
            "partitions x workers",
            "by the clock",
            "ratio",
            "of one core",
            "cores that workers had",
            "peak memory",
        ]
        print(table(header, rows))


def _by_the_clock(found: dict[str, Any]) -> float:
    return float(found["samples"]) / float(found["wall_s"]) / 1e6


def measure(bootstrap: str, frames: Sequence[Frame], partitions: int, workers: int) -> dict[str, Any]:
    """Have workers share a backlog, and return what it took all of them together."""
    with tempfile.TemporaryDirectory() as folder:
        path, settings = engine(
            bootstrap, Path(folder), partitions=partitions, session_timeout="45s", transaction_timeout="10m"
        )
        submit(settings, announcement(FLEET))
        known, samples = FLEET.samples, FLEET.samples * (len(frames) // FLEET.colos - 1)
        share = [str(count // workers) for count in (partitions, known, samples)]
        command = [sys.executable, "-m", "benchmarks.pipeline.growing_process", str(path)]
        running = [
            subprocess.Popen(
                [*command, f"worker-{number}", *share],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(workers)
        ]
        try:
            backlog = Backlog(settings, partitions)
            _wait_for(running, "ready")
            backlog.write(frames[: FLEET.colos])
            backlog.show()
            _wait_for(running, "warm")
            backlog.write(frames[FLEET.colos :])
            started = time.monotonic()
            backlog.show()
            found = [json.loads(_line(process.stdout)) for process in running]
        finally:
            for process in running:
                process.communicate(timeout=_WAIT_SECONDS)
    assert sum(each["samples"] for each in found) == samples, "not everything was aggregated"
    return {
        "samples": samples,
        "wall_s": max(each["done_s"] for each in found) - started,
        "cpu_s": sum(each["cpu_s"] for each in found),
        "peak_mb": max(each["peak_mb"] for each in found),
    }


class Backlog:
    """Frames that are on the topic, and that no worker sees before all of them are shown."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._topic, self._partitions = settings.metrics[0].topic, partitions
        self._producer = transactional_producer(settings, "growth")
        self._producer.init_transactions()

    def write(self, frames: Sequence[Frame]) -> None:
        """Put frames of all colos on the topic, each in the partition of its colo."""
        self._producer.begin_transaction()
        for number, (payload, kind) in enumerate(frames):
            colo = number % FLEET.colos
            send(self._producer, self._topic, payload, b"colo%03d" % colo, kind, colo % self._partitions)
        assert self._producer.flush(_WAIT_SECONDS) == 0

    def show(self) -> None:
        """Commit what was written."""
        self._producer.commit_transaction()


def _wait_for(running: Sequence[subprocess.Popen[str]], word: str) -> None:
    for process in running:
        said = _line(process.stdout)
        assert said == word, f"a worker said {said!r} instead of {word}"


def _line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()
