"""Partitions that belong to nobody, though their group is at rest, and how a member brings them back.

Members are static: one that is started again under its name gets what it had, and no rebalance follows. If it had died
just when it gave partitions up, and before it joined again for others to get them, nobody has those, until there is a
rebalance for some other reason. So each member looks at its group every so often. If it finds such partitions several
times in a row, one of the members leaves the group and joins again.
"""

import logging
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from holdfast.live.telemetry import Telemetry

log = logging.getLogger(__name__)

LOOKS: Final = 3
"""How often in a row a partition has to be found without an owner: one that is on its way to another member is, too."""

_SECONDS_MAX: Final = 10.0
"""Longest time between two looks; a member may be busy for about as long before it gives up what it is to."""

_DOUBLED_MAX: Final = 4
"""How often the time until something is tried again is doubled, at most."""

_ANSWER_SECONDS: Final = 1.0
"""How long the brokers may take: the loop stands still meanwhile."""

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class Group:
    """What the members of a group have, by the names that the broker gave them.

    Parameters
    ----------
    is_stable
        Whether no rebalance is under way.
    assigned
        Partitions by member.
    """

    is_stable: bool
    assigned: Mapping[str, frozenset[Place]]


class Suspicion:
    """Tells from looks at a group when it is a member's turn to do something about partitions that nobody has.

    The first one whose turn it is has the fewest partitions, as least is given up then. If it is busy, the next one
    comes after as many looks again, and so on. Whoever did something to no avail waits twice as long before the next
    time.

    Examples
    --------
    >>> group = Group(True, {"a": frozenset({("t", 0), ("t", 1)}), "b": frozenset({("t", 3)})})
    >>> every = frozenset({("t", 0), ("t", 1), ("t", 2), ("t", 3)})
    >>> a, b = Suspicion(), Suspicion()
    >>> [look for look in range(1, 10) if b.look("b", group, every)]
    [3, 9]
    >>> [look for look in range(1, 10) if a.look("a", group, every)]
    [6]
    """

    def __init__(self) -> None:
        self.orphans: frozenset[Place] = frozenset()
        self._count = 0  # looks in a row that have found them
        self._tried = 0  # turns in a row that have not helped

    def look(self, me: str, group: Group, every: frozenset[Place]) -> bool:
        """Take in a look at the group, and tell whether it is this member's turn.

        Parameters
        ----------
        me
            The member.
        group
            As it is now.
        every
            All partitions that the group has to share out.
        """
        if not group.is_stable or me not in group.assigned:
            self._count, self.orphans = 0, frozenset()
            return False
        missing = every.difference(*group.assigned.values())
        kept = missing & self.orphans
        self._count = self._count + 1 if kept else bool(missing)
        self.orphans = kept or missing
        if not missing:
            self._tried = 0
            return False
        order = sorted(group.assigned, key=lambda member: (len(group.assigned[member]), member))
        if self._count < LOOKS * (1 + order.index(me)) * 2**self._tried:
            return False
        self._count, self._tried = 0, min(self._tried + 1, _DOUBLED_MAX)
        return True


class Orphans:
    """Looks at the group of a consumer, and has it leave and join again when partitions belong to nobody.

    To join again without having left would not do: a member whose topics and partitions are those of its last joining
    is told what it has, and nothing else happens. If one leaves, there is a rebalance.

    Parameters
    ----------
    client
        Asked about the group.
    consumer
        The member.
    group
        Its group.
    topics
        What the group shares out.
    seconds
        Time between two looks, and the longest that leaving may take; ten at most.
    telemetry
        Counts.
    """

    def __init__(
        self,
        client: AdminClient,
        consumer: Consumer,
        group: str,
        topics: Sequence[str],
        seconds: float,
        telemetry: Telemetry,
    ) -> None:
        self._client, self._consumer, self._telemetry = client, consumer, telemetry
        self._group, self._topics, self._seconds = group, topics, min(seconds, _SECONDS_MAX)
        self._suspicion = Suspicion()
        self._looked = time.monotonic()
        self._failed = 0  # looks in a row
        self._left: float | None = None  # since when this member is on its way out of the group

    def look(self, join: Callable[[], None]) -> None:
        """Look, if it is time to; to be called whenever the consumer is about to be polled.

        Parameters
        ----------
        join
            Has the consumer join its group.
        """
        now = time.monotonic()
        if self._left is not None:
            # It has left once it has no name in the group any more.
            if not self._consumer.memberid() or now - self._left > self._seconds:
                self._left = None
                join()
        elif now - self._looked > self._seconds * 2**self._failed:
            self._looked = now
            if self._is_my_turn():
                names = ", ".join(f"{topic}/{number}" for topic, number in sorted(self._suspicion.orphans))
                log.warning("%s belongs to nobody in group %s: joining it anew", names, self._group)
                self._telemetry.rejoined()
                self._left = now
                self._consumer.unsubscribe()

    def _is_my_turn(self) -> bool:
        try:
            # What has replaced this question may end the process if a broker goes away meanwhile (librdkafka's 4605).
            found: list[Any] = self._client.list_groups(self._group, timeout=_ANSWER_SECONDS)
            every = frozenset(place for topic in self._topics for place in self._places(topic))
        except KafkaException as exception:
            self._failed = min(self._failed + 1, _DOUBLED_MAX)
            log.info("the group was not looked at: %s", exception.args[0].str())
            return False
        self._failed = 0
        assigned = {member.id: assignment(member.assignment) for each in found for member in each.members}
        is_stable = all(each.state == "Stable" for each in found)
        return self._suspicion.look(self._consumer.memberid() or "", Group(is_stable, assigned), every)

    def _places(self, topic: str) -> list[Place]:
        known = self._consumer.list_topics(topic, timeout=_ANSWER_SECONDS).topics
        return [(topic, number) for number in known[topic].partitions]


def assignment(encoded: bytes) -> frozenset[Place]:
    r"""Read what a member was assigned, as consumers write it down for each other; of nothing it is nothing.

    Examples
    --------
    >>> sorted(assignment(b"\0\1" b"\0\0\0\1" b"\0\1t" b"\0\0\0\2" b"\0\0\0\0" b"\0\0\0\3" b"\0\0\0\0"))
    [('t', 0), ('t', 3)]
    """
    found: set[Place] = set()
    if encoded:
        _version, topics = struct.unpack_from(">hi", encoded)
        at = 6
        for _ in range(topics):
            (length,) = struct.unpack_from(">h", encoded, at)
            topic = encoded[at + 2 : at + 2 + length].decode()
            at += 2 + length
            (count,) = struct.unpack_from(">i", encoded, at)
            found.update((topic, number) for number in struct.unpack_from(f">{count}i", encoded, at + 4))
            at += 4 + 4 * count
    return frozenset(found)
