"""Pairing: which sums stand against which in a stage, metric by metric, colo by colo and stratum by stratum."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from detectors.comparisons import Strand, Tests, arrange, balanced
from detectors.policy import Policy
from detectors.sides import Sides
from streams.cohorts import RowKey
from streams.membership import Membership
from streams.strands import strands_of
from streams.strata import Candidates, Choice, Entangled, Others, choose, others_of

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
        sums = [_added(side, values[plane]) for side in (self.canary, self.control) for plane in (0, 1)]
        # A scrape that fails for everybody says nothing about who reports.
        reporting = np.flatnonzero(self.is_reporting)
        heard = sums[0][reporting] + sums[2][reporting] > 0
        ratio = np.flatnonzero(self.is_ratio)
        # Only rows that are another thing are written to: most of a large fleet is levels, and copying all takes long.
        for units, side in ((0, self.canary), (2, self.control)):
            events = _added(csr_array(side[ratio]), values[2])
            if not heard.all():
                sums[units + 1][reporting] *= heard
                events[np.isin(ratio, reporting)] *= heard[np.isin(reporting, ratio)]
                sums[units][reporting] *= heard
            sums[units][ratio] = events
        return Sides(sums[1], sums[0], sums[3], sums[2])

    def by_colo(self) -> csr_array:
        """Return the matrix [strand and colo, comparison] that adds the strata of a colo up."""
        own = self.tests.strand[: self.tests.comparisons], self.tests.place[: self.tests.comparisons]
        _, group = np.unique(np.stack(own), axis=1, return_inverse=True)
        rows = int(group.max(initial=-1)) + 1
        return csr_array((np.ones(group.size), (group.reshape(-1), np.arange(group.size))), shape=(rows, group.size))

    def squares(self, values: Array) -> tuple[Array, Array]:
        """Return both sides' sums of squares [comparison, tick] for levels, and 0 for ratios."""
        is_level = ~self.is_ratio[:, None]
        return _added(self.canary, values[2]) * is_level, _added(self.control, values[2]) * is_level

    def deviation(self, values: Array, sides: Sides) -> Array:
        """Return the standard deviation of the canary's unit values over [3, row, tick]; `sides` are those of them.

        It is told [comparison], for levels alone.
        """
        count, total = sides.canary_of.sum(axis=1), sides.canary.sum(axis=1)
        squares = _added(self.canary, values[2]).sum(axis=1)
        known = np.maximum(count, 1.0)
        deviation: Array = np.sqrt(np.maximum(squares / known - (total / known) ** 2, 0.0))
        return deviation


def _added(side: csr_array, plane: Array) -> Array:
    """Add rows [row, tick] to the comparisons that they belong to; most have one alone, which is copied."""
    if side.nnz == side.shape[0] and bool((np.diff(side.indptr) == 1).all()):
        return plane[side.indices]
    added: Array = side @ plane
    return added


class _Arranged(NamedTuple):
    """The cells of a choice as columns [cell]; rows are counted from the first one of the strand's."""

    choice: Choice
    colo: NDArray[np.intp]
    is_matched: NDArray[np.bool_]
    canary: "_Lists"
    control: "_Lists"


class _Lists(NamedTuple):
    """Lists of rows, one after the other, and how long each is."""

    length: NDArray[np.intp]
    rows: NDArray[np.intp]

    @classmethod
    def of(cls, lists: Sequence[list[int]]) -> "_Lists":
        return cls(np.array([len(rows) for rows in lists], np.intp), np.array(list(chain(*lists)), np.intp))


