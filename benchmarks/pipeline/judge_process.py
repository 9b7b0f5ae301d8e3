"""A judge in a process of its own, that writes down how long each tick took: `… SETTINGS WORKER OUT`."""

import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from benchmarks.measure import process_peak_mb
from holdfast.live.settings import load_settings
from holdfast.live.workers import Worker


def main() -> None:
    """Judge until SIGTERM."""
    path, name, out = sys.argv[1:4]
    settings = load_settings(Path(path), {"HOLDFAST_WORKER": name})
    worker = Worker(settings, "judge")
    latencies: list[tuple[float, str | None]] = []
    sizes: list[int] = []
    transactions: list[float] = []
    ready: list[float] = []
    telemetry = worker.telemetry
    started = time.monotonic()

    def decided(seconds: float, action: str | None) -> None:
        if not ready:
            ready.append(time.monotonic() - started)
        latencies.append((seconds, action))

    def transaction(seconds: float, *, is_committed: bool, records: int = 0) -> None:  # noqa: ARG001, not of interest
        if is_committed:
            transactions.append(seconds)

    telemetry.decided = decided  # type: ignore[method-assign]
    telemetry.transaction = transaction  # type: ignore[method-assign]
    telemetry.checkpoint = lambda _rollout, size: sizes.append(size)  # type: ignore[method-assign]

    def stop(_number: int, _frame: FrameType | None) -> None:
        worker.loop.stop()

    signal.signal(signal.SIGTERM, stop)
    worker.loop.run()
    result = {
        "latencies": latencies,
        "checkpoints": sizes,
        "transactions": transactions,
        "first_decision_s": ready[0] if ready else None,
        "cpu_s": time.process_time(),
        "peak_mb": process_peak_mb(),
    }
    Path(out).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
