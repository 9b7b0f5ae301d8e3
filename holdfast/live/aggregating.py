"""The aggregate's worker: frames of metrics in, one message for each rollout, tick and source partition out."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import msgspec
from confluent_kafka import Message, TopicPartition

from holdfast.live.catalogue import Catalogue, Metadata, metadata_of, series_records
from holdfast.live.dead_letters import dead_letter
from holdfast.live.fed import Fed
from holdfast.live.framing import Framing
from holdfast.live.past import Pasts
from holdfast.live.past_reader import PastReader
from holdfast.live.records import Outputs, Record, content_type_of
from holdfast.live.settings import Settings
from holdfast.live.telemetry import Telemetry
from rollouts.announced import Announcement
from streams.live.frames import SourcePartition
from streams.live.partition import Closed, Partition
from streams.wire.decoding import reader_of
from streams.wire.frame import BadFrame

_COLOS_SECONDS: Final = 5.0
"""Time between two looks at how far each colo has come: every unit is looked at."""


class Board(Protocol):
    """The rollouts topic, read to its end."""

    @property
    def current(self) -> Mapping[str, Announcement]:
        """What is announced, by the name of the rollout."""
        ...

    def poll(self) -> Collection[str]:
        """Take what came since, without waiting, and return the names of the rollouts that changed."""
        ...


class AggregateStep:
    """Sums up source partitions.

    Parameters
    ----------
    settings
        Names of topics, patience.
    announcements
        The rollouts topic, read to its end.
    catalogue
        See `Catalogue`.
    sources
        Returns the topics that are read, and how many partitions each has now.
    past
        Reads the past of rollouts that are announced late.
    telemetry
        Counts.
    """

    def __init__(
        self,
        settings: Settings,
        announcements: Board,
        catalogue: Catalogue,
        sources: Callable[[], Mapping[str, int]],
        past: PastReader,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._announcements = announcements
        self._catalogue = catalogue
        self._ask_sources = sources
        self._telemetry = telemetry
        self._fed: dict[SourcePartition, Fed] = {}
        self._framing = Framing(settings)
        self._pasts = Pasts(self._framing, catalogue, past, telemetry)
        self._dead: list[Record] = []
        self._told: float | None = None  # when colos were looked at last
        self._announce()

    def assigned(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """See `holdfast.live.loop.Step`."""
        self._framing.sources = dict(self._ask_sources())
        started = [self._opened(partition) for partition in partitions]
        self._regroup()  # what is over elsewhere may not be over here
        return started

    def _opened(self, committed: TopicPartition) -> TopicPartition:
        source = SourcePartition(committed.topic, committed.partition)
        metadata = msgspec.json.decode(committed.metadata, type=Metadata) if committed.metadata else None
        known = self._catalogue(source)
        marks = joining = None
        if metadata is not None and metadata.marks is not None:
            marks, joining = metadata.marks, metadata.joining
        elif metadata is not None and known.marks is not None:
            marks, joining = known.marks, known.marks.joining
        partition = Partition(marks, [table for _, table in known.segments])
        count = max([0 if metadata is None else metadata.segments, *(number + 1 for number, _ in known.segments)])
        joined = self._pasts.restored(source, joining)
        self._fed[source] = Fed(partition, max(committed.offset, 0), count, joined)
        return TopicPartition(source.topic, source.partition, committed.offset)

    def revoked(self, partitions: Sequence[TopicPartition]) -> Outputs:
        """See `holdfast.live.loop.Step`; what is not committed is read again by whoever comes next."""
        self.lost(partitions)
        return Outputs()

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """See `holdfast.live.loop.Step`."""
        for partition in partitions:
            source = SourcePartition(partition.topic, partition.partition)
            fed = self._fed.pop(source, None)
            if fed is not None:
                self._pasts.stop(source, fed.joining)
        self._dead = []

    def held(self) -> Collection[tuple[str, int]]:
        """See `holdfast.live.loop.Step`."""
        return ()

    def take(self, messages: Sequence[Message], now: float) -> None:
        """See `holdfast.live.loop.Step`."""
        for message in messages:
            fed = self._fed.get(SourcePartition(message.topic() or "", message.partition() or 0))
            if fed is None:  # polled before it was given up
                continue
            if message.error() is not None:
                fed.ended = now if fed.ended is None else fed.ended
                continue
            fed.ended = None
            self._push(fed, message)
        # Samples are summed while they are still in the processor's cache, and not kept until a long batch ends.
        for fed in self._fed.values():
            fed.closed += fed.partition.close()

    def _push(self, fed: Fed, message: Message) -> None:
        offset = message.offset() or 0
        samples = None
        try:
            frame = message.value() or b""
            reader = reader_of(frame, content_type_of(message))
            samples = reader.decode(frame)
        except BadFrame as error:
            if offset >= fed.partition.accounted:
                self._dead.append(dead_letter(self._settings, message, str(error)))
                self._telemetry.dead_letter("undecodable")
        else:
            self._telemetry.samples(message.topic() or "", reader.format, len(samples.time))
        fed.push(samples, offset)

    def outputs(self, now: float) -> Outputs:
        """See `holdfast.live.loop.Step`."""
        result = Outputs(self._dead)
        self._dead = []
        for source, fed in self._fed.items():
            self._write_closed(source, fed, result)
        before = set(self._framing.open)
        if changed := self._announcements.poll():
            self._announce()
        elif any(self._is_over(name) for name in self._framing.open) or self._framing.holds_too_many(self._passed_ms):
            self._regroup()
        # Of what was over before anything was written for it, somebody is to be told that nothing will be.
        over = (before | {*changed}) & self._framing.known.keys() - self._framing.open
        result.records += [self._framing.over(source, name) for name in sorted(over) for source in self._fed]
        for source, fed in self._fed.items():
            self._be_patient(source, fed, now, result)
            fed.closed += fed.partition.close()
            self._write_closed(source, fed, result)
        self._pasts.outputs(self._fed, result)
        for source, fed in self._fed.items():
            series = fed.partition.new_series()
            if series is not None:
                segment = series_records(self._settings, source, fed.segments, series)
                fed.segments += len(segment)
                result.records += segment
            if fed.joining.is_changed or result.records:
                fed.joining.is_changed = False
                result.offsets.append(self._committed(source, fed, result))
        self._tell(now)
        return result

    def _tell(self, now: float) -> None:
        """Tell how far partitions and, less often, colos have come."""
        newest = {source: fed.partition.newest_ms for source, fed in self._fed.items()}
        self._telemetry.open_partitions(
            {f"{source.topic}/{source.partition}": newest_ms for source, newest_ms in newest.items()}
        )
        begun_and_closed = (
            (-(-newest_ms // self._framing.groups[digest].tick_ms), closed)
            for source, newest_ms in newest.items()
            if newest_ms is not None
            for digest, closed in self._fed[source].partition.closed().items()
        )
        self._telemetry.ticks_open(sum(max(0, begun - closed) for begun, closed in begun_and_closed))
        if self._told is None or now - self._told >= _COLOS_SECONDS:
            self._told = now
            colos = [fed.partition.newest_by_colo() for fed in self._fed.values()]
            self._telemetry.colos({name: newest for each in colos for name, newest in each.items()})

    def _announce(self) -> None:
        """Take the announcements as they are now."""
        self._framing.announce(self._announcements.current)
        self._regroup()

    def _regroup(self) -> None:
        """Group the rollouts that are not over: finished, and closed through their last tick in every partition."""
        self._framing.group([name for name in self._framing.known if not self._is_over(name)], self._passed_ms)
        for fed in self._fed.values():
            fed.partition.announce(list(self._framing.groups.values()))
        self._pasts.announce(self._fed)

    @property
    def _passed_ms(self) -> int:
        """Up to where in event time every partition has closed ticks, in milliseconds."""
        return min((self._pasts.passed_ms(fed) for fed in self._fed.values()), default=0)

    def _is_over(self, name: str) -> bool:
        return bool(self._fed) and all(
            name not in fed.joining.behind and self._pasts.has_passed(fed, name) for fed in self._fed.values()
        )

    def _be_patient(self, source: SourcePartition, fed: Fed, now: float, result: Outputs) -> None:
        """Close a partition that stays silent by the clock on the wall, once all of it has been read."""
        if fed.ended is None or now - fed.ended < self._settings.patience_seconds:
            return
        groups = self._framing.groups.values()
        waited_ms = int((now - fed.ended - self._settings.patience_seconds) * 1_000)
        if fed.advance(waited_ms, max((group.tick_ms for group in groups), default=1)):
            return
        for group in groups:
            for name in self._framing.judged(group):
                if name in fed.joining.joined and name not in fed.told:
                    fed.told.add(name)
                    result.records.append(self._framing.idle(source, group, name))

    def _write_closed(self, source: SourcePartition, fed: Fed, result: Outputs) -> None:
        for block in fed.closed:
            self._write(source, fed, block, result)
            fed.joining.is_changed = True
        fed.closed = []

    def _write(self, source: SourcePartition, fed: Fed, closed: Closed, result: Outputs) -> None:
        """Write a block of closed ticks, each for each of the rollouts that the group's policy judges."""
        framing, joining = self._framing, fed.joining
        group = framing.groups[closed.digest]
        names = [name for name in framing.judged(group) if name in joining.joined]
        for column in range(closed.ticks.ticks):
            tick = closed.ticks.first + column
            dropped = {
                name: Counter(closed.dropped if column == 0 else {}) + joining.owed.pop(name, Counter())
                for name in names
                if not framing.is_after(name, tick)
            }
            result.records += framing.tick(source, group, closed, column, fed.keys.of(closed), dropped)
        self._telemetry.ticks_closed(closed.ticks.ticks)
        self._telemetry.dropped(closed.dropped)

    def _committed(self, source: SourcePartition, fed: Fed, result: Outputs) -> TopicPartition:
        """Return the offset to commit, and what rides along."""
        needed = fed.partition.offset()
        marks = fed.partition.marks(fed.position)
        metadata, records = metadata_of(self._settings, source, fed.segments, marks, fed.joining.marks())
        result.records += records
        offset = fed.position if needed is None else needed
        return TopicPartition(source.topic, source.partition, offset, metadata=metadata)
