"""What a candidate makes of a recording: the samples are reduced once, and judged as often as there are candidates."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from detectors.policy import Policy, duration_ms
from holdfast.calibration.deciding import Decided, decide
from holdfast.corpus.loading import Recorded
from holdfast.corpus.scoring import Kind, Score, score
from holdfast.recording.folder import load_documents
from holdfast.recording.samples import samples_of
from holdfast.setting import setting_of
from holdfast.tuning.space import Candidate
from sinks.cloudevents import epoch_ms
from streams.cohorts import CohortTicks
from streams.plan import Plan
from streams.replay import blocks, moment, prepare
from streams.scan import scan

VALUES_MAX: Final = 1 << 27
"""Most numbers that a process holds of reduced recordings: 1 GiB. What is beyond is reduced again when it is needed."""


class Evaluated(msgspec.Struct, frozen=True, kw_only=True):
    """What a candidate made of a recording: the score of `holdfast.corpus.scoring`, as far as tuning needs it.

    Attributes
    ----------
    kind
        `refused` if its past is too short for the candidate; else as in a score.
    early
        Whether a bad one was stopped before its onset.
    delay_s
        Seconds from the onset to the stop, of what was caught.
    left_s
        Seconds from the onset to the end of the recording: what a miss costs at least.
    advanced_s
        Seconds from the start until it was let go on for good; None if it was not.
    why
        What became of it, in words.
    """

    kind: Kind | str
    early: bool
    delay_s: float | None
    left_s: float
    advanced_s: float | None
    why: str

    @property
    def is_alarm(self) -> bool:
        """Whether it was stopped for nothing: a harmless one ever, a bad one before its onset."""
        return self.early or self.kind in ("false alarm", "refused")

    @property
    def is_missed(self) -> bool:
        """Whether a bad one was not caught."""
        return self.kind == "missed"

    @property
    def cost_s(self) -> float:
        """Seconds that the harm of a bad one went on: until it was stopped, or the recording ended."""
        return self.left_s if self.delay_s is None else self.delay_s


@dataclass(frozen=True, slots=True)
class Job:
    """One recording, by position, that is to be judged by one candidate."""

    recording: int
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Reduced:
    """A recording's cohort ticks, its plan without a policy of its own, and ticks of its past."""

    plan: Plan
    ticks: CohortTicks
    past: int


@dataclass(slots=True)
class Bench:
    """The recordings that candidates are tried on. Each process has one, which remembers what it has reduced.

    Parameters
    ----------
    recordings
        The recordings.
    place
        The policy that is tuned, which errors name.
    """

    recordings: Sequence[Recorded]
    place: Path
    _held: "OrderedDict[tuple[int, str], Reduced]" = field(default_factory=OrderedDict[tuple[int, str], Reduced])

    def reduced(self, recording: int, policy: Policy) -> Reduced:
        """Return a recording's cohort ticks, which depend on nothing of a candidate but its tick."""
        key = recording, policy.tick
        if key not in self._held:
            self._held[key] = reduce(self.recordings[recording].path, policy, self.place)
        self._held.move_to_end(key)
        while len(self._held) > 1 and sum(one.ticks.values.size for one in self._held.values()) > VALUES_MAX:
            self._held.popitem(last=False)
        return self._held[key]


def reduce(path: Path, policy: Policy, place: Path) -> Reduced:
    """Read a recording into cohort ticks, as a replay does.

    Raises
    ------
    BadInput
        If it cannot be judged by the policy.
    """
    rollouts, policy, _ = load_documents(path, place, check=False, policy=policy)
    setting = setting_of(path / "rollout.yaml", rollouts, place, policy)
    metrics = samples_of(path)
    found = scan(metrics, policy.lateness_ticks * setting.tick_ms)
    aggregate, plan = prepare(setting, found, metrics.name)
    pieces = list(blocks(metrics, found, aggregate))
    ticks = CohortTicks(pieces[0].first, pieces[0].keys, np.concatenate([each.values for each in pieces], axis=2))
    start = next(stage.started for stage in setting.stages if stage.started is not None)
    return Reduced(plan, ticks, start - -(-found.first_ms // setting.tick_ms))


def evaluate(bench: Bench, job: Job) -> Evaluated:
    """Judge a recording by a candidate, and score it."""
    recorded, policy = bench.recordings[job.recording], job.candidate.policy
    reduced = bench.reduced(job.recording, policy)
    plan = replace(reduced.plan, policy=policy, stages=job.candidate.stages(reduced.plan.stages))
    if policy.pre_period.required and reduced.past < policy.pre_period.ticks_min:
        why = f"its past has {reduced.past} ticks"
        return Evaluated(kind="refused", early=False, delay_s=None, left_s=0.0, advanced_s=None, why=why)
    return scored(recorded, plan, reduced.ticks, decide(plan, reduced.ticks))


def scored(recorded: Recorded, plan: Plan, ticks: CohortTicks, decided: Sequence[Decided]) -> Evaluated:
    """Hold decisions against the truth, as those of verdicts are."""
    events = [
        {
            "time": moment(one.tick * plan.tick_ms),
            "data": {
                "action": one.action,
                "cause": one.cause,
                "scope": {"colos": list(one.colos), "metrics": list(one.metrics)},
            },
        }
        for one in decided
    ]
    found = score(recorded.name, recorded.truth, recorded.onset_ms, plan.tick_ms, events)
    return of_score(recorded, found, (ticks.first + ticks.ticks - 1) * plan.tick_ms)


def of_score(recorded: Recorded, found: Score, end_ms: int) -> Evaluated:
    """Keep what tuning needs of a score; the recording ends at `end_ms`."""
    began_ms = epoch_ms(recorded.rollout.stages[0].started or recorded.rollout.started)
    return Evaluated(
        kind=found.kind,
        early=found.early,
        delay_s=found.delay_s,
        left_s=max(0.0, (end_ms - recorded.onset_ms) / 1_000) if recorded.truth.bad else 0.0,
        advanced_s=None if found.advanced_ms is None else (found.advanced_ms - began_ms) / 1_000,
        why=found.why,
    )


def cost_of(recorded: Recorded, policy: Policy) -> float:
    """Return about how long a recording takes to be judged, in samples for each tick of the policy."""
    return recorded.samples / duration_ms(policy.tick)
