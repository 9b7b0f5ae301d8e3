"""How fast recorded days are judged again: `python -m benchmarks.backtest`.

An hour of 300 colos x 100 metrics x 2 cohorts at 10 s is really run, from long Parquet, from the replay cache and from
a topic on a real broker (that of HOLDFAST_TEST_KAFKA, or one that is started for the run: Java 17 and Maven); a day is
24 times that. Beside it stand reading the file alone, and one test per colo and metric by pandas and scipy.
Every way runs in a process of its own, so that the peak memory is its own too.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import ttest_ind

from benchmarks.measure import ROOT, against, cores, in_own_process, machine, process_peak_mb, table
from benchmarks.pipeline.workload import engine, send
from holdfast.live.clients import producer
from holdfast.produce import frames_of
from holdfast.replaying import replay_recording
from streams.cache import Cache
from streams.recording import MetricsFile
from streams.replay import Observer, Progress
from tests.kafka.broker import Broker

SEED: Final = 518
STARTED_S: Final = 1_773_314_400
TICK_S: Final = 10
_FLUSH_SECONDS: Final = 120
DAY_TICKS: Final = 86_400 // TICK_S
LABELS: Final = ("colo", "host", "cohort", "metric")
COHORTS: Final = ("canary", "control")
GOALS: Final = {"parquet": 10.0, "cache": 60.0}
"""Millions of values a second of one core."""

ROLLOUT: Final = """\
rollout: backtest
package:
  - {{unit: bot-management/features.bin, kind: data-file, digest: "sha256:{digest}"}}
started: 2026-03-12T11:20:00Z
stages:
  - {{name: canary, canary: {{cohort: canary}}, control: {{cohort: control}}, bake: {bake}s, deadline: {deadline}s}}
