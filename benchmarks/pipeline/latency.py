"""How long after the close of a tick its verdict stands: a large fleet's journal, at a steady pace."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from confluent_kafka import Producer
from numpy.typing import NDArray

from benchmarks.measure import ROOT, against, table
from benchmarks.pipeline.workload import SEED, START, START_MS, TICK_MS, Size, announcement, engine
from holdfast.live.clients import consumer, transactional_producer
from holdfast.live.records import Record, put
from holdfast.live.settings import Settings
from rollouts.announced import encode
from streams.cohorts import RowKey
from streams.live.frames import Header, Keys, Planned, PlannedStage, body_of, frame_of

PAST: Final = 40
GOAL_SECONDS: Final = 0.25
WAIT_SECONDS: Final = 600


@dataclass(frozen=True, slots=True)
class Load:
    """What is judged: so many rollouts, over so many source partitions, by so many workers."""

    size: Size
    rollouts: int
    sources: int
    workers: int
    ticks: int
    pace: float


class Journal:
    """Cohort ticks as an aggregate would write them, for all rollouts the same sums."""

    def __init__(self, load: Load, settings: Settings) -> None:
        self._load, self._settings = load, settings
        size = load.size
        self._names = [f"rollout-{number:02d}" for number in range(load.rollouts)]
        started = START + timedelta(milliseconds=PAST * TICK_MS)
        self._raw = [msgspec.Raw(encode(announcement(size, name, started))) for name in self._names]
        start = START_MS // TICK_MS + PAST
        self._planned = tuple(Planned(name, (PlannedStage("canary", start),)) for name in self._names)
        # Every rollout has the same canaries: the columns of a signature are one stage and one flag for each.
        self._signatures = (tuple([-1, 1] * load.rollouts), tuple([0, 1] * load.rollouts))
        metrics = size.series // 2 + (size.series - size.series // 2) // 2
        colos = [f"colo{number:03d}" for number in range(size.colos)]
        self._keys = [
            tuple(
                sorted(
                    RowKey(metric, 0.0, colo, ("af", "ap", "eu", "me")[number % 4], signature)
                    for metric in range(metrics + 1)
                    for number, colo in enumerate(colos)
                    if number % load.sources == source
                    for signature in (0, 1)
                )
            )
            for source in range(load.sources)
        ]
        self._encoded = [Keys.of(keys) for keys in self._keys]
        self._rng = np.random.default_rng(SEED)
        self._ratios = size.series // 2, metrics
        self.producer: Producer = transactional_producer(settings, "journal")
        self.producer.init_transactions()

    def _values(self, keys: tuple[RowKey, ...]) -> NDArray[np.float64]:
        metric = np.array([key.metric for key in keys])
        units = np.where(np.array([key.signature for key in keys]) == 1, 2.0, 3.0) * self._load.size.hosts / 5
        level = self._rng.normal(100.0, 1.0, len(keys)) * units
        values = np.stack([units, level, level * 100.0])
        ratio = (metric >= self._ratios[0]) & (metric < self._ratios[1])
        values[1, ratio], values[2, ratio] = self._rng.poisson(5.0, int(ratio.sum())), 5_000.0
        values[1, metric == self._ratios[1]] = 0.0
        values[2, metric == self._ratios[1]] = units[metric == self._ratios[1]]
        return values

    def write(self, tick: int) -> int:
        """Write a tick for all rollouts in one transaction, as one aggregate would; return how many bytes."""
        written, topic = 0, self._settings.topics.cohort_ticks
        self.producer.begin_transaction()
        for source in range(self._load.sources):
            body = body_of(self._encoded[source], self._values(self._keys[source]))
            for number, name in enumerate(self._names):
                header = Header(
                    kind="tick",
                    rollout=name,
                    tick=START_MS // TICK_MS + tick,
                    tick_ms=TICK_MS,
                    topic="metrics",
                    partition=source,
                    sources={"metrics": self._load.sources},
                    planned=self._planned,
                    signatures=self._signatures,
                    keys=self._encoded[source].digest,
                    samples=self._load.size.samples // self._load.sources,
                    dropped={},
                    is_disputed=False,
                    announcement=self._raw[number],
                )
                frame = frame_of(header, body)
                written += len(frame)
                put(self.producer, Record(topic, name.encode(), frame, partition=number % self._load.workers))
        self.producer.commit_transaction()
        return written


def measure(
    bootstrap: str,
    load: Load,
    evidence: bool,
    beside: Callable[[Path], AbstractContextManager[None]] | None = None,
    **given: object,
) -> dict[str, Any]:
    """Judge a journal at a pace, and return what the judges wrote down, and the bytes of a tick.

    What runs `beside` the judges is given the file of settings, in which stands what is `given`.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        folder = Path(name)
        path, settings = engine(
            bootstrap,
            folder,
            partitions=load.workers,
            heartbeat="5s",
            evidence=evidence,
            session_timeout="45s",
            **given,
        )
        if beside is not None:
            opened.enter_context(beside(path))
        journal = Journal(load, settings)
        size = [journal.write(tick) for tick in range(PAST + 1)][-1]
        outs = [folder / f"judge-{number}.json" for number in range(load.workers)]
        judges = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.pipeline.judge_process", str(path), f"judge-{number}", str(out)],
                cwd=ROOT,
            )
            for number, out in enumerate(outs)
        ]
        try:
            _wait_for_verdicts(settings, load.rollouts)
            for tick in range(PAST + 1, PAST + 1 + load.ticks):
                begun = time.monotonic()
                journal.write(tick)
                time.sleep(max(0.0, load.pace - (time.monotonic() - begun)))
        finally:
            for judge in judges:
                judge.terminate()
            for judge in judges:
                judge.wait(120)
        found = [json.loads(out.read_text(encoding="utf-8")) for out in outs]
    return {"judges": found, "bytes_a_tick": size}


