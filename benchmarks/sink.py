"""Rows into ClickHouse: `python -m benchmarks.sink`.

How many rows a second of one core holdfast's client puts in, beside tuples through the same driver, which is what one
writes first, and beside clickhouse-connect; the room that rows take; and how late verdicts are while a server is there,
while it is away, and without a sink. Servers and broker are started for the run (see `make clickhouse`, `make broker`),
or are those of HOLDFAST_TEST_CLICKHOUSE and HOLDFAST_TEST_KAFKA.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import clickhouse_connect
import numpy as np
import pyarrow as pa
from clickhouse_connect import common
from clickhouse_driver import Client as Driver

from benchmarks.measure import ROOT, against, machine, table
from benchmarks.pipeline.latency import Load, measure
from benchmarks.pipeline.workload import SEED, Size
from sinks.clickhouse import Server as Client
from sinks.connection import Connection
from sinks.migrations import migrate
from sinks.schema import ROWS
from sinks.store import Store
from tests.clickhouse.old import client, is_old, seconds
from tests.clickhouse.server import Server
from tests.kafka.broker import Broker, free_ports

BATCH_ROWS: Final = 100_000
REPEATS: Final = 7
GOAL_RATIO: Final = 4.0
GOAL_MILLIONS: Final = 1.0
STORED_ROWS: Final = 2_000_000
COLOS: Final = 100
METRICS: Final = 10
START_MS: Final = 1_773_314_400_000
OURS: Final = "holdfast: columns, texts told apart by Arrow"
TUPLES: Final = "the driver, tuples that were made before"


def evidence(first_tick: int, ticks: int) -> pa.Table:
    """Make rows as a judge does: tick by tick, all colos of all metrics; effects settle, and evidence grows slowly."""
    draw = np.random.default_rng([SEED, first_tick])
    each = METRICS * (COLOS + 1)
    count = each * ticks
    row = np.arange(count)
    tick, place = first_tick + row // each, row % (COLOS + 1)
    names = np.array(["", *(f"colo{number:03d}" for number in range(COLOS))], dtype=object)
    metrics = np.array([f"metric_{number:02d}" for number in range(METRICS)], dtype=object)
    radius = 1.0 / np.sqrt(tick + 1.0)
    effect = np.random.default_rng(SEED).normal(0.0, 0.05, each)[row % each] + draw.normal(0.0, 0.1, count) * radius
    columns: dict[str, object] = {
        "rollout": ["bot-features-0312"] * count,
        "source": ["holdfast.evidence/3"] * count,
        "time": pa.array(START_MS + 10_000 * tick, pa.timestamp("ms", "UTC")),
        "stage": ["canary"] * count,
        "metric": metrics[row % each // (COLOS + 1)],
        "edge": np.zeros(count),
        "level": np.where(place == 0, "fleet", "colo").astype(object),
        "place": names[place],
        "effect": effect,
        "lower": effect - radius,
        "upper": effect + radius,
        "log_e": np.log1p(tick) * draw.normal(-0.5, 0.1, count),
        "mde": 1.2 * radius,
        "information": tick + 1.0,
        "version": (tick // 4).astype(np.uint64),
    }
    return pa.table(columns, schema=ROWS["evidence"])


def processor_seconds(run: Callable[[], object]) -> float:
    """Return the processor time that this process spends on a run; waiting for a server is not counted."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


@contextmanager
def server() -> Generator[Connection]:
    """Give a server."""
    if given := os.environ.get("HOLDFAST_TEST_CLICKHOUSE"):
        host, _, port = given.partition(":")
        yield Connection(host, int(port or 9000))
        return
    with Server() as started:
        yield Connection("127.0.0.1", started.port)


@contextmanager
def swallowing() -> Generator[Any]:
    """Give a client of clickhouse-connect, and what it needs of a server; see `benchmarks.swallowing`."""
    port = free_ports(1)[0]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.swallowing", str(port)], cwd=ROOT)
    try:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                break
            except OSError:
                time.sleep(0.1)
        common.set_setting("use_protocol_version", False)  # which changes a form that the engine alone does not write
        yield clickhouse_connect.get_client(host="127.0.0.1", port=port, compress="lz4")
    finally:
        process.kill()
        process.wait()


# ------------------------------------------------------------ rows a second


class Ways:
    """The ways to put the same rows into the same table: names, and whatever is to be timed."""

    def __init__(self, connection: Connection, other: Any, rows: pa.Table) -> None:
        self._name = f"{connection.place.database}.evidence"
        self._ours = client(connection)
        self._driver = Driver(connection.host, port=connection.port, compression="lz4")
        self._other, self._new = other, rows
        self._rows = rows.cast(seconds(rows.schema), safe=False) if is_old(connection) else rows
        self._made, self._frame = self._tuples(), rows.to_pandas()

    def known(self) -> dict[str, Callable[[], object]]:
        """Return all of them, ours first."""
        return {
            OURS: lambda: Client.insert(self._ours, "evidence", self._rows),
            TUPLES: lambda: self._put(self._made),
            "the driver, tuples made of the columns": lambda: self._put(self._tuples()),
            "clickhouse-connect, a data frame": lambda: self._other.insert_df(self._name, self._frame),
            "clickhouse-connect, Arrow, which the server decodes": lambda: self._other.insert_arrow(
                self._name, self._new
            ),
        }

    def _tuples(self) -> list[tuple[object, ...]]:
        return list(zip(*(column.to_pylist() for column in self._rows.columns), strict=True))

    def _put(self, rows: list[tuple[object, ...]]) -> None:
        self._driver.execute(f"INSERT INTO {self._name} ({', '.join(self._rows.column_names)}) VALUES", rows)

    def close(self) -> None:
        """Let go of the connections."""
        self._ours.close()
        self._driver.disconnect()