class _Choices:
    """Chooses the comparisons of strands. Most metrics have the same colos and signatures, and are chosen once."""

    def __init__(self, keys: Sequence[RowKey], sides: Sequence[NDArray[np.bool_]], others: Others) -> None:
        self._keys = keys
        self._sides: list[list[bool]] = [side.tolist() for side in sides]
        self._others = others
        self._rows: dict[tuple[int, float], list[int]] = {}
        for row, key in enumerate(keys):
            self._rows.setdefault((key.metric, key.edge), []).append(row)
        self._found: dict[tuple[tuple[str, int], ...], _Arranged] = {}

    def of(self, strand: Strand, colos: Sequence[str], reached: set[str]) -> tuple[_Arranged, NDArray[np.intp]]:
        """Return the comparisons of a strand, and its rows."""
        rows = self._rows.get((strand.metric, strand.edge), [])
        alike = tuple((self._keys[row].colo, self._keys[row].signature) for row in rows)
        if alike not in self._found:
            self._found[alike] = self._arranged([self._keys[row] for row in rows], colos, reached)
        return self._found[alike], np.array(rows, np.intp)

    def _arranged(self, keys: Sequence[RowKey], colos: Sequence[str], reached: set[str]) -> _Arranged:
        canary: dict[str, list[int]] = {}
        control: dict[str, list[int]] = {}
        for row, key in enumerate(keys):
            for side, belongs in zip((canary, control), self._sides, strict=True):
                if belongs[key.signature]:
                    side.setdefault(key.colo, []).append(row)
        choice = choose(Candidates(keys, canary, control, colos, reached), self._others)
        return _Arranged(
            choice,
            np.array([cell.colo for cell in choice.cells], np.intp),
            np.array([cell.is_matched for cell in choice.cells], np.bool_),
            _Lists.of([cell.canary for cell in choice.cells]),
            _Lists.of([cell.control for cell in choice.cells]),
        )


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
    region_by_colo = {key.colo: key.region for key in keys}
    groups = {(key.colo, key.signature) for key in keys}  # of which there are far fewer than rows
    reached = {colo for colo, signature in groups if membership.signatures[signature][0] in range(stage + 1)}
    colos = sorted({colo for colo, signature in groups if is_canary[signature]})
    regions = sorted({key.region for key in keys if key.region})
    strands = strands_of(keys, past, policy, (is_canary, is_control), stages)
    region_of = {colo: regions.index(region) if region else -1 for colo, region in region_by_colo.items()}
    choices = _Choices(keys, (is_canary, is_control), others)
    found = [choices.of(strand, colos, reached) for strand in strands]
    entangled = Entangled()
    for strand, (arranged, _) in zip(strands, found, strict=True):
        entangled.add(strand.metric, arranged.choice, others, colos)
    number = np.repeat(np.arange(len(strands)), [len(arranged.colo) for arranged, _ in found])
    colo = np.concatenate([arranged.colo for arranged, _ in found])
    pairing = Pairing(
        strands,
        arrange(number, colo, np.array([region_of[name] for name in colos], np.intp)[colo]),
        colos,
        regions,
        np.concatenate([arranged.is_matched for arranged, _ in found]),
        _selecting([(arranged.canary, rows) for arranged, rows in found], len(keys)),
        _selecting([(arranged.control, rows) for arranged, rows in found], len(keys)),
        np.array([strand.is_ratio for strand in strands], np.bool_)[number],
        np.array([strand.metric == len(policy.metrics) for strand in strands], np.bool_)[number],
        [words for arranged, _ in found for words in arranged.choice.stratum],
        entangled,
    )
    return _balanced(pairing, past) if any(since is not None for since in others.since) else pairing


def _balanced(pairing: Pairing, past: Array) -> Pairing:
    """Let both sides of pools have the same part of what other rollouts change."""
    sides = pairing.sides(past).total()
    return replace(pairing, tests=balanced(pairing.tests, sides.canary_of, sides.control_of))


def _selecting(found: "Sequence[tuple[_Lists, NDArray[np.intp]]]", size: int) -> csr_array:
    lengths = np.concatenate([lists.length for lists, _ in found])
    columns = np.concatenate([rows[lists.rows] for lists, rows in found])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return csr_array((np.ones(len(columns)), columns, starts), shape=(len(lengths), size))
