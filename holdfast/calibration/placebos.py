"""Placebo rollouts: pretended starts in a history, each judged by the very judge. Every stop is a false alarm."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np

from detectors.policy import Policy
from holdfast.calibration.binomial import Span
from holdfast.calibration.history import History
from streams.cohorts import CohortTicks
from streams.judge import Judge
from streams.plan import Plan


@dataclass(frozen=True, slots=True, order=True)
class Placebo:
    """A pretended rollout: in which history, from which tick on, and which group of hosts is its canary."""

    history: int
    start: int
    group: int = 0


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a rollout.

    Attributes
    ----------
    action, cause
        Of the first halt or revert; without one of the last verdict.
    tick
        How many live ticks it took until the stop; None without one.
    advanced
        How many live ticks it took until it was first let go on; None if it never was.
    metrics, colos
        What the stop names.
    """

    action: str
    cause: str
    tick: int | None
    advanced: int | None
    metrics: list[str]
    colos: list[str]

    @property
    def is_stopped(self) -> bool:
        """Whether it was halted or reverted."""
        return self.tick is not None


def judge_ticks(plan: Plan, ticks: CohortTicks) -> Judged:
    """Judge a rollout on cohort ticks up to its first stop, or to their end.

    This is `streams.replay` behind its aggregate: the same ticks give the same verdicts.
    """
    judge = Judge(plan, live_ticks_max=0)
    started = min(stage.started for stage in plan.stages if stage.started is not None)
    advanced: int | None = None
    last = None
    for judged in judge.push(ticks):
        if judged.verdict is None:
            continue
        last, age = judged.verdict, judged.tick - started + 1
        if last.action == "advance" and advanced is None:
            advanced = age
        if last.action in ("halt", "revert"):
            scope = last.scope
            return Judged(
                action=last.action,
                cause=last.cause,
                tick=age,
                advanced=advanced,
                metrics=list(scope.metrics),
                colos=list(scope.colos),
            )
    if last is None:
        return Judged(action="wait", cause="data", tick=None, advanced=None, metrics=[], colos=[])
    return Judged(action=last.action, cause=last.cause, tick=None, advanced=advanced, metrics=[], colos=[])


def window(history: History, placebo: Placebo, policy: Policy | None = None) -> CohortTicks:
    """Return the ticks of a placebo: the past that its policy learns from, and those that are judged."""
    length = (policy or history.plan.policy).pre_period.ticks_max
    first = max(history.ticks.first, placebo.start - length)
    return history.ticks.between(first, placebo.start + history.live_ticks)


def judge_placebo(history: History, placebo: Placebo, policy: Policy | None = None) -> Judged:
    """Judge a placebo by its history's policy, or by another that asks for the same sums."""
    return judge_ticks(
        history.planned(placebo.start, placebo.group, policy),
        window(history, placebo, policy),
    )


def span_of(history: History, placebo: Placebo) -> Span:
    """Return the time that a placebo looks at, its past included, in milliseconds."""
    ticks, tick_ms = window(history, placebo), history.plan.tick_ms
    return Span((ticks.first - 1) * tick_ms, (ticks.first + ticks.ticks - 1) * tick_ms)


def past_of(history: History) -> int:
    """Return how many ticks lie before the first pretended start, at least.

    As many as the policy learns from, but not more than half of the history, so that something is left to judge.
    """
    rules = history.plan.policy.pre_period
    return max(rules.ticks_min, min(rules.ticks_max, history.ticks.ticks // 2))


def schedule(histories: Sequence[History], count: int | None, seed: int) -> list[Placebo]:
    """Choose pretended starts, evenly spread and a random distance from the beginning.

    Parameters
    ----------
    histories
        Each gets placebos in proportion to the time in which they can lie.
    count
        How many in all, about (all groups of hosts take their turn at each start); None for as many as there can be
        whose judged ticks do not overlap.
    seed
        Of the distance.
    """
    rng = np.random.default_rng(seed)
    rooms = [history.ticks.ticks - past_of(history) for history in histories]
    fitting = [room // history.live_ticks for room, history in zip(rooms, histories, strict=True)]
    whole = sum(room for room, most in zip(rooms, fitting, strict=True) if most > 0)
    result: list[Placebo] = []
    for number, (history, room, most) in enumerate(zip(histories, rooms, fitting, strict=True)):
        if most <= 0:
            continue
        turns = max(1, history.groups)
        wanted = most if count is None else max(1, round(count * room / whole / turns))
        slack = room - history.live_ticks
        step = room / wanted if wanted <= most else slack / (wanted - 1)
        shift = int(rng.integers(0, max(0, int(slack - step * (wanted - 1))) + 1))
        first = history.ticks.first + past_of(history) + shift
        starts = sorted({first + int(step * place) for place in range(wanted)})
        result += [Placebo(number, start, group) for start in starts for group in range(turns)]
    return result


def overlap(histories: Sequence[History], placebos: Sequence[Placebo]) -> float:
    """Return which part of the judged ticks of a placebo are judged in the one before it too, at most; 0 for none.

    Groups that take turns at the same start are judged on the same time, which is not counted here.
    """
    most = 0.0
    for before, after in pairwise(placebos):
        if before.history == after.history and after.start > before.start:
            live = histories[before.history].live_ticks
            most = max(most, (before.start + live - after.start) / live)
    return most
