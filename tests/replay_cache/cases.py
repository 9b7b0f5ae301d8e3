"""A small recording, and what a replay of it leaves behind."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from detectors.verdict import Verdict
from holdfast.replaying import replay_recording
from sinks.arrow_stream import stream
from streams.cache import Cache
from streams.fleet import Fleet
from streams.recording import MetricsFile
from streams.replay import Progress

SMALL: Final = Fleet(seed=5, colos=3, hosts=4, canary_hosts=1, pre_ticks=40, live_ticks=40, hurt=1, scenario="errors")
ROWS: Final = 1 << 12  # several blocks, though the recording is small


class Kept:
    """A sink that remembers what it got."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []
        self.verdicts: list[tuple[str, int, Verdict]] = []

    def cohort_ticks(self, table: pa.Table) -> None:
        self.tables.append(table)

    def evidence(self, table: pa.Table) -> None:
        self.tables.append(table)

    def ticks(self, table: pa.Table) -> None:
        self.tables.append(table)

    def verdict(self, rollout: str, time_ms: int, verdict: Verdict) -> None:
        self.verdicts.append((rollout, time_ms, verdict))


class Unread:
    """A recording whose samples must not be read."""

    def __init__(self, path: Path) -> None:
        file = MetricsFile(path / "metrics.parquet")
        self.name, self.labels, self.rows, self.identity = file.name, file.labels, file.rows, file.identity

    def read(self, rows: int = 0, columns: Sequence[str] | None = None) -> Any:
        message = f"{rows} of {columns} were asked for"
        raise AssertionError(message)


def entries(cache: Cache) -> list[Path]:
    return sorted(path for path in cache.folder.iterdir() if path.suffix == ".arrow")


class Whole(NamedTuple):
    """Everything that comes out of a replay."""

    outcome: bytes
    tables: list[bytes]
    verdicts: list[tuple[str, int, Verdict]]
    progress: list[Progress]


def whole(path: Path, cache: Cache | None, rows: int = ROWS) -> Whole:
    kept, progress = Kept(), list[Progress]()
    outcome = replay_recording(path, cache=cache, beside=kept, observer=progress.append, rows=rows)
    return Whole(outcome.as_json(), [written(table) for table in kept.tables], kept.verdicts, progress)


def written(table: pa.Table) -> bytes:
    """A table to the last bit, NaN and all."""
    return stream(table)


def names(cache: Cache) -> list[str]:
    """Everything in the folder."""
    return sorted(path.name for path in cache.folder.iterdir())


def changed(recording: Path, file: str, old: str, new: str) -> None:
    text = (recording / file).read_text(encoding="utf-8")
    assert old in text
    (recording / file).write_text(text.replace(old, new), encoding="utf-8")


def spoil(path: Path, at: Callable[[int], int]) -> None:
    """Change one bit of a file, at a place that depends on its size."""
    content = bytearray(path.read_bytes())
    content[at(len(content))] ^= 4
    path.write_bytes(content)
