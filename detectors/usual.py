"""What is usual of departures: how the sides lie to each other, and how much windows strayed in the pre-period."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from detectors.comparisons import Tests
from detectors.sides import Sides

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

SPREAD_MIN: Final = 0.002
"""A level that never moved in its past is given this much: a fifth of a per cent."""

_PLACEBOS_MIN: Final = 20
"""With fewer windows in the past nothing is known of how a comparison varies, and nothing departs."""

_COMPARISONS_AT_ONCE: Final = 256
"""About so many are looked at together, so that what is worked out in between stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Usual:
    """What a control's level leads to expect of the canary's [comparison]: times this, plus that; NaN if unknown."""

    times: Array
    plus: Array
    is_known: NDArray[np.bool_]

    @classmethod
    def of(cls, distance: Array, is_ratio: NDArray[np.bool_]) -> Self:
        """Tell it from canary over control for ratios, and canary less control for levels [comparison]."""
        return cls(np.where(is_ratio, distance, 1.0), np.where(is_ratio, 0.0, distance), ~np.isnan(distance))

    def parts(self, now: Sides, reference: Array) -> list[Array]:
        """Return what a window comes to, of the control and then of the canary: found, expected, and how many.

        They add up over comparisons; those of which nothing is known have 0.
        """
        shape = (slice(None), None) if reference.ndim == 2 else (slice(None),)
        there = ~np.isnan(reference) & self.is_known[shape] & (now.canary_of > 0) & (now.control_of > 0)
        parts = [now.control, reference * now.control_of, now.control_of]
        predicted = reference * self.times[shape] + self.plus[shape]
        parts += [now.canary, predicted * now.canary_of, now.canary_of]
        return parts if there.all() else [np.where(there, array, 0.0) for array in parts]


@dataclass(frozen=True, slots=True)
class Part:
    """Some strands as a whole.

    Attributes
    ----------
    comparisons, tests
        Their comparisons, and all their tests, of which the comparisons come first.
    pool
        [pool, comparison] Adds them to the pools among the tests.
    strand
        [comparison] What is compared.
    is_ratio
        [test] Whether it is about events.
    """

    comparisons: "slice | Rows"
    tests: Rows
    pool: csr_array
    strand: Rows
    is_ratio: NDArray[np.bool_]

    def pooled(self, array: Array) -> Array:
        """Add comparisons to tests: [comparison, tick] to [test, tick]."""
        return np.concatenate([array, self.pool @ array])


def parts_of(tests: Tests, is_ratio: NDArray[np.bool_]) -> Iterator[Part]:
    """Divide tests into parts of whole strands; `is_ratio` is that of tests [test]."""
    count = tests.comparisons
    size = np.bincount(tests.strand[:count], minlength=int(tests.strand.max(initial=-1)) + 1)
    number = ((np.cumsum(size) - size) // _COMPARISONS_AT_ONCE)[tests.strand]
    order = np.argsort(number, kind="stable")  # comparisons come before pools
    for rows in np.split(order, np.flatnonzero(np.diff(number[order])) + 1) if len(order) else []:
        own, pools = rows[rows < count], rows[rows >= count]
        run = slice(int(own[0]), int(own[-1]) + 1)
        is_run = run.stop - run.start == len(own)  # as it is where strands stand one after the other
        pool = csr_array(tests.pool[pools][:, own])
        yield Part(run if is_run else own, rows, pool, tests.strand[own], is_ratio[rows])


def placebos(sums: Array, window: int, before: int, usual: Usual, part: Part) -> Array:
    """Return deviations [kind, 2, test] of a window's departures over the pre-period, up and down.

    `sums` [4, comparison, tick + 1] are those before each tick and after the last.
    """
    ticks = sums.shape[2] - 1 - before - window
    if ticks < _PLACEBOS_MIN:
        return np.full((3, 2, len(part.tests)), np.inf)
    first, middle, last = (slice(start, start + ticks + 1) for start in (0, before, before + window))
    now = Sides(*(sums[:, :, last] - sums[:, :, middle]))
    then = sums[2:, :, middle] - sums[2:, :, first]
    parts = [part.pooled(array) for array in usual.parts(now, level(then))]
    of_test = part.is_ratio[:, None]
    control, canary, known = departure(parts[:3], of_test), departure(parts[3:], of_test), parts[2] > 0
    result = np.stack([_deviation(value, known) for value in (control, canary, canary - control)])
    # Of a short past there are few windows that do not overlap, and so many deviations come out too small.
    result *= np.sqrt(1 + 2 * (window + before) / ticks)
    for strand in np.unique(part.strand):  # chance makes some colo's look small: none is less than the middle one
        rows = np.flatnonzero(part.strand == strand)
        result[:, :, rows] = np.maximum(result[:, :, rows], np.median(result[:, :, rows], axis=2)[:, :, None])
    return result


def _deviation(value: Array, known: NDArray[np.bool_]) -> Array:
    """Return root mean squares upwards and downwards [2, test]: bursts upwards say nothing of falls."""
    count = known.sum(axis=1)
    halves = [(2 * np.maximum(sign * value, 0.0) ** 2 * known).sum(axis=1) for sign in (1.0, -1.0)]
    square = np.stack(halves) / np.maximum(count, 1)
    deviation: Array = np.where(count >= _PLACEBOS_MIN, np.maximum(np.sqrt(square), SPREAD_MIN), np.inf)
    return deviation


def departure(parts: Sequence[Array] | Array, is_ratio: NDArray[np.bool_]) -> Array:
    """Return how far what was found is from what was expected, of so many; 0 where nothing is known."""
    found, expected, size = parts
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Array = (found - expected) / size
        rows = np.flatnonzero(is_ratio)
        if len(rows):
            some = (..., rows) if is_ratio.ndim == 1 else rows
            result[some] = np.log((found[some] + 1.0) / (expected[some] + 1.0))
    return result if (size > 0).all() else np.where(size > 0, result, 0.0)


def level(sums: Array) -> Array:
    """Return level [comparison] from sums [2, comparison], NaN where there is none."""
    result: Array = np.divide(sums[0], sums[1], out=np.full_like(sums[0], np.nan), where=sums[1] > 0)
    return result
