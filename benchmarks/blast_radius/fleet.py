"""A simulated fleet: its hosts, the plan that releases to them, and what is left of their traffic, tick by tick."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from detectors.policy import Metric, Policy, PrePeriod, Ratio, Tolerance
from rollouts.document import Unit
from rollouts.inventory import Host, Inventory, Reach
from rollouts.packages import digest_of
from rollouts.plans import Most, Plan, PlanStage
from streams.cohorts import CohortTicks, RowKey

TICK_S: Final = 10
TICK_MS: Final = TICK_S * 1_000
PAST: Final = 360
"""Ticks before a rollout is submitted: an hour."""

COLOS: Final = 50
HOSTS: Final = 20
STAGES: Final = (("canary", 1.0, 0.03, "20m"), ("tenth", 10.0, 0.15, "20m"), ("half", 55.0, 0.6, "30m"))
"""Name, percent of the fleet, the largest share of it that may have the change by then, and bake."""

FROM_SHARE: Final = (0.02, 0.5)
"""From which part of the fleet on a package hurts that hurts only at scale: more than the first stage ever has."""

OLD, NEW = digest_of(b"old"), digest_of(b"new")
UNIT: Final = Unit(unit="bots/features.bin", kind="data-file", digest=NEW)
POLICY: Final = Policy(
    policy="edge",
    metrics=[
        Metric(
            name="errors",
            ratio=Ratio(bad="bad", total="all"),
            worse="increase",
            breach="revert",
            tolerate=Tolerance(relative=0.1, absolute=0.0005),
        ),
        Metric(name="latency", gauge="latency_ms", worse="increase", breach="halt"),
    ],
    pre_period=PrePeriod(ticks_min=60, ticks_max=PAST),
)

_REQUESTS: Final = 300.0
_ERRORS: Final = 0.01
_LATENCY_MS: Final = 80.0
_DAY: Final = 86_400 // TICK_S

Array = NDArray[np.float64]
Where = Literal["none", "all hosts", "some hosts", "some colos", "at scale"]
WHERE: Final[tuple[Where, ...]] = ("all hosts", "some hosts", "some colos")


def inventory() -> Inventory:
    """Return the fleet: its colos are in five regions."""
    return Inventory(
        hosts=[
            Host(host=f"c{colo:02}-h{host:02}", colo=f"c{colo:02}", region=f"r{colo % 5}")
            for colo in range(COLOS)
            for host in range(HOSTS)
        ]
    )


def plan(name: str) -> Plan:
    """Return the plan; which hosts a percentage picks depends on the rollout's name."""
    stages = [
        PlanStage(
            name=stage,
            reach=Reach(percent=percent),
            most=Most(fleet=most, region=1.0),
            bake=bake,
            deadline="4h",
            settle="1m",
            apply_within="5m",
        )
        for stage, percent, most, bake in STAGES
    ]
    return Plan(rollout=name, package=[UNIT], stages=stages, policy="edge")


@dataclass(frozen=True, slots=True)
class Harm:
    """What a bad package does.

    Attributes
    ----------
    factor
        By how much it multiplies the errors of a host that it hurts.
    hurts
        [host] Whether it hurts that host at all.
    delay
        Ticks from when a host has it to the first one in which it hurts.
    where
        What it hurts, in words.
    from_share
        The part of the fleet that has it from which on it hurts; less of it does no harm.
    """

    factor: float
    hurts: NDArray[np.bool_]
    delay: int
    where: Where
    from_share: float = 0.0


