"""Where units belong while a stream flows: by the labels of the series that they send at present."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.catalogue import Catalogue
from streams.live.room import with_room
from streams.membership import NOT_REACHED, Announced
from streams.past import LONG_AGO

Bits = NDArray[np.bool_]
Ids = NDArray[np.intp]
Ticks = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where units belong.

    `signature` [unit] indexes `rows` [signature, column]: for each rollout the stage that reaches the unit, then for
    each of its stages whether the unit may be its control.
    """

    signature: NDArray[np.int32]
    rows: NDArray[np.int32]


class Matches:
    """Which selectors of the announced rollouts each series matches, as bits [series, selector]."""

    def __init__(self, rollouts: Sequence[Announced]) -> None:
        self._rollouts = rollouts
        stages = [stage for rollout in rollouts for stage in rollout.stages]
        self._selectors = [(stage.canary, stage.control) for stage in stages]
        self._bits = np.empty((0, 2 * len(stages)), np.bool_)
        self.columns = len(rollouts) + len(stages)
        """Of a row of `Placed`."""

    def update(self, catalogue: Catalogue) -> Bits:
        """Return the bits of all series of a catalogue that has grown."""
        start = len(self._bits)
        count = len(catalogue) - start
        if count:
            new = np.ones((count, self._bits.shape[1]), np.bool_)
            for index, (canary, control) in enumerate(self._selectors):
                new[:, 2 * index] = catalogue.matches(canary, start)
                if control is not None:
                    new[:, 2 * index + 1] = catalogue.matches(control, start)
            self._bits = np.concatenate([self._bits, new])
        return self._bits

    def place(self, bits: Bits) -> Placed:
        """Place units by the bits [unit, selector] that any of their series has.

        A unit belongs to the first stage that it matches, and one that matches canary and control is canary.
        """
        distinct, which = _distinct(bits)
        columns: list[NDArray[np.int32]] = []
        at = 0
        for rollout in self._rollouts:
            stages = len(rollout.stages)
            canary = distinct[:, at : at + 2 * stages : 2]
            control = distinct[:, at + 1 : at + 2 * stages : 2]
            is_named = np.array([stage.control is not None for stage in rollout.stages], np.bool_)
            first = np.argmax(np.append(canary, np.ones((len(canary), 1), np.bool_), axis=1), axis=1)
            reached = np.where(first < stages, first, NOT_REACHED)
            columns += [reached[:, None].astype(np.int32), (control & ~(canary & is_named)).astype(np.int32)]
            at += 2 * stages
        table = np.concatenate([np.empty((len(distinct), 0), np.int32), *columns], axis=1)
        rows, signature = np.unique(table, axis=0, return_inverse=True)
        return Placed(signature.reshape(-1)[which].astype(np.int32), rows)


