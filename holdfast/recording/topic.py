"""A metrics topic as a source of samples: a range of each partition, one partition after the other."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from detectors.policy import duration_ms
from holdfast.errors import BadInput, Unreachable
from holdfast.live.announcing import partitions_of
from holdfast.live.clients import admin, consumer
from holdfast.live.reading import PARTITION_END, TIMED_OUT, end_of
from holdfast.live.records import content_type_of
from holdfast.live.settings import Settings, load_settings
from holdfast.recording.document import KafkaSource
from holdfast.recording.origin import ALWAYS_MS, NOTES_MAX, Piece, Told, stretch
from streams.wire.decoding import decode
from streams.wire.frame import BadFrame

AHEAD_MS: Final = 3_600_000
"""How far the clocks of those who write samples may run ahead of Kafka's timestamps."""

BAD_FRAMES: Final = "frames that cannot be read"

_ANSWER_SECONDS: Final = 30.0
_SILENT_SECONDS: Final = 120.0
"""How long to wait for a message: an open transaction hides what is behind it, and the broker ends it sooner."""

_MESSAGES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Range:
    """The messages of a partition that are read: from the first offset on and before the second."""

    partition: int
    first: int
    end: int


class Topic:
    """A metrics topic; see `holdfast.recording.origin.Origin`.

    Partitions are read one after the other, each from the offset that belongs to the beginning of the stretch of time
    to the end that it had when the topic was opened, or to the offset that belongs to the end of the stretch.

    Parameters
    ----------
    reader
        A consumer of its own, read_committed.
    name
        The topic.
    ranges
        What is read.
    """

    def __init__(self, reader: Consumer, name: str, ranges: list[Range]) -> None:
        self.name = f"topic {name}"
        self.told = Told()
        self._reader, self._topic, self.ranges = reader, name, ranges

    def read(self) -> Iterator[Piece]:
        """Yield the samples, a message at a time."""
        total = sum(each.end - each.first for each in self.ranges)
        before = 0
        for each in self.ranges:
            self._tell_if_deleted(each)
            for message in self.messages(each):
                try:
                    samples = decode(message.value() or b"", content_type_of(message))
                except BadFrame as error:
                    self._tell_bad(each.partition, message, error)
                    continue
                yield Piece(samples, before + (message.offset() or 0) - each.first, total)
            before += each.end - each.first

    def messages(self, each: Range) -> Iterator[Message]:
        """Yield the messages of a range as they stand there."""
        if each.first >= each.end:
            return
        self._reader.assign([TopicPartition(self._topic, each.partition, each.first)])
        at, silent = each.first, 0.0
        while at < each.end:
            messages = self._reader.consume(_MESSAGES, 1.0)
            silent = 0.0 if messages else silent + 1.0
            if silent > _SILENT_SECONDS:
                text = f"{self.name}/{each.partition}: nothing came for {_SILENT_SECONDS:g} s, at offset {at}"
                raise Unreachable(text)
            for message in messages:
                error = message.error()
                if error is not None and error.code() != PARTITION_END:
                    _refuse(self.name, error)
                at = (message.offset() or 0) + (error is None)
                if error is None and at <= each.end:
                    yield message
        self._reader.unassign()

    def _tell_if_deleted(self, each: Range) -> None:
        place = TopicPartition(self._topic, each.partition)
        low = watermarks(self._reader, place)[0]
        if low > each.first:
            gone = min(low, each.end) - each.first
            self.told.lost["messages deleted while the topic was read"] += gone

    def _tell_bad(self, partition: int, message: Message, error: BadFrame) -> None:
        self.told.lost[BAD_FRAMES] += 1
        if self.told.lost[BAD_FRAMES] <= NOTES_MAX:
            self.told.notes.append(f"{self._topic}/{partition} at offset {message.offset()}: {error}")


@contextmanager
def kafka(source: KafkaSource) -> Generator[Topic]:
    """Open a topic; see `holdfast.recording.opening.opened`."""
    settings = load_settings(None if source.settings is None else Path(source.settings))
    reader = consumer(settings, f"{settings.prefix}-record")
    try:
        yield Topic(reader, source.topic, _ranges(settings, reader, source))
    except KafkaException as exception:
        _refuse(f"topic {source.topic}", exception.args[0])
    finally:
        reader.close()


def _ranges(settings: Settings, reader: Consumer, source: KafkaSource) -> list[Range]:
    """Fix what is read of each partition, as the topic stands now."""
    partitions = partitions_of(reader, source.topic, _ANSWER_SECONDS)
    asking = admin(settings)
    first_ms, end_ms = stretch(source)
    firsts = offsets_at(reader, source.topic, partitions, first_ms - AHEAD_MS if first_ms != ALWAYS_MS[0] else None)
    slack_ms = None if source.slack is None or source.end is None else duration_ms(source.slack)
    lasts = offsets_at(reader, source.topic, partitions, None if slack_ms is None else end_ms + slack_ms)
    ranges = []
    for partition in partitions:
        place = TopicPartition(source.topic, partition)
        low, end = watermarks(reader, place)[0], end_of(asking, place)
        first = firsts.get(partition, low)
        # No message was written after the first time: then none is before the end either.
        first = end if first == OFFSET_END else max(first, low)
        last = lasts.get(partition, end)
        ranges.append(Range(partition, first, max(first, end if last == OFFSET_END else min(last, end))))
    return ranges


def offsets_at(reader: Consumer, topic: str, partitions: list[int], time_ms: int | None) -> dict[int, int]:
    """Ask for the first offset that was written at a time or later; `OFFSET_END` where there is none."""
    if time_ms is None:
        return {}
    asked = [TopicPartition(topic, partition, max(0, time_ms)) for partition in partitions]
    found: dict[int, int] = {}
    for place in reader.offsets_for_times(asked, timeout=_ANSWER_SECONDS):
        if place.error is not None:
            _refuse(f"topic {topic}", place.error)
        found[place.partition] = place.offset
    return found


def watermarks(reader: Consumer, place: TopicPartition) -> tuple[int, int]:
    """Ask for the first offset that is still there, and the end."""
    found: Any = reader.get_watermark_offsets(place, timeout=_ANSWER_SECONDS)
    if found is None:
        message = f"{place.topic}/{place.partition}: the broker does not tell its offsets"
        raise Unreachable(message)
    return int(found[0]), int(found[1])


def _refuse(name: str, error: KafkaError) -> None:
    """Say what the brokers object to.

    Raises
    ------
    Unreachable
        If the same may work later.
    BadInput
        If not.
    """
    message = f"{name}: {error.str()}"
    if error.retriable() or error.code() in (TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT):  # noqa: SLF001 - librdkafka's own, but public
        raise Unreachable(message)
    raise BadInput(message)
