"""A stage that has begun, judged by evidence that may be looked at after every tick."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import COLO
from detectors.decision import Decision, Tick, benjamini_hochberg
from detectors.evidence import Evidence
from detectors.sides import Sides
from streams.begun import Begun
from streams.cohorts import RowKey
from streams.plan import Plan

Array = NDArray[np.float64]


class Running(Begun):
    """A stage that has begun: its evidence and decision."""

    def __init__(self, plan: Plan, index: int, keys: Sequence[RowKey], past: Array) -> None:
        super().__init__(plan, index, keys, past)
        self.evidence = Evidence(
            self.pairing.strands,
            self.pairing.tests,
            self.pairing.sides(past),
            self.pairing.deviation(past),
            plan.policy.pre_period.ticks_min,
            self.stage.deadline or 2 * self.stage.bake,
        )
        share = np.array([strand.weight for strand in self.pairing.strands])
        share = np.array([strand.weight for strand in self.pairing.strands])
        self.within_metric = share / self.rules.weight[self.metric]
        self.within_named = self.named * share / np.bincount(self.metric, self.named * share)[self.metric]
        self.decision = Decision(self.rules)
        # By the long past canary and control go apart by themselves, so that nothing can be said of the change.
        self.erratic = np.bincount(self.metric, self.evidence.is_erratic() & self.named, len(self.rules.weight)) > 0
        self.reporting = np.array([strand.metric == len(plan.policy.metrics) for strand in self.pairing.strands])

    def step(self, sides: Sides, age: int, gap: int) -> tuple[Tick, Array]:
        """Add one tick, decide, and return what was decided on and the e-values [test]."""
        evidence = self.evidence
        evidence.update(sides, age <= self.stage.settle, self.reporting)
        log_e = evidence.log_e()
        strand_e = evidence.strand_log_e(log_e)
        seen = self.watch(sides, age, gap)
        within, doubling = (np.full(len(strand_e), -np.inf) for _ in range(2))
        sick = self.erratic.copy()
        if age >= self.stage.bake:
            within, doubling = evidence.log_e_within(), evidence.log_e_within(np.log(2.0))
            np.logical_or.at(sick, self.metric, evidence.is_control_sick() & self.named)
        tick = Tick(
            age,
            self.by_metric(strand_e, self.within_metric),
            self.by_metric(within, self.within_named),
            self.by_metric(doubling, self.within_named),
            seen.coverage,
            seen.has_data,
            sick,
            seen.misses,
            seen.misses_too,
        )
        self.decision.step(tick)
        if self.decision.blamed:
            self._find_hurt(log_e)
        return tick, log_e

    def _find_hurt(self, log_e: Array) -> None:
        """Find the colos that the blamed metrics are worse in. More may follow; none is taken back.

        Where the effect shows in the fleet alone it is those that lean that way, or else all.
        """
        tests, places = self.pairing.tests, range(len(self.pairing.colos))
        found: set[int] = set()
        leaning: set[int] = set()
        for metric in self.decision.blamed:
            own = np.flatnonzero((self.metric[tests.strand] == metric) & (tests.level == COLO))
            best = np.full(len(places), -np.inf)
            np.maximum.at(best, tests.place[own], log_e[own])
            found.update(benjamini_hochberg(best, self.decision.rules.alpha).tolist())
            leaning.update(np.flatnonzero(best > 0).tolist())
        self.hurt |= found or (set() if self.hurt else leaning or set(places))

    def by_metric(self, log_e: Array, share: Array) -> Array:
        """Average the e-values of a metric's edges by their shares: [strand] to [metric]."""
        result = np.full(len(self.decision.rules.weight), -np.inf)
        with np.errstate(divide="ignore"):
            np.logaddexp.at(result, self.metric, log_e + np.log(share))
        return result
