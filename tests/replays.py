"""Replays for the tests of the store: small, with every column filled."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pyarrow as pa

from detectors.verdict import Reason, Samples, Scope, Verdict
from sinks.remote import RemoteStore
from sinks.schema import ROWS
from sinks.store import Replay, ReplaySink, Store
from streams.journal import Ticked, tick_rows
from streams.records import COHORT_TICKS, EVIDENCE

START_MS = 1_773_314_400_000  # 2026-03-12T11:20:00Z
DOCUMENT = b'{"rollout":"bot-0312","started":"2026-03-12T11:20:00Z","stages":[]}'
POLICY = b'{"policy":"edge-http","metrics":[]}'


def begin(store: Store | RemoteStore, source: str = "replay:a", document: bytes = DOCUMENT) -> ReplaySink:
    return store.sink(Replay(source, document, POLICY, "sha256:1"))


def evidence(ticks: int = 3, rollout: str = "bot-0312", seed: int = 1) -> pa.Table:
    """Rows in the shape that the judge writes."""
    generator = np.random.default_rng(seed)
    table: dict[str, object] = {
        "rollout": [rollout] * ticks,
        "time": pa.array([START_MS + 10_000 * tick for tick in range(ticks)], EVIDENCE.field("time").type),
        "stage": ["canary"] * ticks,
        "metric": ["errors"] * ticks,
        "edge": [0.0] * ticks,
        "level": ["fleet"] * ticks,
        "place": [""] * ticks,
    }
    for name in ("effect", "lower", "upper", "log_e", "mde", "information"):
        table[name] = generator.normal(size=ticks)
    return pa.table(table, schema=EVIDENCE)


def ticks(count: int = 3) -> pa.Table:
    table: dict[str, object] = {
        "rollout": ["bot-0312"] * count,
        "time": pa.array([START_MS + 10_000 * tick for tick in range(count)], EVIDENCE.field("time").type),
        "stage": ["canary"] * count,
        "metric": ["errors"] * count,
        "edge": [float("inf")] * count,
        "colo": ["ams01"] * count,
        "cohort": ["control"] * count,
    }
    for name in ("units", "sum", "sum_squares", "bad", "total"):
        table[name] = np.arange(count, dtype=float)
    return pa.table(table, schema=COHORT_TICKS)


def verdict(sequence: int = 1) -> Verdict:
    return Verdict(
        sequence=sequence,
        action="revert",
        cause="evidence",
        stage="canary",
        binding=True,
        scope=Scope(colos=["ams01", "fra02"], metrics=["errors"]),
        reasons=[
            Reason(
                metric="errors",
                colo="ams01",
                effect=0.5,
                interval=(0.25, None),
                e_value=1e300,
                samples=Samples(canary=10.0, control=20.0),
                sentence="errors are 50 % higher – “too many”",
            )
        ],
        abstained=[],
        policy="sha256:1",
        engine="0.1.0",
    )


def replay(store: Store | RemoteStore, seed: int = 1, count: int = 3, source: str = "replay:a") -> None:
    with begin(store, source) as sink:
        sink.cohort_ticks(ticks(count))
        sink.evidence(evidence(count, seed=seed))
        sink.ticks(tick_rows("bot-0312", [Ticked(START_MS + 10_000 * n, True, 6, {"late": n}) for n in range(count)]))
        for sequence in range(1, count + 1):
            sink.verdict("bot-0312", START_MS + 10_000 * sequence, verdict(sequence))
        sink.commit()


def contents(store: Store) -> dict[str, pa.Table]:
    return {name: store.arrow(f"SELECT * FROM {name} ORDER BY ALL") for name in ROWS}


VIEWS = ("health", "heat", "current", "timeline")


def views(store: Store) -> dict[str, pa.Table]:
    """Return what the views show."""
    left_out = {"health": " EXCEPT last", "heat": " EXCEPT most", "current": " EXCEPT last"}
    return {name: store.arrow(f"SELECT *{left_out.get(name, '')} FROM {name} ORDER BY ALL") for name in VIEWS}


def count(store: Store, table: str) -> int:
    return int(store.query(f"SELECT count() FROM {table}", "TabSeparated"))


def bits(table: pa.Table, name: str) -> list[int]:
    values: list[int] = table[name].to_numpy().astype(np.float64).view(np.uint64).tolist()
    return values


def python(code: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", dedent(code), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
