"""A judge in a process of its own that says what happens to it, as JSON on a line each: `… SETTINGS WORKER`.

`at_s` is by the machine's monotonic clock, so that whoever started the process can put its own beside it.
"""

import json
import signal
import sys
import time
from pathlib import Path

from benchmarks.measure import process_peak_mb
from holdfast.live.settings import load_settings
from holdfast.live.telemetry import Telemetry
from holdfast.live.workers import Worker


def _say(what: str, **more: float) -> None:
    print(json.dumps({"what": what, "at_s": time.monotonic(), "cpu_s": time.process_time()} | more), flush=True)


class Told(Telemetry):
    """Says the steps of coming back, each once, and then each decision and each checkpoint when it is committed."""

    def __init__(self, worker: str) -> None:
        super().__init__("judge", worker)
        self._is_assigned = self._is_loaded = self._is_restored = False
        self._decided = self._checkpoint = 0

    def rebalance(self, kind: str, _partitions: int) -> None:
        """See `Telemetry`."""
        if kind == "assigned" and not self._is_assigned:
            self._is_assigned = True
            _say("assigned")

    def alive(self) -> None:
        """See `Telemetry`: the first time after an assignment, checkpoints have been read."""
        if self._is_assigned and not self._is_loaded:
            self._is_loaded = True
            _say("loaded")

    def tick_judged(self, _samples: int, _dropped: object) -> None:
        """See `Telemetry`: the first time, the state has been taken up."""
        if not self._is_restored:
            self._is_restored = True
            _say("restored")

    def decided(self, _seconds: float, _action: str | None) -> None:
        """See `Telemetry`."""
        self._decided += 1

    def checkpoint(self, _rollout: str, size: int) -> None:
        """See `Telemetry`."""
        self._checkpoint = size

    def transaction(self, _seconds: float, *, is_committed: bool, records: int = 0) -> None:
        """See `Telemetry`."""
        if is_committed and records and self._decided:
            _say("decided", ticks=self._decided, peak_mb=process_peak_mb())
        if is_committed and records and self._checkpoint:
            _say("checkpoint", bytes=self._checkpoint)
        self._decided = self._checkpoint = 0


def main() -> None:
    """Judge until SIGTERM."""
    _say("imported")
    path, name = sys.argv[1:3]
    worker = Worker(load_settings(Path(path), {"HOLDFAST_WORKER": name}), "judge", telemetry=Told(name))
    signal.signal(signal.SIGTERM, lambda *_: worker.loop.stop())
    _say("made")
    worker.loop.run()


if __name__ == "__main__":
    main()
