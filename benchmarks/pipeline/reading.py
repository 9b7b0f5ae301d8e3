"""Ways to read a metrics topic to its end, each in a process of its own: `… WAY SETTINGS SAMPLES`."""

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

from benchmarks.measure import process_peak_mb
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


@dataclass(slots=True)
class Marks:
    """What the middle of a run cost, when all is warm and the client has fetched as much ahead as it may.

    `samples` and `cpu_s` are where it begins and ends, of `total` samples.
    """

    total: int
    seen: int = 0
    samples: list[int] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def count(self, samples: int) -> None:
        """Count samples, and note what they cost up to here when the middle begins or ends."""
        self.seen += samples
        if len(self.samples) < len(_MIDDLE) and self.seen >= _MIDDLE[len(self.samples)] * self.total:
            self.samples.append(self.seen)
            self.cpu_s.append(time.process_time())


class Counted(Telemetry):
    """Counts samples."""

    def __init__(self, marks: Marks) -> None:
        super().__init__("aggregate", "benchmark")
        self._marks = marks

    def samples(self, _topic: str, count: int) -> None:
        """See `Telemetry`."""
        self._marks.count(count)


def _end(settings: Settings, topic: str) -> int:
    reader = consumer(settings, "benchmark-end")
    return int(reader.get_watermark_offsets(TopicPartition(topic, 0), 10.0)[1])


def _assigned(settings: Settings, topic: str) -> Consumer:
    reader = consumer(settings, "benchmark-bare")
    reader.assign([TopicPartition(topic, 0, 0)])
    return reader


def bare(settings: Settings, marks: Marks) -> None:
    """Consume and decode, and do nothing with it."""
    topic = settings.metrics[0].topic
    end, reader, at = _end(settings, topic), _assigned(settings, topic), 0
    while at < end:
        for message in reader.consume(_BATCH, 1.0):
            if message.error() is None:
                at = (message.offset() or 0) + 1
                marks.count(len(decode(message.value() or b"", content_type_of(message)).time))


def aggregate(settings: Settings, marks: Marks) -> None:
    """Run the aggregate's own loop, transactions and all, until it has read everything."""
    topic = settings.metrics[0].topic
    end = _end(settings, topic)
    loop = Worker(settings, "aggregate", telemetry=Counted(marks)).loop
    loop.begin()
    while loop.position(topic, 0) < end:
        loop.once()
    loop.end()


def per_sample(settings: Settings, marks: Marks) -> None:
    """Consume messages of one sample each, as JSON, and add them up one by one: what many write at first."""
    topic = settings.metrics[0].topic
    end, reader, at = _end(settings, topic), _assigned(settings, topic), 0
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
                marks.count(1)


WAYS: Final[dict[str, Callable[[Settings, Marks], None]]] = {"bare": bare, "aggregate": aggregate, "per_sample": per_sample}


def main() -> None:
    """Read, and print as JSON what it cost: a sample in the steady state, and all that comes on top of that once."""
    way, path, total = sys.argv[1:4]
    settings, marks = load_settings(Path(path), {"HOLDFAST_WORKER": "benchmark"}), Marks(int(total))
    admin(settings).list_topics(timeout=10.0)
    wall, cpu = time.perf_counter(), time.process_time()
    WAYS[way](settings, marks)
    whole = time.process_time() - cpu
    ns = (marks.cpu_s[1] - marks.cpu_s[0]) / (marks.samples[1] - marks.samples[0])
    result: dict[str, Any] = {
        "samples": marks.seen,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": whole,
        "steady_ns": 1e9 * ns,
        "start_s": whole - ns * marks.seen,
        "peak_mb": process_peak_mb(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
