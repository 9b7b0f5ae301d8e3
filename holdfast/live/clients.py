"""Clients of Kafka: what the user may say of them passes through, what correctness hangs on is set here."""

import logging
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from holdfast.errors import BadInput
from holdfast.live.partitioner import MURMUR2
from holdfast.live.settings import Settings
from holdfast.located import join

OnCommit = Callable[[KafkaError | None, list[TopicPartition]], None]

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())  # librdkafka talks a lot; who wants to hear it configures logs

MESSAGE_BYTES_MAX: Final = 8_388_608
"""Largest message: a cohort tick of a large fleet in one partition has some megabytes."""

_FETCHED_KILOBYTES: Final = 16_384
"""Most that a consumer fetches ahead, if the user does not say otherwise: more no longer fits a processor's cache."""

_FULL_MS: Final = 10
"""After which time a client whose queue was full looks again; its own second would leave it empty meanwhile."""

_QUEUED_KILOBYTES: Final = 65_536
"""Most that a producer holds back, if the user does not say otherwise."""

_CONSUMING: Final = {
    "max.poll.interval.ms": 600_000,
    "fetch.wait.max.ms": 50,
    "fetch.queue.backoff.ms": _FULL_MS,
    "fetch.message.max.bytes": MESSAGE_BYTES_MAX,
    "queued.max.messages.kbytes": _FETCHED_KILOBYTES,
}
_PRODUCING: Final = {
    "message.max.bytes": MESSAGE_BYTES_MAX,
    "queue.buffering.max.kbytes": _QUEUED_KILOBYTES,
    "linger.ms": 2,
    "compression.type": "lz4",
}
# Every key of these two is among `settings.OURS`, so that nothing which a user says is overridden without a word.
_CONSUMING_SAFELY: Final = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "partition.assignment.strategy": "cooperative-sticky",
    "enable.partition.eof": True,
}
_PRODUCING_SAFELY: Final = {"enable.idempotence": True, "partitioner": MURMUR2}


def base(settings: Settings) -> dict[str, Any]:
    """Return what all clients have in common."""
    return {
        "bootstrap.servers": "localhost:9092",
        "logger": log,
        "log_level": 4,
        "client.id": f"holdfast-{settings.worker}",
        **settings.kafka,
    }


def consuming(settings: Settings, group: str, *, member: str | None = None) -> dict[str, Any]:
    """Return what `consumer` is made with."""
    named = {} if member is None else {"group.instance.id": member}
    return {
        **_CONSUMING,
        **base(settings),
        **_CONSUMING_SAFELY,
        **named,
        "group.id": group,
        "session.timeout.ms": settings.session_ms,
        "heartbeat.interval.ms": max(100, settings.session_ms // 5),
    }


def consumer(
    settings: Settings, group: str, *, member: str | None = None, on_commit: OnCommit | None = None
) -> Consumer:
    """Make a consumer that reads what is committed, commits nothing by itself, and reports ends of partitions.

    Parameters
    ----------
    group
        Name of its group.
    member
        Its name in the group, by which it is known when it comes back; None for one that subscribes to nothing.
    on_commit
        Is told, while it is polled, what came of a commit that nobody waited for.

    Raises
    ------
    BadInput
        If librdkafka refuses a key under `kafka`, or its value.
    """
    told = {} if on_commit is None else {"on_commit": on_commit}
    made: Consumer = _made(Consumer, {**consuming(settings, group, member=member), **told}, settings)
    return made


def producing(settings: Settings, role: str | None = None) -> dict[str, Any]:
    """Return what `producer`, or for a role `transactional_producer`, is made with."""
    transactional = {
        "transactional.id": f"{settings.prefix}-{role}-{settings.worker}",
        "transaction.timeout.ms": settings.transaction_ms,
    }
    return {**_PRODUCING, **base(settings), **_PRODUCING_SAFELY, **({} if role is None else transactional)}


def transactional_producer(settings: Settings, role: str) -> Producer:
    """Make a producer whose writes count all together or not at all, and that fences off an earlier self."""
    made: Producer = _made(Producer, producing(settings, role), settings)
    return made


def producer(settings: Settings) -> Producer:
    """Make an idempotent producer."""
    made: Producer = _made(Producer, producing(settings), settings)
    return made


def admin(settings: Settings) -> AdminClient:
    """Make a client that asks about topics, and makes them."""
    made: AdminClient = _made(AdminClient, base(settings), settings)
    return made


def check(settings: Settings) -> None:
    """Have librdkafka look at all that it would be given; no broker is asked anything.

    Raises
    ------
    BadInput
        If it refuses a key under `kafka`, or its value.
    """
    admin(settings)
    transactional_producer(settings, "check")
    consumer(settings, f"{settings.prefix}-check", member=f"{settings.worker}-check").close()


def _made(kind: type[Any], config: dict[str, Any], settings: Settings) -> Any:
    try:
        return kind(config)
    except KafkaException as exception:
        message = _refused(exception.args[0].str(), settings)
        raise BadInput(message) from exception
    except (TypeError, ValueError) as error:
        message = _refused(str(error), settings)
        raise BadInput(message) from error


def _refused(said: str, settings: Settings) -> str:
    """Name the key that librdkafka complains of, and where it was set, if it names one of the user's."""
    named = [key for key in settings.kafka if key in said]
    if not named:
        return f"kafka: librdkafka says: {said}"
    path = join("kafka", max(named, key=len))  # of `ssl.key` and `ssl.key.location` it means the longer one
    return f"{settings.origins.get(path, 'kafka')}: {path}: librdkafka says: {said}"
