"""How long a judge with one large rollout takes to come back from kill -9 in mid-stream."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.measure import ROOT, table
from benchmarks.pipeline.latency import PAST, Journal, Load
from benchmarks.pipeline.workload import SEED, TICK_MS, Size, engine

FULL: Final = Size(300, 10, 134)
"""100 metrics, and traffic."""

QUICK: Final = Size(30, 10, 27)
SINCE_CHECKPOINT: Final = (5, 15, 25)
"""Ticks that were judged since the last checkpoint when the judge is killed: what has to be judged again."""

SOURCES: Final = 4
WAIT_SECONDS: Final = 300


class Killable:
    """A judge in a process of its own, and what it has said so far."""

    def __init__(self, path: Path) -> None:
        self.started = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.pipeline.recovering_process", str(path), "judge"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.said: list[dict[str, Any]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(json.loads(line))

    def heard(self, what: str) -> list[dict[str, Any]]:
        """Return what it has said of something."""
        return [each for each in list(self.said) if each["what"] == what]

    def at(self, what: str) -> float:
        """Return how long after its start it first said something, in seconds."""
        return float(self.heard(what)[0]["at_s"]) - self.started

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()
        self._process.wait()


@dataclass(slots=True)
class Stream:
    """A journal that goes on, a tick at a time, whatever becomes of its judge."""

    journal: Journal
    pace: float
    tick: int = 0

    def go_on(self) -> int:
        """Write a tick, and wait for as long as it lasts; return how many bytes it had."""
        begun = time.monotonic()
        written = self.journal.write(self.tick)
        self.tick += 1
        time.sleep(max(0.0, self.pace - (time.monotonic() - begun)))
        return written

    def until(self, judge: Killable, what: str, count: int = 1) -> None:
        """Go on until the judge has said something so many times."""
        end = time.monotonic() + WAIT_SECONDS
        while len(judge.heard(what)) < count:
            assert time.monotonic() < end, f"the judge did not come to {what!r} in {WAIT_SECONDS} s"
            self.go_on()


def _killed(stream: Stream, path: Path, since_checkpoint: Sequence[int]) -> Iterator[Killable]:
    """Kill a judge again and again, and yield each, the first one among them, once it has decided on a tick."""
    rng = np.random.default_rng(SEED)
    judge = Killable(path)
    try:
        stream.until(judge, "decided")
        yield judge
        for since in since_checkpoint:
            stream.until(judge, "checkpoint", len(judge.heard("checkpoint")) + 1)
            for _ in range(since - 1):
                stream.go_on()
            stream.journal.write(stream.tick)
            stream.tick += 1
            time.sleep(rng.uniform(0.0, stream.pace))
            judge.kill()
            judge = Killable(path)
            stream.until(judge, "decided")
            yield judge
    finally:
        judge.kill()


def run(bootstrap: str, quick: bool) -> None:
    """Measure and print."""
    size, pace = (QUICK, 0.25) if quick else (FULL, 1.0)
    since_checkpoint = SINCE_CHECKPOINT[: 2 if quick else None]
    with tempfile.TemporaryDirectory() as folder:
        path, settings = engine(
            bootstrap, Path(folder), partitions=1, heartbeat="5s", evidence=False, session_timeout="45s"
        )
        stream = Stream(Journal(Load(size, 1, SOURCES, 1, 0, pace), settings), pace)
        while stream.tick <= PAST:
            stream.journal.write(stream.tick)
            stream.tick += 1
        judges = list(_killed(stream, path, since_checkpoint))
    rows = [_row(since, judge) for since, judge in zip(since_checkpoint, judges[1:], strict=True)]
    largest = max(each["bytes"] for judge in judges for each in judge.heard("checkpoint"))
    print(
        f"{size.colos} colos x {size.series * 3 // 4} metrics, one rollout, {SOURCES} source partitions, a tick every "
        f"{pace:g} s that goes on meanwhile; kill -9 and started again at once: seconds"
    )
    steps = ["process", "joining", "checkpoint", "state", "replay"]
    print(table(["ticks since the checkpoint", "first decision", *steps, "processor time", "peak memory"], rows))
    seconds = settings.checkpoint_ticks * TICK_MS / 1e3
    print(
        f"a checkpoint: {largest / 1e6:.2f} MB, every {settings.checkpoint_ticks} ticks: "
        f"{largest / seconds / 1e3:.1f} kB/s with a tick every {TICK_MS / 1e3:g} s"
    )


def _row(since: int, judge: Killable) -> list[str]:
    """Split the way back into its steps, which follow upon each other."""
    ends = [judge.at(what) for what in ("made", "assigned", "loaded", "restored", "decided")]
    steps = np.diff([0.0, *ends])
    last = judge.heard("decided")[0]
    seconds = [ends[-1], *steps, last["cpu_s"]]
    return [f"{since}", *(f"{each:.2f}" for each in seconds), f"{last['peak_mb']:.0f} MB"]
