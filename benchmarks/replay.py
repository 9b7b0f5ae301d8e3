"""How fast a recording is judged, beside merely reading its file: `python -m benchmarks.replay`.

Every way of reading runs in a process of its own, so that the peak memory is its own too.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.measure import against, in_own_process, machine, process_peak_mb, table
from holdfast.replaying import replay_recording

SEED: Final = 360
STARTED_S: Final = 1_773_314_400
TICK_S: Final = 10
ROWS_PER_GROUP: Final = 1 << 18
GOAL_RATIO: Final = 0.5
REPEATS: Final = 3

GAUGES: Final = ("cpu_busy", "mem_bytes", "threads", "queue_depth", "open_files", "p50_seconds")
RATIOS: Final = (("http_5xx", "http_requests", 0.002), ("dns_servfail", "dns_queries", 0.01))
METRICS: Final = (*GAUGES, *(name for bad, total, _ in RATIOS for name in (bad, total)))
LABELS: Final = ("colo", "host", "cohort", "metric")

ROLLOUT: Final = """\
rollout: benchmark
package:
  - {{unit: bot-management/features.bin, kind: data-file, digest: "sha256:{digest}"}}
started: 2026-03-12T11:20:00Z
stages:
  - {{name: canary, canary: {{cohort: canary}}, control: {{cohort: control}}, bake: {bake}s, deadline: {deadline}s}}
policy: benchmark
"""

METRIC: Final = "  - {{name: {name}, {source}, worse: increase, tolerate: {{relative: 0.1}}, breach: halt}}\n"


@dataclass(frozen=True, slots=True)
class Size:
    """How large the recording is: the rollout starts half-way, and 2 of each colo's hosts are canaries."""

    colos: int
    hosts: int
    ticks: int

    @property
    def samples(self) -> int:
        """Number of samples."""
        return self.colos * self.hosts * self.ticks * len(METRICS)


SIZES: Final = {False: Size(300, 10, 360), True: Size(60, 10, 120)}


def write(folder: Path, size: Size) -> None:
    """Write the recording, in order of time; the same size gives the same bytes."""
    rng = np.random.default_rng(SEED)
    units = size.colos * size.hosts
    order = rng.permutation(units)  # in which hosts are scraped within a tick
    before_ms = np.sort(rng.integers(0, TICK_S * 1_000, units))[::-1]
    labels = _labels(size, order)
    types = [("time", pa.timestamp("ms", tz="UTC")), ("value", pa.float64())]
    schema = pa.schema([*types, *((name, pa.dictionary(pa.int32(), pa.string())) for name in LABELS)])
    usual = rng.lognormal(0.0, 0.3, (units, len(METRICS)))
    counted = np.zeros((units, 2 * len(RATIOS)))
    first_s = STARTED_S - (size.ticks // 2 - 1) * TICK_S
    file = folder / "metrics.parquet"
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=["time", *LABELS]) as writer:
        for start in range(0, size.ticks, 30):
            ticks = min(30, size.ticks - start)
            values = _values(rng, usual, counted, ticks)
            ends_ms = (first_s + (start + np.arange(ticks)) * TICK_S) * 1_000
            stamps = np.repeat((ends_ms[:, None] - before_ms).reshape(-1), len(METRICS))
            columns = [pa.array(stamps).cast(types[0][1]), pa.array(values.reshape(-1))]
            for codes, names in labels:
                indices = pa.array(np.tile(codes, ticks))
                columns.append(pa.DictionaryArray.from_arrays(indices, pa.array(names)))
            writer.write_table(pa.table(columns, schema=schema), row_group_size=ROWS_PER_GROUP)
    _write_documents(folder, size)


def _labels(size: Size, order: NDArray[np.int64]) -> list[tuple[NDArray[np.int32], list[str]]]:
    """Return codes [unit * metric] and names of each label, in the order of `LABELS`."""
    colo, number = np.divmod(order, size.hosts)
    colos = [f"colo{index:03d}" for index in range(size.colos)]
    hosts = [f"{name}-h{index:02d}" for name in colos for index in range(size.hosts)]
    by_unit = ((colo, colos), (order, hosts), ((number < 2).astype(np.int64), ["control", "canary"]))
    found = [(np.repeat(codes, len(METRICS)).astype(np.int32), names) for codes, names in by_unit]
    which = np.tile(np.arange(len(METRICS), dtype=np.int32), len(order))
    return [*found, (which, list(METRICS))]


def _values(
    rng: np.random.Generator, usual: NDArray[np.float64], counted: NDArray[np.float64], ticks: int
) -> NDArray[np.float64]:
    """Draw values [tick, unit, metric]; `counted` [unit, counter] goes on where the ticks before ended."""
    units, metrics = usual.shape
    values = np.empty((ticks, units, metrics))
    gauges = len(GAUGES)
    values[:, :, :gauges] = usual[:, :gauges] * (1 + 0.05 * rng.standard_normal((ticks, units, gauges)))
    for index, (_, _, share) in enumerate(RATIOS):
        at = gauges + 2 * index
        total = rng.poisson(3_000 * usual[:, at + 1], (ticks, units))
        values[:, :, at] = rng.binomial(total, share)
        values[:, :, at + 1] = total
    np.cumsum(values[:, :, gauges:], axis=0, out=values[:, :, gauges:])
    values[:, :, gauges:] += counted
    counted[:] = values[-1, :, gauges:]
    return values


