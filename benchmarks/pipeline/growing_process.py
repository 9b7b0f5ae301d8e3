"""One of several aggregates, in a process of its own: `… SETTINGS WORKER PARTITIONS KNOWN SAMPLES`.

It says `ready` on a line once it has its share of the partitions, and `warm` once it has seen so many samples, by which
it knows all series; and then, once it has seen and committed so many more, what these cost, as JSON on a third line. It
stays in the group until its input is closed.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import process_peak_mb
from benchmarks.pipeline.reading import Counted
from holdfast.live.settings import load_settings
from holdfast.live.workers import Worker


class Shared(Counted):
    """Counts samples and partitions."""

    partitions = 0

    def rebalance(self, kind: str, partitions: int) -> None:
        """See `Telemetry`."""
        self.partitions += partitions if kind == "assigned" else -partitions


def main() -> None:
    """Aggregate a share."""
    path, name = sys.argv[1:3]
    partitions, known, samples = map(int, sys.argv[3:6])
    shared = Shared("aggregate", name)
    loop = Worker(load_settings(Path(path), {"HOLDFAST_WORKER": name}), "aggregate", telemetry=shared).loop
    loop.begin()
    while shared.partitions != partitions or not loop.is_ready:
        loop.once()
    print("ready", flush=True)
    while shared.seen < known:
        loop.once()
    print("warm", flush=True)
    cpu = 0.0
    while shared.seen < known + samples:
        if shared.seen == known:
            cpu = time.process_time()
        loop.once()
    result: dict[str, Any] = {
        "samples": shared.seen - known,
        "done_s": time.monotonic(),
        "cpu_s": time.process_time() - cpu,
        "peak_mb": process_peak_mb(),
    }
    print(json.dumps(result), flush=True)
    sys.stdin.read()
    loop.end()


if __name__ == "__main__":
    main()
