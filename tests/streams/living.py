"""Logs for the live aggregate: rows cut into messages, and processes that come and go while they are read."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat

import msgspec
import numpy as np
import pyarrow as pa

from detectors.policy import Metric, Ratio
from streams.cohorts import CohortTicks
from streams.live.partition import Closed, Group, Marks, Partition
from streams.membership import Announced, Membership, Stage
from streams.recording import NO_TIME
from tests.samples import TICK_MS, Row, columns, gauge, policy

DIGEST = "sha256:0123456789abcdef"

METRICS = (
    gauge("cpu"),
    gauge("core"),
    Metric(name="errors", ratio=Ratio(bad="bad", total="all"), worse="increase", breach="revert"),
    Metric(name="rate", counter="all", worse="increase", breach="halt"),
    Metric(name="core_rate", counter="core_all", worse="increase", breach="halt"),
    Metric(name="lost", counter="lost", worse="increase", breach="halt", temporality="delta"),
    Metric(name="latency", histogram="seconds", quantile=0.9, worse="increase", breach="revert"),
    Metric(name="core1", gauge="core", worse="increase", breach="halt", select={"core": "1"}),
)
"""A metric of every kind, with one series a unit and with several."""

Message = Sequence[Row]


def group(
    *metrics: Metric,
    stages: Sequence[Stage] = (),
    rollouts: Sequence[Sequence[Stage]] = (),
    digest: str = DIGEST,
    gap: int = 5,
    lateness: int = 3,
    ahead: int = 60,
    tick_ms: int = TICK_MS,
) -> Group:
    """Announce rollouts, named r, r1, r2 and so on, that one policy judges."""
    announced = tuple(
        Announced(f"r{index or ''}", plan, f"rollout{index or ''}.yaml")
        for index, plan in enumerate(rollouts or [stages])
    )
    return Group(digest, policy(*metrics, gap=gap, lateness=lateness, ahead=ahead), tick_ms, announced)


def cut(rows: Sequence[Row], sizes: Iterable[int]) -> list[Message]:
    """Cut rows into messages of some sizes."""
    messages: list[Message] = []
    start = 0
    for size in sizes:
        if start >= len(rows):
            break
        messages.append(rows[start : start + size])
        start += size
    return messages


@dataclass
class Broker:
    """What outlives a process: the log, what came out of it, and what was put down to go on.

    `announced` are the groups, each with the message before which it was announced.
    """

    log: Sequence[Message]
    announced: Sequence[tuple[int, Group]]
    closed: list[Closed] = field(default_factory=list)
    series: list[pa.Table] = field(default_factory=list)
    metadata: bytes | None = None
    offset: int = 0
    position: int = 0
    known_to: int = 0

    def opened(self) -> Partition:
        """Begin as a new process does."""
        marks = None if self.metadata is None else msgspec.json.decode(self.metadata, type=Marks)
        partition = Partition(marks, self.series)
        partition.announce(self._groups(self.position))
        self.known_to = self.position
        return partition

    def _groups(self, position: int) -> list[Group]:
        return [group for at, group in self.announced if at <= position]

    def read(self, partition: Partition, start: int, stop: int) -> None:
        """Take messages; what is announced on the way, is."""
        for offset in range(start, stop):
            if any(at == offset > self.known_to for at, _ in self.announced):
                partition.announce(self._groups(offset))
            partition.push(columns(self.log[offset]), offset)

    def commit(self, partition: Partition, position: int) -> None:
        """Put down all that came of the messages before `position`."""
        self.closed += partition.close()
        series = partition.new_series()
        if series is not None:
            self.series.append(series)
        needed = partition.offset()
        self.offset, self.position = position if needed is None else needed, position
        self.metadata = msgspec.json.encode(partition.marks(position))

    def run(self, partition: Partition, polls: Iterator[int], until: int | None = None) -> None:
        """Take messages before `until`, so many at a poll, from where the log has to be read."""
        stop, at = len(self.log) if until is None else until, self.offset
        while at < stop:
            after = min(at + next(polls), stop)
            self.read(partition, at, after)
            at = after
            if at >= self.position:
                self.commit(partition, at)


def live(
    log: Sequence[Message],
    *groups: Group,
    polls: Iterable[int] = (),
    crashes: Sequence[int] = (),
    later: Sequence[tuple[int, Group]] = (),
    end_ms: int | None = None,
) -> Broker:
    """Send a log through a partition; at the end, patience passes `end_ms`.

    At `crashes` a process dies: it has read some more of the log, and none of what came of it is left.
    """
    broker = Broker(log, [*((0, group) for group in groups), *later])
    sizes = iter(polls or repeat(1))
    partition = broker.opened()
    for stop in crashes:
        broker.run(partition, sizes, until=max(stop, broker.position))
        broker.read(partition, broker.position, min(broker.position + 3, len(log)))
        partition.close()
        partition = broker.opened()
    broker.run(partition, sizes)
    if end_ms is not None:
        partition.advance(end_ms)
        broker.commit(partition, len(log))
    return broker


Place = tuple[int, float, str, str, tuple[int, ...], int]
Sums = dict[Place, bytes]


@dataclass(frozen=True, slots=True)
class Told:
    """What a group's blocks say, however they were cut: sums that are not all zero, ticks, samples and drops."""

    sums: Sums
    ticks: list[int]
    samples: dict[int, int]
    dropped: Counter[str]
    disputed: list[int]

    @property
    def counted(self) -> int:
        return sum(self.samples.values()) + self.dropped.total()


