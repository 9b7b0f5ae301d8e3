"""The search: candidates spread over the space, the best refined one value at a time, hopeless ones dropped early.

What is tried next depends on what was found, and on nothing else: not on how many processes there are, nor on when
the search was stopped and went on. Only a limit on time ends it sooner or later.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from holdfast.tuning.evaluating import Evaluated
from holdfast.tuning.figures import Trial, allowed_alarms, better, figures
from holdfast.tuning.space import Candidate, Point, Space, trials_to_spread

BLOCK: Final = 8
"""Recordings after which candidates with too many false alarms are dropped."""

GROUP: Final = 8
"""Candidates that are tried side by side; the time limit is looked at between groups."""

STEP: Final = 0.25
STEP_MIN: Final = 0.03
"""First and last step of the refinement: of a factor from a quarter to four, from twice as much to 9 %."""

Evaluate = Callable[[Sequence[tuple[int, Candidate]]], list[Evaluated]]
"""Judges recordings, by position, by candidates."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a search keeps to.

    Attributes
    ----------
    trials
        How many candidates are tried, dropped ones and the policy as it is included.
    alarms
        Share of the harmless recordings that may be stopped.
    seed
        Of the spread, and of the order in which values are refined.
    has_time
        Tells whether there is time left.
    """

    trials: int
    alarms: float
    seed: int
    has_time: Callable[[], bool] = field(default=lambda: True)


@dataclass(slots=True)
class Search:
    """A search under way.

    Parameters
    ----------
    space
        What is free.
    is_bad
        [recording] Which of the recordings that are learned from did harm.
    limits
        What it keeps to.
    evaluate
        Judges.

    Attributes
    ----------
    trials
        The candidates that were tried on all recordings, in order.
    tried, dropped
        How many there were, and how many of them were dropped for their false alarms.
    """

    space: Space
    is_bad: Sequence[bool]
    limits: Limits
    evaluate: Evaluate
    trials: list[Trial] = field(default_factory=list[Trial])
    tried: int = 0
    dropped: int = 0
    _seen: set[tuple[object, ...]] = field(default_factory=set[tuple[object, ...]])

    @property
    def most(self) -> int:
        """How many false alarms keep within the limit."""
        return allowed_alarms(self.limits.alarms, len(self.is_bad) - sum(self.is_bad))

    @property
    def best(self) -> Trial:
        """The best of what was tried; see `holdfast.tuning.figures.order`."""
        found = self.trials[0]
        for trial in self.trials[1:]:
            if better(trial, found, self.most):
                found = trial
        return found

    def run(self) -> None:
        """Search until all trials are used or time is up; the policy as it is comes first."""
        self._try([self.space.middle], is_dropping=False)
        spread = self.space.spread(trials_to_spread(self.limits.trials) - 1, self.limits.seed)
        for start in range(0, len(spread), GROUP):
            if not self.limits.has_time():
                return
            self._try(spread[start : start + GROUP])
        self._refine()

    def _refine(self) -> None:
        """Step away from the best in one value after the other, with smaller and smaller steps."""
        rng = np.random.default_rng([self.limits.seed, 4])
        step = STEP
        while step >= STEP_MIN:
            before = self.best
            order: list[int] = rng.permutation(len(self.space.dimensions)).tolist()
            for dimension in order:
                if self.tried >= self.limits.trials or not self.limits.has_time():
                    return
                self._try(self.space.beside(self.best.point, dimension, step))
            if self.best is before:
                step /= 2

    def _try(self, points: Sequence[Point], *, is_dropping: bool = True) -> None:
        """Try points side by side, on block after block of the recordings: the harmless ones first."""
        entries: list[tuple[Point, Candidate, dict[int, Evaluated], int]] = []
        for point in points:
            candidate = self.space.candidate(point)
            name = (tuple(sorted((repr(path), value) for path, value in candidate.changes.items())), candidate.bake)
            if name not in self._seen and self.tried < self.limits.trials:
                self._seen.add(name)
                entries.append((point, candidate, {}, self.tried))
                self.tried += 1
        recordings = sorted(range(len(self.is_bad)), key=lambda number: self.is_bad[number])
        alive = entries
        for start in range(0, len(recordings), BLOCK):
            block = recordings[start : start + BLOCK]
            tasks = [(recording, entry[1]) for entry in alive for recording in block]
            found = iter(self.evaluate(tasks))
            for entry in alive:
                entry[2].update({recording: next(found) for recording in block})
            if is_dropping:
                kept = [entry for entry in alive if self._is_hopeful(entry[2])]
                self.dropped += len(alive) - len(kept)
                alive = kept
        for point, candidate, found_by, number in alive:
            evaluated = tuple(found_by[recording] for recording in range(len(self.is_bad)))
            summed = figures(evaluated, self.is_bad)
            self.trials.append(Trial(number, point, candidate, evaluated, summed, self.space.distance(point)))

    def _is_hopeful(self, found: dict[int, Evaluated]) -> bool:
        """Tell whether a candidate has few enough false alarms by now to be worth more time.

        Some beyond the limit are kept, so that the front shows what the limit costs.
        """
        if any(one.kind == "refused" for one in found.values()):
            return False
        harmless = len(self.is_bad) - sum(self.is_bad)
        return sum(one.is_alarm for one in found.values()) <= self.most + max(1, harmless // 10)
