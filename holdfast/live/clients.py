"""Clients of Kafka: what the user may say of them passes through, what correctness hangs on is set here."""

import logging
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from holdfast.errors import BadInput
from holdfast.live.partitioner import MURMUR2
from holdfast.live.settings import Settings

log = logging.getLogger(__name__)

MESSAGE_BYTES_MAX: Final = 8_388_608
"""Largest message: a cohort tick of a large fleet in one partition has some megabytes."""

_QUEUED_KILOBYTES: Final = 65_536
"""Most that a consumer fetches ahead, and that a producer holds back."""

OURS: Final = {
    "isolation.level": "what a transaction took back must never be read",
    "enable.auto.commit": "offsets are committed with what came of them",
    "enable.auto.offset.store": "offsets are committed with what came of them",
    "group.id": "it is named after prefix and role",
    "group.instance.id": "it is named after worker and role",
    "transactional.id": "it is named after prefix, role and worker",
    "enable.idempotence": "a message that is sent again must not come twice",
    "partition.assignment.strategy": "a rebalance must not stop partitions that stay where they are",
    "auto.offset.reset": "nothing may be skipped",
    "partitioner": "whoever reads must be able to tell where a key is",
    "enable.partition.eof": "patience begins when a partition was read to its end",
    "session.timeout.ms": "it is `session_timeout`",
    "transaction.timeout.ms": "it is `transaction_timeout`",
}
"""Keys of librdkafka that are not the user's to set, and why."""


def _said(error: KafkaError) -> None:
    log.warning("kafka: %s", error.str())


def base(settings: Settings) -> dict[str, Any]:
    """Return what all clients have in common.

    Raises
    ------
    BadInput
        If a key under `kafka` is ours.
    """
    for key in settings.kafka:
        if key in OURS:
            message = f"kafka: {key} is set by holdfast: {OURS[key]}"
            raise BadInput(message)
    return {
        "bootstrap.servers": "localhost:9092",
        "error_cb": _said,
        "log_level": 3,
        "client.id": f"holdfast-{settings.worker}",
        **settings.kafka,
    }


def _made(kind: type[Any], config: dict[str, Any]) -> Any:
    try:
        return kind(config)
    except KafkaException as error:
        message = f"kafka: {error.args[0].str()}"
        raise BadInput(message) from error


def consumer(settings: Settings, group: str, *, member: str | None = None) -> Consumer:
    """Make a consumer that reads what is committed, commits nothing by itself, and reports ends of partitions.

    Parameters
    ----------
    group
        Name of its group.
    member
        Its name in the group, by which it is known when it comes back; None for one that subscribes to nothing.

    Raises
    ------
    BadInput
        If a key under `kafka` is unknown, or ours.
    """
    config = base(settings) | {
        "group.id": group,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": "cooperative-sticky",
        "enable.partition.eof": True,
        "session.timeout.ms": settings.session_ms,
        "heartbeat.interval.ms": max(100, settings.session_ms // 5),
        "max.poll.interval.ms": 600_000,
        "fetch.wait.max.ms": 50,
        "fetch.message.max.bytes": MESSAGE_BYTES_MAX,
        "queued.max.messages.kbytes": _QUEUED_KILOBYTES,
    }
    if member is not None:
        config["group.instance.id"] = member
    made: Consumer = _made(Consumer, config)
    return made


def transactional_producer(settings: Settings, role: str) -> Producer:
    """Make a producer whose writes count all together or not at all, and that fences off an earlier self."""
    made: Producer = _made(
        Producer,
        base(settings)
        | {
            "transactional.id": f"{settings.prefix}-{role}-{settings.worker}",
            "transaction.timeout.ms": settings.transaction_ms,
            **_PRODUCING,
        },
    )
    return made


def producer(settings: Settings) -> Producer:
    """Make an idempotent producer."""
    made: Producer = _made(Producer, base(settings) | _PRODUCING)
    return made


_PRODUCING: Final = {
    "partitioner": MURMUR2,
    "enable.idempotence": True,
    "message.max.bytes": MESSAGE_BYTES_MAX,
    "queue.buffering.max.kbytes": _QUEUED_KILOBYTES,
    "linger.ms": 2,
    "compression.type": "lz4",
}


def admin(settings: Settings) -> AdminClient:
    """Make a client that asks about topics, and makes them."""
    made: AdminClient = _made(AdminClient, base(settings))
    return made