def _write_documents(folder: Path, size: Size) -> None:
    live = size.ticks // 2
    rollout = ROLLOUT.format(digest="0" * 64, bake=live // 2 * TICK_S, deadline=live * TICK_S)
    sources = [(name, f"gauge: {name}") for name in GAUGES]
    sources += [(bad, f"ratio: {{bad: {bad}, total: {total}}}") for bad, total, _ in RATIOS]
    metrics = "".join(METRIC.format(name=name, source=source) for name, source in sources)
    (folder / "rollout.yaml").write_text(rollout, encoding="utf-8")
    policy = f"policy: benchmark\ntick: {TICK_S}s\nalpha: 0.01\nmetrics:\n{metrics}"
    (folder / "policy.yaml").write_text(policy, encoding="utf-8")


def read_codes(folder: Path) -> int:
    """Read the file into numpy columns, labels as dictionary codes: the least that any judge must do."""
    file = pq.ParquetFile(folder / "metrics.parquet", read_dictionary=list(LABELS))
    rows = 0
    for group in range(file.num_row_groups):
        for batch in file.read_row_group(group).combine_chunks().to_batches():
            stamps = batch.column("time").cast(pa.int64()).to_numpy(zero_copy_only=False)
            values = batch.column("value").to_numpy(zero_copy_only=False)
            codes = [batch.column(name).indices.to_numpy(zero_copy_only=False) for name in LABELS]
            assert all(len(column) == len(stamps) for column in (values, *codes))
            rows += len(stamps)
    return rows


def read_strings(folder: Path) -> int:
    """Read the file into numpy columns, labels as arrays of strings, as a plain reader does."""
    file = pq.ParquetFile(folder / "metrics.parquet")
    rows = 0
    for group in range(file.num_row_groups):
        whole = file.read_row_group(group)
        stamps = whole.column("time").cast(pa.int64()).to_numpy()
        values = whole.column("value").to_numpy()
        texts = [whole.column(name).cast(pa.string()).to_numpy() for name in LABELS]
        assert all(len(column) == len(stamps) for column in (values, *texts))
        rows += len(stamps)
    return rows


def judge(folder: Path) -> int:
    """Replay the recording, keeping nothing."""
    outcome = replay_recording(folder, store=None)
    assert outcome.ticks > 0
    return outcome.samples


WAYS: Final[dict[str, tuple[str, Callable[[Path], int]]]] = {
    "codes": ("read, labels as codes", read_codes),
    "strings": ("read, labels as strings", read_strings),
    "judge": ("holdfast replay", judge),
}


def _measure(way: str, folder: Path) -> None:
    """Read once in this process, and print what it took."""
    start, busy = time.perf_counter(), time.process_time()
    samples = WAYS[way][1](folder)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    print(json.dumps({"samples": samples, "seconds": seconds, "busy": busy, "peak_mb": process_peak_mb()}))


def _best(way: str, folder: Path, repeats: int) -> dict[str, Any]:
    measured = [in_own_process("benchmarks.replay", "--way", way, "--folder", str(folder)) for _ in range(repeats)]
    return min(measured, key=lambda one: float(one["seconds"]))


def run(quick: bool, folder: Path | None = None) -> bool:
    """Measure and print; return whether the goal is kept."""
    size = SIZES[quick]
    with tempfile.TemporaryDirectory() as aside:
        place = folder or Path(aside)
        if not (place / "policy.yaml").exists():
            place.mkdir(parents=True, exist_ok=True)
            write(place, size)
        mb = (place / "metrics.parquet").stat().st_size / 1e6
        found = {way: _best(way, place, 1 if quick else REPEATS) for way in WAYS}
    rates = {way: one["samples"] / one["seconds"] for way, one in found.items()}
    rows = [
        [
            WAYS[way][0],
            f"{one['seconds']:.2f}",
            f"{one['busy']:.2f}",
            f"{rates[way] / 1e6:.2f}",
            f"{one['peak_mb']:.0f}",
            f"{rates['judge'] / rates[way]:.2f}",
        ]
        for way, one in found.items()
    ]
    print(f"replay: {size.samples:,} samples of {size.colos} colos x {size.hosts} hosts, {mb:.0f} MB")
    print(table(["", "s", "CPU s", "M samples/s", "peak MB", "replay / this"], rows))
    ratio = float(rates["judge"] / rates["codes"])
    print(f"A replay runs at {ratio:.2f} of the bare read; {against(ratio, GOAL_RATIO, is_most=False)}.")
    print(machine("numpy", "pyarrow"))
    return ratio >= GOAL_RATIO


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smaller recording, read once")
    parser.add_argument("--folder", type=Path, help="keep the recording here, and use what is there already")
    parser.add_argument("--way", choices=sorted(WAYS), help="run one way on --folder in this process")
    arguments = parser.parse_args()
    if arguments.way and arguments.folder:
        _measure(arguments.way, arguments.folder)
    else:
        run(arguments.quick, arguments.folder)


if __name__ == "__main__":
    main()
