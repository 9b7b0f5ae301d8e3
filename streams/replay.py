"""Replay: a recording through the same aggregate and judge that guard production."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice

from detectors.errors import BadInput
from detectors.policy import Policy
from detectors.verdict import Verdict
from streams.aggregate import Aggregate
from streams.cache import Cache, key_of
from streams.cache_entry import Block, Damaged, Entry, Head
from streams.cohorts import CohortTicks
from streams.journal import Journal, Ticked, tick_rows
from streams.judge import Judge
from streams.layout import build
from streams.membership import Announced, Membership, Stage, find_units, moving_labels, resolve
from streams.plan import Plan
from streams.recording import ROWS_PER_READ, Identified, Source
from streams.records import Sink
from streams.scan import Scan, in_steps, scan


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay has come.

    Attributes
    ----------
    time_ms
        End of the last judged tick.
    ticks, ticks_total
        Live ticks judged, and how many there will be at most.
    samples, samples_total
        Samples read, and rows in the file.
    log_e
        Per metric, the logarithm of its e-value.
    verdict
        The verdict in force.
    """

    rollout: str
    time_ms: int
    ticks: int
    ticks_total: int
    samples: int
    samples_total: int
    log_e: Mapping[str, float]
    verdict: Verdict | None


Observer = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Setting:
    """What is replayed: a rollout and the policy that judges it, as resolved from their documents.

    `stages` are in ticks of `tick_ms`; `place` and `policy_place` name the
    files of rollout and policy in error messages. `others` were under way at the same time.
    """

    rollout: str
    stages: tuple[Stage, ...]
    policy: Policy
    policy_digest: str
    engine: str
    binding: bool
    tick_ms: int
    place: str
    policy_place: str
    others: tuple[Announced, ...] = ()


