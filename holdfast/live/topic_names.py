"""Names of topics: what Kafka allows, and those that the engine's own topics have."""

from typing import Annotated, Final

from msgspec import Meta, Struct

TOPIC_NAME_MAX: Final = 249
"""Longest name that Kafka gives a topic, in characters."""


def _legal(text: str) -> None:
    if text in (".", ".."):
        message = "allowed: another name, as Kafka has none like this"
        raise ValueError(message)


def _named(longest: int) -> Meta:
    return Meta(
        min_length=1,
        max_length=longest,
        pattern=r"^[A-Za-z0-9._-]+$",
        extra={"allowed": f"1 to {longest} letters, digits, dots, underscores and hyphens", "parse": _legal},
    )


TopicName = Annotated[str, _named(TOPIC_NAME_MAX)]
Given = Annotated[str, _named(200)]
"""A name that longer ones are made of."""


class MetricsTopic(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A topic of metrics; `keyed` says that all messages of a colo are in one partition."""

    topic: TopicName
    keyed: bool = True


class Topics(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Names of the topics that are the engine's own; without a name, the prefix and what it is for."""

    rollouts: TopicName
    catalogue: TopicName
    cohort_ticks: TopicName
    checkpoints: TopicName
    verdicts: TopicName
    evidence: TopicName
    dead_letters: TopicName
    control: TopicName
    desired: TopicName
    applied: TopicName
    units: TopicName
    incidents: TopicName
    samples: TopicName
    audit: TopicName
    undelivered: TopicName
    notified: TopicName
    status: TopicName

    def samples_of(self, topic: str) -> str:
        """Name the topic that holds the samples of an unkeyed one, keyed by colo."""
        return f"{self.samples}.{topic}"


NAMES: Final = Topics.__struct_fields__


class TopicNames(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Names that are not made of the prefix."""

    rollouts: TopicName | None = None
    catalogue: TopicName | None = None
    cohort_ticks: TopicName | None = None
    checkpoints: TopicName | None = None
    verdicts: TopicName | None = None
    evidence: TopicName | None = None
    dead_letters: TopicName | None = None
    control: TopicName | None = None
    desired: TopicName | None = None
    applied: TopicName | None = None
    units: TopicName | None = None
    incidents: TopicName | None = None
    samples: TopicName | None = None
    audit: TopicName | None = None
    undelivered: TopicName | None = None
    notified: TopicName | None = None
    status: TopicName | None = None
