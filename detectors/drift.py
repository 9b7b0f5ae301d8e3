"""Drift of the control: whether it has moved suddenly and alone, so that comparing with it says nothing for now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


_LENGTHS: Final = np.array(WINDOWS)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is looked at in a tick [row]: tests in order, how far they departed, what is tolerated, and who is worse."""

    tests: NDArray[np.intp]
    departures: Departures
    up: Array
    down: Array
    worse: Mask  # [window, row]


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
        is_followed = bool(self._held_for.any() or self._kept_for.any() or self.moved.any())
        if not is_asked and not is_followed:
            return
        if self._kept_for.any():
            self._kept_for = np.maximum(self._kept_for - 1, 0)
            self._kept[self._kept_for == 0] = np.nan
        seen = self._look(up, down)
        self._settle(seen)
        if self._find(seen) and not self._is_whole(seen.tests):
            seen = self._look(up, down)  # what a pool shows is asked of all its comparisons
        self._spread(seen)
        if self.moved.any():
            self._keep()
        self._hold(seen)

    def _look(self, up: Array, down: Array) -> "_Seen":
        """Look at pools, at comparisons that something hangs on, and at those that have departed suddenly.

        Of the others nothing is kept: what is noted of a test counts from when its control has moved until it has
        settled, and of a pool all the time, since it is held back for what its comparisons show.
        """
        own = slice(self._tests.comparisons)
        wanted = self.moved[own] | (self._held_for[own] > 0)
        for above in self._above:
            wanted |= (above >= 0) & self.moved[above]
        departures = self._levels.departures(self._kept, (wanted, SUDDEN))
        rows = departures.tests
        up, down = (np.where(np.isfinite(side[rows]), side[rows], 0.0) for side in (up, down))
        return _Seen(rows, departures, up, down, self._is_worse(departures, up, down))

    def _is_whole(self, tests: NDArray[np.intp]) -> bool:
        """Tell whether all comparisons of pools that have moved are among some tests."""
        own = np.ones(self._tests.comparisons, np.bool_)
        own[tests[tests < len(own)]] = False
        return not any(((above >= 0) & self.moved[above] & own).any() for above in self._above)

    def _is_worse(self, seen: Departures, up: Array, down: Array) -> Mask:
        """Tell [window, row] whether the canary is worse than the control was before it moved."""
        result = np.zeros(seen.canary.shape, np.bool_)
        rows = seen.tests
        for sign, side, wanted, tolerated in ((1.0, 0, self._up[rows], up), (-1.0, 1, self._down[rows], down)):
            limit = np.maximum(tolerated, _APART * seen.canary_spread[side])
            result |= wanted & (sign * seen.canary >= np.minimum(limit, np.abs(seen.control))) & (seen.canary != 0)
        return result

    def _settle(self, seen: "_Seen") -> None:
        """Let go of what has settled: the gap has closed in the window that it was found in and in the longest."""
        rows, of = seen.tests, seen.departures
        jump, window = self._jump[rows], self._window[rows]
        closed = of.gap * np.sign(jump) > -_HALF * np.abs(jump)
        settled = (jump != 0) & _at(closed, window) & closed[-1]
        let_go = rows[settled]
        self._jump[let_go], self._gap[let_go], self._age[let_go] = 0.0, 0.0, 0
        self._held_for[rows] = np.where(settled, max(BEFORE), np.maximum(self._held_for[rows] - 1, 0))
        self._age[rows] += 1
        # As long as its window reaches back to before the move, a gap is less than it is going to be.
        jump, gap = self._jump[rows], -_at(of.gap, window)
        grows = (jump != 0) & (self._age[rows] <= _LENGTHS[window]) & (gap / _unless_zero(jump) > 1)
        self._jump[rows] = np.where(grows, gap, jump)

    def _find(self, seen: "_Seen") -> bool:
        """Find controls that have moved suddenly and alone, so far that the gap is more than is tolerated anyway."""
        rows, of = seen.tests, seen.departures
        sign = np.sign(of.control)
        spread = np.where(sign > 0, of.control_spread[0], of.control_spread[1])
        deviations = np.abs(of.control) / spread
        apart = _APART * np.where(sign < 0, of.gap_spread[0], of.gap_spread[1])
        apart = np.maximum(apart, np.where(sign < 0, seen.up, seen.down))
        alone = -of.gap * sign >= np.maximum(apart, _HALF * np.abs(of.control))
        # What is over is still in the longer windows for a while.
        alone &= -of.gap[_STILL] * sign >= _HALF * np.abs(of.control)
        found = (deviations >= SUDDEN) & alone & ~seen.worse & self._followed[rows] & (self._jump[rows] == 0)
        deviations = np.where(found, deviations, 0.0)
        largest = deviations.max(axis=0)
        order = np.lexsort((-largest, self._tests.level[rows]))  # the fleet comes before regions, these before colos
        chosen = order[largest[order] > 0][:SERIES_MAX]
        if not len(chosen):
            return False
        window = deviations.argmax(axis=0)[chosen]
        unit = spread[window, chosen] * np.sqrt(_LENGTHS[window])
        series = self._levels.series(rows[chosen], self._kept, window) / unit[:, None]
        sure = self._confirm(series)
        self._begin(rows[chosen[sure]], window[sure], -of.gap[window[sure], chosen[sure]])
        return bool(sure.any())

    def _begin(self, found: NDArray[np.intp], window: NDArray[np.intp], jump: Array) -> None:
        self._window[found], self._jump[found] = window, jump
        self._age[found], self._gap[found], self._gap_window[found] = 0, np.nan, 0

    def _spread(self, seen: "_Seen") -> None:
        """Say of comparisons what their pool shows, if their controls moved likewise, too little to show alone."""
        own = slice(int(np.searchsorted(seen.tests, self._tests.comparisons)))
        rows, of, worse = seen.tests[own], seen.departures, seen.worse[:, own]
        for every in self._above:
            above = every[rows]
            jump, window = np.where(above >= 0, self._jump[above], 0.0), self._window[above]
            likewise = _at(of.control[:, own], window) * np.sign(jump) >= _HALF * np.abs(jump)
            apart = _at(of.gap[:, own], window) * np.sign(jump) <= -_HALF * np.abs(jump)
            found = (jump != 0) & likewise & apart & ~_at(worse, window) & (self._jump[rows] == 0)
            self._begin(rows[found], window[found], jump[found])

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

    def _hold(self, seen: "_Seen") -> None:
        """Work out what moved controls mean for comparisons and pools.

        Levels that both sides share go on wandering, so the control's level before it moved serves for a few ticks
        only. From then on a canary is worse if the gap is wider than the control's own move made it.
        """
        tests, rows = self._tests, seen.tests
        window, age, gap, gap_window = (of[rows] for of in (self._window, self._age, self._gap, self._gap_window))
        moved, length = self._jump[rows] != 0, _LENGTHS[window]
        is_young = np.isnan(gap) | (age <= np.maximum(length, np.array(BEFORE)[window]))
        harmed = (moved & is_young & _at(seen.worse, window)) | self._is_wider(seen)
        # Harm that began meanwhile must not be taken for the control's doing.
        first = np.isnan(gap) & (age >= length) & ~harmed
        better = (gap_window < len(WINDOWS) - 1) & (age >= WINDOWS[-1]) & ~harmed
        gap_window = np.where(better, len(WINDOWS) - 1, np.where(first, window, gap_window))
        self._gap_window[rows] = gap_window
        self._gap[rows] = np.where(first | better, _at(seen.departures.gap, gap_window), gap)
        self.set_aside = np.zeros(tests.comparisons, np.bool_)
        self.set_aside[rows[moved & ~harmed & (rows < tests.comparisons)]] = True
        # What was bet on before the move was known is there still: neither a noisy tick nor the settling may let it
        # decide. It fades in the ticks after, and counts at once if the canary is worse by itself for longer.
        self._harmed_for[rows] = np.where(harmed, self._harmed_for[rows] + 1, 0)
        harmed = self._harmed_for[rows] >= _LASTING
        held = (moved | (self._held_for[rows] > 0)) & ~harmed
        if self.set_aside.any():
            # The evidence of a pool rests on what its comparisons brought in before this was known.
            most = (tests.pool @ self.set_aside.astype(np.float64)) >= _POOL_SHARE * self._members
            held |= most[rows] & ~harmed & (tests.level[rows] != COLO)
        self.held = np.zeros(len(tests), np.bool_)
        self.held[rows] = held

    def _is_wider(self, seen: "_Seen") -> Mask:
        """Tell [row] whether the canary is worse by more than the gap that the control opened, in any window."""
        rows, of = seen.tests, seen.departures
        result = np.zeros(len(rows), np.bool_)
        since = _LENGTHS[:, None] <= self._age[rows]  # windows without a tick from before the move
        for sign, side, every, tolerated in ((1.0, 0, self._up, seen.up), (-1.0, 1, self._down, seen.down)):
            spread = np.hypot(of.gap_spread[side], _at(of.gap_spread[side], self._gap_window[rows]))
            limit = np.maximum(tolerated, _APART * spread)
            wider = np.minimum(sign * of.gap, sign * (of.gap - self._gap[rows]))  # a gap that closes is not one
            result |= (every[rows] & since & (wider >= limit)).any(axis=0)
        return result

    def wide(self) -> Mask:
        """Tell for each strand [strand] whether it is not comparable over the whole fleet."""
        tests, own = self._tests, slice(self._tests.comparisons)
        result = np.zeros(self._strands, np.bool_)
        if not self.moved.any():
            return result
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
