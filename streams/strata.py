"""Strata: units that other rollouts treat alike, and who stands against whom inside of them.

A canary and a control that differ in another rollout too say nothing about this one: whichever of the two changes
did it, the difference is there. So comparisons are made between units that differ in this rollout alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.cohorts import RowKey
from streams.membership import NOT_REACHED, Announced, Membership


@dataclass(frozen=True, slots=True)
class Others:
    """The other rollouts, as far as they change anything within the time that a stage is judged on.

    Attributes
    ----------
    names
        [other] Names of the rollouts.
    stages
        [other] Names of the stages that begin within that time, by position.
    since
        [other] The first tick within that time in which the rollout begins to change something; None if it does not.
    reached
        [signature, other] The stage that begins to change the units within that time, or `NOT_REACHED`.
    """

    names: tuple[str, ...]
    stages: tuple[dict[int, str], ...]
    since: tuple[int | None, ...]
    reached: NDArray[np.int32]

    def strata(self, kept: Sequence[int]) -> NDArray[np.intp]:
        """Give signatures [signature] that the rollouts `kept` treat alike one number."""
        if not kept:
            return np.zeros(len(self.reached), np.intp)
        return np.unique(self.reached[:, list(kept)], axis=0, return_inverse=True)[1].reshape(-1).astype(np.intp)

    def describe(self, signature: int, beside: Sequence[int], kept: Sequence[int]) -> str:
        """Say what tells units of one signature from those `beside` them, as in `with bot-b, without bot-c`."""
        words = []
        for other in kept:
            stage = int(self.reached[signature, other])
            if len(set(self.reached[list(beside), other].tolist())) > 1:
                which = f" ({self.stages[other][stage]})" if stage >= 0 and len(self.stages[other]) > 1 else ""
                words.append(f"{'without' if stage == NOT_REACHED else 'with'} {self.names[other]}{which}")
        return ", ".join(words)


def others_of(membership: Membership, rollouts: Sequence[Announced], first: int | None) -> Others:
    """Tell what the other rollouts change within the time that a stage is judged on.

    What began before that time is in the pre-period as it is in the live one, and so part of the usual difference
    between the cohorts.

    Parameters
    ----------
    rollouts
        The other rollouts, in the order of `membership.others`.
    first
        First tick of the pre-period; None if there is none, so that whatever has begun or will begin counts.
    """
    reached = membership.others.copy()
    stages: list[dict[int, str]] = []
    since: list[int | None] = []
    for number, rollout in enumerate(rollouts):
        begun = takewhile(lambda stage: stage.started is not None, rollout.stages)
        starts = {index: stage.started or 0 for index, stage in enumerate(begun)}
        starts = {index: start for index, start in starts.items() if first is None or start > first}
        column = reached[:, number]
        column[~np.isin(column, list(starts))] = NOT_REACHED
        stages.append({index: rollout.stages[index].name for index in starts})
        since.append(min((starts[int(stage)] for stage in column if stage != NOT_REACHED), default=None))
    return Others(tuple(rollout.rollout for rollout in rollouts), tuple(stages), tuple(since), reached)


class Cell(NamedTuple):
    """One comparison: a place, whether the control is other colos, and the rows on both sides."""

    colo: int
    is_matched: bool
    canary: list[int]
    control: list[int]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The rows of one strand that may stand against each other.

    Attributes
    ----------
    keys
        [row] What the rows of cohort ticks are about.
    canary, control
        Rows by colo.
    colos
        Names, by the positions that cells hold.
    reached
        Colos that the rollout has reached.
    """

    keys: Sequence[RowKey]
    canary: dict[str, list[int]]
    control: dict[str, list[int]]
    colos: Sequence[str]
    reached: set[str]

    def cells(self, strata: NDArray[np.intp]) -> list[Cell]:
        """Pair rows of one colo and one stratum [signature] up, in canonical order.

        A stratum of a colo that has one side alone is left out. If no stratum of the colo has both, the same
        stratum of the colos that the rollout has not reached serves as control.
        """
        numbers: list[int] = strata.tolist()
        canary, control = (
            {colo: self._split(rows, numbers) for colo, rows in side.items()} for side in (self.canary, self.control)
        )
        elsewhere: dict[int, list[int]] = {}
        for colo in sorted(control):
            if colo not in self.reached:
                for stratum, rows in control[colo].items():
                    elsewhere.setdefault(stratum, []).extend(rows)
        result = []
        for position, colo in enumerate(self.colos):
            ours, theirs = sorted(canary.get(colo, {}).items()), control.get(colo, {})
            own = [Cell(position, False, rows, theirs[stratum]) for stratum, rows in ours if stratum in theirs]
            result += own or [
                Cell(position, True, rows, elsewhere[stratum]) for stratum, rows in ours if stratum in elsewhere
            ]
        return result

    def _split(self, rows: list[int], strata: list[int]) -> dict[int, list[int]]:
        split: dict[int, list[int]] = {}
        for row in rows:
            split.setdefault(strata[self.keys[row].signature], []).append(row)
        return split


