"""Where in a log a time lies: told by what its messages say, since a log may have been written at any speed."""

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.recording import NO_TIME, Samples

BEGINNING: Final = 0
"""Stands for the first message that is still there."""

_MESSAGES: Final = 5
"""Messages of which the middle one tells the time: one alone may be a straggler."""

_NEAR: Final = 64
"""Messages that are rather read in vain than looked for more closely."""

_BACK_FACTOR: Final = 16


class Probe(NamedTuple):
    """A question: the time at an offset or, if `to_end`, in the last of all messages from there on."""

    offset: int
    to_end: bool


class Look(NamedTuple):
    """The answer: the first message that was found, and the time (ms) there; None without any."""

    offset: int | None
    time_ms: int | None


@dataclass(frozen=True, slots=True)
class Found:
    """Where to begin to read: offset, and event time there (ms); and the event time where the log ended.

    `is_whole` tells that nothing was ever before it.
    """

    offset: int
    time_ms: int
    end_ms: int
    is_whole: bool


Search = Generator[Probe, Look, Found | None]
"""Asks, is sent the answers, and returns what it found: None if nothing has to be read, or nothing is there."""


def search(end: int, wanted: Callable[[int], int | None]) -> Search:
    """Find from where to read, so that all messages from a time on are among them.

    Messages come about in the order of their times; whoever asks leaves room for how far they do not.

    Parameters
    ----------
    end
        The message before which to look.
    wanted
        Returns the time (ms) that is wanted, given that at `end`; None if nothing is.
    """
    first = yield Probe(BEGINNING, to_end=False)
    if first.offset is None or first.time_ms is None:
        return None
    back = _NEAR
    while True:
        start = max(first.offset, end - back)
        last = yield Probe(start, to_end=True)
        if last.time_ms is not None or start == first.offset:
            break
        back *= _BACK_FACTOR
    end_ms = first.time_ms if last.time_ms is None else last.time_ms
    target = wanted(end_ms)
    if target is None:
        return None
    low, low_ms, high = first.offset, first.time_ms, end
    while low_ms < target and high - low > _NEAR:
        middle = (low + high) // 2
        look = yield Probe(middle, to_end=False)
        if look.time_ms is None or look.time_ms >= target:
            high = middle
        else:
            low, low_ms = middle, look.time_ms
    return Found(low, low_ms, end_ms, is_whole=low == BEGINNING)


class Answer:
    """Gathers the answer to a probe, message by message.

    Parameters
    ----------
    probe
        The question.
    end
        The message before which to look.
    """

    def __init__(self, probe: Probe, end: int) -> None:
        self._probe = probe
        self._end = end
        self._first: int | None = None
        self._times: deque[int] = deque(maxlen=_MESSAGES)

    def take(self, offset: int, samples: Samples | None) -> bool:
        """Take a message, None for what cannot be read, and tell whether that is enough."""
        if offset >= self._end:
            return True
        if self._first is None:
            self._first = offset
        times = np.empty(0, np.int64) if samples is None else samples.time[samples.time != NO_TIME]
        if len(times):
            self._times.append(_middle(times))
        return offset + 1 >= self._end or (not self._probe.to_end and len(self._times) == _MESSAGES)

    @property
    def look(self) -> Look:
        """The answer."""
        return Look(self._first, _middle(np.array(self._times)) if self._times else None)


def _middle(times: NDArray[np.int64]) -> int:
    middle = (len(times) - 1) // 2
    return int(np.partition(times, middle)[middle])
