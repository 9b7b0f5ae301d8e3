"""A judge in a process of its own, that writes down how long each tick took: `… SETTINGS WORKER OUT`."""

import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from benchmarks.measure import process_peak_mb
from holdfast.live.settings import load_settings
from holdfast.live.telemetry import Telemetry
from holdfast.live.workers import Worker


class Measured(Telemetry):
    """Keeps every single figure."""

    def __init__(self, worker: str) -> None:
        super().__init__("judge", worker)
        self.started = time.monotonic()
        self.first: float | None = None
        self.latencies: list[tuple[float, str | None]] = []
        self.sizes: list[int] = []
        self.transactions: list[float] = []

    def decided(self, seconds: float, action: str | None) -> None:
        """See `Telemetry`."""
        if self.first is None:
            self.first = time.monotonic() - self.started
        self.latencies.append((seconds, action))

    def transaction(self, seconds: float, *, is_committed: bool, records: int = 0) -> None:
        """See `Telemetry`."""
        if is_committed and records:
            self.transactions.append(seconds)

    def checkpoint(self, _rollout: str, size: int) -> None:
        """See `Telemetry`."""
        self.sizes.append(size)


def main() -> None:
    """Judge until SIGTERM."""
    path, name, out = sys.argv[1:4]
    settings = load_settings(Path(path), {"HOLDFAST_WORKER": name})
    measured = Measured(name)
    worker = Worker(settings, "judge", telemetry=measured)

    def stop(_number: int, _frame: FrameType | None) -> None:
        worker.loop.stop()

    signal.signal(signal.SIGTERM, stop)
    worker.loop.run()
    result = {
        "latencies": measured.latencies,
        "checkpoints": measured.sizes,
        "transactions": measured.transactions,
        "first_decision_s": measured.first,
        "cpu_s": time.process_time(),
        "peak_mb": process_peak_mb(),
    }
    Path(out).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
