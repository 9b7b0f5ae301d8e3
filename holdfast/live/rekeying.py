"""Re-keying: a metrics topic whose messages come in any order of places, made into one that is keyed by colo."""

from collections.abc import Sequence

from confluent_kafka import Message, TopicPartition

from holdfast.live.dead_letters import dead_letter
from holdfast.live.records import Outputs, Record, content_type_of
from holdfast.live.settings import Settings
from holdfast.live.telemetry import Telemetry
from holdfast.produce import by_colo
from streams.wire.decoding import decode
from streams.wire.encoding import encode
from streams.wire.frame import BadFrame


class RekeyStep:
    """Decodes frames once, and passes them on as Arrow frames of one colo each.

    It has no state: what is read in one batch is written in the same transaction.

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
        self._waiting = Outputs()
        self._position: dict[tuple[str, int], int] = {}

    def assigned(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """See `holdfast.live.loop.Step`."""
        return list(partitions)

    def revoked(self, _partitions: Sequence[TopicPartition]) -> Outputs:
        """See `holdfast.live.loop.Step`."""
        self.lost(())
        return Outputs()

    def lost(self, _partitions: Sequence[TopicPartition]) -> None:
        """See `holdfast.live.loop.Step`."""
        self._waiting, self._position = Outputs(), {}

    def take(self, messages: Sequence[Message], _now: float) -> None:
        """See `holdfast.live.loop.Step`."""
        for message in messages:
            if message.error() is not None:
                continue
            topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
            try:
                samples = decode(message.value() or b"", content_type_of(message))
            except BadFrame as error:
                self._waiting.records.append(dead_letter(self._settings, message, str(error)))
                self._telemetry.dead_letter("undecodable")
            else:
                for colo, part in by_colo(samples):
                    payload, content_type = encode(part, "arrow")
                    headers = [("content-type", content_type.encode())]
                    name = self._settings.topics.samples_of(topic)
                    self._waiting.records.append(Record(name, colo.encode(), payload, headers))
                self._telemetry.samples(topic, len(samples.time))
            self._position[topic, partition] = offset + 1

    def outputs(self, _now: float) -> Outputs:
        """See `holdfast.live.loop.Step`."""
        result = self._waiting
        result.offsets = [TopicPartition(topic, number, at) for (topic, number), at in self._position.items()]
        self._waiting, self._position = Outputs(), {}
        return result
