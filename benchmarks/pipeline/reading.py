"""Ways to read a metrics topic to its end, each in a process of its own: `… WAY SETTINGS`."""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
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

_BATCH: Final = 100


class Counted(Telemetry):
    """Counts samples."""

    seen = 0

    def samples(self, _topic: str, _wire_format: str, count: int) -> None:
        """See `Telemetry`."""
        self.seen += count


def _end(settings: Settings, topic: str) -> int:
    reader = consumer(settings, "benchmark-end")
    return int(reader.get_watermark_offsets(TopicPartition(topic, 0), 10.0)[1])


def _assigned(settings: Settings, topic: str) -> Consumer:
    reader = consumer(settings, "benchmark-bare")
    reader.assign([TopicPartition(topic, 0, 0)])
    return reader


def bare(settings: Settings) -> int:
    """Consume and decode, and do nothing with it."""
    topic = settings.metrics[0].topic
    end, reader, count, at = _end(settings, topic), _assigned(settings, topic), 0, 0
    while at < end:
        for message in reader.consume(_BATCH, 1.0):
            if message.error() is None:
                at = (message.offset() or 0) + 1
                count += len(decode(message.value() or b"", content_type_of(message)).time)
    return count


def aggregate(settings: Settings) -> int:
    """Run the aggregate's own loop, transactions and all, until it has read everything."""
    topic = settings.metrics[0].topic
    end = _end(settings, topic)
    counted = Counted("aggregate", settings.worker)
    loop = Worker(settings, "aggregate", telemetry=counted).loop
    loop.begin()
    while loop.position(topic, 0) < end:
        loop.once()
    loop.end()
    return counted.seen


def per_sample(settings: Settings) -> int:
    """Consume messages of one sample each, as JSON, and add them up one by one: what many write at first."""
    topic = settings.metrics[0].topic
    end, reader, count, at = _end(settings, topic), _assigned(settings, topic), 0, 0
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
                count += 1
    return count


WAYS: Final[dict[str, Callable[[Settings], int]]] = {"bare": bare, "aggregate": aggregate, "per_sample": per_sample}


def measured(path: Path, way: str) -> dict[str, Any]:
    """Read in one of the ways, in a process of its own, and return what it cost."""
    return in_own_process("benchmarks.pipeline.reading", way, str(path))


def millions(found: dict[str, Any]) -> float:
    """Return millions of samples a second of processor time, that is of one core."""
    return float(found["samples"]) / float(found["cpu_s"]) / 1e6


def main() -> None:
    """Read, and print what it cost as JSON."""
    way, path = sys.argv[1:3]
    settings = load_settings(Path(path), {"HOLDFAST_WORKER": "benchmark"})
    admin(settings).list_topics(timeout=10.0)
    wall, cpu = time.perf_counter(), time.process_time()
    count = WAYS[way](settings)
    result: dict[str, Any] = {
        "samples": count,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": process_peak_mb(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
