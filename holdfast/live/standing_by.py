"""One worker at a time is in charge: whoever has the one partition of a topic. The others stand by for it."""

from typing import Final

from confluent_kafka import Consumer, TopicPartition

from holdfast.live.clients import consumer
from holdfast.live.grouping import subscribe
from holdfast.live.settings import Settings

LOOK_S: Final = 0.1
"""How long one who stands by waits for news of the others at a time."""


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
        member = f"{settings.worker}-{role}" if is_worker else None
        self._member: Consumer = consumer(settings, f"{settings.prefix}-{role}", member=member)
        subscribe(self._member, [topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)

    @property
    def stands_by(self) -> bool:
        """Whether somebody else is in charge, as far as the brokers have told."""
        return self._is_joined and not self.is_in_charge and bool(self._member.memberid())

    def poll(self, seconds: float) -> None:
        """Hear who is in charge, waiting at most so long."""
        self._member.poll(seconds)

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
