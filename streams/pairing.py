"""Pairing: which sums stand against which in a stage, metric by metric, colo by colo and stratum by stratum."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from detectors.comparisons import Strand, Tests, arrange, balanced
from detectors.policy import Policy
from detectors.sides import Sides
from streams.cohorts import RowKey
from streams.membership import Membership
from streams.strands import strands_of
from streams.strata import Candidates, Entangled, Others, choose, others_of

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
    stratum
        [comparison] What tells the units from others in the same colo; empty if no other rollout divides them.
    entangled
        What cannot be told apart from other rollouts.
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
    stratum: list[str]
    entangled: Entangled

    def sides(self, values: Array) -> Sides:
        """Pair cohort ticks [3, row, tick] up into sides [comparison, tick]."""
        sums = [side @ values[plane] for side in (self.canary, self.control) for plane in (0, 1, 2)]
        # A scrape that fails for everybody says nothing about who reports.
        reporting = np.flatnonzero(self.is_reporting)
        heard = sums[0][reporting] + sums[3][reporting] > 0
        if not heard.all():
            for array in sums:
                array[reporting] *= heard
        # Only rows that are another thing are written to: most of a large fleet is levels, and copying all takes long.
        ratio = np.flatnonzero(self.is_ratio)
        for total, units in ((2, 0), (5, 3)):
            sums[units][ratio] = sums[total][ratio]
        return Sides(sums[1], sums[0], sums[4], sums[3])

    def by_colo(self) -> csr_array:
        """Return the matrix [strand and colo, comparison] that adds the strata of a colo up."""
        own = self.tests.strand[: self.tests.comparisons], self.tests.place[: self.tests.comparisons]
        _, group = np.unique(np.stack(own), axis=1, return_inverse=True)
        rows = int(group.max(initial=-1)) + 1
        return csr_array((np.ones(group.size), (group.reshape(-1), np.arange(group.size))), shape=(rows, group.size))

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
    keys: Sequence[RowKey],
    past: Array,
    policy: Policy,
    membership: Membership,
    stage: int,
    stages: int,
    others: Others | None = None,
) -> Pairing:
    """Pair the rows `keys` up for one stage.

    Parameters
    ----------
    past
        [3, row, tick] The pre-period, from which the bucket edges of histograms are chosen.
    stages
        Number of stages of the plan, over which alpha is split.
    others
        What other rollouts change in the meantime; None for nothing.
    """
    others = others or others_of(membership, [], None)
    is_canary, is_control = membership.canary(stage), membership.controls(stage)
    reached = {key.colo for key in keys if membership.signatures[key.signature][0] in range(stage + 1)}
    colos = sorted({key.colo for key in keys if is_canary[key.signature]})
    regions = sorted({key.region for key in keys if key.region})
    strands = strands_of(keys, past, policy, (is_canary, is_control), stages)
    index: dict[tuple[int, float], tuple[dict[str, list[int]], dict[str, list[int]]]] = {}
    for row, key in enumerate(keys):
        for side, belongs in zip(
            index.setdefault((key.metric, key.edge), ({}, {})), (is_canary, is_control), strict=True
        ):
            if belongs[key.signature]:
                side.setdefault(key.colo, []).append(row)
    region_of = {key.colo: regions.index(key.region) if key.region else -1 for key in keys}
    choices = [
        choose(Candidates(keys, *index.get((strand.metric, strand.edge), ({}, {})), colos, reached), others)
        for strand in strands
    ]
    entangled = Entangled()
    for strand, choice in zip(strands, choices, strict=True):
        entangled.add(strand.metric, choice, others, colos)
    cells = [(number, cell) for number, choice in enumerate(choices) for cell in choice.cells]
    number = np.array([number for number, _ in cells], np.intp)
    colo = np.array([cell.colo for _, cell in cells], np.intp)
    region = np.array([region_of[colos[cell.colo]] for _, cell in cells], np.intp)
    pairing = Pairing(
        strands,
        arrange(number, colo, region),
        colos,
        regions,
        np.array([cell.is_matched for _, cell in cells], np.bool_),
        _selecting([cell.canary for _, cell in cells], len(keys)),
        _selecting([cell.control for _, cell in cells], len(keys)),
        np.array([strands[i].is_ratio for i in number], np.bool_),
        np.array([strands[i].metric == len(policy.metrics) for i in number], np.bool_),
        [words for choice in choices for words in choice.stratum],
        entangled,
    )
    return _balanced(pairing, past) if any(since is not None for since in others.since) else pairing


def _balanced(pairing: Pairing, past: Array) -> Pairing:
    """Let both sides of pools have the same part of what other rollouts change."""
    sides = pairing.sides(past).total()
    return replace(pairing, tests=balanced(pairing.tests, sides.canary_of, sides.control_of))


def _selecting(rows: list[list[int]], size: int) -> csr_array:
    starts = np.cumsum([0, *(len(row) for row in rows)])
    columns = np.array([column for row in rows for column in row], np.intp)
    return csr_array((np.ones(len(columns)), columns, starts), shape=(len(rows), size))
