"""A stage that has begun: its pairing, its evidence and its decision."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import COLO
from detectors.decision import Decision, Rules, Tick, benjamini_hochberg
from detectors.evidence import Evidence
from detectors.objective import Objectives
from detectors.sides import Sides
from streams.cohorts import RowKey
from streams.histograms import Histograms
from streams.pairing import Pairing, pair
from streams.plan import Plan
from streams.strata import others_of

Array = NDArray[np.float64]


class Running:
    """A stage that has begun: its pairing, evidence and decision."""

    def __init__(self, plan: Plan, index: int, keys: Sequence[RowKey], past: Array) -> None:
        policy, stage = plan.policy, plan.stages[index]
        self.plan = plan
        self.stage = stage
        self.ticks_past = int((past[0] > 0).any(axis=0).sum())
        # A stage that is only looked at beforehand may not have a start yet.
        first = stage.started - past.shape[2] if self.ticks_past and stage.started is not None else None
        others = others_of(plan.membership, plan.others, first)
        self.pairing: Pairing = pair(keys, past, policy, plan.membership, index, len(plan.stages), others)
        deviation = self.pairing.deviation(past)
        self.evidence = Evidence(
            self.pairing.strands,
            self.pairing.tests,
            self.pairing.sides(past),
            deviation,
            policy.pre_period.ticks_min,
            stage.deadline or 2 * stage.bake,
        )
        self.metric = np.array([strand.metric for strand in self.pairing.strands])
        share = np.array([strand.weight for strand in self.pairing.strands])
        weight = np.bincount(self.metric, share).astype(np.float64)
        self.within_metric = share / weight[self.metric]
        # A metric is shown harmless, or its control sick, by what its policy names: of a histogram its own quantile.
        wanted = np.array([metric.quantile or 0.0 for metric in policy.metrics] + [0.0])
        self.named = np.array([strand.quantile for strand in self.pairing.strands]) == wanted[self.metric]
        self.within_named = self.named * share / np.bincount(self.metric, self.named * share)[self.metric]
        breaches = [metric.breach for metric in policy.metrics] + ["halt"]
        required = np.array([metric.required for metric in policy.metrics] + [False])
        rules = Rules(policy.alpha, stage.bake, stage.deadline, breaches, weight, policy.advance, required)
        self.decision = Decision(rules)
        cohorts = {"canary": plan.membership.canary(index), "control": plan.membership.controls(index)}
        self.histograms = Histograms(keys, policy, self.pairing, past, cohorts)
        self.reporting = np.array([strand.metric == len(policy.metrics) for strand in self.pairing.strands])
        self.objectives = [Objectives(policy.metrics) for _ in range(2)]  # canary's, control's
        self.silent = np.zeros(len(weight), np.int64)  # ticks since there was data, [metric]
        self.covered = np.zeros(len(weight), np.int64)
        self.quiet = np.zeros(self.pairing.tests.comparisons, np.int64)  # the same for each comparison
        self.missing = np.zeros(self.pairing.tests.comparisons, np.bool_)
        self.colo = self.pairing.by_colo()
        self.hurt: set[int] = set()  # colos that a stop holds for, by position

    def step(self, sides: Sides, age: int, gap: int) -> tuple[Tick, Array]:
        """Add one tick, decide, and return what was decided on and the e-values [test]."""
        evidence, tests = self.evidence, self.pairing.tests
        evidence.update(sides, age <= self.stage.settle, self.reporting)
        log_e = evidence.log_e()
        metrics = len(self.decision.rules.weight)
        strand_e = evidence.strand_log_e(log_e)
        had = np.zeros(metrics, np.bool_)
        both = (sides.canary_of > 0) & (sides.control_of > 0)
        had[self.metric[tests.strand[: tests.comparisons][both]]] = True
        self.silent = np.where(had, 0, self.silent + 1)
        self._find_missing(sides, both, gap)
        self.covered += had
        within, doubling = (np.full(len(strand_e), -np.inf) for _ in range(2))
        sick = np.zeros(metrics, np.bool_)
        if age >= self.stage.bake:
            within, doubling = evidence.log_e_within(), evidence.log_e_within(np.log(2.0))
            np.logical_or.at(sick, self.metric, evidence.is_control_sick() & self.named)
        tick = Tick(
            age,
            self.by_metric(strand_e, self.within_metric),
            self.by_metric(within, self.within_named),
            self.by_metric(doubling, self.within_named),
            self.covered / age,
            (self.silent <= gap) & ~self._missing_metrics(),
            sick,
            *self._missed(sides),
        )
        self.decision.step(tick)
        if self.decision.blamed:
            self._find_hurt(log_e)
        return tick, log_e

    def confounders(self, metric: int, age: int) -> list[str]:
        """Name the rollouts that a metric cannot tell apart from this one, and that have begun by now."""
        assert self.stage.started is not None
        return self.pairing.entangled.confounders(metric, self.stage.started + age - 1)

    def _missed(self, sides: Sides) -> list[NDArray[np.bool_]]:
        """Hold both sides' values over the fleet against the objectives: canary and control, [metric]."""
        tests = self.pairing.tests
        fleet = tests.fleet()
        whole = sides.pooled(tests)
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
            self.decision.rules.required[self.metric[tests.strand[own]]] & (self.quiet > gap) & alive[tests.place[own]]
        )

    def _missing_metrics(self) -> NDArray[np.bool_]:
        """Tell for each metric [metric] whether it is missing somewhere."""
        own = self.metric[self.pairing.tests.strand[: self.pairing.tests.comparisons]]
        return np.bincount(own, self.missing, len(self.decision.rules.required)) > 0

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
