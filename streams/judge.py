"""Judge: cohort ticks in, verdicts out. One judge owns a rollout, so its sequence has one writer."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.verdict import Verdict
from streams.begun import Begun
from streams.cohorts import CohortTicks, RowKey
from streams.history import History
from streams.journal import Journal
from streams.methods import Method, begin
from streams.plan import Plan

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
        self._history = History(plan.policy.pre_period.ticks_max)
        self._keys: tuple[RowKey, ...] = ()
        self._running: Method | None = None
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
                part = ticks.between(at, end)
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
        if self._running is not None and self._running.begun.decision.action in ("halt", "revert"):
            return None
        return stages[self._next_stage].started if self._next_stage < len(stages) else None

    def _remember(self, part: CohortTicks) -> None:
        """Keep the past that a later stage will need, no longer than the policy says."""
        if self._start_of_next() is None:
            self._history.clear()
            return
        self._history.add(part)

    def _begin(self) -> None:
        """Start the next stage on what is remembered."""
        past = self._history.values(len(self._keys))
        self._running = begin(self.plan, self._next_stage, self._keys, past)
        self._next_stage += 1
        if self._journal:
            self._journal.begin(self._running.begun.stage.name, self._running.begun.pairing)

    def _live(self, part: CohortTicks) -> Iterator[Judged]:
        method = self._running
        assert method is not None
        running = method.begun
        assert running.stage.started is not None
        sides, totals = running.pairing.sides(part.values), running.totals.sums(part.values)
        # Histograms are added up when somebody is to read them; what settles does not count.
        counted = max(0, running.stage.started + running.stage.settle - part.first)
        for column in range(part.ticks):
            number = part.first + column
            age = number - running.stage.started + 1
            here = totals[0][:, column], totals[1][:, column]
            log_e = method.step(sides.at(column), here, age)
            if self._journal:
                method.record(self._journal, number)
            verdict = None
            if self._is_news(running, age):
                running.histograms.add(part.values[:, :, counted : column + 1])
                counted = max(counted, column + 1)
                verdict = method.verdict(self._sequence)
            yield Judged(number, dict(zip(self.metrics, log_e.tolist(), strict=True)), verdict)
        running.histograms.add(part.values[:, :, counted:])
        if self._journal:
            self._journal.cohorts(part.first, sides, running.pairing.squares(part.values))

    def _is_news(self, running: Begun, age: int) -> bool:
        """Tell whether what a verdict would say has changed, and note that it is said."""
        decision = running.decision
        confounders = frozenset(
            name for metric in range(len(self.metrics)) for name in running.confounders(metric, age)
        )
        where = frozenset(running.fallen if decision.cause == "traffic" else running.hurt)
        said = (
            *(running.stage.name, decision.action, decision.cause),
            *(tuple(decision.blamed), where, confounders),
        )
        if said == self._said:
            return False
        self._said = said
        self._sequence += 1
        return True


def _aligned(ticks: CohortTicks, keys: tuple[RowKey, ...]) -> CohortTicks:
    """Bring a block to the rows of the blocks before it; rows that it lacks are empty."""
    place = {key: row for row, key in enumerate(keys)}
    if not set(ticks.keys) <= place.keys():
        msg = "cohort ticks have rows that the stage did not begin with"
        raise ValueError(msg)
    values = np.zeros((3, len(keys), ticks.ticks))
    values[:, [place[key] for key in ticks.keys]] = ticks.values
    return CohortTicks(ticks.first, keys, values)
