"""How fast recordings are made: `python -m benchmarks.record`.

The same seeded samples are recorded from a topic, an embedded ClickHouse, a Prometheus, Parquet and CSV, each in a
process of its own, so that time and peak memory are its own too; a topic once with a frame for each colo and scrape,
and once with large ones. Beside them stands copying the Parquet by pyarrow, batch by batch. Broker and Prometheus are
started for the run (see `make broker`; Debian's package), or the broker is that of HOLDFAST_TEST_KAFKA. All recordings
are held against each other: they must have the same bytes.
"""

import argparse
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from benchmarks.backtest import Size, write
from benchmarks.measure import in_own_process, machine, process_peak_mb, table
from benchmarks.pipeline.workload import engine, send
from holdfast.live.clients import producer
from holdfast.produce import frames_of
from holdfast.recording.document import (
    ClickHouseSource,
    CsvSource,
    KafkaSource,
    ParquetSource,
    PrometheusSource,
    Source,
    load_source,
)
from holdfast.recording.documents import from_files
from holdfast.recording.record import described, record
from sinks.store import Store
from streams.recording import MetricsFile, Samples
from streams.wire.encoding import encode
from tests.kafka.broker import Broker
from tests.prometheus.server import Prometheus

SIZES: Final = {False: Size(100, 100, 110), True: Size(30, 20, 60)}
BARE: Final = "bare"
LARGE_ROWS: Final = 10_000
_FLUSH_SECONDS: Final = 120
_TABLE: Final = """
    CREATE TABLE {place}.mine (time DateTime64(3, 'UTC'), metric LowCardinality(String), value Float64,
    colo LowCardinality(String), host LowCardinality(String), cohort LowCardinality(String))
    ENGINE = MergeTree ORDER BY (metric, time)
"""