@dataclass(slots=True)
class Result:
    """What came of a replay: verdicts with the end of the tick of each, ticks judged, samples read and dropped."""

    verdicts: list[tuple[int, Verdict]] = field(default_factory=list)
    ticks: int = 0
    samples: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def replay(
    metrics: Source,
    setting: Setting,
    *,
    sink: Sink | None = None,
    observer: Observer | None = None,
    rows: int = ROWS_PER_READ,
    cache: Cache | None = None,
) -> Result:
    """Replay samples.

    Parameters
    ----------
    metrics
        The samples.
    sink
        Takes the rows that judged ticks leave behind, and the verdicts.
    observer
        Is called after every judged tick.
    rows
        Samples decoded at a time; changes memory and speed, never a verdict.
    cache
        Keeps what the samples add up to, for the next replay; used for what is `Identified`.

    Raises
    ------
    BadInput
        If the recording cannot be judged.
    """
    reading = _Reading(metrics, setting, rows, cache)
    plan = _plan(setting, reading.head.membership, reading.head.last_ms)
    journal = Journal(sink, plan) if sink else None
    # A recording's rows are known before its first tick, so that no stage is begun anew.
    judge = Judge(plan, journal, live_ticks_max=0)
    result = Result()
    came = _Came()
    first_live = next(stage.started for stage in setting.stages if stage.started is not None)
    total = -(-reading.head.last_ms // setting.tick_ms) - first_live + 1
    for block in reading.blocks():
        result.samples, result.dropped = block.samples, block.dropped
        for judged in judge.push(block.ticks) if block.ticks else ():
            result.ticks += 1
            time_ms = judged.tick * setting.tick_ms
            if judged.verdict is not None:
                result.verdicts.append((time_ms, judged.verdict))
                if sink:
                    sink.verdict(setting.rollout, time_ms, judged.verdict)
            came.note(judged.tick, time_ms, block)
            if observer:
                newest = result.verdicts[-1][1] if result.verdicts else None
                progress = result.ticks, total, block.samples, metrics.rows
                observer(Progress(setting.rollout, time_ms, *progress, judged.log_e, newest))
    if journal and sink:
        journal.flush()
        sink.ticks(tick_rows(setting.rollout, came.ticks))
    return result


class _Came:
    """Keeps account of what came for each judged tick."""

    def __init__(self) -> None:
        self._dropped: Counter[str] = Counter()  # what `ticks` say so far
        self.ticks: list[Ticked] = []

    def note(self, tick: int, time_ms: int, block: Block) -> None:
        """Write down a tick of a block that was judged just now."""
        assert block.ticks is not None
        dropped = block.dropped - self._dropped
        self._dropped += dropped
        self.ticks.append(Ticked(time_ms, True, block.taken[tick - block.ticks.first], dropped))


class _Reading:
    """A recording as it is read: from the cache, or else from its samples, by which the cache then gets it."""

    def __init__(self, metrics: Source, setting: Setting, rows: int, cache: Cache | None) -> None:
        self._metrics, self._setting, self._rows, self._cache = metrics, setting, rows, cache
        identity = metrics.identity() if cache is not None and isinstance(metrics, Identified) else None
        self._key: str | None = None
        self._entry: Entry | None = None
        self._read: tuple[Scan, Aggregate] | None = None
        if cache is not None and identity is not None:
            rollouts = Announced(setting.rollout, setting.stages, setting.place), *setting.others
            self._key = key_of(identity, setting.policy, rollouts, setting.tick_ms, setting.engine, rows)
            self._entry = cache.find(self._key)
        if self._entry is None:
            self.head = self._scanned()
        else:
            self.head = self._entry.head
            _check_times(setting, self.head.first_ms, self.head.last_ms)

    def _scanned(self) -> Head:
        """Read the samples for the first time."""
        setting = self._setting
        found = scan(self._metrics, setting.policy.lateness_ticks * setting.tick_ms)
        _check_times(setting, found.first_ms, found.last_ms)
        aggregate, plan = prepare(setting, found, self._metrics.name)
        self._read = found, aggregate
        return Head(found.first_ms, found.last_ms, plan.membership)

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks, the end last."""
        done = 0
        if self._entry is not None and self._cache is not None:
            try:
                for block in self._entry.blocks():
                    yield block
                    done += 1
            except Damaged as error:
                self._cache.discard(self._entry.path, error)
            else:
                return
        # Samples that are the same add up to the same blocks, so those that were sound need not be judged again.
        yield from islice(self._from_samples(), done, None)

    def _from_samples(self) -> Iterator[Block]:
        """Read the samples for the second time, and keep what they add up to."""
        head = self._scanned() if self._read is None else self.head
        assert self._read is not None
        read = _blocks(self._metrics, *self._read, self._rows)
        yield from read if self._cache is None or self._key is None else self._cache.keep(self._key, head, read)


def _blocks(metrics: Source, found: Scan, aggregate: Aggregate, rows: int) -> Iterator[Block]:
    """Yield the cohort ticks of samples with what came for them, and the end."""
    for ticks in blocks(metrics, found, aggregate, rows):
        taken = [aggregate.taken(tick) for tick in range(ticks.first, ticks.first + ticks.ticks)]
        yield Block(ticks, aggregate.samples, aggregate.dropped, taken)
    yield Block(None, aggregate.samples, aggregate.dropped, [])


def blocks(metrics: Source, found: Scan, aggregate: Aggregate, rows: int = ROWS_PER_READ) -> Iterator[CohortTicks]:
    """Read samples for the second time, and yield its cohort ticks as they close."""
    for samples in in_steps(metrics, found.catalogue, rows, found.kept):
        yield from aggregate.push(*samples)
    yield from aggregate.finish()


def prepare(setting: Setting, found: Scan, metrics: str) -> tuple[Aggregate, Plan]:
    """Resolve who is canary and control, and lay the series out accordingly.

    Raises
    ------
    BadInput
        If a selector matches nothing, a stage has no control, or a metric of the policy has no series.
    """
    policy, tick_ms = setting.policy, setting.tick_ms
    units = find_units(found.catalogue, policy.unit, policy.region)
    rollouts = (Announced(setting.rollout, setting.stages, setting.place), *setting.others)
    membership = resolve(found.catalogue, units, rollouts, found.seen, tick_ms)[0]
    for index, stage in enumerate(setting.stages):
        if stage.started is not None and not membership.controls(index).any():
            msg = f"{setting.place}: stages[{index}]: every unit is a canary by then; none is left as a control"
            raise BadInput(msg)
    layout = build(found.catalogue, units, membership, policy, moving_labels(rollouts), (setting.policy_place, metrics))
    lateness_ms, ahead_ms = policy.lateness_ticks * tick_ms, policy.ahead_ticks_max * tick_ms
    aggregate = Aggregate(layout, units.of_series, tick_ms, lateness_ms, ahead_ms, policy.gap_ticks_max)
    return aggregate, _plan(setting, membership, found.last_ms)


def _plan(setting: Setting, membership: Membership, last_ms: int) -> Plan:
    return Plan(
        setting.rollout,
        setting.stages,
        membership,
        setting.policy,
        setting.policy_digest,
        setting.engine,
        setting.binding,
        setting.tick_ms,
        [_within(other, -(-last_ms // setting.tick_ms)) for other in setting.others],
    )


def _within(rollout: Announced, last: int) -> Announced:
    """Take a stage that is to begin after the end of the recording for one that does not begin."""
    stages = [
        stage if stage.started is not None and stage.started <= last else replace(stage, started=None)
        for stage in rollout.stages
    ]
    return replace(rollout, stages=stages)


def _check_times(setting: Setting, first_ms: int, last_ms: int) -> None:
    """Refuse a start outside the data, or one without the past that the policy requires."""
    tick_ms, policy = setting.tick_ms, setting.policy
    start = next(stage.started for stage in setting.stages if stage.started is not None)
    first, last = -(-first_ms // tick_ms), -(-last_ms // tick_ms)
    span = f"the samples span {moment(first_ms)} to {moment(last_ms)}"
    if not first <= start <= last:
        msg = f"{setting.place}: started: {moment(start * tick_ms)} lies outside the recording; {span}"
        raise BadInput(msg)
    if policy.pre_period.required and start - first < policy.pre_period.ticks_min:
        msg = (
            f"{setting.place}: started: only {start - first} ticks of {tick_ms / 1000:g} s lie before it, and the "
            f"policy requires a pre-period of {policy.pre_period.ticks_min} (pre_period.ticks_min); {span}. "
            "A policy with pre_period.required: false judges without a past, and says so"
        )
        raise BadInput(msg)


def moment(time_ms: int) -> str:
    """Write epoch milliseconds as RFC 3339 in UTC."""
    stamp = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    return stamp.isoformat(timespec="milliseconds" if time_ms % 1000 else "seconds").replace("+00:00", "Z")
