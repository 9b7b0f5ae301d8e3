"""A stage that has begun: what stands against what, and which data there were. Whoever judges it builds on this."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from detectors.decision import Decision, Rules
from detectors.objective import Objectives
from detectors.sides import Sides
from detectors.state import Stateful
from detectors.traffic import Traffic
from streams.cohorts import RowKey
from streams.histograms import Histograms
from streams.pairing import Pairing, pair
from streams.plan import Plan
from streams.strata import others_of
from streams.totals import Totals, totals_of

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

_ROWS_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Seen:
    """What data there were at the end of a tick, [metric]; see `detectors.decision.Tick`."""

    coverage: Array
    has_data: Bools
    misses: Bools
    misses_too: Bools
    drops: Bools


class Begun(Stateful):
    """A stage that has begun: its pairing, and the data it had; what it decides is added by who judges it.

    Parameters
    ----------
    plan, index
        The rollout, and which of its stages begins.
    keys, past
        [row], [3, row, tick] The pre-period.
    like
        The same stage, begun on the same rows and a past that begins with this one: shares what does not depend on it.

    Attributes
    ----------
    first
        First tick of its past; None if it has none, or no start yet.
    trouble
        Why the data of the tick that is judged cannot be trusted, as a sentence; None if they can.
    late
        Ticks by which the stage starts later than was announced, as long as no verdict has said so.
    unjudged
        What came up after the stage had begun, and too late to judge the stage anew with it: colos by metric.
    is_outdated
        Whether something else in the plan has changed since, too late as well.
    before
        [comparison, tick] The pre-period paired up; None once all that is learned from it has been.
    """

    _state: ClassVar[tuple[str, ...]] = (
        *("decision", "histograms", "canary_objectives", "control_objectives", "traffic"),
        *("silent", "covered", "quiet", "missing", "heard", "fallen", "hurt"),
    )
    decision: Decision

    def __init__(
        self, plan: Plan, index: int, keys: Sequence[RowKey], past: Array, like: "Begun | None" = None
    ) -> None:
        policy, stage = plan.policy, plan.stages[index]
        self.plan = plan
        self.stage = stage
        self.ticks_past = _ticks_heard(past[0])
        # A stage that is only looked at beforehand may not have a start yet.
        self.first = stage.started - past.shape[2] if self.ticks_past and stage.started is not None else None
        others = others_of(plan.membership, plan.others, self.first)
        shared = None if like is None or plan.others or any(metric.histogram for metric in policy.metrics) else like
        # Only other rollouts, and edges of histograms, make the pairing depend on the past.
        self.pairing: Pairing = (
            shared.pairing if shared else pair(keys, past, policy, plan.membership, index, len(plan.stages), others)
        )
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
        self.canary_objectives, self.control_objectives = (Objectives(policy.metrics) for _ in range(2))
        self.silent = np.zeros(len(weight), np.int64)  # ticks since there was data, [metric]
        self.covered = np.zeros(len(weight), np.int64)
        self.quiet = np.zeros(self.pairing.tests.comparisons, np.int64)  # the same for each comparison
        self.missing = np.zeros(self.pairing.tests.comparisons, np.bool_)
        self.colo = self.pairing.by_colo()
        known = shared.before if shared else None
        self.before: Sides | None = known.between(0, past.shape[2]) if known else self.pairing.sides(past)
        sides = self.before
        self.heard: Bools = _ever_heard(sides)
        self._wanted = np.bincount(self.metric[self.pairing.tests.strand], minlength=len(weight)) > 0
        self._aimed = self._with_objectives()
        self.totals: Totals = shared.totals if shared else totals_of(keys, policy, plan.membership, index)
        self.traffic = Traffic(self.totals.limit, self.totals.metric, self.totals.is_reached, *self.totals.sums(past))
        self.fallen: set[int] = set()  # places of `totals` that have lost their traffic
        self.hurt: set[int] = set()  # colos that a stop holds for, by position
        self.trouble: str | None = None
        self.late = max(0, stage.started - plan.announced.get(index, stage.started)) if stage.started else 0
        self.unjudged: dict[int, list[str]] = {}
        self.is_outdated = False

    def watch(self, sides: Sides, totals: tuple[Array, Array], age: int, bet: Bools) -> Seen:
        """Note which data a tick brought, and hold it against objectives and what colos used to get.

        Parameters
        ----------
        sides
            [comparison] The tick.
        totals
            Units and sums of the watched places [place].
        age
            Ticks since the stage's start, this one included.
        bet
            [comparison] Whether it could be compared.
        """
        both = (sides.canary_of > 0) & (sides.control_of > 0)
        is_whole = bool(both.all())
        some = self._wanted if is_whole else self.some(both)
        self.silent = np.where(some, 0, self.silent + 1)
        if is_whole:
            self.quiet, self.missing, self.heard = np.zeros_like(self.quiet), ~both, both
        else:
            self._find_missing(sides, both)
        self.covered += some if is_whole and bet.all() else self.some(both & bet)
        has_data = (self.silent <= self.plan.policy.gap_ticks_max) & ~self.some(self.missing) & (self.trouble is None)
        drops = self._dropped(totals, is_settling=age <= self.stage.settle)
        misses, misses_too = self._missed(sides)
        return Seen(self.covered / age, has_data, misses, misses_too, drops)

    def some(self, marked: Bools) -> Bools:
        """Tell for each metric [metric] whether any of its tests, or comparisons, is marked [test]."""
        if not marked.any():
            return np.zeros(len(self.rules.weight), np.bool_)
        of = self.metric[self.pairing.tests.strand[: len(marked)]]
        return np.bincount(of, marked, len(self.rules.weight)) > 0

    def _dropped(self, totals: tuple[Array, Array], *, is_settling: bool) -> Bools:
        """Tell for each metric [metric] whether a colo has lost its traffic, and note where. None is taken back."""
        found = np.flatnonzero(self.traffic.update(*totals, is_settling=is_settling))
        self.fallen |= set(found.tolist())
        dropped: Bools = np.bincount(self.totals.metric[found], minlength=len(self.rules.weight)) > 0
        return dropped

    def _missed(self, sides: Sides) -> list[Bools]:
        """Hold both sides' values over the fleet against the objectives: canary and control, [metric]."""
        metric, canary, control = self._aimed
        result = []
        for objectives, total, count in (
            (self.canary_objectives, canary @ sides.canary, canary @ sides.canary_of),
            (self.control_objectives, control @ sides.control, control @ sides.control_of),
        ):
            value = np.full(len(self.rules.weight), np.nan)
            some = np.flatnonzero(count > 0)
            value[metric[some]] = total[some] / count[some]
            result.append(np.append(objectives.missed(value[:-1]), False))
        return result

    def _with_objectives(self) -> tuple[NDArray[np.intp], csr_array, csr_array]:
        """Return the metrics [aimed] of the fleet's tests that have objectives, and what adds both sides to them."""
        tests = self.pairing.tests
        aimed = np.isfinite(np.append(self.canary_objectives.limit, np.inf))
        fleet = tests.fleet()
        fleet = fleet[aimed[self.metric[tests.strand[fleet]]]]
        other = tests.pool if tests.pool_control is None else tests.pool_control
        return self.metric[tests.strand[fleet]], csr_array(tests.pool[fleet]), csr_array(other[fleet])

    def _find_missing(self, sides: Sides, both: Bools) -> None:
        """Find required metrics that are missing from a colo whose canaries do report, and colos that went silent."""
        tests = self.pairing.tests
        own = slice(tests.comparisons)
        # A colo has a metric as long as one of its strata has it.
        heard = self.colo.T @ (self.colo @ both.astype(np.float64)) > 0
        self.quiet = np.where(heard, 0, self.quiet + 1)
        self.heard |= heard
        reports = self.pairing.is_reporting & (sides.canary_of > sides.canary)
        alive = np.zeros(len(self.pairing.colos), np.bool_)
        alive[tests.place[own][reports]] = True
        required = self.rules.required[self.metric[tests.strand[own]]] & alive[tests.place[own]]
        # Where nobody reports, of neither cohort, the comparison of who reports says nothing either.
        is_quiet = self.quiet > self.plan.policy.gap_ticks_max
        self.missing = is_quiet & (required | (self.pairing.is_reporting & self.heard))

    def confounders(self, metric: int, age: int) -> list[str]:
        """Name the rollouts that a metric cannot tell apart from this one, and that have begun by now."""
        assert self.stage.started is not None
        if not self.pairing.entangled.confounded:
            return []
        return self.pairing.entangled.confounders(metric, self.stage.started + age - 1)


def _ticks_heard(units: Array) -> int:
    """Return in how many ticks of [row, tick] there was anybody."""
    heard = np.zeros(units.shape[1], np.bool_)
    for start in range(0, len(units), _ROWS_AT_ONCE):  # a few rows tell it as a rule
        heard |= (units[start : start + _ROWS_AT_ONCE] > 0).any(axis=0)
        if heard.all():
            break
    return int(heard.sum())


def _ever_heard(sides: Sides) -> Bools:
    """Tell for each comparison [comparison] whether both sides ever had data in the same tick."""
    heard: Bools = (sides.canary_of[:, -1] > 0) & (sides.control_of[:, -1] > 0)
    others = np.flatnonzero(~heard)
    heard[others] = ((sides.canary_of[others] > 0) & (sides.control_of[others] > 0)).any(axis=1)
    return heard
