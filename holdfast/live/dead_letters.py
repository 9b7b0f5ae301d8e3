"""Dead letters: frames that cannot be read are kept as they came, with the reason."""

from confluent_kafka import Message

from holdfast.live.records import Record, headers_of
from holdfast.live.settings import Settings

PREFIX = "original-"
"""Begins the names of the headers that the frame came with."""


def dead_letter(settings: Settings, message: Message, reason: str) -> Record:
    """Put a message aside: its bytes and headers as they came, and in further headers where from and why."""
    topic, partition, offset = message.topic() or "", message.partition() or 0, message.offset() or 0
    headers = [(f"{PREFIX}{name}", value) for name, value in headers_of(message)]
    headers += [
        ("holdfast-topic", topic.encode()),
        ("holdfast-partition", str(partition).encode()),
        ("holdfast-offset", str(offset).encode()),
        ("holdfast-reason", reason.encode()),
        ("holdfast-worker", settings.worker.encode()),
    ]
    return Record(settings.topics.dead_letters, f"{topic}/{partition}".encode(), message.value(), headers)
