"""A source partition read once more from earlier on, for rollouts that were announced too late."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from detectors.policy import Policy
from streams.live.group import Closed, Group
from streams.live.known import UNSEEN, labels_of
from streams.live.partition import Marks, Partition
from streams.membership import Announced
from streams.recording import Samples

_SETTLING_TICKS: Final = 4
"""Ticks until the watermark stands, and a tick is whole."""


def first_wanted(group: Group, rollout: Announced, live: int) -> int | None:
    """Return the first tick of which a rollout's judge can make use, None if that comes after the tick `live`.

    It is a pre-period and a gap before the first stage starts; one of which no start is known might start now.
    """
    started = rollout.stages[0].started
    first = (live if started is None else started) - group.policy.pre_period.ticks_max - group.policy.gap_ticks_max
    return first if first <= live else None


def needed_from_ms(first: int, policy: Policy, tick_ms: int) -> int:
    """Return the event time (ms) from which samples are needed so that the tick `first` has all that goes into it.

    A rate is held for a gap, and is made of values that lie a gap apart.
    """
    return (first - 2 * policy.gap_ticks_max - policy.lateness_ticks - _SETTLING_TICKS) * tick_ms


def known_before(tables: Iterable[pa.Table], time_ms: int) -> list[pa.Table]:
    """Return the series that had come before a time, out of what `Partition.new_series` has given out."""
    found = []
    for table in tables:
        came = table.column(len(labels_of(table))).fill_null(UNSEEN).to_numpy()
        found.append(table.filter(pa.array(came < time_ms)))
    return found


class Ticked(NamedTuple):
    """A closed tick: the group as it was then, the block, and the column in it."""

    group: Group
    closed: Closed
    column: int


class Earlier:
    """The second reading: ticks that close wait in order until they are taken.

    Parameters
    ----------
    begin
        The message that it begins with.
    known
        Series that had come before it; None if there were no messages before it.
    """

    def __init__(self, begin: int, known: Sequence[pa.Table] | None) -> None:
        self.partition = Partition() if known is None else Partition(Marks(begin), known)
        self.position = begin
        self._groups: dict[str, Group] = {}
        self._pending: deque[Ticked] = deque()
        self._dropped: dict[str, Counter[str]] = {}

    @property
    def is_pending(self) -> bool:
        """Whether ticks wait to be taken."""
        return bool(self._pending)

    def announce(self, groups: Sequence[Group]) -> None:
        """Take all groups as they are now, from the first open tick on."""
        self._groups = {group.digest: group for group in groups}
        self.partition.announce(groups)

    def push(self, samples: Samples | None, offset: int) -> None:
        """Take a message; None stands for one that cannot be read."""
        if samples is not None:
            self.partition.push(samples, offset)
        self.position = offset + 1

    def close(self) -> None:
        """Close what the watermarks have passed."""
        for closed in self.partition.close():
            group = self._groups[closed.digest]
            self._pending.extend(Ticked(group, closed, column) for column in range(closed.ticks.ticks))

    def next(self) -> Ticked:
        """Return the next tick."""
        ticked = self._pending.popleft()
        if ticked.column == 0:
            self._dropped.setdefault(ticked.group.digest, Counter()).update(ticked.closed.dropped)
        return ticked

    def dropped(self, digest: str) -> Counter[str]:
        """Return the samples of a group that were dropped, by reason, through the last tick that was taken."""
        return Counter(self._dropped.get(digest, {}))
