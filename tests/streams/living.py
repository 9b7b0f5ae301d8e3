"""Logs for the live aggregate: rows cut into messages, driven through partitions that may be interrupted."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pyarrow as pa

from detectors.policy import Metric, Policy
from streams.cohorts import CohortTicks
from streams.live.partition import Closed, Group, Marks, Partition
from streams.membership import Announced, Stage
from tests.samples import TICK_MS, Row, columns, policy

DIGEST = "sha256:0123456789abcdef"


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
    wanted = policy(*metrics, gap=gap, lateness=lateness, ahead=ahead)
    return Group(digest, wanted, tick_ms, announced)


Message = Sequence[Row]


def cut(rows: Sequence[Row], sizes: Iterable[int]) -> list[Message]:
    """Cut rows into messages of some sizes; what is left is the last one."""
    messages, start = [], 0
    for size in sizes:
        if start >= len(rows):
            break
        messages.append(rows[start : start + size])
        start += size
    return [*messages, rows[start:]] if start < len(rows) else messages


@dataclass
class Broker:
    """What survives a process: the log, what was committed of it, and what came out."""

    log: list[Message]
    groups: Sequence[Group]
    closed: list[Closed] = field(default_factory=list)
    known: list[pa.Table] = field(default_factory=list)
    metadata: bytes | None = None
    offset: int = 0
    position: int = 0

    def opened(self) -> Partition:
        """Begin where the last process has left off."""
        marks = None if self.metadata is None else msgspec.json.decode(self.metadata, type=Marks)
        partition = Partition(marks, self.known)
        partition.announce(self.groups)
        return partition

    def commit(self, partition: Partition, position: int) -> list[Closed]:
        """Put down all that has come of the messages before `position`."""
        closed = partition.close()
        self.closed += closed
        series = partition.new_series()
        if series is not None:
            self.known.append(series)
        needed = partition.offset()
        self.offset = position if needed is None else needed
        self.metadata = msgspec.json.encode(partition.marks(position))
        return closed

    def run(self, partition: Partition, polls: Iterable[int], until: int | None = None) -> Partition:
        """Take messages up to `until`, some at a poll."""
        stop = len(self.log) if until is None else until
        at = self.offset
        for size in polls:
            for offset in range(at, min(at + size, stop)):
                partition.push(columns(self.log[offset]), offset)
            at = min(at + size, stop)
            self.commit(partition, at)
            if at >= stop:
                break
        return partition


def live(
    log: Sequence[Message], *groups: Group, polls: Iterable[int] = (1 << 30,), end_ms: int | None = None
) -> Broker:
    """Send a log through one partition, and at the end have patience pass all of it."""
    broker = Broker(list(log), groups)
    partition = broker.run(broker.opened(), polls)
    finish(broker, partition, end_ms)
    return broker


def finish(broker: Broker, partition: Partition, end_ms: int | None) -> None:
    if end_ms is not None:
        partition.advance(end_ms)
        broker.commit(partition, len(broker.log))


Sums = dict[tuple[int, float, str, str, tuple[int, ...], int], bytes]


def sums_of(blocks: Iterable[Closed], digest: str = DIGEST) -> Sums:
    """Spell out sums by metric, edge, colo, region, what the signature says, and tick; what is all zero is left out."""
    found: Sums = {}
    for block in blocks:
        if block.digest == digest:
            rows = [tuple(row) for row in block.signatures.tolist()]
            found |= _spelled(block.ticks, rows)
    return found


def replayed_sums(ticks: CohortTicks, memberships: Sequence[object]) -> Sums:
    """Spell out the sums of a replay alike."""
    signatures = range(len(memberships[0].signatures))  # type: ignore[attr-defined]
    rows = []
    for signature in signatures:
        row: list[int] = []
        for membership in memberships:
            reached, controls = membership.signatures[signature]  # type: ignore[attr-defined]
            row += [reached, *(int(flag) for flag in controls)]
        rows.append(tuple(row))
    return _spelled(ticks, rows)


def _spelled(ticks: CohortTicks, rows: Sequence[tuple[int, ...]]) -> Sums:
    return {
        (key.metric, key.edge, key.colo, key.region, rows[key.signature], ticks.first + column): sums.tobytes()
        for index, key in enumerate(ticks.keys)
        for column in range(ticks.ticks)
        if (sums := ticks.values[:, index, column]).any()
    }


def dropped_of(blocks: Iterable[Closed], digest: str = DIGEST) -> Counter[str]:
    """Add up what was dropped."""
    found: Counter[str] = Counter()
    for block in blocks:
        if block.digest == digest:
            found.update(block.dropped)
    return found


def samples_of(blocks: Iterable[Closed], digest: str = DIGEST) -> dict[int, int]:
    """Return the samples in each tick that has any."""
    counts: dict[int, int] = {}
    for block in blocks:
        if block.digest == digest:
            for column, count in enumerate(block.samples.tolist()):
                assert block.ticks.first + column not in counts
                counts[block.ticks.first + column] = count
    return {tick: count for tick, count in counts.items() if count}


def policy_of(*metrics: Metric) -> Policy:
    """Judge some metrics as `group` does."""
    return policy(*metrics)


def ticks_of(blocks: Iterable[Closed], digest: str = DIGEST) -> list[int]:
    """Return the ticks that were closed, in order."""
    return [
        block.ticks.first + column for block in blocks if block.digest == digest for column in range(block.ticks.ticks)
    ]


def uint(rng: np.random.Generator, low: int, high: int) -> int:
    """Draw a whole number from `low` on and below `high`."""
    return int(rng.integers(low, high))
