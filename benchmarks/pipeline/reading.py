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

from benchmarks.measure import process_peak_mb
from holdfast.live.clients import admin, consumer
from holdfast.live.settings import Settings, load_settings
from holdfast.live.workers import Worker
from streams.wire.decoding import decode

_BATCH: Final = 100


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
                at = message.offset() + 1
                kind = dict(message.headers() or [])["content-type"]
                count += len(decode(message.value() or b"", bytes(kind or b"").decode()).time)
    return count


def aggregate(settings: Settings) -> int:
    """Run the aggregate's own loop, transactions and all, until it has read everything."""
    topic = settings.metrics[0].topic
    end = _end(settings, topic)
    worker = Worker(settings, "aggregate")
    seen = 0

    def samples(_topic: str, count: int) -> None:
        nonlocal seen
        seen += count

    worker.telemetry.samples = samples  # type: ignore[method-assign]
    loop = worker.loop
    loop.begin()
    while loop.position(topic, 0) < end:
        loop.once()
    loop.end()
    return seen


def per_sample(settings: Settings) -> int:
    """Consume messages of one sample each, as JSON, and add them up one by one: what many write at first."""
    topic = settings.metrics[0].topic
    end, reader, count, at = _end(settings, topic), _assigned(settings, topic), 0, 0
    sums: dict[tuple[int, str, str, str], list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    while at < end:
        for message in reader.consume(_BATCH, 1.0):
            if message.error() is None:
                at = message.offset() + 1
                sample = msgspec.json.decode(message.value() or b"")
                tick = -(-int(sample["time"]) // 10_000)
                cell = sums[tick, sample["metric"], sample["colo"], sample["cohort"]]
                cell[0] += 1
                cell[1] += sample["value"]
                cell[2] += sample["value"] ** 2
                count += 1
    return count


WAYS: Final[dict[str, Callable[[Settings], int]]] = {"bare": bare, "aggregate": aggregate, "per_sample": per_sample}


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
