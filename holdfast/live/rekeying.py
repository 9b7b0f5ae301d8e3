"""Re-keying: a metrics topic whose messages come in any order of places, made into one that is keyed by colo."""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from confluent_kafka import Message, TopicPartition

from holdfast.live.dead_letters import dead_letter
from holdfast.live.records import Outputs, Record, content_type_of
from holdfast.live.settings import Settings
from holdfast.live.telemetry import Telemetry
from holdfast.produce import by_colo
from streams.recording import Samples
from streams.wire.decoding import reader_of
from streams.wire.encoding import encode
from streams.wire.frame import BadFrame

_WAITING_MAX: Final = 200
"""Messages of a partition that wait for others; beyond that it is not read on."""

Place = tuple[str, int]


@dataclass(slots=True)
class _Read:
    """A partition: what waits of it, with time and offset, and whether all of it has been read."""

    waiting: deque[tuple[int, int, Samples | Record]] = field(default_factory=deque)
    is_ended: bool = False


class RekeyStep:
    """Decodes frames once, and passes them on as Arrow frames of one colo each.

    Partitions are read in order of event time, as far as one worker has them: a partition that is read ahead of the
    others, as when catching up, would make the others' samples late.

    Parameters
    ----------
    settings
        Names of topics.
    telemetry
        Counts.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._read: dict[Place, _Read] = {}

    def assigned(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """See `holdfast.live.loop.Step`."""
        self._read |= {(partition.topic, partition.partition): _Read() for partition in partitions}
        return list(partitions)

    def revoked(self, partitions: Sequence[TopicPartition]) -> Outputs:
        """See `holdfast.live.loop.Step`; what waits is read again by whoever comes next."""
        self.lost(partitions)
        return Outputs()

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """See `holdfast.live.loop.Step`."""
        for partition in partitions:
            self._read.pop((partition.topic, partition.partition), None)

    def held(self) -> Collection[Place]:
        """See `holdfast.live.loop.Step`."""
        return [place for place, read in self._read.items() if len(read.waiting) >= _WAITING_MAX]

    def take(self, messages: Sequence[Message], _now: float) -> None:
        """See `holdfast.live.loop.Step`."""
        for message in messages:
            topic = message.topic() or ""
            read = self._read.get((topic, message.partition() or 0))
            if read is None:  # polled before it was given up
                continue
            read.is_ended = message.error() is not None
            if read.is_ended:
                continue
            last = read.waiting[-1][0] if read.waiting else 0
            try:
                frame = message.value() or b""
                reader = reader_of(frame, content_type_of(message))
                samples = reader.decode(frame)
            except BadFrame as error:
                read.waiting.append((last, message.offset() or 0, dead_letter(self._settings, message, str(error))))
                self._telemetry.dead_letter("undecodable")
            else:
                time = int(np.median(samples.time)) if len(samples.time) else last
                read.waiting.append((time, message.offset() or 0, samples))
                self._telemetry.samples(topic, reader.format, len(samples.time))

    def outputs(self, _now: float) -> Outputs:
        """See `holdfast.live.loop.Step`."""
        result = Outputs()
        position: dict[Place, int] = {}
        while any(read.waiting for read in self._read.values()) and all(
            read.waiting or read.is_ended for read in self._read.values()
        ):
            place = min((read.waiting[0][0], place) for place, read in self._read.items() if read.waiting)[1]
            _, offset, found = self._read[place].waiting.popleft()
            result.records += [found] if isinstance(found, Record) else self._keyed(place[0], found)
            position[place] = offset + 1
        result.offsets = [TopicPartition(topic, number, at) for (topic, number), at in position.items()]
        return result

    def _keyed(self, topic: str, samples: Samples) -> list[Record]:
        name = self._settings.topics.samples_of(topic)
        records = []
        for colo, part in by_colo(samples):
            payload, content_type = encode(part, "arrow")
            records.append(Record(name, colo.encode(), payload, [("content-type", content_type.encode())]))
        return records