def told(blocks: Iterable[Closed], digest: str = DIGEST) -> Told:
    """Gather what came of a group."""
    found = Told({}, [], {}, Counter(), [])
    for block in blocks:
        if block.digest != digest:
            continue
        ticks = range(block.ticks.first, block.ticks.first + block.ticks.ticks)
        assert list(block.ticks.keys) == sorted(block.ticks.keys)
        found.sums.update(spelled(block.ticks, [tuple(row) for row in block.signatures.tolist()]))
        found.ticks.extend(ticks)
        found.samples.update(zip(ticks, block.samples.tolist(), strict=True))
        found.dropped.update(block.dropped)
        found.disputed.extend(tick for tick, flag in zip(ticks, block.is_disputed, strict=True) if flag)
    return found


def spelled(ticks: CohortTicks, signatures: Sequence[tuple[int, ...]]) -> Sums:
    """Spell out sums by metric, edge, colo, region, what the signature says, and tick."""
    return {
        (key.metric, key.edge, key.colo, key.region, signatures[key.signature], ticks.first + column): sums.tobytes()
        for index, key in enumerate(ticks.keys)
        for column in range(ticks.ticks)
        if (sums := ticks.values[:, index, column]).any()
    }


def signatures_of(memberships: Sequence[Membership]) -> list[tuple[int, ...]]:
    """Write the signatures of a replay as those of the live aggregate are."""
    return [
        tuple(int(value) for reached, controls in each for value in (reached, *controls))
        for each in zip(*(membership.signatures for membership in memberships), strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Fleet:
    """Hosts that send some of everything: they come up and fall silent, miss scrapes, restart, and send twice.

    If `is_wild` they are also relabelled, their clocks go wrong, and what they send is late, shuffled or says nothing.
    """

    seed: int
    is_wild: bool = False

    def rows(self) -> list[Row]:
        """Return the samples in the order in which they arrive."""
        rng = np.random.default_rng(self.seed)
        arrivals: list[tuple[float, int, Row]] = []
        ticks, hosts = int(rng.integers(6, 32)), int(rng.integers(2, 6))
        missed = float(rng.choice([0.0, 0.05, 0.3]))
        for host in range(hosts):
            for row, delay_ms in self._host(rng, host, ticks, missed):
                arrivals.append((row.time + delay_ms, len(arrivals), row))
        return [self._spoilt(rng, row) for _, _, row in sorted(arrivals, key=lambda each: each[:2])]

    def _host(self, rng: np.random.Generator, host: int, ticks: int, missed: float) -> Iterator[tuple[Row, float]]:
        begin = int(rng.integers(0, ticks // 2)) if host and rng.random() < 0.5 else 0
        end = int(rng.integers(ticks // 2, ticks)) if host > 1 and rng.random() < 0.3 else ticks
        flip = int(rng.integers(0, ticks)) if self.is_wild and rng.random() < 0.4 else ticks
        phase_ms = int(rng.integers(0, 9_000))
        wrong_ms = (
            int(rng.choice([3_600_000, -3_600_000, 25_000])) if host and self.is_wild and rng.random() < 0.2 else 0
        )
        for name in ("cpu", "core/0", "core/1", "bad", "all", "core_all/0", "core_all/1", "lost", "fan", *BUCKETS):
            metric, _, core = name.partition("/")
            metric, _, le = metric.partition("|")
            labels: dict[str, str | None] = {"metric": metric, "host": f"h{host}", "colo": "ams" if host < 3 else "fra"}
            labels |= {"core": core} if core else {}
            labels |= {"le": le} if le else {}
            value = float(rng.integers(0, 50))
            # A histogram begins whole, and the errors of a host not before its requests.
            first = begin + int(rng.integers(0, 8)) * (not le and metric != "all" and rng.random() < 0.2)
            for tick in range(first, end):
                value = self._next(rng, metric, value)
                if tick > first and rng.random() < missed:
                    continue
                labels["cohort"] = "canary" if host % 2 == 0 or tick >= flip else "control"
                if metric == "fan" and tick > ticks // 2:
                    labels["rack"] = "r1"  # a label that comes up on the way
                time = 5_000 * TICK_MS + (tick + 1) * TICK_MS - phase_ms
                late_ms = int(rng.integers(0, 6 * TICK_MS)) if self.is_wild and rng.random() < 0.05 else 0
                row = Row(time + wrong_ms, {**labels}, value)
                yield row, late_ms - wrong_ms
                if rng.random() < 0.02:
                    yield row._replace(value=value + 1), late_ms - wrong_ms

    def _next(self, rng: np.random.Generator, metric: str, value: float) -> float:
        if metric in ("cpu", "core"):
            return float(rng.normal()) * 10
        return float(rng.integers(0, 5)) if rng.random() < 0.05 else value + float(rng.integers(0, 9))

    def _spoilt(self, rng: np.random.Generator, row: Row) -> Row:
        if self.is_wild and rng.random() < 0.04:
            which = int(rng.integers(0, 4))
            if which < 2:
                return row._replace(value=(math.nan, math.inf)[which])
            return row._replace(time=NO_TIME) if which == 2 else row._replace(labels={**row.labels, "metric": None})
        return row


BUCKETS = ("seconds|1", "seconds|2", "seconds|+Inf")


def end_of(rows: Sequence[Row]) -> int:
    """Return the end of the last tick, also of ticks twice as long, of hosts whose clocks are right."""
    times = [row.time for row in rows if 5_000 * TICK_MS <= row.time < 5_060 * TICK_MS]
    return -(-max(times) // (2 * TICK_MS)) * 2 * TICK_MS
