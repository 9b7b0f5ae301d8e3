"""Simulated rollouts: what is done to them, what is aimed at, and how holdfast decides about them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.quality.outcome import Cell, Outcome
from benchmarks.quality.rivals import ALPHA, TOLERANCE, Array, Bools, Cohorts, judge, relative
from benchmarks.simulator import COLOS, HARMLESS, LIVE, METRICS, PAST, RATIOS, Scenario, Simulated, simulate
from detectors.comparisons import Strand, arrange
from detectors.decision import Decision, Rules, Tick
from detectors.evidence import Evidence
from detectors.sides import Sides

BAKE: Final = 120
DEADLINE: Final = 180
COLOS_PER_REGION: Final = 5
PHIS: Final = (0.3, 0.6, 0.8, 0.9)
FALSE_ALARMS_MOST: Final = 0.01
FALSE_ALARMS_BOUND: Final = 0.02

_WEIGHT: Final = 1 / (METRICS + 1)
_GAP_TICKS: Final = 5
"""Ticks that a metric may be without data, as policies have it."""


@dataclass(frozen=True, slots=True)
class Goal:
    """The least share that is to be detected, and the most ticks that it may take (median); None is any."""

    share: float
    delay: int | None

    def text(self) -> str:
        """Write it like what is held against it."""
        return f"{self.share:.0%} / {self.delay or '-'}"

    def is_reached(self, cell: Cell) -> bool:
        """Tell whether a method reached it."""
        median = cell.median
        return cell.detected >= self.share and (self.delay is None or (median is not None and median <= self.delay))


_GOALS: Final[list[tuple[Scenario, Goal | None]]] = [
    (Scenario("errors +10 %", "ratio", 1.1), Goal(0.99, 32)),
    (Scenario("errors +30 %", "ratio", 1.3), Goal(0.99, 4)),
    (Scenario("errors x2", "ratio", 2.0), Goal(0.99, 3)),
    (Scenario("errors +30 % from tick 60", "ratio", 1.3, onset=60), Goal(0.99, 6)),
    (Scenario("errors x2 in 2 of 20 colos", "ratio", 2.0, colos=2), Goal(0.99, 7)),
    (Scenario("errors +30 % over 120 ticks", "ratio", 1.3, ramp=120), Goal(0.99, 65)),
    (Scenario("level +5 %", "level", 1.05), None),
    (Scenario("level +10 %", "level", 1.1), None),
    (Scenario("level +20 %", "level", 1.2), None),
    (Scenario("level +30 %", "level", 1.3), Goal(0.99, 4)),
    (Scenario("level +10 % from tick 60", "level", 1.1, onset=60), None),
    (Scenario("level +20 % in 2 of 20 colos", "level", 1.2, colos=2), None),
    (Scenario("level +30 % in 2 of 20 colos", "level", 1.3, colos=2), None),
]

_PHI_GOALS: Final = {
    ("level +5 %", 0.6): Goal(0.99, 41),
    ("level +5 %", 0.9): Goal(0.40, None),
    ("level +10 %", 0.6): Goal(0.99, 6),
    ("level +10 %", 0.9): Goal(0.99, 26),
    ("level +30 %", 0.6): Goal(0.99, 3),
    ("level +30 %", 0.9): Goal(0.99, 4),
    ("level +20 % in 2 of 20 colos", 0.6): Goal(0.99, 30),
    ("level +20 % in 2 of 20 colos", 0.9): Goal(0.30, None),
    ("level +30 % in 2 of 20 colos", 0.6): Goal(0.99, 12),
    ("level +30 % in 2 of 20 colos", 0.9): Goal(0.70, None),
}


def scenarios(*, by_phi: bool) -> list[tuple[Scenario, Goal | None]]:
    """List what is simulated, the harmless first; `by_phi` adds levels by how much a tick resembles the one before."""
    listed: list[tuple[Scenario, Goal | None]] = [(HARMLESS, None), *_GOALS]
    if by_phi:
        names = sorted({name for name, _ in _PHI_GOALS}, key=[s.name for s, _ in _GOALS].index)
        whole = {s.name: s for s, _ in _GOALS}
        listed += [
            (
                Scenario(f"{name}, phi {phi}", "level", whole[name].factor, colos=whole[name].colos, phi=phi),
                _PHI_GOALS.get((name, phi)),
            )
            for name in names
            for phi in PHIS
        ]
    return listed


def holdfast(rollouts: Sequence[Simulated]) -> list[Outcome]:
    """Decide about rollouts as a stage with `bake`, `deadline` and `advance: evidence` does.

    Each is a rollout of its own. They are worked on together, as strands that know nothing of each other, since a few
    large arrays take half the time of many small ones.

    A policy always has `reporting_hosts` too. Here all report, so it takes its share of alpha and asks nothing.
    """
    evidence = _evidence(rollouts)
    sides = [np.concatenate([r.sides.arrays()[i] for r in rollouts]) for i in range(4)]
    live = [np.ascontiguousarray(array[:, PAST:].T) for array in sides]  # [tick, comparison]
    data: Bools = (live[1] > 0) & (live[3] > 0)
    had = np.ones((LIVE, len(rollouts), METRICS + 1), np.bool_)
    had[:, :, :METRICS] = data.reshape(LIVE, len(rollouts), METRICS, COLOS).any(axis=3)
    decisions = [Decision(_rules()) for _ in rollouts]
    outcomes: list[Outcome | None] = [None] * len(rollouts)
    halted: list[int | None] = [None] * len(rollouts)
    exempt = np.zeros(METRICS * len(rollouts), np.bool_)
    for tick in range(LIVE):
        evidence.update(Sides(*(array[tick] for array in live)), False, exempt)
        asks = any(one.action == "wait" for one in decisions)
        shown = _shown(evidence, tick + 1, had[: tick + 1], asks=asks)
        for place, (decision, seen) in enumerate(zip(decisions, shown, strict=True)):
            if outcomes[place] is not None:
                continue
            decision.step(seen)
            if decision.action in ("halt", "revert"):
                if decision.cause == "evidence":
                    outcomes[place] = Outcome(tick, halted[place])
                elif halted[place] is None:
                    halted[place] = tick
        if all(outcomes):
            break
    return [
        outcome or Outcome(None, halt, decision.action == "advance")
        for outcome, halt, decision in zip(outcomes, halted, decisions, strict=True)
    ]


def _evidence(rollouts: Sequence[Simulated]) -> Evidence:
    """Begin the evidence of all rollouts, whose strands follow each other."""
    metrics = METRICS * len(rollouts)
    strand = np.repeat(np.arange(metrics), COLOS)
    colo = np.tile(np.arange(COLOS), metrics)
    strands = [
        Strand(metric, 0.0, metric % METRICS < RATIOS, True, False, TOLERANCE, 0.0, "auto", _WEIGHT)
        for metric in range(metrics)
    ]
    past = Sides(*(np.concatenate([r.sides.arrays()[i][:, :PAST] for r in rollouts]) for i in range(4)))
    tests = arrange(strand, colo, colo // COLOS_PER_REGION)
    return Evidence(strands, tests, past, np.zeros(len(strand)), 30, DEADLINE)


def _rules() -> Rules:
    metrics = METRICS + 1
    no = np.zeros(metrics, np.bool_)
    return Rules(ALPHA, BAKE, DEADLINE, ["revert"] * metrics, np.full(metrics, _WEIGHT), "evidence", no)


def _shown(evidence: Evidence, age: int, had: Bools, *, asks: bool) -> list[Tick]:
    """Put together what a tick showed of each rollout; what only `advance` needs, while that is the question.

    `had` [tick, rollout, metric] tells which ticks so far had data on both sides.
    """
    rollouts = had.shape[1]
    log_e = _with_reporting(evidence.strand_log_e(evidence.log_e()), rollouts, -np.inf)
    within = doubling = np.full_like(log_e, -np.inf)
    no: Bools = np.zeros(log_e.shape, np.bool_)
    sick = no
    if asks and age >= BAKE:
        within = _with_reporting(evidence.log_e_within(), rollouts, np.inf)
        doubling = _with_reporting(evidence.log_e_within(np.log(2.0)), rollouts, np.inf)
        sick = _with_reporting(evidence.is_control_sick(), rollouts, 0.0) > 0
    recent: Bools = had[-_GAP_TICKS - 1 :].max(axis=0)
    coverage = had.mean(axis=0)
    return [
        Tick(age, log_e[i], within[i], doubling[i], coverage[i], recent[i], sick[i], no[i], no[i], no[i])
        for i in range(rollouts)
    ]


def _with_reporting(values: Array | Bools, rollouts: int, reporting: float) -> Array:
    """Cut values [strand] into rollouts, and add the implicit metric: [rollout, metric]."""
    own = values.reshape(rollouts, METRICS).astype(np.float64)
    return np.concatenate([own, np.full((rollouts, 1), reporting)], axis=1)


def fleet(rollout: Simulated) -> Cohorts:
    """Return what the others look at: both sides over the fleet."""
    sums = [array.reshape(METRICS, COLOS, -1).sum(axis=1) for array in rollout.sides.arrays()]
    with np.errstate(invalid="ignore"):
        canary, control = (relative(top / bottom, PAST) for top, bottom in ((sums[0], sums[1]), (sums[2], sums[3])))
    up = np.ones(METRICS, np.bool_)
    return Cohorts(canary, control, PAST, up, ~up)


def judge_simulated(tasks: Sequence[tuple[Scenario, tuple[int, ...]]]) -> list[dict[str, Outcome]]:
    """Simulate rollouts and judge them by all methods."""
    rollouts = [simulate(*task) for task in tasks]
    own = holdfast(rollouts)
    return [{"holdfast": mine, **judge(fleet(rollout))} for mine, rollout in zip(own, rollouts, strict=True)]
