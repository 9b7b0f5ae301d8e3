"""Making the engine's topics."""

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from holdfast.live.clients import MESSAGE_BYTES_MAX
from holdfast.live.settings import Settings


def wanted(settings: Settings) -> list[NewTopic]:
    """List the topics that the engine needs."""
    names, large = settings.topics, {"max.message.bytes": str(MESSAGE_BYTES_MAX)}
    compact = {"cleanup.policy": "compact", **large}
    kept = {"cleanup.policy": "delete", "retention.ms": str(settings.retention_ms), **large}
    topics = {
        **dict.fromkeys(settings.sources, large),
        **{each.topic: large for each in settings.metrics},
        names.rollouts: compact,
        names.catalogue: compact,
        names.cohort_ticks: kept,
        names.checkpoints: compact,
        names.verdicts: kept,
        names.evidence: kept,
        names.dead_letters: kept,
    }
    single = {names.rollouts}
    return [
        NewTopic(
            name,
            num_partitions=1 if name in single else settings.partitions,
            replication_factor=settings.replication,
            config=config,
        )
        for name, config in topics.items()
    ]


def create(client: AdminClient, settings: Settings) -> list[str]:
    """Make the topics that are missing, and return their names."""
    made = []
    for name, future in client.create_topics(wanted(settings), operation_timeout=30.0).items():
        try:
            future.result()
        except KafkaException as exception:
            if exception.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        else:
            made.append(name)
    return made
