"""Drift of the control: whether it has moved suddenly and alone, so that comparing with it says nothing for now."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import COLO, FLEET, REGION, Strand, Tests
from detectors.departure import BEFORE, TICKS_HELD, WINDOWS, Departures, Levels
from detectors.sides import Sides
from detectors.state import Stateful

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
_Kind = TypeVar("_Kind", np.bool_, np.float64)

SUDDEN: Final = 4.0
"""Deviations from which on a control's departure is sudden enough to be looked at."""

_STILL: Final = 1
"""Position of the window that a gap found in any other must still show in."""

_APART: Final = 3.0
"""Deviations that the gap between the sides must have opened by, and that a canary must be worse by to count so."""

_HALF: Final = 0.5
"""Part of the control's departure that the gap must make up, or the canary moved too; below it the gap has closed."""

SERIES_MAX: Final = 64
"""Series that are looked at one by one in a tick: pools first, then the largest departures."""

_LASTING: Final = 3
"""Ticks in a row that a canary must be worse in, before evidence that was held back counts again."""

_POOL_SHARE: Final = 0.25
"""A pool with this part of its comparisons set aside says nothing either."""

_WIDE_SHARE: Final = 0.5
"""A strand is not comparable as a whole from this part of its comparisons on."""


class Drift(Stateful):
    """Follows which controls have moved suddenly while their canaries did not, until they settle.

    A vectorised screen over all tests finds the few controls that have departed from where they were just before, by
    `SUDDEN` of their own deviations, their canaries not moving likewise. Those alone are handed to `confirm`. What is
    confirmed has *moved*, until the gap to the canary has closed again: the control is back, or the canary followed.

    A canary that is worse than where the control was before, beyond the tolerance and its own noise (or by more than
    the control moved), is worse whatever the control does now, and stays comparable.

    Parameters
    ----------
    strands, tests
        What is compared, where, and how comparisons pool.
    levels
        Both sides' levels.
    confirm
        Tells for series [series, tick] in units of their deviation, the newest tick last, whether their level changed.
    exempt
        [strand] Strands that are not followed.
    """

    _state = (
        *("_levels", "_jump", "_window", "_age", "_gap", "_gap_window"),
        *("_held_for", "_harmed_for", "_kept", "_kept_for", "held", "set_aside"),
    )

    def __init__(
        self,
        strands: Sequence[Strand],
        tests: Tests,
        levels: Levels,
        confirm: Callable[[Array], Mask],
        exempt: Mask,
    ) -> None:
        self._tests, self._levels, self._confirm = tests, levels, confirm
        self._up = np.array([strand.up for strand in strands])[tests.strand]
        self._down = np.array([strand.down for strand in strands])[tests.strand]
        self._followed = ~exempt[tests.strand]
        self._strands = len(strands)
        self._jump = np.zeros(len(tests))  # the gap that the control's move opened, in its direction; 0 is none
        self._window = np.zeros(len(tests), np.intp)  # the window that it was found in
        self._age = np.zeros(len(tests), np.int64)  # ticks since then
        self._gap = np.full(len(tests), np.nan)  # the gap once it was open in full
        self._gap_window = np.zeros(len(tests), np.intp)  # the window that it was taken in
        self._held_for = np.zeros(len(tests), np.int64)  # ticks that evidence is still held back for, once settled
        self._harmed_for = np.zeros(len(tests), np.int64)  # ticks that the canary has been worse by itself
        self._kept = np.full(tests.comparisons, np.nan)  # the control's level before it moved
        self._kept_for = np.zeros(tests.comparisons, np.int64)  # ticks that it is still kept for
        self._above = _pools_of(tests)
        self._members = np.maximum(tests.pool @ np.ones(tests.comparisons), 1.0)
        self.held = np.zeros(len(tests), np.bool_)
        self.set_aside = np.zeros(tests.comparisons, np.bool_)

    @property
    def moved(self) -> Mask:
        """Tests [test] whose control has moved and not settled yet."""
        result: Mask = self._jump != 0
        return result

    def update(self, sides: Sides, up: Array, down: Array, *, is_asked: bool = True) -> None:
        """Add one tick [comparison], and tell what is not comparable.

        Afterwards `set_aside` [comparison] tells what is not to be bet on in the next tick, and `held` [test] whose
        evidence counts for nothing now.

        Parameters
        ----------
        up, down
            [test] What is tolerated.
        is_asked
            Whether anything hangs on it by now. If not, and nothing has moved, it is enough to remember the levels.
        """
        self._levels.add(sides)
        if not is_asked and not self.moved.any() and not self._held_for.any() and not self._kept_for.any():
            return
        self._kept_for = np.maximum(self._kept_for - 1, 0)
        self._kept[self._kept_for == 0] = np.nan
        seen = self._levels.departures(self._kept)
        up, down = (np.where(np.isfinite(side), side, 0.0) for side in (up, down))
        worse = self._is_worse(seen, up, down)
        self._settle(seen)
        self._find(seen, worse, up, down)
        self._spread(seen, worse)
        self._keep()
        self._hold(seen, worse, up, down)

    def _is_worse(self, seen: Departures, up: Array, down: Array) -> Mask:
        """Tell [window, test] whether the canary is worse than the control was before it moved."""
        result = np.zeros(seen.canary.shape, np.bool_)
        for sign, side, wanted, tolerated in ((1.0, 0, self._up, up), (-1.0, 1, self._down, down)):
            limit = np.maximum(tolerated, _APART * seen.canary_spread[side])
            result |= wanted & (sign * seen.canary >= np.minimum(limit, np.abs(seen.control))) & (seen.canary != 0)
        return result

    def _settle(self, seen: Departures) -> None:
        """Let go of what has settled: the gap has closed in the window that it was found in and in the longest."""
        closed = seen.gap * np.sign(self._jump) > -_HALF * np.abs(self._jump)
        settled = self.moved & _at(closed, self._window) & closed[-1]
        self._jump[settled], self._gap[settled], self._age[settled] = 0.0, 0.0, 0
        self._held_for = np.where(settled, max(BEFORE), np.maximum(self._held_for - 1, 0))
        self._age += 1
        # As long as its window reaches back to before the move, a gap is less than it is going to be.
        gap = -_at(seen.gap, self._window)
        grows = self.moved & (self._age <= np.array(WINDOWS)[self._window]) & (gap / _unless_zero(self._jump) > 1)
        self._jump = np.where(grows, gap, self._jump)

    def _find(self, seen: Departures, worse: Mask, up: Array, down: Array) -> None:
        """Find controls that have moved suddenly and alone, so far that the gap is more than is tolerated anyway."""
        sign = np.sign(seen.control)
        deviations = np.abs(seen.control) / np.where(sign > 0, seen.control_spread[0], seen.control_spread[1])
        apart = _APART * np.where(sign < 0, seen.gap_spread[0], seen.gap_spread[1])
        apart = np.maximum(apart, np.where(sign < 0, up, down))
        alone = -seen.gap * sign >= np.maximum(apart, _HALF * np.abs(seen.control))
        # What is over is still in the longer windows for a while.
        alone &= -seen.gap[_STILL] * sign >= _HALF * np.abs(seen.control)
        found = (deviations >= SUDDEN) & alone & ~worse & self._followed & (self._jump == 0)
        deviations = np.where(found, deviations, 0.0)
        largest = deviations.max(axis=0)
        order = np.lexsort((-largest, self._tests.level))  # the fleet comes before regions, these before colos
        chosen = order[largest[order] > 0][:SERIES_MAX]
        if not len(chosen):
            return
        window = deviations.argmax(axis=0)[chosen]
        spread = np.where(sign > 0, seen.control_spread[0], seen.control_spread[1])[window, chosen]
        unit = spread * np.sqrt(np.array(WINDOWS)[window])
        series = self._levels.series(chosen, self._kept, window) / unit[:, None]
        sure = self._confirm(series)
        self._begin(chosen[sure], window[sure], -seen.gap[window[sure], chosen[sure]])

    def _begin(self, found: NDArray[np.intp], window: NDArray[np.intp], jump: Array) -> None:
        self._window[found], self._jump[found] = window, jump
        self._age[found], self._gap[found], self._gap_window[found] = 0, np.nan, 0

    def _spread(self, seen: Departures, worse: Mask) -> None:
        """Say of comparisons what their pool shows, if their controls moved likewise, too little to show alone."""
        own = slice(self._tests.comparisons)
        for above in self._above:
            jump, window = np.where(above >= 0, self._jump[above], 0.0), self._window[above]
            likewise = _at(seen.control[:, own], window) * np.sign(jump) >= _HALF * np.abs(jump)
            apart = _at(seen.gap[:, own], window) * np.sign(jump) <= -_HALF * np.abs(jump)
            found = (jump != 0) & likewise & apart & ~_at(worse[:, own], window) & (self._jump[own] == 0)
            rows = np.flatnonzero(found)
            self._begin(rows, window[rows], jump[rows])

    def _keep(self) -> None:
        """Keep the controls' levels from before they moved, until the ticks since then have left the windows."""
        own = slice(self._tests.comparisons)
        keep, window = self.moved[own].copy(), self._window[own].copy()
        for above in self._above:
            theirs = (above >= 0) & self.moved[above]
            window = np.where(theirs & ~keep, self._window[above], window)
            keep |= theirs
        for position in range(len(WINDOWS)):
            rows = np.flatnonzero(keep & np.isnan(self._kept) & (window == position))
            if len(rows):
                self._kept[rows] = self._levels.before(position)[rows]
        self._kept_for[keep] = TICKS_HELD

    def _hold(self, seen: Departures, worse: Mask, up: Array, down: Array) -> None:
        """Work out what moved controls mean for comparisons and pools.

        Levels that both sides share go on wandering, so the control's level before it moved serves for a few ticks
        only. From then on a canary is worse if the gap is wider than the control's own move made it.
        """
        tests = self._tests
        length = np.array(WINDOWS)[self._window]
        against_before = _at(worse, self._window)
        is_young = np.isnan(self._gap) | (self._age <= np.maximum(length, np.array(BEFORE)[self._window]))
        harmed = (self.moved & is_young & against_before) | self._is_wider(seen, up, down)
        # Harm that began meanwhile must not be taken for the control's doing.
        first = np.isnan(self._gap) & (self._age >= length) & ~harmed
        better = (self._gap_window < len(WINDOWS) - 1) & (self._age >= WINDOWS[-1]) & ~harmed
        self._gap_window = np.where(better, len(WINDOWS) - 1, np.where(first, self._window, self._gap_window))
        self._gap = np.where(first | better, _at(seen.gap, self._gap_window), self._gap)
        self.set_aside = (self.moved & ~harmed)[: tests.comparisons]
        # What was bet on before the move was known is there still: neither a noisy tick nor the settling may let it
        # decide. It fades in the ticks after, and counts at once if the canary is worse by itself for longer.
        self._harmed_for = np.where(harmed, self._harmed_for + 1, 0)
        harmed = self._harmed_for >= _LASTING
        held = (self.moved | (self._held_for > 0)) & ~harmed
        # The evidence of a pool rests on what its comparisons brought in before this was known.
        most = (tests.pool @ self.set_aside.astype(np.float64)) >= _POOL_SHARE * self._members
        self.held = held | (most & ~harmed & (tests.level != COLO))

    def _is_wider(self, seen: Departures, up: Array, down: Array) -> Mask:
        """Tell [test] whether the canary is worse by more than the gap that the control opened, in any window."""
        result = np.zeros(len(self._tests), np.bool_)
        since = np.array(WINDOWS)[:, None] <= self._age  # windows without a tick from before the move
        for sign, side, wanted, tolerated in ((1.0, 0, self._up, up), (-1.0, 1, self._down, down)):
            spread = np.hypot(seen.gap_spread[side], _at(seen.gap_spread[side], self._gap_window))
            limit = np.maximum(tolerated, _APART * spread)
            wider = np.minimum(sign * seen.gap, sign * (seen.gap - self._gap))  # a gap that closes is not one
            result |= (wanted & since & (wider >= limit)).any(axis=0)
        return result

    def wide(self) -> Mask:
        """Tell for each strand [strand] whether it is not comparable over the whole fleet."""
        tests, own = self._tests, slice(self._tests.comparisons)
        result = np.zeros(self._strands, np.bool_)
        fleet = tests.fleet()
        result[tests.strand[fleet]] = self.moved[fleet]
        strand = tests.strand[own]
        moved = np.bincount(strand, self.moved[own], self._strands)
        result |= (moved > 0) & (moved >= _WIDE_SHARE * np.bincount(strand, minlength=self._strands))
        return result


def _unless_zero(value: Array) -> Array:
    return np.where(value == 0, 1.0, value)


def _at(values: NDArray[_Kind], window: NDArray[np.intp]) -> NDArray[_Kind]:
    """Pick for each test its window: [window, test] to [test]."""
    picked: NDArray[_Kind] = np.take_along_axis(values, window[None, :], axis=0)[0]
    return picked


def _pools_of(tests: Tests) -> list[NDArray[np.intp]]:
    """Return for each comparison [comparison] the tests of its region and its fleet; -1 is none."""
    entries = tests.pool.tocoo()
    rows, columns = entries.coords
    result = []
    for level in (REGION, FLEET):
        above = np.full(tests.comparisons, -1, np.intp)
        inside = (tests.level[rows] == level) & (rows >= tests.comparisons)
        above[columns[inside]] = rows[inside]
        result.append(above)
    return result
