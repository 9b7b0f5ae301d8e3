"""Cohort ticks of a small fleet without any samples, and judges of them: who has which change is known by signature."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from detectors.policy import Classical, Metric, Policy, PrePeriod, Ratio, Tolerance
from sinks.cloudevents import encode, verdict_event
from streams.cohorts import CohortTicks, RowKey
from streams.judge import Judge, Judged
from streams.membership import NOT_REACHED, Announced, Membership, Stage
from streams.plan import Plan
from tests.samples import TICK_MS

PAST, LONG_PAST = 60, 500
"""Ticks before the first stage that are learned from: few, or so many that the past itself is judged by placebos."""

START = 1_001
STAGES = (
    Stage("canary", {"stage": "one"}, None, START, bake=8, deadline=30, settle=1),
    Stage("more", {"stage": "two"}, None, START + 40, bake=6, deadline=20, settle=0),
)
POLICY = Policy(
    policy="edge-http",
    metrics=[
        Metric(
            name="errors",
            ratio=Ratio(bad="bad", total="all"),
            worse="increase",
            breach="revert",
            tolerate=Tolerance(relative=0.1, absolute=0.0005),
        ),
        Metric(name="cpu", gauge="cpu", worse="increase", breach="halt"),
        Metric(name="latency", histogram="seconds", quantile=0.9, worse="increase", breach="revert"),
        Metric(name="requests", counter="all", worse="either", breach="halt"),
    ],
    gap_ticks_max=3,
)
CLASSICAL = Classical(marginal=80.0, ticks_min=8, interval_ticks=4, ticks_max=40)
JUDGES = ("sequential", "classical")
EDGES = (0.1, 0.4, np.inf)
COLOS = ("ams01", "fra02", "lhr03", "sin04")
UNITS: Mapping[int, int] = {0: 2, 1: 3, NOT_REACHED: 6}
"""Units in each colo, by the stage that reaches them."""

Signature = tuple[int, tuple[bool, ...], tuple[int, ...]]
"""A stage, whether it may be control of each, and the stage of each other rollout."""

TABLE: tuple[Signature, ...] = tuple((stage, (True, True), ()) for stage in (NOT_REACHED, 0, 1))


def membership(table: Sequence[Signature]) -> Membership:
    """Return what one rollout sees of these signatures."""
    others = np.array([other for _, _, other in table], np.int32).reshape(len(table), -1)
    return Membership(np.empty(0, np.int32), tuple((stage, allowed) for stage, allowed, _ in table), others)


def plan_of(
    table: Sequence[Signature] = TABLE,
    *,
    judge: str = "sequential",
    stages: Sequence[Stage] = STAGES,
    others: Sequence[Announced] = (),
    announced: Mapping[int, int] | None = None,
    past: int = PAST,
) -> Plan:
    """Make a plan of the rollout that all of this is about."""
    policy = structs.replace(POLICY, pre_period=PrePeriod(ticks_min=8, ticks_max=past))
    if judge == "classical":
        policy = structs.replace(policy, judge=judge, classical=CLASSICAL)
    return Plan(
        *("r", stages, membership(table), policy, f"sha256:{judge}", "engine", True, TICK_MS, others),
        announced=announced or {},
    )


@dataclass(frozen=True)
class Harm:
    """By how much the errors of a stage's units in some colos are multiplied, from a tick on."""

    first: int = 10**9
    factor: float = 8.0
    colos: tuple[str, ...] = ("ams01",)
    stage: int = 0


def keys_of(colos: Iterable[str] = COLOS, signatures: Iterable[int] = range(3)) -> tuple[RowKey, ...]:
    """Return all rows of some colos and signatures, in order."""
    edges = {0: (0.0,), 1: (0.0,), 2: EDGES, 3: (0.0,), 4: (0.0,)}
    kinds = [(metric, edge) for metric, some in edges.items() for edge in some]
    return tuple(sorted(RowKey(m, e, colo, "", one) for m, e in kinds for colo in colos for one in signatures))


def ticks_of(
    first: int,
    stop: int,
    keys: Sequence[RowKey],
    table: Sequence[Signature] = TABLE,
    *,
    harm: Harm | None = None,
    seed: int = 3,
) -> CohortTicks:
    """Draw the ticks from `first` on and before `stop`; a row's numbers depend on nothing but its meaning."""
    columns = [_drawn(key, table[key.signature], first, stop, harm or Harm(), seed) for key in keys]
    return CohortTicks(first, tuple(keys), np.stack(columns, axis=1))


@cache
def _drawn(key: RowKey, signature: Signature, first: int, stop: int, harm: Harm, seed: int) -> NDArray[np.float64]:
    stage, _, others = signature
    drawn: list[tuple[float, float, float]] = []
    for tick in range(first, stop):
        place = [seed, tick, COLOS.index(key.colo), stage + 1, *(one + 1 for one in others)]
        rng = np.random.default_rng([*place, key.metric])
        units = float(UNITS[stage])
        is_hurt = stage == harm.stage and tick >= harm.first and key.colo in harm.colos
        total = float(rng.poisson(500 * units))
        if key.metric == 0:
            share = 0.01 * (harm.factor if is_hurt else 1.0)
            drawn.append((units, float(rng.binomial(int(total), min(1.0, share))), total))
        elif key.metric == 2:
            beyond = float(rng.binomial(int(total), 0.12)) * (key.edge < 0.2) + 0.02 * total * (key.edge == EDGES[1])
            drawn.append((units, beyond, total))
        elif key.metric == 4:
            drawn.append((units, 0.0, units))
        else:
            each = rng.normal(100.0 if key.metric == 3 else 1.0, 0.02, int(units))
            drawn.append((units, float(each.sum()), float((each * each).sum())))
    return np.array(drawn, np.float64).reshape(-1, 3).T


def cut(ticks: CohortTicks, *at: int) -> list[CohortTicks]:
    """Cut ticks into blocks that begin at these ticks."""
    bounds = [ticks.first, *at, ticks.first + ticks.ticks]
    return [ticks.between(start, stop) for start, stop in pairwise(bounds) if start < stop]


def pushed(judge: Judge, *blocks: CohortTicks, trouble: Mapping[int, str] | None = None) -> list[Judged]:
    """Push blocks, and return what was judged."""
    return list(_pushed(judge, blocks, trouble or {}))


def _pushed(judge: Judge, blocks: Iterable[CohortTicks], trouble: Mapping[int, str]) -> Iterator[Judged]:
    for block in blocks:
        own = {tick: why for tick, why in trouble.items() if block.first <= tick < block.first + block.ticks}
        yield from judge.push(block, own)


def told(judged: Sequence[Judged], *, numbered: bool = True) -> list[tuple[int, str, bytes | None]]:
    """Return ticks, evidence and verdicts as bytes that can be compared; the sequence counts if `numbered`."""
    result: list[tuple[int, str, bytes | None]] = []
    for one in judged:
        verdict = one.verdict
        if verdict is not None and not numbered:
            verdict = structs.replace(verdict, sequence=1)
        body = None if verdict is None else encode(verdict_event("r", one.tick * TICK_MS, verdict))
        result.append((one.tick, repr(one.log_e), body))
    return result


def later(stage: Stage, started: int | None) -> Stage:
    """Return a stage with another start."""
    return replace(stage, started=started)