policy: backtest
"""

METRIC: Final = "  - {{name: {name}, gauge: {name}, worse: increase, tolerate: {{relative: 0.1}}, breach: halt}}\n"


@dataclass(frozen=True, slots=True)
class Size:
    """How large the recording is; the rollout starts half-way."""

    colos: int
    metrics: int
    ticks: int

    @property
    def values_per_tick(self) -> int:
        """One value per colo, metric and cohort."""
        return self.colos * self.metrics * len(COHORTS)

    @property
    def values(self) -> int:
        """Number of values."""
        return self.values_per_tick * self.ticks


SIZES: Final = {False: Size(300, 100, 360), True: Size(60, 20, 120)}


def write(folder: Path, size: Size) -> None:
    """Write the recording, in order of time; the same size gives the same samples."""
    rng = np.random.default_rng(SEED)
    shape = size.colos, len(COHORTS), size.metrics
    colo, cohort, metric = (index.reshape(-1).astype(np.int32) for index in np.indices(shape))
    names = {
        "colo": (colo, [f"colo{index:03d}" for index in range(size.colos)]),
        "host": (cohort, [f"all-{name}" for name in COHORTS]),
        "cohort": (cohort, list(COHORTS)),
        "metric": (metric, [f"gauge_{index:03d}" for index in range(size.metrics)]),
    }
    usual = rng.lognormal(0.0, 0.3, (size.colos, 1, size.metrics))
    schema = pa.schema(
        [
            ("time", pa.timestamp("ms", tz="UTC")),
            ("value", pa.float64()),
            *((name, pa.dictionary(pa.int32(), pa.string())) for name in LABELS),
        ]
    )
    first_s = STARTED_S - (size.ticks // 2 - 1) * TICK_S
    with pq.ParquetWriter(
        folder / "metrics.parquet", schema, compression="zstd", use_dictionary=["time", *LABELS]
    ) as writer:
        for start in range(0, size.ticks, 10):
            ticks = min(10, size.ticks - start)
            ends_ms = (first_s + (start + np.arange(ticks)) * TICK_S) * 1_000 - 3_000
            values = usual * (1 + 0.05 * rng.standard_normal((ticks, *shape)))
            columns = [pa.array(np.repeat(ends_ms, len(colo))).cast(schema[0].type), pa.array(values.reshape(-1))]
            for codes, texts in names.values():
                columns.append(pa.DictionaryArray.from_arrays(pa.array(np.tile(codes, ticks)), pa.array(texts)))
            writer.write_table(pa.table(columns, schema=schema))
    live_s = size.ticks // 2 * TICK_S
    rollout = ROLLOUT.format(digest="0" * 64, bake=live_s // 2, deadline=live_s)
    (folder / "rollout.yaml").write_text(rollout, encoding="utf-8")
    metrics = "".join(METRIC.format(name=name) for name in names["metric"][1])
    policy = f"policy: backtest\ntick: {TICK_S}s\nalpha: 0.01\nmetrics:\n{metrics}"
    (folder / "policy.yaml").write_text(policy, encoding="utf-8")


def publish(folder: Path, bootstrap: str) -> Path:
    """Put the samples on a topic, a frame for each colo and scrape, and make a recording that names it."""
    place = folder / "kafka"
    place.mkdir()
    path, settings = engine(bootstrap, place)
    client, topic = producer(settings), settings.metrics[0].topic
    for frame in frames_of(MetricsFile(folder / "metrics.parquet").read(), "arrow"):
        send(client, topic, frame.payload, frame.key, frame.content_type)
    assert client.flush(_FLUSH_SECONDS) == 0, "not all frames were written"
    for name in ("rollout.yaml", "policy.yaml"):
        shutil.copyfile(folder / name, place / name)
    source = f"from: kafka\ntopic: {topic}\nsettings: {json.dumps(str(path))}\n"
    (place / "source.yaml").write_text(source, encoding="utf-8")
    return place


def bare(folder: Path, _: Observer) -> int:
    """Read the file into numpy columns, labels as dictionary codes, and do nothing with it."""
    rows = 0
    file = pq.ParquetFile(folder / "metrics.parquet", read_dictionary=list(LABELS))
    for batch in file.iter_batches(1 << 19):
        codes = [batch.column(name).indices.to_numpy(zero_copy_only=False) for name in LABELS]
        assert all(len(column) == len(batch.column("value").to_numpy()) for column in codes)
        rows += batch.num_rows
    return rows


def pandas_ttest(folder: Path, _: Observer) -> int:
    """Hold canary against control once, at the end: one t-test per colo and metric, on a pivoted frame."""
    frame = pq.read_table(folder / "metrics.parquet", columns=["time", "value", "colo", "cohort", "metric"]).to_pandas()
    live = frame[frame["time"] >= pd.Timestamp(STARTED_S, unit="s", tz="UTC")]
    means = live.groupby(["colo", "metric", "cohort", "time"], observed=True)["value"].mean().unstack("time")
    canary, control = (means.xs(name, level="cohort").to_numpy() for name in COHORTS)
    found = ttest_ind(canary, control, axis=1, equal_var=False)
    assert np.isfinite(found.pvalue).all()
    return len(frame)


def parquet(folder: Path, observer: Observer) -> int:
    """Replay, reading the samples."""
    return replay_recording(folder, observer=observer).samples


def cached(folder: Path, observer: Observer) -> int:
    """Replay with the cache beside the recording: it is filled the first time, and read from then on."""
    return replay_recording(folder, cache=Cache(folder / "cache"), observer=observer).samples


def kafka(folder: Path, observer: Observer) -> int:
    """Replay, reading the samples from their topic."""
    return replay_recording(folder / "kafka", observer=observer).samples


WAYS: Final[dict[str, tuple[str, Callable[[Path, Observer], int]]]] = {
    "bare": ("read only, labels as codes", bare),
    "pandas": ("pandas and scipy, one t-test at the end", pandas_ttest),
    "parquet": ("holdfast replay, Parquet", parquet),
    "fill": ("holdfast replay, filling the cache", cached),
    "cache": ("holdfast replay, from the cache", cached),
    "kafka": ("holdfast replay, from a topic", kafka),
}


def _measure(way: str, folder: Path) -> None:
    """Run once in this process, and print what it took."""
    judged: list[float] = []

    def observe(_: Progress) -> None:
        judged.append(time.process_time())

    wall, busy = time.perf_counter(), time.process_time()
    values = WAYS[way][1](folder, observe)
    wall, end = time.perf_counter() - wall, time.process_time()
    # What comes before the first judged tick is paid once for a stage, however long it lasts.
    begin = judged[0] - busy if judged else 0.0
    tick_ms = 1_000 * (judged[-1] - judged[0]) / (len(judged) - 1) if len(judged) > 1 else 0.0
    told = {"values": values, "wall": wall, "busy": end - busy, "peak_mb": process_peak_mb()}
    print(json.dumps(told | {"begin": begin, "tick_ms": tick_ms}))


def _arguments(way: str, folder: Path) -> list[str]:
    return ["--way", way, "--folder", str(folder)]


def _together(folder: Path, processes: int) -> float:
    """Replay from the cache in so many processes at once: millions of values a second by the clock, start included."""
    command = [sys.executable, "-m", "benchmarks.backtest", *_arguments("cache", folder)]
    start = time.perf_counter()
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    values = sum(json.loads(process.communicate()[0])["values"] for process in running)
    return float(values / (time.perf_counter() - start) / 1e6)


def _rows(found: dict[str, dict[str, Any]], size: Size) -> list[list[str]]:
    rows = []
    for way, one in found.items():
        rate = one["values"] / one["busy"] / 1e6
        day = size.values_per_tick * DAY_TICKS / 1e6 / rate
        cells = f"{one['wall']:.1f}", f"{one['busy']:.1f}", f"{rate:.2f}", f"{day:.0f}", f"{one['peak_mb']:.0f}"
        live = (f"{one['begin']:.1f}", f"{one['tick_ms']:.1f}") if one["tick_ms"] else ("", "")
        rows.append([WAYS[way][0], *cells, *live])
    return rows


def run(quick: bool, folder: Path | None = None) -> bool:
    """Measure and print; return whether the goals are kept."""
    size = SIZES[quick]
    with tempfile.TemporaryDirectory() as aside:
        place = folder or Path(aside)
        if not (place / "policy.yaml").exists():
            place.mkdir(parents=True, exist_ok=True)
            write(place, size)
        for entry in (place / "cache").glob("*.arrow"):
            entry.unlink()
        given = os.environ.get("HOLDFAST_TEST_KAFKA")
        with Broker() if given is None else nullcontext() as broker:
            topic = publish(place, given or (broker.bootstrap if broker is not None else ""))
            found = {way: in_own_process("benchmarks.backtest", *_arguments(way, place)) for way in WAYS}
        shutil.rmtree(topic)  # the broker is gone
        kept = sum(entry.stat().st_size for entry in (place / "cache").glob("*.arrow"))
        read = (place / "metrics.parquet").stat().st_size
        growth = {processes: _together(place, processes) for processes in (1, 2) if processes <= cores()}
    print(
        f"backtest: {size.ticks} ticks of {size.colos} colos x {size.metrics} metrics x {len(COHORTS)} cohorts, "
        f"{size.values:,} values; {read / 1e6:.0f} MB of Parquet, {kept / 1e6:.0f} MB in the cache"
    )
    head = ["", "s", "CPU s", "M values/CPU s", "CPU s for a day", "peak MB", "CPU s to first tick", "CPU ms a tick"]
    print(table(head, _rows(found, size)))
    for processes, rate in growth.items():
        print(f"from the cache in {processes} process(es): {rate:.2f} M values/s by the clock, their start included")
    rates = {way: found[way]["values"] / found[way]["busy"] / 1e6 for way in GOALS}
    for way, goal in GOALS.items():
        print(f"{WAYS[way][0]}: {rates[way]:.2f} M values/s of a core; {against(rates[way], goal, is_most=False)}")
    print(machine("numpy", "pyarrow", "scipy", "pandas"))
    return all(rates[way] >= goal for way, goal in GOALS.items())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backtest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller recording")
    parser.add_argument("--folder", type=Path, help="keep the recording here, and use what is there already")
    parser.add_argument("--way", choices=sorted(WAYS), help="run one way on --folder in this process")
    arguments = parser.parse_args()
    if arguments.way and arguments.folder:
        _measure(arguments.way, arguments.folder)
    else:
        run(arguments.quick, arguments.folder)


if __name__ == "__main__":
    main()
