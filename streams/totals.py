"""Totals: what all hosts of a colo get together, for the counters whose loss is watched."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from detectors.policy import Metric, Policy
from streams.cohorts import RowKey
from streams.membership import Membership

Array = NDArray[np.float64]

COLO_DROP: Final = 0.5
"""Part of a colo's traffic whose loss is a drop, unless the policy says otherwise."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The watched places: one metric in one colo, whether or not the change has reached it.

    `colos` [place] names them; `metric` and `limit` [place] are the metric's position and the part whose loss counts;
    `rows` [place, row] adds the rows of cohort ticks, whoever was summed.
    """

    colos: list[str]
    metric: NDArray[np.intp]
    limit: Array
    is_reached: NDArray[np.bool_]
    rows: csr_array

    def sums(self, values: Array) -> tuple[Array, Array]:
        """Return the units that had a value and the sum over them [place, tick], from cohort ticks [3, row, tick]."""
        return self.rows @ values[0], self.rows @ values[1]


def limit_of(metric: Metric) -> float:
    """Return the part of a colo's total whose loss is a drop; 0 is never."""
    if metric.counter is None or metric.worse == "increase":
        return 0.0
    return COLO_DROP if metric.colo_drop is None else metric.colo_drop


def totals_of(keys: Sequence[RowKey], policy: Policy, membership: Membership, stage: int) -> Totals:
    """Find the places to watch from the rows of the cohort ticks, once `stage` has begun."""
    groups = {(key.colo, key.signature) for key in keys}  # of which there are far fewer than rows
    reached = {colo for colo, signature in groups if membership.signatures[signature][0] in range(stage + 1)}
    limits = [limit_of(metric) for metric in policy.metrics] + [0.0]
    watched = [(row, (key.metric, key.colo)) for row, key in enumerate(keys) if limits[key.metric] > 0]
    places = sorted({place for _, place in watched})
    position = {place: index for index, place in enumerate(places)}
    cells = [(position[place], row) for row, place in watched]
    at = np.array(cells, np.intp).reshape(-1, 2).T
    return Totals(
        [colo for _, colo in places],
        np.array([metric for metric, _ in places], np.intp),
        np.array([limits[metric] for metric, _ in places]),
        np.array([colo in reached for _, colo in places], np.bool_),
        csr_array((np.ones(len(cells)), (at[0], at[1])), shape=(len(places), len(keys))),
    )
