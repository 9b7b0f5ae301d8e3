"""A stage that has begun, judged by the classical judge: samples of each tick, and a look now and then."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from detectors.classical import Label, classify
from detectors.classical.decision import ClassicalDecision
from detectors.classical.look import Look, Panel
from detectors.decision import Tick
from detectors.policy import Classical
from detectors.sides import Sides, means
from detectors.state import State, part
from streams.begun import Begun
from streams.cohorts import RowKey
from streams.plan import Plan

Array = NDArray[np.float64]


class ClassicalRunning(Begun):
    """A stage that has begun: its samples, its looks and its decision.

    A sample is a metric's mean or share over the fleet in one tick. A histogram is judged at one bucket edge, the
    last one that at least a share 1 - quantile of the control's past events lies beyond. Of each metric and of each
    of its comparisons in a colo the latest `ticks_max` samples are held: 16 bytes each, for both sides.
    """

    _state = (*Begun._state, "_samples", "ticks_sampled", "_placed")  # noqa: SLF001 - a subclass adds to it

    def __init__(self, plan: Plan, index: int, keys: Sequence[RowKey], past: Array) -> None:
        super().__init__(plan, index, keys, past)
        self.decision = self._looking = ClassicalDecision(self.rules)
        self.given = plan.policy.classical or Classical()
        tests = self.pairing.tests
        _, first = np.unique(self.metric, return_index=True)
        self.strands = [self.pairing.strands[strand] for strand in first]  # [metric]
        self.panel = Panel.of(plan.policy, [(strand.relative, strand.absolute) for strand in self.strands])
        self.fleet = np.array([_only(tests.fleet(), tests.strand, strand) for strand in first])  # [metric]
        self._rows = np.flatnonzero(np.isin(tests.strand[: tests.comparisons], first))
        self._metric = self.metric[tests.strand[self._rows]]  # [row]
        count = len(self._rows)
        self._pool = csr_array((np.ones(count), (self._metric, np.arange(count))), shape=(len(first), count))
        # Both sides of all metrics over the fleet, then of all rows; a tick overwrites the one `ticks_max` before it.
        self._samples = np.zeros((2, len(first) + count, self.given.ticks_max))
        self.ticks_sampled = 0
        self._placed: list[int] = []  # metrics whose colos were looked for

    def step(self, sides: Sides, totals: tuple[Array, Array], age: int) -> Tick:
        """Add one tick, look if it is time to, decide, and return what was decided on."""
        seen = self.watch(sides, totals, age, np.ones(self.pairing.tests.comparisons, np.bool_))
        if age > self.stage.settle:
            self._sample(sides)
        is_open = self.decision.action != "revert"
        if is_open and self._is_time(age):
            kept = self._kept()
            metrics = len(self.strands)
            self._looking.look = self.panel.look(kept[0, :metrics], kept[1, :metrics], age)
        nothing = np.full(len(self.strands), -np.inf)
        is_sick = np.zeros(len(self.strands), np.bool_)
        known = (
            seen.coverage,
            seen.has_data,
            is_sick,
            seen.misses,
            seen.misses_too,
            seen.drops,
            self.plan.objection is None,
        )
        tick = Tick(age, nothing, nothing, nothing, *known)
        self.decision.step(tick)
        if self.decision.blamed != self._placed and self.decision.cause != "traffic":
            self._placed = self.decision.blamed
            self._find_hurt()
        return tick

    def snapshot(self) -> State:
        """See `Stateful`; the latest look is part of it, if there was one."""
        look = self.look
        return {**super().snapshot(), "look": look.snapshot() if look else {}}

    def restore(self, state: State) -> None:
        """See `Stateful`."""
        look = part(state, "look")
        super().restore({name: value for name, value in state.items() if name != "look"})
        self._looking.look = self.panel.restored(look) if look else None

    @property
    def look(self) -> Look | None:
        """The latest look."""
        return self._looking.look

    def _is_time(self, age: int) -> bool:
        """Tell whether to look: every so many ticks, and where the bake time and the deadline end."""
        over = self.ticks_sampled - self.given.ticks_min
        ends = (self.stage.bake, self.stage.deadline)
        return over >= 0 and (over % self.given.interval_ticks == 0 or age in ends)

    def _sample(self, sides: Sides) -> None:
        """Keep the values of one tick; colos that lack a side count on neither."""
        own = Sides(*(array[self._rows] for array in sides.arrays()))
        both = (own.canary_of > 0) & (own.control_of > 0)
        own = Sides(*(array * both for array in own.arrays()))
        whole = Sides(*(np.asarray(self._pool @ array, np.float64) for array in own.arrays()))
        column = self._samples[:, :, self.ticks_sampled % self.given.ticks_max]
        column[:, : len(self.strands)] = means(whole, np.arange(len(self.strands)))
        column[:, len(self.strands) :] = means(own, np.arange(len(self._rows)))
        self.ticks_sampled += 1

    def _kept(self) -> Array:
        """Return what is held [side, metric or row, tick], in no order of time: ranks do not ask for one."""
        return self._samples[:, :, : min(self.ticks_sampled, self.given.ticks_max)]

    def _find_hurt(self) -> None:
        """Find the colos in which a blamed metric has the fleet's label; where none has, all are taken as hurt."""
        look, tests = self.look, self.pairing.tests
        found: set[int] = set()
        if look is not None:
            rows = np.flatnonzero(np.isin(self._metric, self.decision.blamed))
            metric = self._metric[rows]
            canary, control = self._kept()[:, len(self.strands) + rows]
            label = classify(canary, control, self.panel.settings, metric).label
            is_alike = (label == look.judgement.label[metric]) & (label != Label.PASS)
            found = set(tests.place[self._rows[rows[is_alike]]].tolist())
        self.hurt |= found or (set() if self.hurt else set(range(len(self.pairing.colos))))


def _only(tests: NDArray[np.intp], strand_of: NDArray[np.intp], strand: int) -> int:
    """Return which of some tests is a strand's, or -1 if it has none."""
    found = tests[strand_of[tests] == strand]
    return int(found[0]) if len(found) else -1
