"""One worker at a time is in charge: whoever has the one partition of a topic. The others stand by for it."""

import logging
import time
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from holdfast.live.clients import consumer
from holdfast.live.grouping import subscribe
from holdfast.live.settings import Settings
from holdfast.wall import now

LOOK_S: Final = 0.1
"""How long one who stands by waits for news of the others at a time."""

BEAT_S: Final = 5.0
"""How often one who is in charge gives a sign of life, if it does."""

log = logging.getLogger(__name__)


class Candidate:
    """Joins those who may be in charge, and hears at each poll whether it is its turn.

    Parameters
    ----------
    settings
        Of the engine.
    topic
        Whose partition says who is in charge. What stands there is read apart from the group, all of it.
    role
        Names the group.
    is_worker
        Whether it bears the name of its worker, so that one which comes back soon is taken for the one that it was.
        Servers without a name of their own need none, of which several may run on a machine.

    Attributes
    ----------
    is_in_charge
        Whether it has the partition, as of the last poll.
    """

    def __init__(self, settings: Settings, topic: str, role: str, *, is_worker: bool = True) -> None:
        self.is_in_charge = False
        self._is_joined = False
        self._topic, self._role = topic, role
        self._beat_s = float("-inf")
        member = f"{settings.worker}-{role}" if is_worker else None
        self._member: Consumer = consumer(settings, group_of(settings, role), member=member, on_commit=self._committed)
        subscribe(self._member, [topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    @property
    def stands_by(self) -> bool:
        """Whether somebody else is in charge, as far as the brokers have told."""
        return self._is_joined and not self.is_in_charge and bool(self._member.memberid())

    def poll(self, seconds: float) -> None:
        """Hear who is in charge, waiting at most so long."""
        self._member.poll(seconds)

    def beat(self, offset: int) -> None:
        """Give a sign of life, every `BEAT_S` at most: whoever is in charge calls it as often as its loop turns.

        It is a commit of the group, with the time beside it: the brokers take it from a member alone, and nothing of it
        stands on the topic, whose readers would have to pass over it. Nobody waits for it, and if it is lost the next
        one tells as much.

        Parameters
        ----------
        offset
            Up to where the topic was read, which is what is committed.
        """
        at = time.monotonic()
        if self.is_in_charge and at - self._beat_s >= BEAT_S:
            self._beat_s = at
            place = TopicPartition(self._topic, 0, offset, now().isoformat(timespec="milliseconds"))
            self._member.commit(offsets=[place], asynchronous=True)

    def close(self) -> None:
        """Leave the others."""
        self._member.close()

    def _assigned(self, member: Consumer, partitions: list[TopicPartition]) -> None:
        member.incremental_assign(partitions)
        member.pause(partitions)
        self._is_joined = True
        self.is_in_charge = self.is_in_charge or bool(partitions)

    def _revoked(self, member: Consumer, partitions: list[TopicPartition]) -> None:
        member.incremental_unassign(partitions)
        self.is_in_charge = self.is_in_charge and not partitions

    def _committed(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        for place in places:
            failed = error or place.error
            if failed is not None:
                log.warning("%s: a sign of life did not get through: %s", self._role, failed.str())


def group_of(settings: Settings, role: str) -> str:
    """Name the group of those who may be in charge."""
    return f"{settings.prefix}-{role}"


def sign_of_life(reader: Consumer, topic: str, timeout_s: float) -> str:
    """Read the newest sign of life of whoever is in charge; empty if there was none for days.

    It is for being compared with the one before it: one that is new tells that somebody lives, whatever its clock says.

    Parameters
    ----------
    reader
        One that bears the name of the group (`group_of`), and does not join it.
    topic
        Whose partition says who is in charge.
    timeout_s
        How long the answer is waited for.

    Raises
    ------
    KafkaException
        If the brokers do not answer in time, or refuse.
    """
    (place,) = reader.committed([TopicPartition(topic, 0)], timeout=timeout_s)
    if place.error is not None:
        raise KafkaException(place.error)
    return place.metadata or ""