@dataclass(frozen=True, slots=True)
class Choice:
    """The comparisons of a strand, and what stands in their way.

    Attributes
    ----------
    cells
        The comparisons.
    stratum
        [cell] What tells their units from others in the colo, in words; empty if nothing does.
    confounded
        Positions of the rollouts that cannot be told apart from this one.
    unpaired
        Colos (by position) whose canaries stand against nobody, with the rollouts that are in the way.
    """

    cells: list[Cell]
    stratum: list[str]
    confounded: list[int]
    unpaired: dict[int, list[int]]


def choose(candidates: Candidates, others: Others) -> Choice:
    """Choose the comparisons of a strand: within strata, and if these leave none, past the rollouts in the way.

    The rollouts in the way are those that by themselves leave no comparison; if there is none of that kind it is all of
    them together.
    """
    changing = [other for other, since in enumerate(others.since) if since is not None]
    found: dict[bytes, list[Cell]] = {}

    def cells_of(kept: Sequence[int]) -> list[Cell]:
        strata = others.strata(kept)
        name = strata.tobytes()  # most rollouts divide the units in one of a few ways
        if name not in found:
            found[name] = candidates.cells(strata)
        return found[name]

    kept = changing
    cells = cells_of(kept)
    if not changing:
        return Choice(cells, [""] * len(cells), [], {})
    if not cells:
        kept = [other for other in changing if cells_of([other])]
        cells = cells_of(kept)
    if not cells:
        kept, cells = [], cells_of([])
    compared = {cell.colo for cell in cells}
    lacking = {cell.colo for cell in cells_of([])} - compared
    alone = {other: {cell.colo for cell in cells_of([other])} for other in kept if lacking}
    return Choice(
        cells,
        [_describe(cell, candidates, others, kept) for cell in cells],
        [other for other in changing if other not in kept] if cells else [],
        {colo: [other for other in kept if colo not in alone[other]] or kept for colo in sorted(lacking)},
    )


def _describe(cell: Cell, candidates: Candidates, others: Others, kept: Sequence[int]) -> str:
    colo = candidates.colos[cell.colo]
    rows = [*candidates.canary.get(colo, []), *candidates.control.get(colo, [])]
    signatures = [candidates.keys[row].signature for row in rows]
    return others.describe(candidates.keys[cell.canary[0]].signature, signatures, kept)


@dataclass(frozen=True, slots=True)
class Entangled:
    """What a stage cannot tell apart, metric by metric.

    Attributes
    ----------
    confounded
        For each metric the rollouts that differ in just the units in which this one does, and since when.
    unpaired
        For each metric the colos in which no control differs in this rollout alone, with the rollouts in the way.
    """

    confounded: dict[int, dict[str, int]] = field(default_factory=dict)
    unpaired: dict[int, dict[str, list[str]]] = field(default_factory=dict)

    def add(self, metric: int, choice: Choice, others: Others, colos: Sequence[str]) -> None:
        """Note what stands in the way of one strand of a metric."""
        for other in choice.confounded:
            since = others.since[other]
            assert since is not None
            self.confounded.setdefault(metric, {})[others.names[other]] = since
        for colo, blocking in choice.unpaired.items():
            self.unpaired.setdefault(metric, {})[colos[colo]] = [others.names[other] for other in blocking]

    def confounders(self, metric: int, tick: int) -> list[str]:
        """Name the rollouts that have begun by `tick` and cannot be told apart from this one."""
        return sorted(name for name, since in self.confounded.get(metric, {}).items() if since <= tick)