def throughput(quick: bool) -> None:
    """Rows a second of this process's core, batch by batch; the ways take turns."""
    rows = evidence(0, BATCH_ROWS // (METRICS * (COLOS + 1)) + 1).slice(0, BATCH_ROWS)
    repeats = 3 if quick else REPEATS
    with server() as connection, swallowing() as other:
        first = client(connection)
        migrate(first)
        version = first.select("SELECT version()")[0][0]
        ways = Ways(connection, other, rows)
        found: dict[str, list[float]] = {name: [] for name in ways.known()}
        for _ in range(repeats):
            for name, way in ways.known().items():
                found[name].append(processor_seconds(way))
        first.run(f"DROP DATABASE {connection.place.database}")
        first.close()
        ways.close()
    best = {name: min(taken) for name, taken in found.items()}
    ratio = best[TUPLES] / best[OURS]
    said = {
        OURS: against(BATCH_ROWS / best[OURS] / 1e6, GOAL_MILLIONS, is_most=False),
        TUPLES: f"ratio {against(ratio, GOAL_RATIO, is_most=False)}",
    }
    print(
        f"{BATCH_ROWS:,} rows of evidence an insert, all {len(rows.column_names)} columns, lz4; server {version}; "
        f"millions of rows a second of the client's core, best of {repeats}"
    )
    lines = [
        [name, f"{BATCH_ROWS / taken / 1e6:.2f}", f"{taken / best[OURS]:.1f}", said.get(name, "")]
        for name, taken in best.items()
    ]
    print(table(["", "M rows/s", "times as long", ""], lines))


# ------------------------------------------------------------ room on the disk


def room(quick: bool) -> None:
    """Bytes of a row on the disk, in today's engine with all codecs, once parts are merged."""
    each = METRICS * (COLOS + 1)
    ticks = STORED_ROWS // each // (10 if quick else 1)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder)) as store:
        for first in range(0, ticks, BATCH_ROWS // each):
            store.insert("evidence", evidence(first, min(BATCH_ROWS // each, ticks - first)))
        store.backend.run("OPTIMIZE TABLE holdfast.evidence FINAL")
        found = store.backend.select(
            "SELECT sum(rows), sum(data_compressed_bytes), sum(data_uncompressed_bytes) FROM system.parts "
            "WHERE active AND database = 'holdfast' AND table = 'evidence'"
        )
        columns = store.backend.select(
            "SELECT name, data_compressed_bytes FROM system.columns WHERE database = 'holdfast' AND table = 'evidence' "
            "ORDER BY data_compressed_bytes DESC LIMIT 5"
        )
    rows, packed, plain = (int(str(each)) for each in found[0])
    largest = ", ".join(f"{name} {int(str(size)) / rows:.1f}" for name, size in columns)
    print(f"room on the disk, {rows:,} rows of evidence, merged")
    lines = [["compressed", f"{packed / rows:.1f}"], ["as it comes", f"{plain / rows:.1f}"]]
    print(table(["", "bytes a row"], lines))
    print(f"most of it: {largest}")


# ------------------------------------------------------------ verdicts meanwhile


@contextmanager
def sink(config: Path, version: str) -> Generator[None]:
    """Run a sink beside the judges."""
    environment = {**os.environ, "HOLDFAST_CONFIG": str(config)}
    command = [sys.executable, "-m", "tests.clickhouse.sinking", version, "0", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(120)


def latencies(quick: bool) -> None:
    """How long after the close of a tick its verdict stands: without a sink, with one, and with its server away."""
    load = Load(Size(30, 10, 20), rollouts=2, sources=4, workers=1, ticks=20 if quick else 120, pace=0.5)
    found: dict[str, list[float]] = {"no sink": [], "server there": [], "server away": []}
    with ExitStack() as opened:
        bootstrap = os.environ.get("HOLDFAST_TEST_KAFKA") or opened.enter_context(Broker()).bootstrap
        connection = opened.enter_context(server())
        version = "old" if is_old(connection) else "new"
        for _ in range(1 if quick else 3):
            for kind, times in found.items():
                port = free_ports(1)[0] if kind == "server away" else connection.port
                address = {"host": connection.host, "port": port}
                beside = None if kind == "no sink" else lambda config: sink(config, version)
                judged = measure(bootstrap, load, evidence=True, beside=beside, clickhouse=address)
                live = load.ticks * load.rollouts
                times += [each[0] for judge in judged["judges"] for each in judge["latencies"][-live:]]
    lines = [
        [kind, *(f"{np.percentile(times, share) * 1e3:.0f} ms" for share in (50, 99)), f"{len(times)}"]
        for kind, times in found.items()
    ]
    moved = statistics.median(found["server away"]) / statistics.median(found["server there"])
    print(
        f"close of a tick to its verdict: {load.size.colos} colos x {load.size.series * 3 // 4} metrics x "
        f"{load.rollouts} rollouts, a tick every {load.pace:g} s, rows for the store"
    )
    print(table(["", "p50", "p99", "ticks"], lines))
    print(f"server away against server there, p50: {moved:.2f}")


RUNS: Final[dict[str, Callable[[bool], None]]] = {"throughput": throughput, "room": room, "latency": latencies}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sink", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and repeats")
    parser.add_argument("--only", choices=RUNS, help="one part")
    given = parser.parse_args()
    print(machine("clickhouse-driver", "numpy", "pandas", "pyarrow"))
    for name, run in RUNS.items():
        if given.only in (None, name):
            print()
            run(given.quick)


if __name__ == "__main__":
    main()
