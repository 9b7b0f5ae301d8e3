"""What steps give to the loop: records to be produced, and the input offsets that they stand for."""

from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Message, Producer, TopicPartition

_ROOM_SECONDS: Final = 0.05
"""After which time a full queue is looked at again."""


@dataclass(frozen=True, slots=True)
class Record:
    """A message that is to be produced; without a partition, the key says where it goes."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    partition: int = -1


@dataclass(slots=True)
class Outputs:
    """What a step has come to: records, and the input offsets that they stand for."""

    records: list[Record] = field(default_factory=list)
    offsets: list[TopicPartition] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Tell whether there is anything to commit."""
        return bool(self.records or self.offsets)


def put(producer: Producer, record: Record) -> None:
    """Queue one record, waiting for room: the queue is bounded, and so is what waits before it."""
    while True:
        try:
            producer.produce(record.topic, record.value, record.key, record.partition, headers=list(record.headers))
        except BufferError:
            producer.poll(_ROOM_SECONDS)
        else:
            return


def headers_of(message: Message) -> list[tuple[str, bytes]]:
    """Return the headers of a message; one without a value has an empty one."""
    found = message.headers() or []
    pairs = found.items() if isinstance(found, dict) else found
    return [(name, value.encode() if isinstance(value, str) else value or b"") for name, value in pairs]


def content_type_of(message: Message) -> str | None:
    """Return what a message says that its value is."""
    found = message.headers() or ()
    pairs = found.items() if isinstance(found, dict) else found
    kinds = [value for name, value in pairs if name == "content-type"]  # each frame is asked: no header is copied
    if not kinds:
        return None
    kind = kinds[-1] or b""
    return kind if isinstance(kind, str) else kind.decode(errors="replace")
