"""Cases: a detector, or a function over many series, with data for it, as the checks see them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from detectors.state import Stateful

Array = NDArray[np.float64]
Arrays = tuple[NDArray[Any], ...]


@dataclass(frozen=True)
class Case(ABC):
    """What detectors and functions have in common: data, and what does not apply to them.

    Attributes
    ----------
    given
        Arrays with a row for each series, [row] or [row, tick]: what the subject is begun with, or called with.
    tolerance
        What is tolerated, as a fraction or on the scale of the effects.
    sign
        The direction that is worse.
    skips
        Checks that do not apply, and why.
    """

    given: Arrays
    tolerance: float = 0.02
    sign: float = 1.0
    skips: Mapping[str, str] = field(default_factory=dict[str, str])

    def order(self) -> NDArray[np.intp]:
        """Return another order of the rows."""
        return np.arange(len(self.given[0]))[::-1]

    def swapped(self) -> Self:
        """Return the same with canary and control in each other's place."""
        raise NotImplementedError

    def scaled(self, factor: float) -> Self:
        """Return the same with a metric in another unit."""
        raise NotImplementedError


@dataclass(frozen=True)
class DetectorCase(Case):
    """A detector that is fed tick by tick.

    Attributes
    ----------
    live
        Arrays [row, tick] in which some rows are hurt and some ticks say nothing.
    calm
        The same without any effect and with all data.
    """

    live: Arrays = ()
    calm: Arrays = ()

    @abstractmethod
    def begin(self) -> Stateful:
        """Begin a detector on `given`."""

    @abstractmethod
    def step(self, detector: Any, tick: Arrays, age: int) -> tuple[Array, Array]:
        """Add a tick [row], and return the logarithms of the evidence against the change, and for its health."""

    def told(self, detector: Any) -> Arrays:
        """Return what else is read from a detector, for verdicts."""
        del detector
        return ()

    def permuted(self, order: NDArray[np.intp]) -> Self:
        """Return the same with its rows in another order."""
        given, live = (tuple(array[order] for array in arrays) for arrays in (self.given, self.live))
        return replace(self, given=given, live=live)

    def reordered(self, values: Array, order: NDArray[np.intp]) -> Array:
        """Bring evidence into another order of the rows. What is left over stands for more than a row, and stays."""
        if len(values) < len(order):
            return values
        return np.concatenate([values[: len(order)][order], values[len(order) :]])

    def silent(self) -> list[Self]:
        """Return calm cases whose live data are missing in all ways that there are."""
        raise NotImplementedError

    def burst(self, at: int, size: float) -> list[Self]:
        """Return calm cases with one enormous tick."""
        raise NotImplementedError

    def run(self, detector: Stateful | None = None, start: int = 0) -> list[tuple[Array, Array]]:
        """Feed all ticks from `start` on, and return what was read after each."""
        begun = self.begin() if detector is None else detector
        ticks = range(start, self.live[0].shape[1])
        return [self.step(begun, tuple(array[:, tick].copy() for array in self.live), tick + 1) for tick in ticks]


@dataclass(frozen=True)
class FunctionCase(Case):
    """A function over many series at once."""

    @abstractmethod
    def call(self) -> Arrays:
        """Return all results. The first is signed: it is positive where the canary is above the control."""

    @abstractmethod
    def health(self) -> Array:
        """Return per result what speaks for health, or is known at all; 0 is nothing."""

    def parts(self) -> list[tuple[Self, Any]]:
        """Split the batch as finely as it may be, each part with its place in the results: by default, rows."""
        rows = [slice(row, row + 1) for row in range(len(self.given[0]))]
        return [(replace(self, given=tuple(array[row] for array in self.given)), row) for row in rows]

    def permuted(self, order: NDArray[np.intp]) -> tuple[Self, Any]:
        """Return the same in another order, and that order as a place in the results."""
        return replace(self, given=tuple(array[order] for array in self.given)), order

    def silent(self) -> list[Self]:
        """Return cases whose data are missing in all ways that there are."""
        raise NotImplementedError

    def burst(self, at: int, size: float) -> list[Self]:
        """Return calm cases with one enormous sample."""
        raise NotImplementedError
