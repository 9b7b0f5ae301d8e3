"""What the judge decides, without its words: for the thousands of times that nobody reads them.

`streams.judge` begins a stage, steps through its ticks and puts every change into words, which takes most of the time.
Here the same stages are begun on the same past and stepped through, and nothing is said. That both decide the same is
tested.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.classical import ClassicalRunning
from streams.cohorts import CohortTicks
from streams.plan import Plan
from streams.running import Running

ACCUSING: Final = frozenset({"evidence", "objective", "traffic"})
"""Causes of a stop that say that something is wrong; the others say that nobody knows, and that time is up."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, at the first tick at which it was taken; what a verdict would say of it but for its reasons.

    `colos` and `metrics` are those that are to blame for a stop, and empty without one.
    """

    tick: int
    age: int
    stage: str
    action: str
    cause: str
    metrics: tuple[str, ...]
    colos: tuple[str, ...]

    @property
    def is_stop(self) -> bool:
        """Whether the rollout is halted or reverted."""
        return self.action in ("halt", "revert")


def decide(plan: Plan, ticks: CohortTicks) -> list[Decided]:
    """Judge a rollout on cohort ticks up to its first stop, or to their end, and return each change of mind.

    Parameters
    ----------
    plan
        The rollout. All its rows are known from the start, as those of a recording are.
    ticks
        Consecutive ticks; those before the first stage are the past.
    """
    found: list[Decided] = []
    starts = _starts(plan, ticks)
    for place, (index, start) in enumerate(starts):
        end = starts[place + 1][1] if place + 1 < len(starts) else ticks.first + ticks.ticks
        for decided in _stage(plan, index, ticks, start, end):
            if not found or _said(found[-1]) != _said(decided):
                found.append(decided)
            if decided.is_stop:
                return found
    return found


def _said(decided: Decided) -> tuple[object, ...]:
    return decided.stage, decided.action, decided.cause


def _starts(plan: Plan, ticks: CohortTicks) -> Sequence[tuple[int, int]]:
    """Return which stages begin within the ticks, and when: one after the other, as the judge goes on to them."""
    result: list[tuple[int, int]] = []
    for index, stage in enumerate(plan.stages):
        if stage.started is None or stage.started >= ticks.first + ticks.ticks:
            break
        result.append((index, max(stage.started, ticks.first)))
    return result


def past_of_stage(plan: Plan, ticks: CohortTicks, start: int) -> NDArray[np.float64]:
    """Return the ticks [3, row, tick] that a stage is begun on; without any it is one empty tick."""
    first = max(ticks.first, start - plan.policy.pre_period.ticks_max)
    if first >= start:
        return np.zeros((3, len(ticks.keys), 1))
    return ticks.between(first, start).values


def _stage(plan: Plan, index: int, ticks: CohortTicks, start: int, end: int) -> Iterator[Decided]:
    """Judge a stage, and yield what is decided at each tick."""
    past = past_of_stage(plan, ticks, start)
    make = ClassicalRunning if plan.policy.judge == "classical" else Running
    running = make(plan, index, ticks.keys, past)
    values = ticks.between(start, end).values
    sides, totals = running.pairing.sides(values), running.totals.sums(values)
    assert running.stage.started is not None
    for column in range(end - start):
        tick = start + column
        age = tick - running.stage.started + 1
        running.step(sides.at(column), (totals[0][:, column], totals[1][:, column]), age)
        decision = running.decision
        metrics, colos = _blamed(running)
        yield Decided(tick, age, running.stage.name, decision.action, decision.cause, metrics, colos)


def _blamed(running: "Running | ClassicalRunning") -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what a stop names: all metrics and colos where there is no evidence against any."""
    decision = running.decision
    if decision.action not in ("halt", "revert"):
        return (), ()
    is_classical = running.plan.policy.judge == "classical"
    has_named = decision.cause != "deadline" if is_classical else decision.cause in ACCUSING
    if not has_named:
        return tuple(running.plan.metrics), tuple(running.pairing.colos)
    if decision.cause == "traffic":
        colos = tuple(sorted({running.totals.colos[place] for place in running.fallen}))
    else:
        colos = tuple(running.pairing.colos[place] for place in sorted(running.hurt))
    return tuple(running.plan.metrics[place] for place in decision.blamed), colos
