"""Event time: the watermark of one partition, and which samples came too late or from the future."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

STEP_ROWS: Final = 8_192
"""Samples between two looks at the clock. It is counted over the whole input, so that how the input was
cut into row groups or messages changes nothing."""

_ACTIVE_ROUNDS: Final = 8
"""A unit counts for the median while it has sent within this many rounds of one sample per series. A unit
that fell silent must not hold the clock back for those that go on."""

NEVER: Final = np.iinfo(np.int64).min // 2
"""Before all event times, with room to subtract."""


class Clock:
    """The watermark: the median of the active units' latest event times, less the allowed lateness.

    The median, so that one clock that runs an hour ahead closes nothing for the others.

    Parameters
    ----------
    lateness_ms
        How long a tick stays open after half of the units have passed it.
    ahead_ms
        How far beyond the median a sample may be before it is set aside.
    behind_ms
        How far behind the median a sample may be while there is no watermark yet. A single clock that stands
        at 1970 would else open all ticks since.
    """

    def __init__(self, lateness_ms: int, ahead_ms: int, behind_ms: int) -> None:
        self._lateness_ms = lateness_ms
        self._ahead_ms = ahead_ms
        self._behind_ms = behind_ms
        self._latest = np.empty(0, np.int64)  # [unit]
        self._sent = np.empty(0, np.int64)  # [unit] the step in which it last sent
        self._steps = 0
        self.watermark_ms: int = NEVER

    def step(
        self, time: NDArray[np.int64], unit: NDArray[np.int32], units: int, series: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Move on by a batch of samples that starts on a multiple of `STEP_ROWS`.

        Parameters
        ----------
        time
            [row] Event times in epoch milliseconds, in order of arrival.
        unit
            [row] Dense ids of the units that sent them.
        units
            Number of units known.
        series
            Number of series known.

        Returns
        -------
        watermark
            [row] The watermark in force when the row arrived; a row of a tick closed by it is late.
        future
            [row] Whether the row lies too far ahead of the median.
        """
        steps = -(-len(time) // STEP_ROWS)
        cell = _by_row(np.arange(steps) * units, len(time)) + unit
        latest = _carry(self._latest, steps, units)
        np.maximum.at(latest.reshape(-1), cell, time)
        np.maximum.accumulate(latest, axis=0, out=latest)
        sent = _carry(self._sent, steps, units)
        number = np.arange(self._steps, self._steps + steps)[:, None]
        is_sent = np.zeros(sent.shape, np.bool_)
        is_sent.reshape(-1)[cell] = True
        np.copyto(sent, number, where=is_sent)
        np.maximum.accumulate(sent, axis=0, out=sent)
        self._latest, self._sent, self._steps = latest[-1].copy(), sent[-1].copy(), self._steps + steps
        patience = 1 + -(-_ACTIVE_ROUNDS * series // STEP_ROWS)
        median = _medians(np.where((sent != NEVER) & (number - sent <= patience), latest, NEVER))
        after = np.maximum.accumulate(np.maximum(median - self._lateness_ms, self.watermark_ms))
        before = np.concatenate([[self.watermark_ms], after[:-1]])
        before = np.where(before == NEVER, np.maximum(median - self._behind_ms, NEVER), before)
        self.watermark_ms = int(after[-1])
        return _by_row(before, len(time)), time > _by_row(median + self._ahead_ms, len(time))


def _by_row(of_step: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Return what holds for the step of each row: [step] to [row]."""
    return np.repeat(of_step, STEP_ROWS)[:rows]


def _carry(last: NDArray[np.int64], steps: int, units: int) -> NDArray[np.int64]:
    """Lay out [step, unit] with the state of the units known so far in the first row."""
    table = np.full((steps, units), NEVER, np.int64)
    table[0, : len(last)] = last
    return table


def _medians(latest: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the lower median over the active units, per step: [step, unit] to [step]."""
    seen = (latest != NEVER).sum(axis=1)
    ordered = np.sort(latest, axis=1)  # the others sort first
    median: NDArray[np.int64] = ordered[np.arange(len(latest)), latest.shape[1] - seen + (seen - 1) // 2]
    return median
