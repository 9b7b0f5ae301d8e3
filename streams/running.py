"""A stage that has begun: its pairing, its evidence and its decision."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import COLO
from detectors.decision import Decision, Rules, Tick, benjamini_hochberg
from detectors.departure import Levels
from detectors.drift import Drift
from detectors.evidence import Evidence
from detectors.objective import Objectives
from detectors.sides import Sides
from detectors.traffic import Traffic
from streams.changes import changed
from streams.cohorts import RowKey
from streams.pairing import Pairing, pair
from streams.plan import Plan
from streams.totals import Totals, totals_of

Array = NDArray[np.float64]


class Running:
    """A stage that has begun: its pairing, evidence and decision."""

    def __init__(self, plan: Plan, index: int, keys: Sequence[RowKey], past: Array) -> None:
        policy, stage = plan.policy, plan.stages[index]
        self.plan = plan
        self.stage = stage
        self.pairing: Pairing = pair(keys, past, policy, plan.membership, index, len(plan.stages))
        sides, tests = self.pairing.sides(past), self.pairing.tests
        self.evidence = Evidence(
            self.pairing.strands,
            tests,
            sides,
            self.pairing.deviation(past),
            policy.pre_period.ticks_min,
            stage.deadline or 2 * stage.bake,
        )
        self.metric = np.array([strand.metric for strand in self.pairing.strands])
        share = np.array([strand.weight for strand in self.pairing.strands])
        weight = np.bincount(self.metric, share).astype(np.float64)
        self.within_metric = share / weight[self.metric]
        breaches = [metric.breach for metric in policy.metrics] + ["halt"]
        required = np.array([metric.required for metric in policy.metrics] + [False])
        rules = Rules(policy.alpha, stage.bake, stage.deadline, breaches, weight, policy.advance, required)
        self.decision = Decision(rules)
        self.reporting = np.array([strand.metric == len(policy.metrics) for strand in self.pairing.strands])
        levels = Levels(tests, self.pairing.is_ratio, self.evidence.is_log, self.evidence.scale, sides)
        self.drift = Drift(self.pairing.strands, tests, levels, changed, self.reporting)
        self.totals: Totals = totals_of(keys, policy, plan.membership, index)
        self.traffic = Traffic(self.totals.limit, self.totals.metric, self.totals.is_reached, *self.totals.sums(past))
        self.objectives = [Objectives(policy.metrics) for _ in range(2)]  # canary's, control's
        self.ticks_past = int((past[0] > 0).any(axis=0).sum())
        self.silent = np.zeros(len(weight), np.int64)  # ticks since there was data, [metric]
        self.covered = np.zeros(len(weight), np.int64)
        self.quiet = np.zeros(self.pairing.tests.comparisons, np.int64)  # the same for each comparison
        self.missing = np.zeros(self.pairing.tests.comparisons, np.bool_)
        self.heard = ((sides.canary_of > 0) & (sides.control_of > 0)).any(axis=1)  # whether both sides ever had data
        self.unlike = np.zeros(len(weight), np.bool_)  # metrics whose control has moved, [metric]
        self.hurt: set[int] = set()  # colos that a stop holds for, by position
        self.fallen: set[int] = set()  # places of `totals` that have lost their traffic

    def step(self, sides: Sides, totals: tuple[Array, Array], age: int, gap: int) -> tuple[Tick, Array]:
        """Add one tick, decide, and return what was decided on and the e-values [test].

        `totals` are the units and sums of the watched places [place].
        """
        evidence, settling = self.evidence, age <= self.stage.settle
        both = (sides.canary_of > 0) & (sides.control_of > 0)
        bet = ~self.drift.set_aside  # decided on the ticks before this one
        evidence.update(Sides(*(array * bet for array in sides.arrays())), settling, self.reporting)
        self.drift.update(sides, *evidence.tolerance())
        log_e = self._comparable(evidence.log_e())
        strand_e = evidence.strand_log_e(log_e)
        self.silent = np.where(self._some(both), 0, self.silent + 1)
        self._find_missing(sides, both, gap)
        self.covered += self._some(both & bet)
        within, doubling = (np.full(len(strand_e), -np.inf) for _ in range(2))
        sick = self.unlike.copy()
        if age >= self.stage.bake:
            within, doubling = evidence.log_e_within(), evidence.log_e_within(np.log(2.0))
            np.logical_or.at(sick, self.metric, evidence.is_control_sick())
        misses, misses_too = self._missed(sides)
        tick = Tick(
            age,
            self._by_metric(strand_e),
            self._by_metric(within),
            self._by_metric(doubling),
            self.covered / age,
            (self.silent <= gap) & ~self._some(self.missing),
            sick,
            misses,
            misses_too,
            self._dropped(totals, settling),
        )
        self.decision.step(tick)
        if self.decision.blamed and self.decision.cause != "traffic":
            self._find_hurt(log_e)
        return tick, log_e

    def _some(self, marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Tell for each metric [metric] whether any of its tests, or comparisons, is marked [test]."""
        of = self.metric[self.pairing.tests.strand[: len(marked)]]
        return np.bincount(of, marked, len(self.decision.rules.weight)) > 0

    def _comparable(self, log_e: Array) -> Array:
        """Put to nothing the evidence [test] that a control has made by moving, and note the metrics that it makes up.

        Such a metric is not comparable: over the whole fleet, or because the stage would be stopped but for this.
        """
        held = self.drift.held
        result = np.where(held, -np.inf, log_e)
        self.unlike = np.bincount(self.metric, self.drift.wide(), len(self.decision.rules.weight)) > 0
        rules = self.decision.rules
        if held.any():
            before, after = (self._by_metric(self.evidence.strand_log_e(value)) for value in (log_e, result))
            stops = [
                np.logaddexp.reduce(value + np.log(rules.weight)) >= -np.log(rules.alpha) for value in (before, after)
            ]
            if stops[0] and not stops[1]:
                self.unlike |= self._some(held & (log_e > 0))
        return result

    def _dropped(self, totals: tuple[Array, Array], settling: bool) -> NDArray[np.bool_]:
        """Tell for each metric [metric] whether a colo has lost its traffic, and note where. None is taken back."""
        found = np.flatnonzero(self.traffic.update(*totals, is_settling=settling))
        self.fallen |= set(found.tolist())
        return np.bincount(self.totals.metric[found], minlength=len(self.decision.rules.weight)) > 0

    def _missed(self, sides: Sides) -> list[NDArray[np.bool_]]:
        """Hold both sides' values over the fleet against the objectives: canary and control, [metric]."""
        tests = self.pairing.tests
        fleet = tests.fleet()
        whole = sides.pooled(tests.pool)
        result = []
        for objectives, total, count in zip(
            self.objectives, (whole.canary, whole.control), (whole.canary_of, whole.control_of), strict=True
        ):
            value = np.full(len(self.decision.rules.weight), np.nan)
            some = fleet[count[fleet] > 0]
            value[self.metric[tests.strand[some]]] = total[some] / count[some]
            result.append(np.append(objectives.missed(value[:-1]), False))
        return result

    def _find_missing(self, sides: Sides, both: NDArray[np.bool_], gap: int) -> None:
        """Find required metrics that are missing from a colo whose canaries do report, and colos that went silent."""
        tests = self.pairing.tests
        own = slice(tests.comparisons)
        self.quiet = np.where(both, 0, self.quiet + 1)
        self.heard |= both
        reports = self.pairing.is_reporting & (sides.canary_of > sides.canary)
        alive = np.zeros(len(self.pairing.colos), np.bool_)
        alive[tests.place[own][reports]] = True
        required = self.decision.rules.required[self.metric[tests.strand[own]]] & alive[tests.place[own]]
        # Where nobody reports, of neither cohort, the comparison of who reports says nothing either.
        self.missing = (self.quiet > gap) & (required | (self.pairing.is_reporting & self.heard))

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

    def _by_metric(self, log_e: Array) -> Array:
        """Average the e-values of a metric's edges: [strand] to [metric]."""
        result = np.full(len(self.decision.rules.weight), -np.inf)
        with np.errstate(divide="ignore"):
            np.logaddexp.at(result, self.metric, log_e + np.log(self.within_metric))
        return result
