"""Departures: how far both sides have gone, in their latest ticks, from where the control was before.

What lasts since the stage began is judged by `detectors.evidence`. Here stands what is sudden: a window of the
latest ticks against the window before it, in terms of how much the same difference varied in the pre-period. That
takes in how ticks depend on each other, since a level that wanders has wandered in its past too.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from detectors.comparisons import Tests
from detectors.sides import Sides, means, run_of
from detectors.state import Stateful
from detectors.usual import SPREAD_MIN, Part, Usual, departure, level, parts_of, placebos
from detectors.windows import running_sums

Array = NDArray[np.float64]

WINDOWS: Final = (2, 3, 9, 27)
"""Ticks that are taken together as the latest ones: few for what is large, many for what is small."""

BEFORE: Final = (2, 30, 30, 30)
"""Ticks before them that they are held against. The first pair is for levels that wander, but not so fast."""

TICKS_HELD: Final = max(WINDOWS) + max(BEFORE)

PAST_MAX: Final = 480
"""Ticks of the pre-period that the usual variation is learned from; more would cost memory and tell little."""

_ALL: Final = slice(None)

_ROOM: Final = 1 - 1e-9
"""Part of a limit from which on a departure is looked at exactly, whatever its last bits."""


@dataclass(frozen=True, slots=True)
class Departures:
    """Departures [window, row] from the control's level before, and their usual size.

    Attributes
    ----------
    tests
        [row] The tests that they are of, in order.
    control, canary
        On the scale of the effects; of the canary it is against its own usual distance from the control before. 0 where
        nothing is known.
    control_spread, canary_spread, gap_spread
        [2, window, row] Their deviations in the pre-period, upwards and downwards; infinite where nothing is known.
        The gap is the canary's departure less the control's.
    gap
        [window, row] How far the canary has departed from the control.
    """

    tests: NDArray[np.intp]
    control: Array
    canary: Array
    control_spread: Array
    canary_spread: Array
    gap_spread: Array
    gap: Array


class Levels(Stateful):
    """Follows both sides' levels in sums over windows, and what their departures usually are.

    Parameters
    ----------
    tests
        Where, and how comparisons pool.
    is_ratio, is_log, scale
        [comparison] What is compared how, see `detectors.scales`.
    past
        [comparison, tick] The pre-period.

    Notes
    -----
    A ratio departs by `log((k + 1) / (e + 1))`, with k bad events where e were expected; a level by the mean of its
    logarithm (or of the level over its scale) less what that was before. Pools add k and e, or average levels weighted
    by their precision, so that a colo that drops out moves nothing.
    """

    _state = ("_sums", "_oldest")

    def __init__(
        self, tests: Tests, is_ratio: NDArray[np.bool_], is_log: NDArray[np.bool_], scale: Array, past: Sides
    ) -> None:
        self._tests, self._is_ratio, self._is_log, self._scale = tests, is_ratio, is_log, scale
        self._of_test = (tests.pool @ is_ratio.astype(np.float64)) > 0
        self._pools = tests.pools
        self._ratio = np.flatnonzero(is_ratio)
        self._kinds = [run_of(rows) for rows in (np.flatnonzero(~is_ratio), self._ratio) if len(rows)]
        self._ratio_pools = csr_array(self._pools[:, self._ratio])
        self._range: tuple[float, tuple[Array, Array]] | None = None  # what `_usual_range` returned last
        self._weight, usual = np.ones(len(is_ratio)), np.full(len(is_ratio), np.nan)
        self._spread = np.empty((3, 2, len(WINDOWS), len(tests)))  # [kind, side, window, test]
        slots = TICKS_HELD + 1
        kept = np.empty((min(slots, min(past.canary.shape[1], PAST_MAX) + 1), 4, len(is_ratio)))
        for part in parts_of(tests, self._of_test):  # what goes on in a strand's past fits into the processor's cache
            sums = self._past_sums(part, past, usual)
            rows = part.comparisons
            for number, array in enumerate(sums.arrays()):
                kept[:, number, rows] = array[:, -slots:].T
            held = Usual.of(usual[rows], is_ratio[rows])
            self._spread[..., part.tests] = placebos(sums, list(zip(WINDOWS, BEFORE, strict=True)), held, part)
        self._usual = Usual.of(usual, is_ratio)
        self._is_told = np.isfinite(self._spread[0]).any(axis=(0, 2))  # windows that the past tells something about
        self._sums = np.concatenate([np.repeat(kept[:1], slots - len(kept), axis=0), kept])  # the oldest slot first
        self._oldest = 0

    def _additive(self, sides: Sides, own: "slice | NDArray[np.intp]" = _ALL) -> Sides:
        """Bring both sides to what adds up over ticks and colos [comparison, tick], those of the rows `own` alone."""
        is_ratio = self._is_ratio[own]
        if is_ratio.all():
            return sides
        logs, scale = self._is_log[own], self._scale[own]
        if not is_ratio.any():
            return _levels(sides, _ALL, logs, scale)
        rows, others = run_of(np.flatnonzero(~is_ratio)), run_of(np.flatnonzero(is_ratio))
        arrays = [np.empty(array.shape) for array in sides.arrays()]
        added = _levels(sides, rows, logs[rows], scale[rows])
        for array, given, levels in zip(arrays, sides.arrays(), added.arrays(), strict=True):
            array[others], array[rows] = given[others], levels
        return Sides(*arrays)

    def _past_sums(self, part: Part, past: Sides, usual: Array) -> Sides:
        """Return the sums of a part's past [comparison, tick + 1], having noted weights, and what is `usual`."""
        rows = part.comparisons
        added = self._additive(Sides(*(array[rows, -PAST_MAX:] for array in past.arrays())), rows)
        self._weight[rows] = weight = self._precision(added, self._is_ratio[rows])
        added = added.times(weight[:, None])
        usual[rows] = self._usual_distance(added, self._is_ratio[rows])
        return added.each(running_sums)

    @staticmethod
    def _precision(added: Sides, is_ratio: NDArray[np.bool_]) -> Array:
        """Return what levels are weighed by [comparison]: their precision, so that a noisy colo does not lead its pool.

        Ratios count for what they are.
        """
        if is_ratio.all():
            return np.ones(len(is_ratio))
        if added.is_even:
            count = float(added.control.shape[1])
            apart = added.control - (added.control.sum(axis=1) / count)[:, None]
            variance = np.multiply(apart, apart, out=apart).sum(axis=1) / count
        else:
            size = added.control_of
            level = np.divide(added.control, size, out=np.zeros_like(added.control), where=size > 0)
            count = np.maximum(size.sum(axis=1), 1.0)
            mean = (level * size).sum(axis=1) / count
            variance = (size * (level - mean[:, None]) ** 2).sum(axis=1) / count
        return np.where(is_ratio, 1.0, 1.0 / (variance + SPREAD_MIN**2))

    @staticmethod
    def _usual_distance(added: Sides, is_ratio: NDArray[np.bool_]) -> Array:
        """Return canary over control in the pre-period for ratios, and canary less control for levels [comparison]."""
        total = added.total()
        both = (total.canary_of > 0) & (total.control_of > 0)
        canary = np.divide(total.canary, total.canary_of, out=np.zeros_like(total.canary), where=both)
        control = np.divide(total.control, total.control_of, out=np.zeros_like(total.control), where=both)
        # Of few events a ratio is drawn towards 1, as by one more on either side.
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = (total.canary + 1.0) / (control * total.canary_of + 1.0)
        return np.where(both, np.where(is_ratio, expected, canary - control), np.nan)

    def add(self, sides: Sides) -> None:
        """Add one tick [comparison]."""
        newest, oldest = self._sums[self._oldest - 1], self._sums[self._oldest]
        for rows in self._kinds:
            added = self._additive(Sides(*(array[rows, None] for array in sides.arrays())), rows)
            for total, before, array in zip(oldest, newest, added.arrays(), strict=True):
                total[rows] = before[rows] + array[:, 0] * self._weight[rows]
        self._oldest = (self._oldest + 1) % len(self._sums)

    def _slot(self, ago: int) -> Array:
        sums: Array = self._sums[(self._oldest - 1 - ago) % len(self._sums)]
        return sums

    def before(self, position: int) -> Array:
        """Return the control's level [comparison] in the ticks before the latest ones, by position in `WINDOWS`."""
        first = WINDOWS[position]
        return level(self._slot(first)[2:] - self._slot(first + BEFORE[position])[2:])

    def departures(self, kept: Array, among: "tuple[NDArray[np.bool_], float] | None" = None) -> Departures:
        """Return by how much both sides have departed.

        Parameters
        ----------
        kept
            [comparison] The control's level to measure against, NaN for that of the ticks before.
        among
            [comparison] Which comparisons are asked about, and from how many deviations of a control's departure on
            others are as well. Pools always are. None for all tests.
        """
        count, is_kept = self._tests.comparisons, ~np.isnan(kept)
        some_kept = bool(is_kept.any())
        wanted = np.ones(count, np.bool_) if among is None else among[0].copy()
        every: list[tuple[list[Array], Array, Sides]] = []
        for position, window in enumerate(WINDOWS):
            now = Sides(*(self._slot(0) - self._slot(window)))
            reference = self.before(position)
            if some_kept:
                reference = np.where(is_kept, kept, reference)
            parts = self._usual.parts(now, reference)
            if among is not None and self._is_told[position]:
                control = departure(parts[:3], self._is_ratio)
                least, most = self._usual_range(among[1])
                wanted |= control >= most[position]
                wanted |= control <= least[position]
            every.append((parts, reference, now))
        chosen = np.flatnonzero(wanted)
        sums = np.empty((8, len(WINDOWS), len(chosen) + self._pools.shape[0]))  # [part, window, row]
        own, pools = slice(len(chosen)), slice(len(chosen), None)
        for position, (parts, reference, now) in enumerate(every):
            for number, part in enumerate(parts):
                sums[number, position, own] = part[chosen]
                sums[number, position, pools] = self._pools @ part
            for rows, pool, place in ((chosen, None, own), (self._ratio, self._ratio_pools, pools)):
                rates = np.where(self._is_ratio[rows] & ~np.isnan(reference[rows]), reference[rows], 0.0)
                for number, of in ((6, now.control_of), (7, now.canary_of)):
                    usual = rates * of[rows]
                    sums[number, position, place] = usual if pool is None else pool @ usual
        return self._departed(np.concatenate([chosen, np.arange(count, len(self._tests))]), sums)

    def _usual_range(self, deviations: float) -> tuple[Array, Array]:
        """Return between what departures of controls are usual [window, comparison], by so many deviations."""
        if self._range is None or self._range[0] != deviations:
            limits = self._spread[0, ..., : self._tests.comparisons] * (deviations * _ROOM)
            self._range = deviations, (-limits[1], limits[0])
        return self._range[1]

    def _departed(self, rows: NDArray[np.intp], sums: Array) -> Departures:
        """Return the departures of some tests [row] from what their windows come to [part, window, row]."""
        of_test = self._of_test[rows]
        control, canary = departure(sums[:3], of_test), departure(sums[3:6], of_test)
        longer = 1 + np.array(WINDOWS)[:, None] / np.array(BEFORE)[:, None]
        # The variance that counts have at least, being counts.
        floor = np.where(of_test, 1.0 / (sums[6:] + 1.0), 0.0) * longer  # [2, window, row]
        floor = np.where(sums[2] > 0, floor, np.inf)
        least = np.stack([floor[0], floor[1], floor[0] + floor[1]])[:, None]
        square = np.maximum(self._spread[..., rows] ** 2, least)
        # A control that has fallen is counted by fewer events than it was in its past, and so with more noise.
        square[2] += np.where(np.isfinite(floor[0]), floor[0], 0.0) * np.expm1(np.maximum(-control, 0.0))
        spread = np.sqrt(square)
        return Departures(rows, control, canary, spread[0], spread[1], spread[2], canary - control)

    def series(self, chosen: NDArray[np.intp], kept: Array, window: NDArray[np.intp]) -> Array:
        """Return the control's departures tick by tick [chosen, tick] in all ticks that are held, for `chosen` tests.

        Parameters
        ----------
        window
            [chosen] Position in `WINDOWS` of the window before which the control is taken to have been as usual.
        """
        pool = self._tests.pool[chosen]
        members = np.unique(pool.indices)
        pool, kept = pool[:, members], kept[members]
        order = self._sums[:, 2:, members]
        order = np.roll(order, -self._oldest, axis=0)
        ticks = np.diff(order, axis=0).transpose(1, 2, 0)  # [2, member, tick]
        result = np.zeros((len(chosen), ticks.shape[2]))
        for position in range(len(WINDOWS)):
            rows = np.flatnonzero(window == position)
            if not len(rows):
                continue
            reference = np.where(np.isnan(kept), self.before(position)[members], kept)[:, None]
            there = ~np.isnan(reference)
            parts = (ticks[0], reference * ticks[1], ticks[1])
            found, expected, size = (pool[rows] @ np.where(there, part, 0.0) for part in parts)
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio, mean = np.log((found + 1.0) / (expected + 1.0)), (found - expected) / size
            result[rows] = np.where(size > 0, np.where(self._of_test[chosen[rows], None], ratio, mean), 0.0)
        return result


def _levels(sides: Sides, rows: "slice | NDArray[np.intp]", logs: NDArray[np.bool_], scale: Array) -> Sides:
    """Return the levels of both sides on the scale of the effects, and 1 for each tick with one [row, tick]."""
    arrays: list[Array] = []
    logs, scale = logs[:, None], scale[:, None]
    is_log, floor = bool(logs.all()), 1e-3 * scale
    for mean in means(sides, rows):
        level = np.maximum(mean, floor)
        np.divide(level, scale, out=level)
        np.log(level, out=level)
        if not is_log:
            level = np.where(logs, level, mean / scale)
        known = ~np.isnan(level if is_log else mean)
        if not known.all():
            level[~known] = 0.0
        arrays += [level, known]
    if arrays[1].all() and arrays[3].all():
        there = np.ones(arrays[0].shape)
        return Sides(arrays[0], there, arrays[2], there)
    return Sides(*(array.astype(np.float64, copy=False) for array in arrays))
