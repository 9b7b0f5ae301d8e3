"""How units get to hosts: a small interface, and one that publishes desired state per colo."""

from collections.abc import Mapping
from typing import Final, Protocol

from confluent_kafka import Producer

from holdfast.control import desired
from holdfast.control.board import Board
from holdfast.control.desired import Desired
from holdfast.live.clients import base
from holdfast.live.partitioner import MURMUR2
from holdfast.live.settings import Settings
from rollouts.controlled import Deploy, Restore

_ANSWER_S: Final = 30.0


class NotDelivered(Exception):
    """An action that did not get through now; it is asked for again."""


class Deployer(Protocol):
    """Whoever brings units to hosts.

    An action may be asked for more than once, with the same id and number: the second time changes nothing. An action
    with a lower number than one that a host has done already leaves that host as it is. That hosts have done it is not
    the deployer's to say: they report it themselves.
    """

    def deliver(self, rollout: str, kinds: Mapping[str, str], action: Deploy | Restore, /) -> None:
        """Have hosts given units, or given back what they had; return once that will happen whatever else does.

        Raises
        ------
        NotDelivered
            If that is not certain; it is asked for again.
        """
        ...

    def close(self) -> None:
        """Let go of what is held."""
        ...


class TopicDeployer:
    """Publishes desired state per colo on a compacted topic, which agents read.

    The newest one made is the only one that can write: it fences off the others by the name of its transactions.
    """

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topics.desired
        ours = {
            "transactional.id": f"{self._topic}-deployer",
            "transaction.timeout.ms": settings.transaction_ms,
            "partitioner": MURMUR2,
            "message.max.bytes": 8_000_000,
        }
        self._producer = Producer({**base(settings), **ours})
        self._producer.init_transactions(_ANSWER_S)
        self._current: dict[str, Desired] = {}
        board = Board(settings, self._topic)
        try:
            for key, value in board.load():
                if value is None:
                    self._current.pop(key.decode(), None)
                else:
                    self._current[key.decode()] = desired.decode(value)
        finally:
            board.close()

    def deliver(self, rollout: str, kinds: Mapping[str, str], action: Deploy | Restore, /) -> None:
        """Publish the desired state of the colos that change, all of them or none."""
        made = desired.changed(self._current, rollout, kinds, action)
        if not made:
            return
        self._producer.begin_transaction()
        for one in made:
            self._producer.produce(self._topic, key=one.colo.encode(), value=desired.encode(one))
        self._producer.commit_transaction(_ANSWER_S)
        self._current.update({one.colo: one for one in made})

    def close(self) -> None:
        """Send what is queued, which is nothing outside of a transaction."""
        self._producer.flush(_ANSWER_S)
