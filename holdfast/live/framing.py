"""What is announced, as the aggregate sees it, and the frames of the journal that tell of it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from detectors.policy import duration_ms
from holdfast.documents import digest
from holdfast.live.records import Record
from holdfast.live.settings import Settings
from holdfast.live.terms import groups_of
from rollouts.announced import Announcement, encode, finished_at, start_of
from sinks.cloudevents import epoch_ms
from streams.live.frames import Header, Keys, Planned, PlannedStage, SourcePartition, body_of, frame_of
from streams.live.partition import Closed, Group

BESIDE_MAX: Final = 10
"""Most rollouts that are over and still known: each divides rows of those that are not, and so what a tick costs."""


@dataclass(frozen=True, slots=True)
class Known:
    """A rollout that was announced: the announcement, as it came too, and the digest of its policy."""

    announcement: Announcement
    raw: bytes
    digest: str

    @property
    def finished_ms(self) -> int | None:
        """When it was finished, in epoch milliseconds."""
        finished = finished_at(self.announcement)
        return None if finished is None else epoch_ms(finished)

    @property
    def started_ms(self) -> int | None:
        """When its first stage starts, in epoch milliseconds; None if nothing says so yet."""
        started = start_of(self.announcement, 0)
        return None if started is None else epoch_ms(started)

    @property
    def changed_ms(self) -> int | None:
        """When the last of the stages that it came to started, in epoch milliseconds; None if it came to none."""
        starts = [start_of(self.announcement, index) for index in range(len(self.announcement.rollout.stages))]
        return max((epoch_ms(start) for start in starts if start is not None), default=None)

    @property
    def tick_ms(self) -> int:
        """The tick of its policy, in milliseconds."""
        return duration_ms(self.announcement.policy.tick)

    @property
    def pre_period_ms(self) -> int:
        """How long before its start, in milliseconds, there may be ticks that it is judged on."""
        policy = self.announcement.policy
        return (policy.pre_period.ticks_max + policy.gap_ticks_max) * self.tick_ms


@dataclass(slots=True)
class Encoded:
    """The keys of a source partition's frames, encoded once for as long as they do not change."""

    _keys: dict[str, tuple[tuple[object, ...], Keys]] = field(default_factory=dict)  # by group

    def of(self, closed: Closed) -> Keys:
        """Return the keys of a block."""
        known = self._keys.get(closed.digest)
        if known is None or known[0] != closed.ticks.keys:
            known = self._keys[closed.digest] = closed.ticks.keys, Keys.of(closed.ticks.keys)
        return known[1]


