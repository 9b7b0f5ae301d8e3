"""Ways to read a metrics topic to its end, each in a process of its own: `… WAY SETTINGS`."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, TopicPartition

from benchmarks.measure import in_own_process, process_peak_mb
from holdfast.live.clients import admin, consumer
from holdfast.live.records import content_type_of
from holdfast.live.settings import Settings, load_settings
from holdfast.live.telemetry import Telemetry
from holdfast.live.workers import Worker
from streams.wire.decoding import decode

_BATCH: Final = 8
"""Messages at a time: more, and large ones no longer fit the processor's cache."""

_MIDDLE: Final = (0.3, 0.8)
"""The part of the samples that is measured as the steady state."""

_MARK_SAMPLES: Final = 1_000


@dataclass(slots=True)
class Meter:
    """Counts samples, and notes every now and then how many there were and what they had cost."""

    seen: int = 0
    marks: list[tuple[int, float]] = field(default_factory=list)

    def count(self, samples: int) -> None:
        """Count samples."""
        self.seen += samples
        if not self.marks or self.seen - self.marks[-1][0] >= _MARK_SAMPLES:
            self.marks.append((self.seen, time.process_time()))

    def steady_ns(self) -> float:
        """Return what a sample costs in the middle of the run, in nanoseconds.

        By then all is warm; and at both ends of it the client has fetched as much ahead as it may.
        """
        first, last = (next(mark for mark in self.marks if mark[0] >= part * self.seen) for part in _MIDDLE)
        return 1e9 * (last[1] - first[1]) / (last[0] - first[0])


class Counted(Telemetry):
    """Counts samples."""

    def __init__(self, role: str, worker: str) -> None:
        super().__init__(role, worker)
        self.meter = Meter()

    @property
    def seen(self) -> int:
        """Samples so far."""
        return self.meter.seen

    def samples(self, _topic: str, _wire_format: str, count: int) -> None:
        """See `Telemetry`."""
        self.meter.count(count)


def _end(settings: Settings, topic: str) -> int:
    reader = consumer(settings, "benchmark-end")
    return int(reader.get_watermark_offsets(TopicPartition(topic, 0), 10.0)[1])


def _assigned(settings: Settings, topic: str) -> Consumer:
    reader = consumer(settings, "benchmark-bare")
    reader.assign([TopicPartition(topic, 0, 0)])
    return reader


def bare(settings: Settings) -> Meter:
    """Consume and decode, and do nothing with it."""
    topic = settings.metrics[0].topic
    end, reader, meter, at = _end(settings, topic), _assigned(settings, topic), Meter(), 0
    while at < end:
        for message in reader.consume(_BATCH, 1.0):
            if message.error() is None:
                at = (message.offset() or 0) + 1
                meter.count(len(decode(message.value() or b"", content_type_of(message)).time))
    return meter


def aggregate(settings: Settings) -> Meter:
    """Run the aggregate's own loop, transactions and all, until it has read everything."""
    topic = settings.metrics[0].topic
    end = _end(settings, topic)
    counted = Counted("aggregate", settings.worker)
    loop = Worker(settings, "aggregate", telemetry=counted).loop
    loop.begin()
    while loop.position(topic, 0) < end:
        loop.once()
    loop.end()
    return counted.meter


def per_sample(settings: Settings) -> Meter:
    """Consume messages of one sample each, as JSON, and add them up one by one: what many write at first."""
    topic = settings.metrics[0].topic
    end, reader, meter, at = _end(settings, topic), _assigned(settings, topic), Meter(), 0
    sums: dict[tuple[int, str, str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    while at < end:
        for message in reader.consume(_BATCH, 1.0):
            if message.error() is None:
                at = (message.offset() or 0) + 1
                sample = msgspec.json.decode(message.value() or b"")
                tick = -(-int(sample["time"]) // 10_000)
                cell = sums[tick, sample["metric"], sample["colo"], sample["cohort"]]
                cell[0] += 1
                cell[1] += sample["value"]
                cell[2] += sample["value"] ** 2
                meter.count(1)
    return meter


WAYS: Final[dict[str, Callable[[Settings], Meter]]] = {"bare": bare, "aggregate": aggregate, "per_sample": per_sample}


def measured(path: Path, way: str) -> dict[str, Any]:
    """Read in one of the ways, in a process of its own, and return what it cost."""
    return in_own_process("benchmarks.pipeline.reading", way, str(path))


def millions(found: dict[str, Any]) -> float:
    """Return millions of samples a second of processor time, that is of one core, the start included."""
    return float(found["samples"]) / float(found["cpu_s"]) / 1e6


def steady_millions(found: dict[str, Any]) -> float:
    """Return millions of samples a second of processor time, once all is warm."""
    return 1e3 / float(found["steady_ns"])


def main() -> None:
    """Read, and print as JSON what it cost: a sample in the steady state, and what came on top of that once."""
    way, path = sys.argv[1:3]
    settings = load_settings(Path(path), {"HOLDFAST_WORKER": "benchmark"})
    admin(settings).list_topics(timeout=10.0)
    wall, cpu = time.perf_counter(), time.process_time()
    meter = WAYS[way](settings)
    whole, steady_ns = time.process_time() - cpu, meter.steady_ns()
    result: dict[str, Any] = {
        "samples": meter.seen,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": whole,
        "steady_ns": steady_ns,
        "once_s": max(0.0, whole - steady_ns * meter.seen / 1e9),
        "peak_mb": process_peak_mb(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
