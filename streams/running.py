"""A stage that has begun, judged by evidence that may be looked at after every tick."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import COLO
from detectors.decision import Decision, Tick, benjamini_hochberg
from detectors.departure import Levels
from detectors.drift import Drift
from detectors.evidence import Evidence
from detectors.sides import Sides
from streams.begun import Begun
from streams.changes import changed
from streams.cohorts import RowKey
from streams.plan import Plan

Array = NDArray[np.float64]

_DRIFT_EVERY: Final = 3
"""Ticks between two searches for controls that have moved, as long as nothing hangs on it."""


class Running(Begun):
    """A stage that has begun: its evidence and decision."""

    _state = (*Begun._state, "evidence", "drift", "unlike")  # noqa: SLF001 - a subclass adds to it

    def __init__(self, plan: Plan, index: int, keys: Sequence[RowKey], past: Array) -> None:
        super().__init__(plan, index, keys, past)
        sides, tests = self.before, self.pairing.tests
        assert sides is not None
        self.evidence = Evidence(
            self.pairing.strands,
            tests,
            sides,
            self.pairing.deviation(past, sides),
            plan.policy.pre_period.ticks_min,
            self.stage.deadline or 2 * self.stage.bake,
        )
        share = np.array([strand.weight for strand in self.pairing.strands])
        self.within_metric = share / self.rules.weight[self.metric]
        self.within_named = self.named * share / np.bincount(self.metric, self.named * share)[self.metric]
        self.decision = Decision(self.rules)
        # By the long past canary and control go apart by themselves, so that nothing can be said of the change.
        self.erratic = np.bincount(self.metric, self.evidence.is_erratic() & self.named, len(self.rules.weight)) > 0
        self.reporting = np.array([strand.metric == len(plan.policy.metrics) for strand in self.pairing.strands])
        levels = Levels(tests, self.pairing.is_ratio, self.evidence.is_log, self.evidence.scale, sides)
        self.drift = Drift(self.pairing.strands, tests, levels, changed, self.reporting)
        self.unlike = np.zeros(len(self.rules.weight), np.bool_)  # metrics whose control has moved, [metric]

    def step(self, sides: Sides, totals: tuple[Array, Array], age: int) -> tuple[Tick, Array]:
        """Add one tick, decide, and return what was decided on and the e-values [test].

        `totals` are the units and sums of the watched places [place].
        """
        evidence = self.evidence
        bet = ~self.drift.set_aside  # decided on the ticks before this one
        taken = sides if bet.all() else Sides(*(array * bet for array in sides.arrays()))
        evidence.update(taken, age <= self.stage.settle, self.reporting)
        log_e = evidence.log_e()
        # Without evidence against the change there is none that a control could have made by moving.
        is_asked = bool((log_e > 0).any()) or age % _DRIFT_EVERY == 0
        self.drift.update(sides, *evidence.tolerance(), is_asked=is_asked)
        log_e = self._comparable(log_e)
        strand_e = evidence.strand_log_e(log_e)
        seen = self.watch(sides, totals, age, bet)
        within, doubling = (np.full(len(strand_e), -np.inf) for _ in range(2))
        sick = self.erratic | self.unlike
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
            seen.drops,
            self.plan.objection is None,
        )
        self.decision.step(tick)
        if self.decision.blamed and self.decision.cause != "traffic":
            self._find_hurt(log_e)
        return tick, log_e

    def _total(self, log_e: Array) -> float:
        """Return the logarithm of the stage's averaged e-value, from those of its tests [test]."""
        metrics = self.by_metric(self.evidence.strand_log_e(log_e), self.within_metric)
        return float(np.logaddexp.reduce(metrics + np.log(self.rules.weight)))

    def _comparable(self, log_e: Array) -> Array:
        """Put to nothing the evidence [test] that a control has made by moving, and note the metrics that it makes up.

        Such a metric is not comparable: over the whole fleet, or because the stage would be stopped but for this.
        """
        held, rules = self.drift.held, self.rules
        result = np.where(held, -np.inf, log_e) if held.any() else log_e
        self.unlike = np.bincount(self.metric, self.drift.wide(), len(rules.weight)) > 0
        threshold = -np.log(rules.alpha)
        if held.any() and self._total(log_e) >= threshold > self._total(result):
            self.unlike |= self.some(held & (log_e > 0))
        return result

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
