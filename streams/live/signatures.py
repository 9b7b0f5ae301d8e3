"""Signatures as one rollout sees them, over the whole time that it is judged.

Each source partition numbers the signatures of its own units, and which rollouts are announced changes with time. The
judge has one numbering: by the rows themselves, in sorted order with its own rollout first, as a replay has it.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from streams.live.frames import Planned
from streams.membership import NOT_REACHED, Membership

Row = dict[str, tuple[int, ...]]
"""For each announced rollout the stage that reaches the units, then for each stage whether they may be its control."""


class Signatures:
    """All signatures that were seen for one rollout.

    A rollout that a row does not know changes nothing for its units.

    Parameters
    ----------
    rollout
        Whose judge this is.
    """

    def __init__(self, rollout: str) -> None:
        self._rollout = rollout
        self._stages: dict[str, int] = {}  # how many each rollout has
        self._vectors: list[tuple[int, ...]] = []  # in sorted order

    @property
    def others(self) -> list[str]:
        """The other rollouts, in the order of `Membership.others`."""
        return [name for name in self._names() if name != self._rollout]

    def add(self, planned: Sequence[Planned], rows: Sequence[Sequence[int]]) -> dict[int, int]:
        """Take the signatures of a frame, and tell how those known before are numbered now: old to new."""
        before = self._vectors
        known = [self._row(vector) for vector in before]
        for rollout in planned:
            self._stages[rollout.rollout] = max(len(rollout.stages), self._stages.get(rollout.rollout, 0))
        kept = [self._vector(row) for row in known]
        self._vectors = sorted({*kept, *(self._vector(_split(planned, row)) for row in rows)})
        place = {vector: index for index, vector in enumerate(self._vectors)}
        return {old: place[vector] for old, vector in enumerate(kept)}

    def ids(self, planned: Sequence[Planned], rows: Sequence[Sequence[int]]) -> list[int]:
        """Return the numbers of signatures that were added."""
        place = {vector: index for index, vector in enumerate(self._vectors)}
        return [place[self._vector(_split(planned, row))] for row in rows]

    def membership(self) -> Membership:
        """Tell what each signature says about this rollout; of units nothing is known here."""
        own = [self._row(vector) for vector in self._vectors]
        stages = self._stages.get(self._rollout, 0)
        here = [row.get(self._rollout, _unknown(stages)) for row in own]
        others = [[row[name][0] for name in self.others] for row in own]
        return Membership(
            np.empty(0, np.int32),
            tuple((row[0], tuple(bool(flag) for flag in row[1:])) for row in here),
            np.array(others, np.int32).reshape(len(own), len(self.others)),
        )

    def snapshot(self) -> dict[str, list[list[int]] | list[str] | list[int]]:
        """Return what is known, to be restored."""
        names = self._names()
        return {
            "rollouts": names,
            "stages": [self._stages[name] for name in names],
            "vectors": [list(vector) for vector in self._vectors],
        }

    def restore(self, rollouts: Sequence[str], stages: Sequence[int], vectors: Sequence[Sequence[int]]) -> None:
        """Go on from what `snapshot` returned."""
        self._stages = dict(zip(rollouts, stages, strict=True))
        self._vectors = [tuple(vector) for vector in vectors]

    def _names(self) -> list[str]:
        """Order the rollouts: this one, then the others by name."""
        return sorted(self._stages, key=lambda name: (name != self._rollout, name))

    def _vector(self, row: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        return tuple(value for name in self._names() for value in row.get(name, _unknown(self._stages[name])))

    def _row(self, vector: tuple[int, ...]) -> Row:
        row: Row = {}
        at = 0
        for name in self._names():
            width = 1 + self._stages[name]
            row[name] = vector[at : at + width]
            at += width
        return row


def _unknown(stages: int) -> tuple[int, ...]:
    return (NOT_REACHED, *[1] * stages)


def _split(planned: Sequence[Planned], row: Sequence[int]) -> Row:
    """Cut a joint row of a frame into those of its rollouts."""
    result: Row = {}
    at = 0
    for rollout in planned:
        width = 1 + len(rollout.stages)
        result[rollout.rollout] = tuple(row[at : at + width])
        at += width
    return result
