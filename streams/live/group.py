"""What goes into the live aggregate of a source partition, and what comes out of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.policy import Policy
from streams.cohorts import CohortTicks
from streams.membership import Announced


@dataclass(frozen=True, slots=True)
class Group:
    """All rollouts that one policy judges.

    Attributes
    ----------
    digest
        Of the policy.
    tick_ms
        The policy's tick.
    rollouts
        All announced rollouts, whatever judges them, sorted by name and with their stages in this policy's ticks:
        a signature is what all of them together say about a unit.
    """

    digest: str
    policy: Policy
    tick_ms: int
    rollouts: tuple[Announced, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """A block of consecutive closed ticks of a group.

    Attributes
    ----------
    ticks
        The sums; `signature` of a key indexes `signatures`.
    signatures
        [signature, column] For each rollout of the group the stage that reaches the units, then for each of its stages
        whether the units may be its control.
    samples
        [tick] Samples that are in each tick.
    dropped
        Samples that are in none and were counted since the group's block before, by reason.
    is_disputed
        [tick] Whether the clocks of half of the units disagreed with the median when the tick was passed.
    """

    digest: str
    ticks: CohortTicks
    signatures: NDArray[np.int32]
    samples: NDArray[np.int64]
    dropped: dict[str, int]
    is_disputed: NDArray[np.bool_]
