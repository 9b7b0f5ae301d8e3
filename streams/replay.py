"""Replay: a recording through the same aggregate and judge that guard production."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import chain

from detectors.errors import BadInput
from detectors.policy import Policy
from detectors.verdict import Verdict
from streams.aggregate import Aggregate
from streams.cohorts import CohortTicks
from streams.journal import Journal, Ticked, tick_rows
from streams.judge import Judge
from streams.layout import build
from streams.membership import Announced, Stage, find_units, moving_labels, resolve
from streams.plan import Plan
from streams.recording import ROWS_PER_READ, Source
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

    Raises
    ------
    BadInput
        If the recording cannot be judged.
    """
    found = scan(metrics, setting.policy.lateness_ticks * setting.tick_ms)
    _check_times(setting, found)
    aggregate, plan = prepare(setting, found, metrics.name)
    journal = Journal(sink, plan) if sink else None
    # A recording's rows are known before its first tick, so that no stage is begun anew.
    judge = Judge(plan, journal, live_ticks_max=0)
    result = Result()
    came = _Came(aggregate)
    first_live = next(stage.started for stage in setting.stages if stage.started is not None)
    total = -(-found.last_ms // setting.tick_ms) - first_live + 1
    for judged in chain.from_iterable(judge.push(block) for block in blocks(metrics, found, aggregate, rows)):
        result.ticks += 1
        time_ms = judged.tick * setting.tick_ms
        if judged.verdict is not None:
            result.verdicts.append((time_ms, judged.verdict))
            if sink:
                sink.verdict(setting.rollout, time_ms, judged.verdict)
        came.note(judged.tick, time_ms)
        if observer:
            newest = result.verdicts[-1][1] if result.verdicts else None
            read = aggregate.samples
            observer(Progress(setting.rollout, time_ms, result.ticks, total, read, metrics.rows, judged.log_e, newest))
    if journal and sink:
        journal.flush()
        sink.ticks(tick_rows(setting.rollout, came.ticks))
    result.samples, result.dropped = aggregate.samples, aggregate.dropped
    return result


class _Came:
    """Keeps account of what came for each judged tick."""

    def __init__(self, aggregate: Aggregate) -> None:
        self._aggregate = aggregate
        self._dropped: Counter[str] = Counter()  # what `ticks` say so far
        self.ticks: list[Ticked] = []

    def note(self, tick: int, time_ms: int) -> None:
        """Write down a tick that was judged just now."""
        dropped = self._aggregate.dropped - self._dropped
        self._dropped += dropped
        self.ticks.append(Ticked(time_ms, True, self._aggregate.taken(tick), dropped))


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
    plan = Plan(
        setting.rollout,
        setting.stages,
        membership,
        policy,
        setting.policy_digest,
        setting.engine,
        setting.binding,
        tick_ms,
        [_within(other, -(-found.last_ms // tick_ms)) for other in setting.others],
    )
    return aggregate, plan


def _within(rollout: Announced, last: int) -> Announced:
    """Take a stage that is to begin after the end of the recording for one that does not begin."""
    stages = [
        stage if stage.started is not None and stage.started <= last else replace(stage, started=None)
        for stage in rollout.stages
    ]
    return replace(rollout, stages=stages)


def _check_times(setting: Setting, found: Scan) -> None:
    """Refuse a start outside the data, or one without the past that the policy requires."""
    tick_ms, policy = setting.tick_ms, setting.policy
    start = next(stage.started for stage in setting.stages if stage.started is not None)
    first, last = -(-found.first_ms // tick_ms), -(-found.last_ms // tick_ms)
    span = f"the samples span {moment(found.first_ms)} to {moment(found.last_ms)}"
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
