"""What is usual of departures: how the sides lie to each other, and how much windows strayed in the pre-period."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from detectors.comparisons import Tests
from detectors.sides import Sides, run_of

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
        sizes = now.canary_of, now.control_of
        is_whole = all(_is_positive(size) for size in sizes) and not np.isnan(reference.sum()) and self.is_known.all()
        there = (
            None
            if is_whole
            else ~np.isnan(reference) & self.is_known[shape] & (now.canary_of > 0) & (now.control_of > 0)
        )
        parts = [now.control, reference * now.control_of, now.control_of]
        predicted = reference * self.times[shape] + self.plus[shape]
        parts += [now.canary, predicted * now.canary_of, now.canary_of]
        return parts if there is None else [np.where(there, array, 0.0) for array in parts]


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


def parts_of(tests: Tests, is_ratio: NDArray[np.bool_]) -> Iterator[Part]:
    """Divide tests into parts of whole strands; `is_ratio` is that of tests [test]."""
    count = tests.comparisons
    size = np.bincount(tests.strand[:count], minlength=int(tests.strand.max(initial=-1)) + 1)
    number = ((np.cumsum(size) - size) // _COMPARISONS_AT_ONCE)[tests.strand]
    order = np.argsort(number, kind="stable")  # comparisons come before pools
    for rows in np.split(order, np.flatnonzero(np.diff(number[order])) + 1) if len(order) else []:
        own, pools = rows[rows < count], rows[rows >= count]
        yield Part(run_of(own), rows, _cut(tests.pool, pools, own), tests.strand[own], is_ratio[rows])


def _cut(pool: csr_array, rows: Rows, columns: Rows) -> csr_array:
    """Cut rows out of a matrix that have nothing in other columns than those; scipy takes ten times as long."""
    starts, lengths = pool.indptr[rows], np.diff(pool.indptr)[rows]
    ends = np.cumsum(lengths)
    entries = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)
    place = np.searchsorted(columns, pool.indices[entries])
    return csr_array((pool.data[entries], place, np.concatenate([[0], ends])), shape=(len(rows), len(columns)))


def placebos(sums: Sides, pairs: Sequence[tuple[int, int]], usual: Usual, part: Part) -> Array:
    """Return deviations [kind, 2, pair, test] of windows' departures over the pre-period, up and down.

    The kinds are the control's, the canary's, and those of the gap between them.

    Parameters
    ----------
    sums
        [comparison, tick + 1] Those before each tick and after the last.
    pairs
        Ticks of each window, and of the one before it.
    """
    count, length = sums.canary.shape
    result = np.full((3, 2, len(pairs), len(part.tests)), np.inf)
    room = np.empty((6, len(part.tests), length))
    for place, (window, before) in enumerate(pairs):
        ticks = length - 1 - before - window
        if ticks < _PLACEBOS_MIN:
            continue
        # What lies between two windows is no number of any meaning, and may be none at all.
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            whole = _whole_parts(sums, window, before, usual, room[:, :count])
            own = whole or _parts(sums, window, before, usual)
            is_even = own[5] is own[2]
            for array, both in zip(own[:5] if is_even else own, room[:, :, : own[0].shape[1]], strict=False):
                if whole is None:
                    both[:count] = array
                both[count:] = part.pool @ array
            parts = [*room[:5], room[2] if is_even else room[5]]
            result[:, :, place] = _deviations(parts, part.is_ratio, ticks + 1, is_whole=whole is not None)
        # Of a short past there are few windows that do not overlap, and so many deviations come out too small.
        result[:, :, place] *= np.sqrt(1 + 2 * (window + before) / ticks)
    for strand in np.unique(part.strand):  # chance makes some colo's look small: none is less than the middle one
        rows = run_of(np.flatnonzero(part.strand == strand))
        result[..., rows] = np.maximum(result[..., rows], np.median(result[..., rows], axis=3)[..., None])
    return result


def _parts(sums: Sides, window: int, before: int, usual: Usual) -> list[Array]:
    """Return the parts of each window of the past, see `Usual.parts`."""
    stop = sums.canary.shape[1]
    first, middle, last = slice(stop - before - window), slice(before, stop - window), slice(before + window, stop)
    now = Sides(*(array[:, last] - array[:, middle] for array in sums.arrays()))
    then = [array[:, middle] - array[:, first] for array in sums.arrays()[2:]]
    return usual.parts(now, level(then))


def _whole_parts(sums: Sides, window: int, before: int, usual: Usual, room: Array) -> list[Array] | None:
    """Return the same in `room`, if nothing is missing anywhere; else None.

    All comparisons are taken for one long row, so that what is so many ticks later is taken off in one go. The columns
    are the windows' first ticks; the last ones, in which no window begins, are left over.
    """
    if not usual.is_known.all() or not np.isfinite(sums.control[:, -1]).all():
        return None
    count, length = sums.canary.shape
    reach = before + window
    size, ticks = count * length - reach, length - reach
    found, expected, of, its, predicted, its_of = room

    def between(array: Array, first: int, last: int, out: Array) -> Array:
        flat = array.reshape(-1)
        np.subtract(flat[last : last + size], flat[first : first + size], out=out.reshape(-1)[:size])
        return out

    reference, then = between(sums.control, 0, before, predicted), between(sums.control_of, 0, before, found)
    between(sums.control_of, before, reach, of)
    if sums.is_even:
        its_of = of
    else:
        between(sums.canary_of, before, reach, its_of)
        if not all(_is_positive(array[:, :ticks]) for array in (then, of, its_of)):
            return None
    np.divide(reference, then, out=reference)
    np.multiply(reference, of, out=expected)
    if (usual.times != 1).any():
        reference *= usual.times[:, None]
    reference += usual.plus[:, None]
    np.multiply(reference, its_of, out=predicted)
    between(sums.control, before, reach, found)
    between(sums.canary, before, reach, its)
    return [found, expected, of, its, predicted, its_of]


def _deviations(parts: Sequence[Array], is_ratio: NDArray[np.bool_], ticks: int, *, is_whole: bool) -> Array:
    """Return root mean squares [kind, 2, row] of departures upwards and downwards: bursts upwards say nothing of falls.

    `parts` [row, column] are those of windows in the first `ticks` columns; `is_whole` says that none lacks anything.
    """
    parts = [part[:, :ticks] for part in parts]
    known = None if is_whole or _is_positive(parts[2]) else parts[2] > 0
    control, canary = (_departed(part, is_ratio, is_whole=is_whole) for part in (parts[:3], parts[3:]))
    count = np.full(len(control), ticks) if known is None else known.sum(axis=1)
    square, half = np.empty((3, 2, len(control))), np.empty(control.shape)
    for kind, value in enumerate((control, canary, np.subtract(canary, control))):
        for side, bounded in enumerate((np.maximum, np.minimum)):
            bounded(value, 0.0, out=half)
            np.multiply(half, half, out=half)
            square[kind, side] = 2 * (half if known is None else half * known).sum(axis=1)
    square /= np.maximum(count, 1)
    deviation: Array = np.where(count >= _PLACEBOS_MIN, np.maximum(np.sqrt(square), SPREAD_MIN), np.inf)
    return deviation


def _departed(parts: Sequence[Array], is_ratio: NDArray[np.bool_], *, is_whole: bool) -> Array:
    """Return what `departure` does [row, column]; `is_ratio` [row]."""
    found, expected, size = parts
    result: Array = np.subtract(found, expected)
    if not is_ratio.all():
        np.divide(result, size, out=result)
    if is_ratio.any():
        rows = run_of(np.flatnonzero(is_ratio))
        result[rows] = np.log((found[rows] + 1.0) / (expected[rows] + 1.0))
    if not is_whole:
        result[~(size > 0)] = 0.0
    return result


def _is_positive(array: Array) -> bool:
    return bool(array.min(initial=np.inf) > 0)


def departure(parts: Sequence[Array] | Array, is_ratio: NDArray[np.bool_]) -> Array:
    """Return how far what was found is from what was expected, of so many; 0 where nothing is known."""
    found, expected, size = parts
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Array = found - expected
        np.divide(result, size, out=result)
        rows = np.flatnonzero(is_ratio)
        if len(rows):
            some = (..., rows) if is_ratio.ndim == 1 else rows
            result[some] = np.log((found[some] + 1.0) / (expected[some] + 1.0))
    return result if _is_positive(size) else np.where(size > 0, result, 0.0)


def level(sums: Sequence[Array] | Array) -> Array:
    """Return level [comparison] from sums [2, comparison], NaN where there is none."""
    if _is_positive(sums[1]):
        return np.asarray(sums[0] / sums[1])
    result: Array = np.divide(sums[0], sums[1], out=np.full_like(sums[0], np.nan), where=sums[1] > 0)
    return result
