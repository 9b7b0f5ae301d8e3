"""A stage that has begun: what stands against what, and which data there were. Whoever judges it builds on this."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.decision import Decision, Rules
from detectors.objective import Objectives
from detectors.sides import Sides
from streams.cohorts import RowKey
from streams.histograms import Histograms
from streams.pairing import Pairing, pair
from streams.plan import Plan
from streams.strata import others_of

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
        self.ticks_past = int((past[0] > 0).any(axis=0).sum())
        # A stage that is only looked at beforehand may not have a start yet.
        first = stage.started - past.shape[2] if self.ticks_past and stage.started is not None else None
        others = others_of(plan.membership, plan.others, first)
        self.pairing: Pairing = pair(keys, past, policy, plan.membership, index, len(plan.stages), others)
        self.metric = np.array([strand.metric for strand in self.pairing.strands])
        weight = np.bincount(self.metric, [strand.weight for strand in self.pairing.strands]).astype(np.float64)
        breaches = [metric.breach for metric in policy.metrics] + ["halt"]
        required = np.array([metric.required for metric in policy.metrics] + [False])
        self.rules = Rules(policy.alpha, stage.bake, stage.deadline, breaches, weight, policy.advance, required)
        # A metric is shown harmless, or its control sick, by what its policy names: of a histogram its own quantile.
        wanted = np.array([metric.quantile or 0.0 for metric in policy.metrics] + [0.0])
        self.named: Bools = np.array([strand.quantile for strand in self.pairing.strands]) == wanted[self.metric]
        cohorts = {"canary": plan.membership.canary(index), "control": plan.membership.controls(index)}
        self.histograms = Histograms(keys, policy, self.pairing, past, cohorts)
        self.objectives = [Objectives(policy.metrics) for _ in range(2)]  # canary's, control's
        self.silent = np.zeros(len(weight), np.int64)  # ticks since there was data, [metric]
        self.covered = np.zeros(len(weight), np.int64)
        self.quiet = np.zeros(self.pairing.tests.comparisons, np.int64)  # the same for each comparison
        self.missing = np.zeros(self.pairing.tests.comparisons, np.bool_)
        self.colo = self.pairing.by_colo()
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
        whole = sides.pooled(tests)
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
        # A colo has a metric as long as one of its strata has it.
        heard = self.colo.T @ (self.colo @ both.astype(np.float64)) > 0
        self.quiet = np.where(heard, 0, self.quiet + 1)
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

    def confounders(self, metric: int, age: int) -> list[str]:
        """Name the rollouts that a metric cannot tell apart from this one, and that have begun by now."""
        assert self.stage.started is not None
        return self.pairing.entangled.confounders(metric, self.stage.started + age - 1)
