"""The aggregate's worker: frames of metrics in, one message for each rollout, tick and source partition out."""

import logging
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec
import pyarrow as pa
from confluent_kafka import Message, TopicPartition
from msgspec import Struct

from detectors.policy import duration_ms
from holdfast.documents import digest
from holdfast.live.dead_letters import dead_letter
from holdfast.live.records import Outputs, Record, content_type_of
from holdfast.live.settings import Settings
from holdfast.live.telemetry import Telemetry
from holdfast.live.terms import groups_of
from rollouts.announced import Announcement, encode, finished_at
from sinks.cloudevents import epoch_ms
from streams.live.frames import Header, Keys, Planned, PlannedStage, SourcePartition, body_of, frame_of
from streams.live.partition import Closed, Group, Marks, Partition
from streams.wire.decoding import reader_of
from streams.wire.frame import BadFrame

log = logging.getLogger(__name__)

_SEGMENT_ROWS: Final = 20_000
"""Series in one message of the catalogue: far below a megabyte."""

_COLOS_SECONDS: Final = 5.0
"""Time between two looks at how far each colo has come: every unit is looked at."""

_METADATA_BYTES_MAX: Final = 3_500
"""Most that rides along with an offset; brokers take 4 kB."""


class _Metadata(Struct, frozen=True):
    """What rides along with a committed offset; without `marks`, these are in the catalogue."""

    segments: int = 0
    marks: Marks | None = None


class Board(Protocol):
    """The rollouts topic, read to its end."""

    @property
    def current(self) -> Mapping[str, Announcement]:
        """What is announced, by the name of the rollout."""
        ...

    def poll(self) -> Collection[str]:
        """Take what came since, without waiting, and return the names of the rollouts that changed."""
        ...


@dataclass(slots=True)
class Fed:
    """A source partition: its pure part, and how far it has been read.

    `ended` is when its end was reached, None while there is more to read; `told` are the rollouts that know it as idle.
    """

    partition: Partition
    position: int
    segments: int
    ended: float | None = None
    told: set[str] = field(default_factory=set)
    keys: dict[str, Keys] = field(default_factory=dict)  # by group, and the tuple that they encode
    keyed: dict[str, tuple[object, ...]] = field(default_factory=dict)


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


@dataclass(frozen=True, slots=True)
class Catalogued:
    """What the catalogue holds of a source partition: number and series of each segment, and marks if there are any."""

    segments: Sequence[tuple[int, pa.Table]]
    marks: Marks | None