def _distinct(bits: Bits) -> tuple[Bits, Ids]:
    """Return the distinct rows, and which of them each row is."""
    if not bits.shape[1]:
        return bits[:1], np.zeros(len(bits), np.intp)
    padded = np.zeros((len(bits), -(-bits.shape[1] // 64) * 64), np.bool_)
    padded[:, : bits.shape[1]] = bits
    words = np.packbits(padded, axis=1).view(np.uint64)
    if words.shape[1] == 1:
        _, first, which = np.unique(words[:, 0], return_index=True, return_inverse=True)
    else:
        _, first, which = np.unique(words, axis=0, return_index=True, return_inverse=True)
    return bits[first], which.reshape(-1)


class Places:
    """Follows where units belong, tick by tick.

    A unit belongs where the labels of its current series put it: those that were seen in the tick or in the `gap` ticks
    before. A unit without any keeps its place. There is nothing to follow for units all series of which match alike.

    Parameters
    ----------
    rollouts
        All announced rollouts.
    gap
        For how many ticks a series stays current.
    """

    def __init__(self, rollouts: Sequence[Announced], gap: int) -> None:
        self._gap = gap
        self._matches = Matches(rollouts)
        self._bits = np.empty((0, 0), np.bool_)
        self._last = np.empty(0, np.int64)  # [series] the last tick of series of mixed units, as far as it is known
        self._series = np.empty(0, np.intp)  # [pair] a series of each pair of unit and match
        self._unit = np.empty(0, np.intp)  # [pair]
        self._pair = np.empty(0, np.intp)  # [series]
        self._is_mixed = np.empty(0, np.bool_)  # [pair] whether its unit has others
        self._seen = np.empty(0, np.int64)  # [pair] the last tick of those that are mixed
        self._units = 0
        self._time = np.empty(0, np.int64)  # [series] of the last sample of series of mixed units, 0 if not known
        self._silent: list[Ids] = []  # units that fell silent

    def update(self, catalogue: Catalogue, unit: NDArray[np.int32], among: Bits, last: NDArray[np.int64]) -> None:
        """Take up new series.

        Parameters
        ----------
        unit
            [series] The unit of each series.
        among
            [series] The series that have come so far.
        last
            [series] A tick in which each was seen, the later the better.
        """
        self._keep_seen()
        self._last = with_room(self._last, len(catalogue), LONG_AGO)
        self._time = with_room(self._time, len(catalogue), 0)
        np.maximum(self._last[: len(last)], last, out=self._last[: len(last)])
        self._bits = self._matches.update(catalogue)
        series = np.flatnonzero(among)
        _, match = _distinct(self._bits[series])
        key = unit[series].astype(np.int64) << 32 | match
        _, first, pair = np.unique(key, return_index=True, return_inverse=True)
        self._series = series[first]
        self._unit = unit[self._series].astype(np.intp)
        self._units = int(unit.max(initial=-1)) + 1
        self._is_mixed = np.bincount(self._unit, minlength=self._units)[self._unit] > 1
        self._pair = np.full(len(catalogue), -1, np.intp)
        self._pair[series] = np.where(self._is_mixed[pair], pair, -1)
        self._seen = np.full(len(first), LONG_AGO)
        np.maximum.at(self._seen, pair, self._last[series])

    def _keep_seen(self) -> None:
        series = np.flatnonzero(self._pair >= 0)
        self._last[series] = np.maximum(self._last[series], self._seen[self._pair[series]])

    def look(self, first: int, ticks: int, samples: Iterable[tuple[NDArray[np.int32], Ticks, Ticks]]) -> Bits | None:
        """Take the samples of some ticks, and tell which pairs were current in each: [pair, tick].

        Samples are series [sample], tick [sample] and time [sample], in milliseconds, of some messages. None if nothing
        can have changed.
        """
        if not self._is_mixed.any():
            return None
        seen = np.full((len(self._seen), ticks), LONG_AGO)
        for series, tick, time in samples:
            pair = self._pair[series]
            mixed = np.flatnonzero(pair >= 0)
            seen[pair[mixed], tick[mixed] - first] = tick[mixed]
            np.maximum.at(self._time, series[mixed], time[mixed])
        np.maximum(seen[:, 0], self._seen, out=seen[:, 0])
        np.maximum.accumulate(seen, axis=1, out=seen)
        self._seen = seen[:, -1].copy()
        newest = np.full((self._units, ticks), LONG_AGO)
        np.maximum.at(newest, self._unit, seen)
        falls = newest == np.arange(first, first + ticks) - (self._gap + 1)
        self._silent.append(np.flatnonzero(falls.any(axis=1)))
        since = np.minimum(np.arange(first, first + ticks) - self._gap, newest[self._unit])
        current: Bits = (seen >= since) | ~self._is_mixed[:, None]
        return current

    def fallen_silent(self) -> tuple[Ids, Ticks]:
        """Return the series of units that fell silent since the last call, and the time of the last sample of each.

        Who goes on after a restart reads no further back than gaps need, and has to know where such a unit was last.
        """
        units, self._silent = self._silent, []
        if not any(len(each) for each in units):
            return np.empty(0, np.intp), np.empty(0, np.int64)
        is_silent = np.zeros(self._units, np.bool_)
        is_silent[np.concatenate(units)] = True
        mixed = np.flatnonzero((self._pair >= 0) & (self._time[: len(self._pair)] > 0))
        series = mixed[is_silent[self._unit[self._pair[mixed]]]]
        return series, self._time[series]

    def place(self, current: Bits | None) -> Placed:
        """Place all units by their current pairs [pair]; by all of them if that is None."""
        if not len(self._series):
            return Placed(np.zeros(self._units, np.int32), np.empty((0, self._matches.columns), np.int32))
        pairs = np.arange(len(self._series)) if current is None else np.flatnonzero(current)
        # Pairs are in the order of their units, and each unit has one that is current.
        units, starts = np.unique(self._unit[pairs], return_index=True)
        bits = self._bits[self._series[pairs]]
        placed = self._matches.place(np.logical_or.reduceat(bits, starts, axis=0))
        signature = np.zeros(self._units, np.int32)  # of units of which nothing has come it says nothing
        signature[units] = placed.signature
        return Placed(signature, placed.rows)
