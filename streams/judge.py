"""Judge: cohort ticks in, verdicts out. One judge owns a rollout, so its sequence has one writer."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.decision import Tick
from detectors.verdict import Verdict
from streams.cohorts import CohortTicks, RowKey
from streams.journal import Journal
from streams.narrate import narrate
from streams.plan import Plan
from streams.running import Running

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """One judged tick: the metrics' logarithmic e-values, and the verdict if the tick brought a new one."""

    tick: int
    log_e: dict[str, float]
    verdict: Verdict | None


class Judge:
    """Judges one rollout on its cohort ticks, in order.

    Parameters
    ----------
    plan
        The rollout, its policy and who belongs where.
    journal
        Takes the rows that judged ticks leave behind, or None to keep nothing.
    """

    def __init__(self, plan: Plan, journal: Journal | None = None) -> None:
        self.plan = plan
        self._journal = journal
        self._history: list[CohortTicks] = []
        self._keys: tuple[RowKey, ...] = ()
        self._running: Running | None = None
        self._next_stage = 0
        self._said: tuple[object, ...] = ()
        self._sequence = 0
        self.metrics = plan.metrics

    def push(self, ticks: CohortTicks) -> Iterator[Judged]:
        """Judge consecutive ticks, and yield each that is live."""
        if self._keys and ticks.keys != self._keys:
            ticks = _aligned(ticks, self._keys)
        self._keys = ticks.keys
        at, stop = ticks.first, ticks.first + ticks.ticks
        while at < stop:
            start = self._start_of_next()
            end = stop if start is None or start >= stop else max(start, at)
            if end > at:
                part = _slice(ticks, at, end)
                if self._running is not None:
                    yield from self._live(part)
                self._remember(part)
                at = end
            # A stage may have begun before the first tick, or be called off by a stop just now.
            if start is not None and at >= start and self._start_of_next() == start:
                self._begin()

    def _start_of_next(self) -> int | None:
        """Return when the next stage starts; after a stop there is no next one."""
        stages = self.plan.stages
        if self._running is not None and self._running.decision.action in ("halt", "revert"):
            return None
        return stages[self._next_stage].started if self._next_stage < len(stages) else None

    def _remember(self, part: CohortTicks) -> None:
        """Keep the past that a later stage will need, no longer than the policy says."""
        if self._start_of_next() is None:
            self._history = []
            return
        self._history.append(part)
        excess = sum(kept.ticks for kept in self._history) - self.plan.policy.pre_period.ticks_max
        while excess >= self._history[0].ticks:
            excess -= self._history.pop(0).ticks

    def _begin(self) -> None:
        """Start the next stage on what is remembered."""
        longest = self.plan.policy.pre_period.ticks_max
        past = (
            np.concatenate([kept.values for kept in self._history], axis=2)[:, :, -longest:]
            if self._history
            else np.zeros((3, len(self._keys), 1))
        )
        self._running = Running(self.plan, self._next_stage, self._keys, past)
        self._next_stage += 1
        if self._journal:
            self._journal.begin(self._running.stage.name, self._running.pairing)

    def _live(self, part: CohortTicks) -> Iterator[Judged]:
        running = self._running
        assert running is not None
        assert running.stage.started is not None
        sides, totals = running.pairing.sides(part.values), running.totals.sums(part.values)
        for column in range(part.ticks):
            number = part.first + column
            age = number - running.stage.started + 1
            here = totals[0][:, column], totals[1][:, column]
            tick, log_e = running.step(sides.at(column), here, age, self.plan.policy.gap_ticks_max)
            if self._journal:
                self._journal.tick(number, running.evidence, log_e)
            verdict = self._verdict(running, tick, log_e)
            yield Judged(number, dict(zip(self.metrics, tick.log_e.tolist(), strict=True)), verdict)
        if self._journal:
            self._journal.cohorts(part.first, sides, running.pairing.squares(part.values))

    def _verdict(self, running: Running, tick: Tick, log_e: Array) -> Verdict | None:
        """Return a verdict if what it says has changed."""
        decision = running.decision
        where = frozenset(running.fallen if decision.cause == "traffic" else running.hurt)
        said = (running.stage.name, decision.action, decision.cause, tuple(decision.blamed), where)
        if said == self._said:
            return None
        self._said = said
        self._sequence += 1
        return narrate(running, tick, log_e, self._sequence)


def _slice(ticks: CohortTicks, start: int, stop: int) -> CohortTicks:
    cut = slice(start - ticks.first, stop - ticks.first)
    return CohortTicks(start, ticks.keys, ticks.values[:, :, cut])


def _aligned(ticks: CohortTicks, keys: tuple[RowKey, ...]) -> CohortTicks:
    """Bring a block to the rows of the blocks before it; rows that it lacks are empty."""
    place = {key: row for row, key in enumerate(keys)}
    if not set(ticks.keys) <= place.keys():
        msg = "cohort ticks have rows that the stage did not begin with"
        raise ValueError(msg)
    values = np.zeros((3, len(keys), ticks.ticks))
    values[:, [place[key] for key in ticks.keys]] = ticks.values
    return CohortTicks(ticks.first, keys, values)