class Framing:
    """The rollouts that are announced, in their groups, and the frames that are written for them.

    Parameters
    ----------
    settings
        Names of topics.

    Attributes
    ----------
    sources
        The topics that are read, and how many partitions each has.
    known
        All rollouts, by name.
    groups
        Those that are open, in groups by the digests of their policies. Those that are over stay beside them for as
        long as an open one is judged on time in which they began to change something, which tells units apart; of
        many the latest do.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.sources: dict[str, int] = {}
        self.known: dict[str, Known] = {}
        self.open: set[str] = set()
        self.groups: dict[str, Group] = {}
        self._beside: dict[str, float] = {}  # which are over, and up to which event time (ms) they stay
        self._planned: dict[str, tuple[Group, tuple[Planned, ...]]] = {}  # the same in all frames of a group

    def announce(self, current: Mapping[str, Announcement]) -> None:
        """Take the announcements as they are now."""
        self.known = {name: Known(each, encode(each), digest(each.policy)) for name, each in current.items()}

    def group(self, names: Iterable[str], passed_ms: int) -> None:
        """Group the rollouts that are open, given up to where event time has been closed."""
        self.open = set(names)
        self._beside = self._still_needed(passed_ms)
        open_, beside = ([self.known[name].announcement for name in found] for found in (self.open, self._beside))
        self.groups = {group.digest: group for group in groups_of(open_, beside)}
        self._planned = {}

    def _still_needed(self, passed_ms: int) -> dict[str, float]:
        """Find what is over and changed something in time that an open one is judged on, with when it may go (ms)."""
        opened = [self.known[name] for name in self.open]
        began = [(each.started_ms, each.pre_period_ms) for each in opened]
        first_ms = min(
            (started_ms - past_ms for started_ms, past_ms in began if started_ms is not None), default=math.inf
        )
        # One of which no start is known may start at any time.
        past_ms = max((past_ms for started_ms, past_ms in began if started_ms is None), default=-math.inf)
        found: list[tuple[int, str, float]] = []
        for name in self.known.keys() - self.open:
            changed_ms = self.known[name].changed_ms
            if changed_ms is not None:
                until_ms = math.inf if changed_ms > first_ms else changed_ms + past_ms
                found += [(changed_ms, name, until_ms)] if until_ms > passed_ms else []
        return {name: until_ms for _, name, until_ms in sorted(found)[-BESIDE_MAX:]}

    def holds_too_many(self, passed_ms: int) -> bool:
        """Tell whether some that are over need no longer be known, given up to where event time has been closed."""
        return min(self._beside.values(), default=math.inf) <= passed_ms

    @property
    def tick_ms(self) -> dict[str, int]:
        """The tick of each open group, in milliseconds."""
        return {group.digest: group.tick_ms for group in self.groups.values()}

    def judged(self, group: Group) -> list[str]:
        """Name the rollouts that are judged by a group's policy."""
        return [
            each.rollout
            for each in group.rollouts
            if each.rollout in self.open and self.known[each.rollout].digest == group.digest
        ]

    def is_after(self, name: str, tick: int) -> bool:
        """Tell whether a rollout had finished before a tick began."""
        known = self.known[name]
        return known.finished_ms is not None and (tick - 1) * known.tick_ms >= known.finished_ms

    def idle(self, source: SourcePartition, group: Group, name: str) -> Record:
        """Say that a source partition has never had data."""
        return self._idle(source, name, self._planned_of(group))

    def over(self, source: SourcePartition, name: str) -> Record:
        """Say that nothing more comes from a source partition for a rollout that is over, if anything ever did."""
        return self._idle(source, name, ())

    def _idle(self, source: SourcePartition, name: str, planned: tuple[Planned, ...]) -> Record:
        header = Header(
            kind="idle",
            rollout=name,
            tick=0,
            tick_ms=self.known[name].tick_ms,
            topic=source.topic,
            partition=source.partition,
            sources=self.sources,
            planned=planned,
            signatures=(),
            keys="",
            samples=0,
            dropped={},
            is_disputed=False,
            announcement=msgspec.Raw(self.known[name].raw),
        )
        return self._record(name, frame_of(header, b""))

    def tick(
        self,
        source: SourcePartition,
        group: Group,
        closed: Closed,
        column: int,
        keys: Keys,
        dropped: Mapping[str, Mapping[str, int]],
    ) -> list[Record]:
        """Write one tick of a block.

        Parameters
        ----------
        group
            The block's, as it was when the block was closed.
        column
            Which tick of the block.
        keys
            The keys of the block.
        dropped
            The rollouts for which it is written, and the samples that the frame of each tells as dropped, by reason.
        """
        if not dropped:
            return []
        body = body_of(keys, closed.ticks.values[:, :, column])
        header = Header(
            kind="tick",
            rollout="",
            tick=closed.ticks.first + column,
            tick_ms=group.tick_ms,
            topic=source.topic,
            partition=source.partition,
            sources=self.sources,
            planned=self._planned_of(group),
            signatures=tuple(tuple(row) for row in closed.signatures.tolist()),
            keys=keys.digest,
            samples=int(closed.samples[column]),
            dropped={},
            is_disputed=bool(closed.is_disputed[column]),
            announcement=msgspec.Raw(b""),
        )
        return [
            self._record(
                name,
                frame_of(
                    msgspec.structs.replace(
                        header,
                        rollout=name,
                        dropped=dict(reasons),
                        announcement=msgspec.Raw(self.known[name].raw),
                    ),
                    body,
                ),
            )
            for name, reasons in dropped.items()
        ]

    def _planned_of(self, group: Group) -> tuple[Planned, ...]:
        known = self._planned.get(group.digest)
        if known is None or known[0] is not group:
            known = self._planned[group.digest] = group, _planned(group)
        return known[1]

    def _record(self, rollout: str, frame: bytes) -> Record:
        return Record(self._settings.topics.cohort_ticks, rollout.encode(), frame)


def _planned(group: Group) -> tuple[Planned, ...]:
    return tuple(
        Planned(each.rollout, tuple(PlannedStage(stage.name, stage.started) for stage in each.stages))
        for each in group.rollouts
    )
