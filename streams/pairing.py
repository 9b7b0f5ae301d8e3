"""Pairing: which sums stand against which in a stage, metric by metric and colo by colo."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from detectors.comparisons import Strand, Tests, arrange
from detectors.policy import Policy
from detectors.sides import Sides
from streams.cohorts import RowKey
from streams.membership import Membership
from streams.strands import strands_of

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pairing:
    """The comparisons of one stage.

    Attributes
    ----------
    strands, tests
        See `detectors.comparisons`.
    colos, regions
        Names, by the positions that `tests.place` holds.
    matched
        [comparison] Whether the control is other colos, since the colo itself has none left.
    canary, control
        [comparison, row] Add rows of cohort ticks to the comparisons' sides.
    """

    strands: list[Strand]
    tests: Tests
    colos: list[str]
    regions: list[str]
    matched: NDArray[np.bool_]
    canary: csr_array
    control: csr_array
    is_ratio: NDArray[np.bool_]
    is_reporting: NDArray[np.bool_]

    def sides(self, values: Array) -> Sides:
        """Pair cohort ticks [3, row, tick] up into sides [comparison, tick]."""
        sums = [side @ values[plane] for side in (self.canary, self.control) for plane in (0, 1, 2)]
        # A scrape that fails for everybody says nothing about who reports.
        heard = ~self.is_reporting[:, None] | (sums[0] + sums[3] > 0)
        sums = [array * heard for array in sums]
        ratio = self.is_ratio[:, None]
        return Sides(sums[1], np.where(ratio, sums[2], sums[0]), sums[4], np.where(ratio, sums[5], sums[3]))

    def squares(self, values: Array) -> tuple[Array, Array]:
        """Return both sides' sums of squares [comparison, tick] for levels, and 0 for ratios."""
        is_level = ~self.is_ratio[:, None]
        return (self.canary @ values[2]) * is_level, (self.control @ values[2]) * is_level

    def deviation(self, values: Array) -> Array:
        """Return the standard deviation of the canary's unit values [comparison] over [3, row, tick]."""
        count, total, squares = ((self.canary @ values[plane]).sum(axis=1) for plane in (0, 1, 2))
        known = np.maximum(count, 1.0)
        deviation: Array = np.sqrt(np.maximum(squares / known - (total / known) ** 2, 0.0))
        return deviation


def pair(
    keys: Sequence[RowKey], past: Array, policy: Policy, membership: Membership, stage: int, stages: int
) -> Pairing:
    """Pair the rows `keys` up for one stage.

    Parameters
    ----------
    past
        [3, row, tick] The pre-period, from which the bucket edges of histograms are chosen.
    stages
        Number of stages of the plan, over which alpha is split.
    """
    is_canary, is_control = membership.canary(stage), membership.controls(stage)
    reached = {key.colo for key in keys if membership.signatures[key.signature][0] in range(stage + 1)}
    colos = sorted({key.colo for key in keys if is_canary[key.signature]})
    regions = sorted({key.region for key in keys if key.region})
    strands = strands_of(keys, past, policy, (is_canary, is_control), stages)
    index: dict[tuple[int, float], dict[str, tuple[list[int], list[int]]]] = {}
    for row, key in enumerate(keys):
        sides = index.setdefault((key.metric, key.edge), {}).setdefault(key.colo, ([], []))
        if is_canary[key.signature]:
            sides[0].append(row)
        if is_control[key.signature]:
            sides[1].append(row)
    region_of = {key.colo: key.region for key in keys}
    cells: list[tuple[int, int, int, bool, list[int], list[int]]] = []
    for number, strand in enumerate(strands):
        places = index.get((strand.metric, strand.edge), {})
        elsewhere = [row for colo in sorted(places) if colo not in reached for row in places[colo][1]]
        for position, colo in enumerate(colos):
            canary, control = places.get(colo, ([], []))
            region = regions.index(region_of[colo]) if region_of[colo] else -1
            if canary and (control or elsewhere):
                cells.append((number, position, region, not control, canary, control or elsewhere))
    columns = [np.array([cell[i] for cell in cells], np.intp) for i in range(3)]
    return Pairing(
        strands,
        arrange(*columns),
        colos,
        regions,
        np.array([cell[3] for cell in cells], np.bool_),
        _selecting([cell[4] for cell in cells], len(keys)),
        _selecting([cell[5] for cell in cells], len(keys)),
        np.array([strands[cell[0]].is_ratio for cell in cells], np.bool_),
        np.array([strands[cell[0]].metric == len(policy.metrics) for cell in cells], np.bool_),
    )


def _selecting(rows: list[list[int]], size: int) -> csr_array:
    starts = np.cumsum([0, *(len(row) for row in rows)])
    columns = np.array([column for row in rows for column in row], np.intp)
    return csr_array((np.ones(len(columns)), columns, starts), shape=(len(rows), size))
