"""What a worker counts of itself, for Prometheus.

Each worker has a registry of its own, so that several roles in one process, or many workers in one test, do not mix.
Loops call once a batch, never once a sample. Whatever names come from outside (topics, colos, rollouts, reasons) are
bounded in number: a metrics page must not grow with what somebody sends.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from holdfast.wall import now_ms

NAMES_MAX: Final = 1_000
"""Most values of a label; whatever comes beyond them is counted under `other`."""

OTHER: Final = "other"

_WHO: Final = ("role", "worker")
_LATENCIES: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 60.0)


class Telemetry:
    """Counts of one worker. Its methods may be called from any thread.

    Parameters
    ----------
    role, worker
        Who is counted.
    names_max
        Most values of a label.
    """

    def __init__(self, role: str, worker: str, names_max: int = NAMES_MAX) -> None:
        self.role = role
        self.worker = worker
        self.registry = CollectorRegistry()
        self._names_max = names_max
        self._known: dict[str, set[str]] = {}
        self._alive = time.monotonic()
        self._lag = _Lag(role, worker, names_max)
        self.registry.register(self._lag)
        self._count_kafka()
        self._count_aggregate()
        self._count_judge()
        self._count_sink()
        silent = self._gauge("loop_silent_seconds", "Since the loop went round last; alert if it grows.")
        silent.labels(role, worker).set_function(lambda: self.silent_seconds)

    def _count_kafka(self) -> None:
        self._transactions = self._counter("transactions", "Kafka transactions by outcome.", "outcome")
        self._seconds = self._histogram("transaction_seconds", "Time from the begin to the commit of a transaction.")
        self._records = self._counter("records_out", "Messages in transactions that were committed.")
        self._rebalances = self._counter("rebalances", "Changes of the assignment by kind.", "kind")
        self._rejoins = self._counter("rejoins", "Times that the group was joined anew for partitions that nobody had.")
        self._assigned = self._gauge("partitions_assigned", "Partitions that this worker has.")
        self._dead = self._counter("dead_letters", "Messages put on the dead-letter topic by reason.", "reason")
        self._backlog = self._gauge("backlog_messages", "Messages not read yet; alert if it grows.", "topic")
        self._queued = self._gauge("producer_queue_messages", "Messages that wait in the producer.")

    def _count_aggregate(self) -> None:
        self._samples = self._counter(
            "samples", "Samples read, samples read again after a restart too.", "topic", "format"
        )
        self._dropped = self._counter("samples_dropped", "Samples that are in no tick, by reason.", "reason")
        self._closed = self._counter("ticks_closed", "Ticks closed, once for each policy and source partition.")
        self._open = self._gauge("ticks_open", "Ticks begun and not closed, once for each policy and source partition.")
        self._past_rollouts = self._gauge("past_rollouts", "Rollouts whose past is read, once for each partition.")
        self._past_messages = self._gauge("past_messages", "Messages of the past that are still to be read.")

    def _count_judge(self) -> None:
        self._ticks = self._counter("ticks_judged", "Ticks judged, once for each rollout.")
        self._judged = self._counter("samples_judged", "Samples in judged ticks, once for each rollout.")
        self._judge_dropped = self._counter(
            "samples_judged_dropped", "Samples that the journal reports as left out, by reason.", "reason"
        )
        self._latency = self._histogram("tick_to_verdict_seconds", "From a tick's last frame to its decision.")
        self._verdicts = self._counter("verdicts", "New verdicts by action.", "action")
        self._state = self._gauge("checkpoint_bytes", "Size of the last checkpoint.", "rollout")
        self._written = self._counter("checkpoint_written_bytes", "Bytes of checkpoints.")
        self._uncertified = self._gauge(
            "rollouts_uncertified", "Rollouts that never advance, for want of a gate certificate; alert on any."
        )
        self._unfit = self._counter("checkpoints_unfit", "Checkpoints not fit to go on from; alert on any.")

    def _count_sink(self) -> None:
        self._rows = self._counter("rows_stored", "Rows put into the store, repeated ones too.", "table")
        self._failures = self._counter("store_failures", "Refused attempts to store; alert on any.")
        self._breaker = self._gauge("store_breaker", "Whether the store is left alone: 0 no, 1 yes, 2 tried again.")

    # ------------------------------------------------------------ what every loop tells

    def alive(self) -> None:
        """Note that the loop goes round."""
        self._alive = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """Time since the loop went round last, or since its start."""
        return time.monotonic() - self._alive

    def transaction(self, seconds: float, *, is_committed: bool, records: int = 0) -> None:
        """Note a transaction, how long it took, and how many messages were in it."""
        self._transactions.labels(self.role, self.worker, "committed" if is_committed else "aborted").inc()
        if is_committed:
            self._seconds.labels(self.role, self.worker).observe(seconds)
            self._records.labels(self.role, self.worker).inc(records)

    def rebalance(self, kind: str, partitions: int) -> None:
        """Note that partitions were assigned, revoked or lost."""
        self._rebalances.labels(self.role, self.worker, kind).inc()
        self._assigned.labels(self.role, self.worker).inc(partitions if kind == "assigned" else -partitions)

    def rejoined(self) -> None:
        """Note that the group is joined anew, as partitions of it belonged to nobody."""
        self._rejoins.labels(self.role, self.worker).inc()

    def dead_letter(self, reason: str) -> None:
        """Note a message that could not be read."""
        self._dead.labels(self.role, self.worker, self._bounded("reason", reason)).inc()

    def queues(self, backlog: Mapping[str, int], waiting: int) -> None:
        """Note how many messages of each topic are not read yet, and how many wait to be sent."""
        for topic, count in backlog.items():
            self._backlog.labels(self.role, self.worker, self._bounded("topic", topic)).set(count)
        self._queued.labels(self.role, self.worker).set(waiting)

    # ------------------------------------------------------------ aggregate

    def samples(self, topic: str, wire_format: str, count: int) -> None:
        """Note samples that came in, and the format of the frame that they came in."""
        self._samples.labels(self.role, self.worker, self._bounded("topic", topic), wire_format).inc(count)

    def dropped(self, reasons: Mapping[str, int]) -> None:
        """Note samples that were left out, by reason."""
        for reason, count in reasons.items():
            self._dropped.labels(self.role, self.worker, self._bounded("reason", reason)).inc(count)

    def ticks_closed(self, count: int) -> None:
        """Note ticks that the aggregate has closed."""
        self._closed.labels(self.role, self.worker).inc(count)

    def ticks_open(self, count: int) -> None:
        """Note how many ticks have begun, by the middle one of the hosts, and are not closed."""
        self._open.labels(self.role, self.worker).set(count)

    def past(self, rollouts: int, messages: int) -> None:
        """Note of how many rollouts the past is read, once for each partition, and how many messages are left."""
        self._past_rollouts.labels(self.role, self.worker).set(rollouts)
        self._past_messages.labels(self.role, self.worker).set(messages)

    def open_partitions(self, newest_ms: Mapping[str, int | None]) -> None:
        """Note how far each source partition has come, in epoch milliseconds; None where nothing came yet."""
        self._lag.partitions = dict(newest_ms)

    def colos(self, newest_ms: Mapping[str, int]) -> None:
        """Note how far each colo has come, in epoch milliseconds."""
        self._lag.colos = dict(newest_ms)

    # ------------------------------------------------------------ judge

    def tick_judged(self, samples: int, dropped: Mapping[str, int]) -> None:
        """Note a tick that was judged, and what came of its samples."""
        self._ticks.labels(self.role, self.worker).inc()
        self._judged.labels(self.role, self.worker).inc(samples)
        for reason, count in dropped.items():
            self._judge_dropped.labels(self.role, self.worker, self._bounded("reason", reason)).inc(count)

    def decided(self, seconds: float, action: str | None) -> None:
        """Note how long after the close of its tick a tick was decided, and the action of a new verdict."""
        self._latency.labels(self.role, self.worker).observe(seconds)
        if action is not None:
            self._verdicts.labels(self.role, self.worker, action).inc()

    def checkpoint(self, rollout: str, size: int) -> None:
        """Note the size of a checkpoint, in bytes."""
        self._state.labels(self.role, self.worker, self._bounded("rollout", rollout)).set(size)
        self._written.labels(self.role, self.worker).inc(size)

    def checkpoint_unfit(self) -> None:
        """Note a checkpoint that did not fit, so that its rollout was judged again from the journal."""
        self._unfit.labels(self.role, self.worker).inc()

    def uncertified(self, rollouts: int) -> None:
        """Note how many rollouts are under way whose policy may let nothing advance."""
        self._uncertified.labels(self.role, self.worker).set(rollouts)

    # ------------------------------------------------------------ sink

    def stored(self, table: str, rows: int) -> None:
        """Note rows that were put into the store."""
        self._rows.labels(self.role, self.worker, table).inc(rows)

    def store_failure(self) -> None:
        """Note that the store refused."""
        self._failures.labels(self.role, self.worker).inc()

    def breaker(self, state: Literal["closed", "open", "half-open"]) -> None:
        """Note whether the store is left alone after failures."""
        self._breaker.labels(self.role, self.worker).set(("closed", "open", "half-open").index(state))

    def _bounded(self, label: str, value: str) -> str:
        """Return a value of a label, or `other` if there are too many already."""
        known = self._known.setdefault(label, set())
        if value not in known:
            if len(known) >= self._names_max:
                return OTHER
            known.add(value)
        return value

    # What has no further label stands there from the beginning, as 0: an alert on its growth needs something to grow.

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        made = Counter(f"holdfast_{name}", text, (*_WHO, *labels), registry=self.registry)
        if not labels:
            made.labels(self.role, self.worker)
        return made

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        made = Gauge(f"holdfast_{name}", text, (*_WHO, *labels), registry=self.registry)
        if not labels:
            made.labels(self.role, self.worker)
        return made

    def _histogram(self, name: str, text: str) -> Histogram:
        made = Histogram(f"holdfast_{name}", text, _WHO, registry=self.registry, buckets=_LATENCIES)
        made.labels(self.role, self.worker)
        return made


class _Lag(Collector):
    """How far event time is behind the clock on the wall: worked out when asked, so that it grows in silence too."""

    def __init__(self, role: str, worker: str, names_max: int) -> None:
        self._who = [role, worker]
        self._names_max = names_max
        self.partitions: dict[str, int | None] = {}
        self.colos: dict[str, int] = {}

    def describe(self) -> Iterable[Metric]:
        """Name nothing in advance."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the lags as they are now."""
        now = now_ms()
        known = {name: newest for name, newest in self.partitions.items() if newest is not None}
        yield self._lags("partition", "How far a source partition is behind the clock.", known, now)
        yield self._lags("colo", "How far a colo is behind the clock.", self.colos, now)
        idle = GaugeMetricFamily("holdfast_partitions_idle", "Partitions without any sample so far.", labels=_WHO)
        idle.add_metric(self._who, len(self.partitions) - len(known))
        yield idle

    def _lags(self, label: str, text: str, newest_ms: Mapping[str, int], now: int) -> Metric:
        """Give each its lag; of those that are too many, the largest one under `other`, so that none hides."""
        family = GaugeMetricFamily(f"holdfast_{label}_lag_seconds", text, labels=(*_WHO, label))
        names = sorted(newest_ms)
        for name in names[: self._names_max]:
            family.add_metric([*self._who, name], (now - newest_ms[name]) / 1_000)
        if rest := [now - newest_ms[name] for name in names[self._names_max :]]:
            family.add_metric([*self._who, OTHER], max(rest) / 1_000)
        return family


class Page(Collector):
    """The metrics of several workers on one page: a metric of many workers is one family.

    Parameters
    ----------
    registries
        What is put together.
    """

    def __init__(self, registries: Sequence[CollectorRegistry]) -> None:
        self._registries = list(registries)

    def collect(self) -> Iterator[Metric]:
        """Yield each metric once, with the samples of all workers."""
        merged: dict[str, Metric] = {}
        for registry in self._registries:
            for metric in registry.collect():
                if metric.name in merged:
                    merged[metric.name].samples.extend(metric.samples)
                else:
                    merged[metric.name] = metric
        yield from merged.values()