WAYS: Final = {
    BARE: "Parquet copied by pyarrow, as it is",
    "parquet": "parquet",
    "csv": "csv",
    "clickhouse": "clickhouse, embedded",
    "kafka-large": f"kafka, Arrow frames of {LARGE_ROWS:,}",
    "kafka": "kafka, an Arrow frame for each colo and scrape",
    "prometheus": "prometheus",
}


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the servers are that the samples are put on."""

    bootstrap: str
    prometheus: str


def _large(folder: Path) -> Iterator[tuple[bytes, str]]:
    """Yield the samples in large frames."""
    for samples in MetricsFile(folder / "metrics.parquet").read(LARGE_ROWS):
        yield encode(Samples(samples.time, samples.value, samples.labels), "arrow")


def _topic(folder: Path, name: str, bootstrap: str, frames: Iterator[tuple[bytes, bytes, str]]) -> KafkaSource:
    place = folder / name
    place.mkdir()
    path, settings = engine(bootstrap, place)
    client, topic = producer(settings), settings.metrics[0].topic
    for payload, key, kind in frames:
        send(client, topic, payload, key, kind)
    assert client.flush(_FLUSH_SECONDS) == 0, "not all frames were written"
    return KafkaSource(topic=topic, settings=str(path))


def _stored(folder: Path) -> ClickHouseSource:
    data = folder / "store"
    with Store(data) as store:
        store.backend.run(_TABLE.format(place="holdfast"))
        for batch in pq.ParquetFile(folder / "metrics.parquet").iter_batches(1 << 19):
            columns = {name: batch.column(name) for name in ("time", "value")}
            texts = {name: batch.column(name).cast(pa.string()) for name in ("metric", "colo", "host", "cohort")}
            store.backend.insert("mine", pa.table(columns | texts))
    return ClickHouseSource(table="mine", data=str(data))


def _csv(folder: Path) -> CsvSource:
    path = folder / "metrics.csv"
    metrics = pq.ParquetFile(folder / "metrics.parquet")
    names = metrics.schema_arrow.names
    kinds = {"time": pa.timestamp("ms", "UTC"), "value": pa.float64()}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in names])
    with pc.CSVWriter(path, schema) as writer:
        for batch in metrics.iter_batches(1 << 19):
            writer.write(pa.table(batch.columns, names=names).cast(schema))
    return CsvSource(files=[str(path)])


def laid_out(folder: Path, servers: Servers) -> dict[str, Source]:
    """Put the samples of a recording where they are recorded from, and say where that is."""
    small = ((frame.payload, frame.key, frame.content_type) for frame in frames_of(_read(folder), "arrow"))
    large = ((payload, b"all", kind) for payload, kind in _large(folder))
    rollout = from_files(folder / "rollout.yaml", folder / "policy.yaml", None, [])
    first, last = rollout.span()
    return {
        "parquet": ParquetSource(files=[str(folder / "metrics.parquet")]),
        "csv": _csv(folder),
        "clickhouse": _stored(folder),
        "kafka": _topic(folder, "small-frames", servers.bootstrap, small),
        "kafka-large": _topic(folder, "large-frames", servers.bootstrap, large),
        "prometheus": PrometheusSource(
            url=servers.prometheus, start=first, end=last, select={"metric": rollout.metrics}
        ),
    }


def _read(folder: Path) -> Iterator[Samples]:
    return MetricsFile(folder / "metrics.parquet").read()


def bare(folder: Path) -> None:
    """Copy the samples, without a look at their order."""
    file = pq.ParquetFile(folder / "metrics.parquet", read_dictionary=["metric", "colo", "host", "cohort"])
    with pq.ParquetWriter(folder / "copy.parquet", file.schema_arrow, compression="zstd") as writer:
        for batch in file.iter_batches(1 << 18):
            writer.write_batch(batch)


def _measure(way: str, folder: Path) -> None:
    """Run once in this process, and print what it took."""
    out = folder / f"recorded-{way}"
    source = None if way == BARE else load_source(folder / f"{way}.yaml")
    documents = from_files(folder / "rollout.yaml", folder / "policy.yaml", None, [])
    pa.array(np.zeros(1)).to_numpy()  # which imports pandas, once in a process
    wall, busy = time.perf_counter(), time.process_time()
    if source is None:
        bare(folder)
    else:
        record(out, source, documents, replaces=True)
    told: dict[str, Any] = {"wall": time.perf_counter() - wall, "busy": time.process_time() - busy}
    told["peak_mb"] = process_peak_mb()
    if source is not None:
        told["digest"] = hashlib.sha256((out / "metrics.parquet").read_bytes()).hexdigest()
    print(json.dumps(told))


def _rows(found: dict[str, dict[str, Any]], values: int) -> list[list[str]]:
    rows = []
    for way, one in found.items():
        ratio = found["parquet"]["busy"] / one["busy"]
        rate = values / one["busy"] / 1e6
        numbers = one["wall"], one["busy"], rate, ratio
        rows.append([WAYS[way], *(f"{number:.2f}" for number in numbers), f"{one['peak_mb']:.0f}"])
    return rows


def run(quick: bool, repeats: int = 3) -> None:
    """Measure and print: of several runs the one that took least, and whether all of them recorded the same."""
    size = SIZES[quick]
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside)
        write(folder, size)
        given = os.environ.get("HOLDFAST_TEST_KAFKA")
        with (
            Broker() if given is None else nullcontext() as broker,
            Prometheus(folder / "metrics.parquet", "--query.max-samples=50000000") as prometheus,
        ):
            bootstrap = given or (broker.bootstrap if broker is not None else "")
            for way, source in laid_out(folder, Servers(bootstrap, prometheus.url)).items():
                (folder / f"{way}.yaml").write_bytes(described(source))
            found = {way: _least(way, folder, repeats) for way in WAYS}
    print(f"record: {size.values:,} values of {size.values_per_tick:,} series")
    head = ["", "s", "CPU s", "M values/CPU s", "times parquet", "peak MB"]
    print(table(head, _rows(found, size.values)))
    digests = {one["digest"] for way, one in found.items() if way != BARE}
    print("all recordings are the same to the byte" if len(digests) == 1 else "RECORDINGS DIFFER")
    print(machine("numpy", "pyarrow", "confluent-kafka"))


def _least(way: str, folder: Path, repeats: int) -> dict[str, Any]:
    runs = [in_own_process("benchmarks.record", "--way", way, "--folder", str(folder)) for _ in range(repeats)]
    return min(runs, key=lambda one: float(one["busy"]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each way, of which the shortest counts")
    parser.add_argument("--way", choices=list(WAYS), help="run one way on --folder in this process")
    parser.add_argument("--folder", type=Path, help="where the samples are")
    arguments = parser.parse_args()
    if arguments.way and arguments.folder:
        _measure(arguments.way, arguments.folder)
    else:
        run(arguments.quick, arguments.repeats)


if __name__ == "__main__":
    main()
