"""The engine's topics: what they have to be like, making those that are missing, and telling of those that differ."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource  # public, but not declared to be so where it is documented
from confluent_kafka.admin._metadata import TopicMetadata
from confluent_kafka.cimpl import NewTopic

from holdfast.errors import BadInput, Unreachable
from holdfast.live.clients import MESSAGE_BYTES_MAX
from holdfast.live.settings import Settings

_ANSWER_SECONDS: Final = 15.0
_PAUSE_SECONDS: Final = 0.05
_SEGMENT_BYTES: Final = 64 * 1_048_576
"""Size of a segment of a compacted topic. The latest one is never compacted, and a worker reads all at its start."""

_AT_LEAST: Final = frozenset({"max.message.bytes", "retention.ms", "min.insync.replicas"})
"""Where more than what is wanted does no harm; -1 is without end."""

_TUNING: Final = frozenset({"segment.bytes", "min.cleanable.dirty.ratio"})
"""What is set when a topic is made, and afterwards up to whoever runs the brokers."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a topic has to be like."""

    topic: str
    partitions: int
    replication: int
    config: dict[str, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """A topic as it is wanted, and how it stands.

    Attributes
    ----------
    wanted
        What it has to be like.
    exists
        Whether there is one of that name.
    differences
        In what it differs, in words; of one that does not exist nothing.
    """

    wanted: Wanted
    exists: bool
    differences: tuple[str, ...] = ()


def wanted(settings: Settings) -> list[Wanted]:
    """List the topics that the engine needs.

    Those of cohort ticks, checkpoints and verdicts have as many partitions as each other, since a rollout is in the
    same one of each. The rollouts topic has one: every worker reads all of it; and that of control has one: whoever has
    it controls all rollouts, since what one may do hangs on the others. That of incidents has one, since a stop may
    belong to any of them, and that of what people were told, since whoever has it tells them; and so has the audit
    topic, whose entries are one chain; they are kept for ever, and the broker says when each was written. That of what
    could not be delivered is there if there are webhooks.
    """
    names = settings.topics
    large = {
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "min.insync.replicas": "2" if settings.replication > 2 else "1",
    }
    compact = {
        "cleanup.policy": "compact",
        "segment.bytes": str(_SEGMENT_BYTES),
        "min.cleanable.dirty.ratio": "0.1",
        **large,
    }
    kept = {"cleanup.policy": "delete", "retention.ms": str(settings.retention_ms), **large}
    topics = {
        **{each.topic: large for each in settings.metrics},
        **dict.fromkeys(settings.sources, large),
        names.rollouts: compact,
        names.catalogue: compact,
        names.cohort_ticks: kept,
        names.checkpoints: compact,
        names.verdicts: kept,
        names.evidence: kept,
        names.dead_letters: kept,
        names.audit: {**kept, "retention.ms": "-1", "retention.bytes": "-1", "message.timestamp.type": "LogAppendTime"},
        **({names.undelivered: kept} if settings.api.webhooks else {}),
        **dict.fromkeys((names.control, names.desired, names.applied, names.units), compact),
        **dict.fromkeys((names.incidents, names.status), compact),
        names.notified: {**compact, "cleanup.policy": "compact,delete", "retention.ms": str(settings.retention_ms)},
    }
    whole = (names.rollouts, names.audit, names.control, names.incidents, names.notified, names.status)
    return [
        Wanted(name, 1 if name in whole else settings.partitions, settings.replication, config)
        for name, config in topics.items()
    ]


def standings(client: AdminClient, settings: Settings) -> list[Standing]:
    """Hold what there is against what is wanted.

    Metrics topics are the user's: of those only whether they exist is looked at.

    Raises
    ------
    Unreachable
        If no broker answers.
    """
    theirs = {each.topic for each in settings.metrics}
    try:
        known = client.list_topics(timeout=_ANSWER_SECONDS).topics
        topics = wanted(settings)
        configs = _configs(client, [each.topic for each in topics if each.topic in known and each.topic not in theirs])
    except KafkaException as exception:
        where = settings.kafka.get("bootstrap.servers", "localhost:9092")
        message = f"kafka: no answer from {where}: {exception.args[0].str()}"
        raise Unreachable(message) from exception
    return [
        Standing(each, each.topic in known, _differences(each, known[each.topic], configs[each.topic]))
        if each.topic in configs
        else Standing(each, each.topic in known)
        for each in topics
    ]


def _configs(client: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Ask for the configurations of topics."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    asked = client.describe_configs(resources, request_timeout=_ANSWER_SECONDS)
    return {
        resource.name: {name: str(entry.value) for name, entry in future.result().items()}
        for resource, future in asked.items()
    }


def _differences(topic: Wanted, found: TopicMetadata, config: dict[str, str]) -> tuple[str, ...]:
    """Say in what a topic differs from what is wanted."""
    said: list[str] = []
    if len(found.partitions) != topic.partitions:
        said.append(f"partitions {len(found.partitions)}, wanted {topic.partitions}")
    replicas = min((len(each.replicas) for each in found.partitions.values()), default=0)
    if replicas < topic.replication:
        said.append(f"replication {replicas}, wanted {topic.replication}")
    for name, value in topic.config.items():
        if name not in _TUNING and not _fits(name, config.get(name, ""), value):
            words = "at least " if name in _AT_LEAST else ""
            said.append(f"{name} {config.get(name, 'unknown')}, wanted {words}{value}")
    return tuple(said)


def _fits(name: str, found: str, value: str) -> bool:
    if name not in _AT_LEAST:
        return found == value
    return found == "-1" or (found.isdecimal() and int(found) >= int(value))


def create(client: AdminClient, settings: Settings) -> list[str]:
    """Make the topics that are missing, and return their names; those that there are stay as they are.

    It waits until the brokers know them, since a topic that was just made may be unknown for a moment.

    Raises
    ------
    BadInput
        If the broker refuses a topic, as when it has fewer brokers than replicas are wanted.
    Unreachable
        If the topics do not become known.
    """
    made: list[str] = []
    refused: list[str] = []
    new = [NewTopic(each.topic, each.partitions, each.replication, config=each.config) for each in wanted(settings)]
    for name, future in client.create_topics(new, operation_timeout=30.0).items():
        try:
            future.result()
        except KafkaException as exception:
            error: KafkaError = exception.args[0]
            if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                refused.append(f"topic {name}: {error.str()}")
        else:
            made.append(name)
    if refused:
        raise BadInput("\n".join(refused))
    _until_known(client, made)
    return made


def _until_known(client: AdminClient, names: Sequence[str]) -> None:
    """Wait for topics to have partitions with leaders."""
    end = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < end:
        known = client.list_topics(timeout=_ANSWER_SECONDS).topics
        leaders = [[each.leader for each in known[name].partitions.values()] for name in names if name in known]
        if len(leaders) == len(names) and all(found and min(found) >= 0 for found in leaders):
            return
        time.sleep(_PAUSE_SECONDS)
    message = f"kafka: topics were made but are not known after {_ANSWER_SECONDS:g} s: {', '.join(names)}"
    raise Unreachable(message)


def require(client: AdminClient, settings: Settings) -> None:
    """Refuse to work on topics that are missing, or that are not what the engine needs.

    Raises
    ------
    BadInput
        With every such topic, one a line.
    Unreachable
        If no broker answers.
    """
    errors = [
        f"topic {each.wanted.topic}: {', '.join(each.differences) or 'there is none'}"
        for each in standings(client, settings)
        if each.differences or not each.exists
    ]
    if errors:
        raise BadInput(
            "\n".join([*errors, "`holdfast topics create` makes what is missing; what differs it leaves alone"])
        )
