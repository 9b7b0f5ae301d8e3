"""The watermark of one source partition, which steps at the bounds of messages.

It is a function of the log and of `advance` alone, never of how the log was polled.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.policy import Policy
from streams.clock import NEVER
from streams.live.room import with_room

_ACTIVE_ROUNDS: Final = 8
"""A unit counts for the median while it has sent within this many rounds of one sample per series."""

_ROUND_SAMPLES_MIN: Final = 8_192
"""Who is active is looked at anew after so many samples, or after as many as there are series."""


class Timing(NamedTuple):
    """What a watermark hangs on: the unit label of a policy and, in ticks of `tick_ms`, how long it waits."""

    unit: str
    tick_ms: int
    lateness: int
    ahead: int

    @classmethod
    def of(cls, policy: Policy, tick_ms: int) -> "Timing":
        """Return the timing of a policy."""
        return cls(policy.unit, tick_ms, policy.lateness_ticks, policy.ahead_ticks_max)


class Passed(NamedTuple):
    """That the watermark had passed `tick` for messages from `offset` on, and whether clocks disagreed about it."""

    offset: int
    tick: int
    is_disputed: bool


class Heard(NamedTuple):
    """Who sent a message: units [unit], numbered below `size`, and the oldest and newest time [unit] of each in it.

    The oldest is of no matter once the watermark stands.
    """

    units: NDArray[np.int32] | slice
    size: int
    oldest: NDArray[np.int64]
    newest: NDArray[np.int64]


class Watermark:
    """The median of the active units' latest event times less the allowed lateness, in whole ticks.

    The median, so that one clock that runs an hour ahead closes nothing for the others. It stands from when the first
    unit has sent for the second time, since only then all of them can be expected to have been heard. A unit's latest
    time is that of its last message, so that a restart needs no more of the log than what active units sent last.

    Parameters
    ----------
    timing
        Tick length, lateness.
    passed
        How an earlier process has seen it pass; see `resume`.
    position
        Messages before it were taken by that process.
    since
        Samples that it had taken since it looked at who is active.
    is_origin
        Whether `passed` reaches back to before the watermark stood.

    Attributes
    ----------
    tick
        The last tick that the watermark has passed; None before it stands.
    """

    def __init__(
        self,
        timing: Timing,
        passed: Sequence[Passed] = (),
        position: int = 0,
        since: int = 0,
        *,
        is_origin: bool = False,
    ) -> None:
        self._timing = timing
        self._passed = list(passed)
        self.tick: int | None = self._passed[-1].tick if self._passed else None
        self._is_origin = is_origin
        self._position = position if passed else 0
        self._resumed_since = since if passed else None  # until the position is reached
        self._latest = np.empty(0, np.int64)  # [unit]
        self._first = np.empty(0, np.int64)  # [unit]
        self._sent = np.empty(0, np.int64)  # [unit] samples taken by then
        self._offset = np.empty(0, np.int64)  # [unit]
        self._active = np.empty(0, np.bool_)  # [unit]
        self._count = 0
        self._since = 0
        self._actives = 0
        self._beyond = 0  # active units past `_bound_ms`
        self._bound_ms = NEVER

    def bounds(self, offset: int) -> tuple[int, int] | None:
        """Return between which ticks samples of a message that was taken are kept: after the first, up to the second.

        None if it is not known yet, or no more.
        """
        before, after = (
            bisect_right(self._passed, at, key=lambda passed: passed.offset) for at in (offset, offset + 1)
        )
        if not before:
            return None
        if before == 1 and self._is_origin:  # of the time before the watermark stood
            after = 2
        return self._passed[before - 1].tick, self._passed[
            after - 1
        ].tick + self._timing.lateness + self._timing.ahead + 1

    def take(self, heard: Heard, rows: int, offset: int, series: int) -> bool:
        """Take a message with `rows` samples, when `series` are known; tell whether the watermark has moved."""
        if self._resumed_since is not None and offset >= self._position:
            self._rejoin(series)
        units = heard.units
        if heard.size > len(self._latest):
            self._make_room(heard.size)
        if self._resumed_since is None:
            self._count_beyond(heard)
        self._active[units] = True
        self._latest[units] = heard.newest
        if self.tick is None:
            self._first[units] = np.where(self._first[units] == NEVER, heard.oldest, self._first[units])
        self._count += rows
        self._since += rows
        self._sent[units] = self._count
        self._offset[units] = offset
        if self._resumed_since is not None:
            return False
        if self._since >= max(_ROUND_SAMPLES_MIN, series):
            self._look(self._count, series)
        return self._pass(heard, offset, series)

    def _make_room(self, units: int) -> None:
        for name, fill in (("_latest", NEVER), ("_first", NEVER), ("_sent", NEVER), ("_offset", -1), ("_active", 0)):
            setattr(self, name, with_room(getattr(self, name), units, fill))

    def _count_beyond(self, heard: Heard) -> None:
        """Keep count of active units, and of those past the bound, without a look at all of them."""
        active = self._active[heard.units]
        before = self._latest[heard.units] >= self._bound_ms
        if not active.all():
            before &= active
            self._actives += len(active) - int(np.count_nonzero(active))
        self._beyond += int(np.count_nonzero(heard.newest >= self._bound_ms)) - int(np.count_nonzero(before))

    def _rejoin(self, series: int) -> None:
        """Go on where the earlier process was."""
        since, self._resumed_since = self._resumed_since or 0, None
        self._look(self._count - since, series)
        self._since = since
        assert self.tick is not None
        self._set_bound(self.tick)

    def _look(self, count: int, series: int) -> None:
        """Look at who was active when `count` samples had been taken, or has sent since."""
        patience = _ACTIVE_ROUNDS * series + _ROUND_SAMPLES_MIN
        self._active = (self._sent != NEVER) & (count - self._sent <= patience)
        self._actives = int(np.count_nonzero(self._active))
        self._since = 0
        self._set_bound_count()

    def _set_bound(self, tick: int) -> None:
        self._bound_ms = (tick + 1 + self._timing.lateness) * self._timing.tick_ms
        self._set_bound_count()

    def _set_bound_count(self) -> None:
        self._beyond = int(np.count_nonzero(self._active & (self._latest >= self._bound_ms)))

    def _pass(self, heard: Heard, offset: int, series: int) -> bool:
        if self.tick is None:
            again = (heard.newest - self._first[heard.units] >= self._timing.tick_ms).any()
            if not again and self._count < _ACTIVE_ROUNDS * series + _ROUND_SAMPLES_MIN:
                return False
        elif self._beyond <= self._actives // 2:  # the lower median lies before the bound
            return False
        median = self._median()
        tick = median // self._timing.tick_ms - self._timing.lateness
        self._move(tick, offset + 1, median)
        return True

    def _median(self) -> int:
        latest = self._latest[self._active]
        middle = (len(latest) - 1) // 2
        return int(np.partition(latest, middle)[middle])

    def _move(self, tick: int, offset: int, median: int) -> None:
        latest = self._latest[self._active]
        tolerated = (self._timing.lateness + 1) * self._timing.tick_ms
        agreeing = int(np.count_nonzero(np.abs(latest - median) <= tolerated))
        if self.tick is None:
            self._passed.append(Passed(0, self._origin_tick(), is_disputed=False))
            self._is_origin = True
        self._passed.append(Passed(offset, tick, 2 * agreeing <= len(latest)))
        self.tick = tick
        self._set_bound(tick)

    def advance(self, to_ms: int, offset: int) -> bool:
        """Have the watermark stand at `to_ms` at least for messages from `offset` on; tell whether it has moved."""
        tick = to_ms // self._timing.tick_ms
        if not self._active.any() or (self.tick is not None and tick <= self.tick):
            return False
        self._move(tick, max(offset, self._position), self._median())
        return True

    def heard(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the latest event time of each unit [unit], `NEVER` if there is none, and whether it is active."""
        return self._latest, self._active

    def newest_ms(self) -> int | None:
        """Return the median of the active units' latest times, None if nothing came."""
        return self._median() if self._active.any() else None

    def _origin_tick(self) -> int:
        """Return where the watermark would have stood when units were first heard."""
        first = self._first[self._active]
        middle = (len(first) - 1) // 2
        return int(np.partition(first, middle)[middle]) // self._timing.tick_ms - self._timing.lateness

    def furthest_ms(self) -> int:
        """Return the latest time of any active unit whose clock agrees with the median."""
        latest = self._latest[self._active]
        tolerated = (self._timing.lateness + 1) * self._timing.tick_ms
        return int(latest[latest <= self._median() + tolerated].max())

    def is_disputed(self, tick: int) -> bool:
        """Tell whether clocks disagreed when a tick was passed."""
        return next(passed.is_disputed for passed in self._passed if passed.tick >= tick)

    def oldest_offset(self) -> int | None:
        """Return the oldest message that an active unit has sent last."""
        offsets = self._offset[self._active]
        return int(offsets.min()) if len(offsets) else None

    def forget(self, tick: int, offset: int) -> None:
        """Forget how ticks before `tick` were passed for messages before `offset`."""
        keep = 0
        while (
            keep + 1 < len(self._passed) and self._passed[keep + 1].offset <= offset and self._passed[keep].tick < tick
        ):
            keep += 1
        del self._passed[:keep]
        self._is_origin &= not keep

    def resume(self) -> tuple[list[Passed], int, bool]:
        """Return what another process needs to go on: `passed`, `since` and `is_origin`."""
        return list(self._passed), self._since if self._resumed_since is None else self._resumed_since, self._is_origin
