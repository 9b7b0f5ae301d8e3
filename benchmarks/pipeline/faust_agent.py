"""The aggregate's job as a plain Faust agent, in a process of its own: `… WAY SETTINGS SAMPLES`.

It promises less than holdfast does: Faust's default, `at_least_once`, is left as it is, and a tick counts as closed as
soon as any sample of a later one has come.
"""

import asyncio
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import faust

from benchmarks.measure import process_peak_mb
from benchmarks.pipeline.workload import TICK_MS
from holdfast.live.settings import Settings, load_settings

BATCH: Final = 1_000
BATCH_SECONDS: Final = 0.1

Key = tuple[int, str, str, str]
"""Tick, metric, colo, cohort."""


@dataclass(slots=True)
class Job:
    """The sums of open ticks in a table, and closed ticks on a topic."""

    sums: Any
    ticks: Any
    samples: int
    done: asyncio.Event = field(default_factory=asyncio.Event)
    seen: int = 0
    newest: int = 0

    async def add(self, key: Key, count: int, total: float) -> None:
        """Add samples to a cohort's tick, and send what is closed."""
        before = self.sums.get(key)
        self.sums[key] = [count, total] if before is None else [before[0] + count, before[1] + total]
        if key[0] > self.newest:
            await self._close(key[0])
        self.seen += count
        if self.seen >= self.samples:
            self.done.set()

    async def _close(self, newest: int) -> None:
        self.newest = newest
        for key in [key for key in self.sums.keys() if key[0] < newest]:  # noqa: SIM118 - a table of Faust
            tick, metric, colo, cohort = key
            count, total = self.sums.pop(key)
            cell = {"tick": tick, "metric": metric, "colo": colo, "cohort": cohort, "count": count, "sum": total}
            await self.ticks.send(key=colo, value=cell | {"mean": total / count})


def _key(sample: dict[str, Any]) -> Key:
    return -(-int(sample["time"]) // TICK_MS), sample["metric"], sample["colo"], sample["cohort"]


def _samples(message: Any) -> Iterable[dict[str, Any]]:
    return message if isinstance(message, list) else (message,)


def by_message(job: Job) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """Return the agent of Faust's own guide: message by message, and the table is written for each sample."""

    async def aggregate(stream: AsyncIterator[Any]) -> None:
        async for message in stream:
            for sample in _samples(message):
                await job.add(_key(sample), 1, sample["value"])

    return aggregate


def by_batch(job: Job) -> Callable[[Any], Coroutine[Any, Any, None]]:
    """Return one that takes many messages at a time, adds them up, and writes the table once for each cohort."""

    async def aggregate(stream: Any) -> None:
        async for messages in stream.take(BATCH, within=BATCH_SECONDS):
            sums: dict[Key, list[float]] = defaultdict(lambda: [0, 0.0])
            for message in messages:
                for sample in _samples(message):
                    cell = sums[_key(sample)]
                    cell[0] += 1
                    cell[1] += sample["value"]
            for key, (count, total) in sorted(sums.items()):
                await job.add(key, int(count), total)

    return aggregate


WAYS: Final = {"by_message": by_message, "by_batch": by_batch}


async def run(way: str, settings: Settings, samples: int) -> None:
    """Run the agent until it has seen all samples, print what that cost as JSON, and end the process."""
    wall, cpu = time.perf_counter(), time.process_time()
    name = f"{settings.prefix}-{way.replace('_', '-')}"
    app = faust.App(
        name,
        broker=f"kafka://{settings.kafka['bootstrap.servers']}",
        store="memory://",
        value_serializer="json",
        topic_partitions=1,
        topic_replication_factor=1,
        producer_linger=0.02,
        web_enabled=False,
    )
    topic = app.topic(settings.metrics[0].topic, key_serializer="raw", internal=True)
    ticks = app.topic(f"{name}-ticks", key_serializer="raw")
    # Inside of `take`, Faust does not know which message a table is written for.
    job = Job(app.Table("sums", use_partitioner=way == "by_batch"), ticks, samples)
    app.agent(topic)(WAYS[way](job))
    await app.start()
    await ticks.maybe_declare()
    await job.done.wait()
    result = {
        "samples": job.seen,
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_mb": process_peak_mb(),
    }
    print(json.dumps(result), flush=True)
    os._exit(0)  # to stop in good order takes Faust up to a minute, which is not what is measured here


def main() -> None:
    """Read everything, and print what it cost as JSON."""
    way, path, samples = sys.argv[1:4]
    settings = load_settings(Path(path), {"HOLDFAST_WORKER": "benchmark"})
    asyncio.run(run(way, settings, int(samples)))


if __name__ == "__main__":
    main()