def _wait_for_verdicts(settings: Settings, rollouts: int) -> None:
    """Wait until each rollout has its first verdict, so that no stage is left to begin."""
    reader = consumer(settings, f"{settings.prefix}-watch", member=None)
    reader.subscribe([settings.topics.verdicts])
    seen: set[bytes] = set()
    end = time.monotonic() + WAIT_SECONDS
    while len(seen) < rollouts and time.monotonic() < end:
        message = reader.poll(1.0)
        if message is not None and message.error() is None and b"verdict.v1" in (message.value() or b""):
            seen.add(bytes(message.key() or b""))
    reader.close()


def run(bootstrap: str, load: Load, *, evidence: bool) -> None:
    """Measure and print."""
    found = measure(bootstrap, load, evidence)
    live = load.ticks * load.rollouts
    seconds = np.array([each[0] for judge in found["judges"] for each in judge["latencies"][-live // load.workers :]])
    p50, p99 = np.percentile(seconds, [50, 99])
    sizes = [size for judge in found["judges"] for size in judge["checkpoints"] if size > 10_000]
    transactions = np.array([each for judge in found["judges"] for each in judge["transactions"]])
    print(
        f"{load.size.colos} colos x {load.size.series * 3 // 4} metrics x {load.rollouts} rollouts, "
        f"{load.sources} source partitions, {load.workers} judges, a tick every {load.pace:g} s, "
        f"{'with' if evidence else 'without'} rows for the store"
    )
    rows = [
        ["close of a tick to its decision, p50", f"{p50 * 1e3:.0f} ms", ""],
        ["  p99", f"{p99 * 1e3:.0f} ms", against(float(p99), GOAL_SECONDS, is_most=True)],
        ["transaction, p50", f"{np.percentile(transactions, 50) * 1e3:.0f} ms", ""],
        ["messages a tick into judge", f"{load.rollouts * load.sources}", ""],
        ["bytes a tick into judge", f"{found['bytes_a_tick'] / 1e6:.2f} MB", ""],
        ["checkpoint of a rollout", f"{np.mean(sizes) / 1e6 if sizes else 0:.2f} MB", ""],
        [
            "  every 30 ticks of 10 s, all rollouts",
            f"{np.mean(sizes) * load.rollouts / 3e5 if sizes else 0:.1f} kB/s",
            "",
        ],
        ["peak memory of a judge", f"{max(judge['peak_mb'] for judge in found['judges']):.0f} MB", ""],
    ]
    print(table(["", "measured", ""], rows))