def harm_of(rng: np.random.Generator, hosts: Sequence[Host], *, is_bad: bool) -> Harm:
    """Draw what a package does: a harmless one multiplies by 1, a bad one hurts all hosts, some, or some colos."""
    if not is_bad:
        return Harm(1.0, np.zeros(len(hosts), np.bool_), 0, "none")
    factor = float(np.exp(rng.uniform(np.log(1.5), np.log(5.0))))
    delay = 0 if rng.random() < 0.5 else int(rng.integers(6, 61))
    where = WHERE[int(rng.choice(len(WHERE), p=[0.4, 0.3, 0.3]))]
    hurts = np.ones(len(hosts), np.bool_)
    if where == "some hosts":
        hurts = rng.random(len(hosts)) < rng.uniform(0.3, 1.0)
    if where == "some colos":
        colos = sorted({host.colo for host in hosts})
        chosen = set(rng.choice(colos, int(rng.integers(3, 21)), replace=False).tolist())
        hurts = np.array([host.colo in chosen for host in hosts])
    return Harm(factor, hurts, delay, where)


def harm_at_scale(rng: np.random.Generator, hosts: Sequence[Host]) -> Harm:
    """Draw what a package does that hurts only once much of the fleet has it, as what overloads something shared."""
    factor = float(np.exp(rng.uniform(np.log(1.5), np.log(5.0))))
    return Harm(factor, np.ones(len(hosts), np.bool_), 0, "at scale", float(rng.uniform(*FROM_SHARE)))


class Traffic:
    """What the hosts are asked and answer, as sums over those of a colo that have the same signature.

    Hosts differ from each other for good, load goes up and down over a day, and errors and latency of a colo go up and
    down together from tick to tick, whoever has the change.

    Parameters
    ----------
    hosts
        The fleet.
    signature
        [host] The signature of each.
    seed
        Two of the same seed draw the same.
    """

    def __init__(self, hosts: Sequence[Host], signature: NDArray[np.intp], seed: Sequence[int]) -> None:
        self._rng = np.random.default_rng(seed)
        colos = sorted({host.colo for host in hosts})
        self._colo = np.array([colos.index(host.colo) for host in hosts])
        cells, row = np.unique(np.stack([self._colo, signature]), axis=1, return_inverse=True)
        groups, row = cells.shape[1], row.reshape(-1)
        self._sum = csr_array((np.ones(len(hosts)), (row, np.arange(len(hosts)))), shape=(groups, len(hosts)))
        self.keys = tuple(
            RowKey(metric, 0.0, colos[colo], "", one) for metric in range(3) for colo, one in cells.T.tolist()
        )
        count = len(hosts)
        self._phase = self._rng.uniform(0, 2 * np.pi)
        self._load = _REQUESTS * self._rng.lognormal(0.0, 0.3, count)
        self._share = _ERRORS * self._rng.lognormal(0.0, 0.3, count)
        self._latency = _LATENCY_MS * self._rng.lognormal(0.0, 0.1, count)

    def ticks(self, first: int, factor: Array) -> tuple[CohortTicks, Array]:
        """Draw ticks.

        Parameters
        ----------
        first
            The first of them.
        factor
            [host, tick] By how much errors are multiplied.

        Returns
        -------
        tuple[CohortTicks, Array]
            The sums, and [2, tick] the bad and all requests of the fleet.
        """
        rng, shape = self._rng, factor.shape
        day = np.sin(2 * np.pi * np.arange(first, first + shape[1]) / _DAY + self._phase)
        places = int(self._colo.max()) + 1
        errors, slowness = (rng.normal(0.0, sd, (places, shape[1]))[self._colo] for sd in (0.1, 0.02))
        total = rng.poisson(self._load[:, None] * (1 + 0.3 * day)).astype(np.float64)
        share = np.minimum(1.0, self._share[:, None] * np.exp(errors) * factor)
        bad = rng.binomial(total.astype(np.int64), share).astype(np.float64)
        latency = self._latency[:, None] * (1 + 0.05 * day) * np.exp(slowness) + rng.normal(0.0, 4.0, shape)
        ones, none = np.ones(shape), np.zeros(shape)
        parts = [(ones, bad, total), (ones, latency, latency * latency), (ones, none, ones)]
        values = np.stack([np.concatenate([np.asarray(self._sum @ part[kind]) for part in parts]) for kind in range(3)])
        return CohortTicks(first, self.keys, values), np.stack([bad.sum(axis=0), total.sum(axis=0)])
