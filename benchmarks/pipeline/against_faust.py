"""Aggregate beside the same job as a plain Faust agent: the same messages of JSON, in the same run."""

import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import in_own_process, table
from benchmarks.pipeline.reading import measured, millions
from benchmarks.pipeline.workload import Size, announcement, engine, feed_json, submit

FLEET: Final = Size(colos=10, hosts=25, series=20)
TICKS: Final = {1: 20, 100: 60}
"""Ticks that are sent, by the samples in a message."""


def run(bootstrap: str, quick: bool) -> None:
    """Measure and print."""
    rows = []
    for each, ticks in TICKS.items():
        with tempfile.TemporaryDirectory() as folder:
            path, settings = engine(bootstrap, Path(folder))
            feed_json(settings, FLEET, ticks // (10 if quick else 1), each)
            submit(settings, announcement(FLEET))
            holdfast = measured(path, "aggregate")
            for way, found in {
                "holdfast aggregate": holdfast,
                "Faust, message by message": _faust("by_message", path, holdfast),
                "Faust, 1,000 messages at a time": _faust("by_batch", path, holdfast),
            }.items():
                assert found["samples"] == holdfast["samples"], "not everything was aggregated"
                rows.append(_row(each, way, found, holdfast))
    print(
        f"JSON, {FLEET.samples:,} samples a tick, one partition: to cohort ticks, from start to the last sample; "
        "thousands of samples a second"
    )
    print(table(["", "samples a message", "of one core", "by the clock", "holdfast is", "peak memory"], rows))


def _faust(way: str, path: Path, holdfast: dict[str, Any]) -> dict[str, Any]:
    return in_own_process("benchmarks.pipeline.faust_agent", way, str(path), str(holdfast["samples"]))


def _row(each: int, way: str, found: dict[str, Any], holdfast: dict[str, Any]) -> list[str]:
    ratio = millions(holdfast) / millions(found)
    return [
        way,
        f"{each}",
        f"{millions(found) * 1e3:.1f}",
        f"{found['samples'] / found['wall_s'] / 1e3:.1f}",
        "" if found is holdfast else f"{ratio:.1f} x as fast",
        f"{found['peak_mb']:.0f} MB",
    ]
