"""The judges that a policy can choose between, in the one shape that `streams.judge` drives."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.decision import Tick
from detectors.sides import Sides
from detectors.state import State, part
from detectors.verdict import Verdict
from streams.begun import Begun
from streams.classical import ClassicalRunning
from streams.cohorts import RowKey
from streams.journal import Journal
from streams.narrate import narrate
from streams.narrate_classical import narrate_classical
from streams.plan import Plan
from streams.prospect import Prospect
from streams.running import Running

Array = NDArray[np.float64]


class Method(Protocol):
    """How a stage that has begun is judged."""

    @property
    def begun(self) -> Begun:
        """The stage: its pairing, its decision so far and the colos that are hurt."""
        ...

    def step(self, sides: Sides, totals: tuple[Array, Array], age: int) -> Array:
        """Add one tick and decide; return the logarithms of the e-values [metric], -inf for no evidence.

        `sides` are those of the comparisons, `totals` units and sums of the watched places, see `streams.begun`.
        """
        ...

    def record(self, journal: Journal, number: int) -> None:
        """Hand on what the tick left behind."""
        ...

    def verdict(self, sequence: int) -> Verdict:
        """Put what was decided at the last tick into words."""
        ...

    def snapshot(self) -> State:
        """Return what was learned since the stage began; `begin` goes on from it."""
        ...


class Sequential:
    """Evidence that may be looked at after every tick."""

    def __init__(self, running: Running, prospect: Prospect) -> None:
        self.begun = running
        self._prospect = prospect
        self._tick: Tick | None = None
        self._log_e = np.empty(0)

    def step(self, sides: Sides, totals: tuple[Array, Array], age: int) -> Array:
        """See `Method`."""
        self._tick, self._log_e = self.begun.step(sides, totals, age)
        return self._tick.log_e

    def record(self, journal: Journal, number: int) -> None:
        """See `Method`."""
        journal.tick(number, self.begun.evidence, self._log_e)

    def verdict(self, sequence: int) -> Verdict:
        """See `Method`."""
        assert self._tick is not None
        return narrate(self.begun, self._prospect, self._tick, self._log_e, sequence)

    def snapshot(self) -> State:
        """See `Method`."""
        return {"begun": self.begun.snapshot(), "prospect": self._prospect.snapshot()}


class Classical:
    """Looks at intervals: one Mann-Whitney test for each metric, and a score."""

    def __init__(self, running: ClassicalRunning) -> None:
        self.begun = running
        self._tick: Tick | None = None

    def step(self, sides: Sides, totals: tuple[Array, Array], age: int) -> Array:
        """See `Method`; there are no e-values."""
        self._tick = self.begun.step(sides, totals, age)
        return self._tick.log_e

    def record(self, journal: Journal, number: int) -> None:
        """See `Method`: only ticks with a look leave something, and only at the level of the fleet."""
        look, tests, fleet = self.begun.look, self.begun.pairing.tests, self.begun.fleet
        if look is None or self._tick is None or look.age != self._tick.age:
            return
        found = look.judgement
        numbers = {
            "effect": found.shift.estimate,
            "lower": found.shift.lower,
            "upper": found.shift.upper,
            "information": found.canary_count.astype(np.float64),
        }
        columns = {
            name: np.full(len(tests), np.nan) for name in ("effect", "lower", "upper", "log_e", "mde", "information")
        }
        for name, number_of in numbers.items():
            columns[name][fleet[fleet >= 0]] = number_of[fleet >= 0]
        journal.add(number, columns)

    def verdict(self, sequence: int) -> Verdict:
        """See `Method`."""
        assert self._tick is not None
        return narrate_classical(self.begun, self._tick, sequence)

    def snapshot(self) -> State:
        """See `Method`."""
        return {"begun": self.begun.snapshot()}


def begin(plan: Plan, index: int, keys: Sequence[RowKey], past: Array, state: "State | None" = None) -> Method:
    """Begin a stage with the judge that the policy chooses, or go on with one.

    Parameters
    ----------
    plan, index
        The rollout, and which of its stages begins.
    keys, past
        [row], [3, row, tick] The pre-period.
    state
        What was learned since it began, by a stage that was begun on the same.

    Raises
    ------
    StateMismatch
        If the state is not that of such a stage.
    """
    if plan.policy.judge == "classical":
        looked = ClassicalRunning(plan, index, keys, past)
        looked.before = None
        if state is not None:
            looked.restore(part(state, "begun"))
        return Classical(looked)
    running = Running(plan, index, keys, past)
    prospect = Prospect(running, keys, past, None if state is None else part(state, "prospect"))
    if state is not None:
        running.restore(part(state, "begun"))
    running.before = None
    return Sequential(running, prospect)