Catalogue = Callable[[SourcePartition], Catalogued]
"""Reads the catalogue of a source partition to its end."""


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
    telemetry
        Counts.
    """

    def __init__(
        self,
        settings: Settings,
        announcements: Board,
        catalogue: Catalogue,
        sources: Callable[[], Mapping[str, int]],
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._announcements = announcements
        self._catalogue = catalogue
        self._ask_sources = sources
        self._sources: dict[str, int] = {}
        self._telemetry = telemetry
        self._fed: dict[SourcePartition, Fed] = {}
        self._raw: dict[str, Known] = {}
        self._open: set[str] = set()
        self._groups: dict[str, Group] = {}
        self._planned: dict[str, tuple[Planned, ...]] = {}  # of each group: the same in all of its frames
        self._dead: list[Record] = []
        self._told: float | None = None  # when colos were looked at last
        self._announce()

    def assigned(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """See `holdfast.live.loop.Step`."""
        self._sources = dict(self._ask_sources())
        return [self._opened(partition) for partition in partitions]

    def _opened(self, committed: TopicPartition) -> TopicPartition:
        source = SourcePartition(committed.topic, committed.partition)
        metadata = msgspec.json.decode(committed.metadata, type=_Metadata) if committed.metadata else None
        known = self._catalogue(source)
        marks = None if metadata is None else metadata.marks or known.marks
        partition = Partition(marks, [table for _, table in known.segments])
        partition.announce(list(self._groups.values()))
        count = max([0 if metadata is None else metadata.segments, *(number + 1 for number, _ in known.segments)])
        self._fed[source] = Fed(partition, max(committed.offset, 0), count)
        return TopicPartition(source.topic, source.partition, committed.offset)

    def revoked(self, partitions: Sequence[TopicPartition]) -> Outputs:
        """See `holdfast.live.loop.Step`; what is not committed is read again by whoever comes next."""
        self.lost(partitions)
        return Outputs()

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """See `holdfast.live.loop.Step`."""
        for partition in partitions:
            self._fed.pop(SourcePartition(partition.topic, partition.partition), None)
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

    def _push(self, fed: Fed, message: Message) -> None:
        offset = message.offset() or 0
        try:
            frame = message.value() or b""
            reader = reader_of(frame, content_type_of(message))
            samples = reader.decode(frame)
        except BadFrame as error:
            if offset >= fed.partition.accounted:
                self._dead.append(dead_letter(self._settings, message, str(error)))
                self._telemetry.dead_letter("undecodable")
        else:
            fed.partition.push(samples, offset)
            self._telemetry.samples(message.topic() or "", reader.format, len(samples.time))
        fed.position = offset + 1

    def outputs(self, now: float) -> Outputs:
        """See `holdfast.live.loop.Step`."""
        if self._announcements.poll():
            self._announce()
        elif any(self._is_over(self._raw[name]) for name in self._open):
            self._regroup()
        result = Outputs(self._dead)
        self._dead = []
        for source, fed in self._fed.items():
            self._be_patient(source, fed, now, result)
            closed = fed.partition.close()
            for each in closed:
                self._write(source, fed, each, result)
            series = fed.partition.new_series()
            if series is not None:
                self._write_series(source, fed, series, result)
            if closed or series is not None or result.records:
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
            (-(-newest_ms // self._groups[digest].tick_ms), closed)
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
        current = self._announcements.current
        self._raw = {name: Known(each, encode(each), digest(each.policy)) for name, each in current.items()}
        self._regroup()

    def _regroup(self) -> None:
        """Group the rollouts that are not over: finished, and closed through their last tick in every partition."""
        self._open = {name for name, known in self._raw.items() if not self._is_over(known)}
        self._groups = {group.digest: group for group in groups_of(self._raw[name].announcement for name in self._open)}
        self._planned = {group.digest: _planned(group) for group in self._groups.values()}
        for fed in self._fed.values():
            fed.partition.announce(list(self._groups.values()))

    def _is_over(self, known: Known) -> bool:
        if known.finished_ms is None:
            return False
        tick_ms = {each.digest: duration_ms(each.announcement.policy.tick) for each in self._raw.values()}
        for fed in self._fed.values():
            closed = [tick * tick_ms.get(digest, 0) for digest, tick in fed.partition.closed().items()]
            if max(closed, default=fed.partition.newest_ms or 0) < known.finished_ms:
                return False
        return bool(self._fed)

    def _be_patient(self, source: SourcePartition, fed: Fed, now: float, result: Outputs) -> None:
        """Close a partition that stays silent by the clock on the wall, once all of it has been read."""
        if fed.ended is None or now - fed.ended < self._settings.patience_seconds:
            return
        newest = fed.partition.newest_ms
        if newest is not None:
            # The tick that it fell silent in is over too by now; from there on time goes on as on the wall.
            tick_ms = max((group.tick_ms for group in self._groups.values()), default=1)
            waited_ms = int((now - fed.ended - self._settings.patience_seconds) * 1_000)
            fed.partition.advance(max(newest + waited_ms, -(-newest // tick_ms) * tick_ms))
            return
        for group in self._groups.values():
            for name in self._judged(group):
                if name not in fed.told:
                    fed.told.add(name)
                    header = self._header(source, group, name, kind="idle")
                    result.records.append(self._record(name, frame_of(header, b"")))

    def _judged(self, group: Group) -> list[str]:
        """Name the rollouts that are judged by a group's policy."""
        return [each.rollout for each in group.rollouts if self._raw[each.rollout].digest == group.digest]

    def _write(self, source: SourcePartition, fed: Fed, closed: Closed, result: Outputs) -> None:
        """Write a block of closed ticks, each for each of the rollouts that the group's policy judges."""
        group = self._groups[closed.digest]
        keys = _encoded(fed, closed)
        names = self._judged(group)
        signatures = tuple(tuple(int(value) for value in row) for row in closed.signatures)
        for column in range(closed.ticks.ticks):
            tick = closed.ticks.first + column
            body = body_of(keys, closed.ticks.values[:, :, column])
            for name in names:
                finished_ms = self._raw[name].finished_ms
                if finished_ms is not None and (tick - 1) * group.tick_ms >= finished_ms:
                    continue
                header = self._header(
                    source,
                    group,
                    name,
                    tick=tick,
                    signatures=signatures,
                    keys=keys.digest,
                    samples=int(closed.samples[column]),
                    dropped=closed.dropped if column == 0 else {},
                    is_disputed=bool(closed.is_disputed[column]),
                )
                result.records.append(self._record(name, frame_of(header, body)))
        self._telemetry.ticks_closed(closed.ticks.ticks)
        self._telemetry.dropped(closed.dropped)

    def _header(
        self,
        source: SourcePartition,
        group: Group,
        name: str,
        *,
        kind: str = "tick",
        tick: int = 0,
        signatures: tuple[tuple[int, ...], ...] = (),
        keys: str = "",
        samples: int = 0,
        dropped: Mapping[str, int] | None = None,
        is_disputed: bool = False,
    ) -> Header:
        return Header(
            kind="idle" if kind == "idle" else "tick",
            rollout=name,
            tick=tick,
            tick_ms=group.tick_ms,
            topic=source.topic,
            partition=source.partition,
            sources=self._sources,
            planned=self._planned[group.digest],
            signatures=signatures,
            keys=keys,
            samples=samples,
            dropped=dict(dropped or {}),
            is_disputed=is_disputed,
            announcement=msgspec.Raw(self._raw[name].raw),
        )

    def _record(self, rollout: str, frame: bytes) -> Record:
        return Record(self._settings.topics.cohort_ticks, rollout.encode(), frame)

    def _committed(self, source: SourcePartition, fed: Fed, result: Outputs) -> TopicPartition:
        """Return the offset to commit, and what rides along; what is too much for that goes into the catalogue."""
        needed = fed.partition.offset()
        marks = fed.partition.marks(fed.position)
        metadata = msgspec.json.encode(_Metadata(fed.segments, marks))
        if len(metadata) > _METADATA_BYTES_MAX:
            metadata = msgspec.json.encode(_Metadata(fed.segments))
            place = catalogue_partition(source, self._settings.partitions)
            value = msgspec.json.encode(marks)
            result.records.append(Record(self._settings.topics.catalogue, marks_key(source), value, [], place))
        offset = fed.position if needed is None else needed
        return TopicPartition(source.topic, source.partition, offset, metadata=metadata.decode())

    def _write_series(self, source: SourcePartition, fed: Fed, series: pa.Table, result: Outputs) -> None:
        """Write series that are new into the catalogue, in messages of bounded size."""
        for start in range(0, series.num_rows, _SEGMENT_ROWS):
            sink = pa.BufferOutputStream()
            part = series.slice(start, _SEGMENT_ROWS)
            with pa.ipc.new_stream(sink, part.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
                writer.write_table(part)
            key = f"{source.topic}/{source.partition}/{fed.segments}".encode()
            place = catalogue_partition(source, self._settings.partitions)
            result.records.append(Record(self._settings.topics.catalogue, key, sink.getvalue().to_pybytes(), [], place))
            fed.segments += 1


def _planned(group: Group) -> tuple[Planned, ...]:
    return tuple(
        Planned(each.rollout, tuple(PlannedStage(stage.name, stage.started) for stage in each.stages))
        for each in group.rollouts
    )


def marks_key(source: SourcePartition) -> bytes:
    """Return the key under which the catalogue holds what is too much to ride along with an offset."""
    return f"{source.topic}/{source.partition}/marks".encode()


def catalogue_partition(source: SourcePartition, partitions: int) -> int:
    """Return the partition of the catalogue topic that holds a source partition's series."""
    return zlib.crc32(f"{source.topic}/{source.partition}".encode()) % partitions


def _encoded(fed: Fed, closed: Closed) -> Keys:
    """Encode the keys of a block, unless they are those of the block before."""
    if fed.keyed.get(closed.digest) != closed.ticks.keys:
        fed.keys[closed.digest] = Keys.of(closed.ticks.keys)
        fed.keyed[closed.digest] = closed.ticks.keys
    return fed.keys[closed.digest]
