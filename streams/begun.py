"""A stage that has begun: what stands against what, and which data there were. Whoever judges it builds on this."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.decision import Decision, Rules
from detectors.objective import Objectives
from detectors.sides import Sides
from streams.cohorts import RowKey
from streams.pairing import Pairing, pair
from streams.plan import Plan

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Seen:
    """What data there were at the end of a tick, [metric]; see `detectors.decision.Tick`."""

    coverage: Array
    has_data: Bools
    misses: Bools
    misses_too: Bools


class Begun:
    """A stage that has begun: its pairing, and the data it had; what it decides is added by who judges it.

    Parameters
    ----------
    plan, index
        The rollout, and which of its stages begins.
    keys, past
        [row], [3, row, tick] The pre-period.
    """

    decision: Decision

    def __init__(self, plan: Plan, index: int, keys: Sequence[RowKey], past: Array) -> None:
        policy, stage = plan.policy, plan.stages[index]
        self.plan = plan
        self.stage = stage
        self.pairing: Pairing = pair(keys, past, policy, plan.membership, index, len(plan.stages))
        self.metric = np.array([strand.metric for strand in self.pairing.strands])
        weight = np.bincount(self.metric, [strand.weight for strand in self.pairing.strands]).astype(np.float64)
        breaches = [metric.breach for metric in policy.metrics] + ["halt"]
        required = np.array([metric.required for metric in policy.metrics] + [False])
        self.rules = Rules(policy.alpha, stage.bake, stage.deadline, breaches, weight, policy.advance, required)
        self.objectives = [Objectives(policy.metrics) for _ in range(2)]  # canary's, control's
        self.ticks_past = int((past[0] > 0).any(axis=0).sum())
        self.silent = np.zeros(len(weight), np.int64)  # ticks since there was data, [metric]
        self.covered = np.zeros(len(weight), np.int64)
        self.quiet = np.zeros(self.pairing.tests.comparisons, np.int64)  # the same for each comparison
        self.missing = np.zeros(self.pairing.tests.comparisons, np.bool_)
        self.hurt: set[int] = set()  # colos that a stop holds for, by position

    def watch(self, sides: Sides, age: int, gap: int) -> Seen:
        """Note which data a tick brought, and hold both sides against the objectives."""
        tests = self.pairing.tests
        had = np.zeros(len(self.rules.weight), np.bool_)
        both = (sides.canary_of > 0) & (sides.control_of > 0)
        had[self.metric[tests.strand[: tests.comparisons][both]]] = True
        self.silent = np.where(had, 0, self.silent + 1)
        self._find_missing(sides, both, gap)
        self.covered += had
        has_data = (self.silent <= gap) & ~self._missing_metrics()
        return Seen(self.covered / age, has_data, *self._missed(sides))

    def _missed(self, sides: Sides) -> list[Bools]:
        """Hold both sides' values over the fleet against the objectives: canary and control, [metric]."""
        tests = self.pairing.tests
        fleet = tests.fleet()
        whole = sides.pooled(tests.pool)
        result = []
        for objectives, total, count in zip(
            self.objectives, (whole.canary, whole.control), (whole.canary_of, whole.control_of), strict=True
        ):
            value = np.full(len(self.rules.weight), np.nan)
            some = fleet[count[fleet] > 0]
            value[self.metric[tests.strand[some]]] = total[some] / count[some]
            result.append(np.append(objectives.missed(value[:-1]), False))
        return result

    def _find_missing(self, sides: Sides, both: Bools, gap: int) -> None:
        """Find required metrics that are missing from a colo whose canaries do report."""
        tests = self.pairing.tests
        own = slice(tests.comparisons)
        self.quiet = np.where(both, 0, self.quiet + 1)
        reports = self.pairing.is_reporting & (sides.canary_of > sides.canary)
        alive = np.zeros(len(self.pairing.colos), np.bool_)
        alive[tests.place[own][reports]] = True
        self.missing = (
            self.rules.required[self.metric[tests.strand[own]]] & (self.quiet > gap) & alive[tests.place[own]]
        )

    def _missing_metrics(self) -> Bools:
        """Tell for each metric [metric] whether it is missing somewhere."""
        own = self.metric[self.pairing.tests.strand[: self.pairing.tests.comparisons]]
        return np.bincount(own, self.missing, len(self.rules.required)) > 0
