"""How benchmarks measure: best of several runs, peak memory in a process of its own, and plain tables."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def best_seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the shortest of several runs, in processor time of this process.

    What disturbs a run only ever makes it longer, and what else the machine is busy with does not count.
    """
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds)


def traced_peak_mb(run: Callable[[], object]) -> float:
    """Return the most memory that a run held at once, in megabytes, apart from what was there before it."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def process_peak_mb() -> float:
    """Return the most memory that this process was ever given, in megabytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # where getrusage counts what the parent had when it was forked, too
        kilobytes = [line.split()[1] for line in status.read_text(encoding="ascii").splitlines() if "VmHWM" in line]
        return int(kilobytes[0]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def in_own_process(module: str, *arguments: str) -> dict[str, Any]:
    """Run `python -m module arguments`, and return the JSON object on the last line that it prints."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def machine(*packages: str) -> str:
    """Name the machine and the versions that figures hold for."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"Python {platform.python_version()}, {versions}; {_processor()}, {cores()} cores, {platform.system()}"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows under a header: the first column to the left, figures to the right."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = []
    for row in (header, *rows):
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([first, *rest]).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def against(value: float, goal: float, *, is_most: bool) -> str:
    """Say whether a figure keeps to its goal, which is the most or the least that it may be."""
    kept = value <= goal if is_most else value >= goal
    return f"goal: at {'most' if is_most else 'least'} {goal:g}: {'kept' if kept else 'MISSED'}"
