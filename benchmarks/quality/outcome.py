"""What became of one rollout, and what many of them come to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.intervals import of_blocks, wilson


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a method did with one rollout, in live ticks from 0 on; None is never.

    `stopped` is a stop on evidence. `halted` is a stop for another cause: a deadline, an objective. `advances` tells
    whether a method that was not stopped let the rollout go on in the end.
    """

    stopped: int | None
    halted: int | None = None
    advances: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """What one method made of many rollouts of one kind.

    Attributes
    ----------
    rollouts
        How many there were.
    stopped
        [rollout] Whether it was stopped on evidence at any time.
    caught
        [rollout] Whether the harm was what stopped it.
    delays
        Ticks from the onset of those that were stopped by it, the first bad tick counting as 1.
    early
        Stopped before the onset.
    undecided
        Neither let go on nor stopped on evidence, unless that came after a halt for another cause; or left to wait.
    advanced
        Let go on, and not stopped later either.
    """

    rollouts: int
    stopped: list[bool]
    caught: list[bool]
    delays: list[int]
    early: int
    undecided: int
    advanced: int

    @property
    def detected(self) -> float:
        """Share of rollouts that were stopped by the harm."""
        return sum(self.caught) / self.rollouts

    @property
    def median(self) -> float | None:
        """Median delay in ticks of what was detected."""
        return float(np.median(self.delays)) if self.delays else None

    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the share that was stopped."""
        return wilson(sum(self.stopped), self.rollouts)

    def detection_interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the share that was detected."""
        return wilson(sum(self.caught), self.rollouts)

    def block_interval(self, block: NDArray[np.intp], seed: int) -> tuple[float, float]:
        """Return what `interval` is for rollouts that depend on each other inside blocks [rollout]."""
        return of_blocks(self.stopped, block, seed)

    def block_detection_interval(self, block: NDArray[np.intp], seed: int) -> tuple[float, float]:
        """Return what `detection_interval` is for such rollouts."""
        return of_blocks(self.caught, block, seed)

    def as_json(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "rollouts": self.rollouts,
            "stopped": sum(self.stopped),
            "early": self.early,
            "delays": self.delays,
            "undecided": self.undecided,
            "advanced": self.advanced,
        }


def gather(outcomes: Sequence[Outcome], onsets: Sequence[int]) -> Cell:
    """Count outcomes.

    A rollout that was halted for another cause is stopped: evidence that turns up later detects nothing any more. It
    still is a false alarm on a harmless one.

    Parameters
    ----------
    onsets
        [rollout] The first bad tick; 0 for harmless ones.

    Examples
    --------
    >>> cell = gather([Outcome(70), Outcome(5), Outcome(None, 180), Outcome(None, advances=True)], [60] * 4)
    >>> cell.early, cell.undecided, cell.delays, cell.advanced
    (1, 1, [11], 1)
    """
    delays, caught, early = [], [], 0
    for outcome, onset in zip(outcomes, onsets, strict=True):
        stop = outcome.stopped
        in_time = stop is not None and (outcome.halted is None or outcome.halted > stop)
        caught.append(in_time and stop is not None and stop >= onset)
        early += in_time and not caught[-1]
        if stop is not None and caught[-1]:
            delays.append(stop - onset + 1)
    stopped = [outcome.stopped is not None for outcome in outcomes]
    advanced = sum(outcome.advances for outcome in outcomes if outcome.stopped is None)
    # What was halted for another cause before the evidence came was without judgement when it stopped.
    undecided = len(outcomes) - sum(caught) - early - advanced
    return Cell(len(outcomes), stopped, caught, delays, early, undecided, advanced)
