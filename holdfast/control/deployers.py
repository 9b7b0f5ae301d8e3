"""How units get to hosts: a small interface, one that publishes desired state per colo, and the one of the settings."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from confluent_kafka import Producer

from holdfast.api.signing import secrets_in
from holdfast.control import desired
from holdfast.control.board import newest
from holdfast.control.by_command import CommandCarrier
from holdfast.control.by_webhook import WebhookCarrier
from holdfast.control.couriers import Courier
from holdfast.control.desired import Desired
from holdfast.control.scribe import Noted
from holdfast.errors import BadInput
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

    def deliver(self, rollout: str, kinds: Mapping[str, str], action: Deploy | Restore, /) -> bool:
        """Have hosts given units, or given back what they had; tell whether that will happen whatever else does.

        Until it is certain it is asked for again, many times in a second: who needs longer does it beside, and returns.

        Raises
        ------
        NotDelivered
            If something kept it from that; it is asked for again.
        """
        ...

    def hold(self, rollout: str, /) -> None:
        """Try no further what is not yet certain for a rollout, until it is asked for again."""
        ...

    def notes(self) -> list[Noted]:
        """Hand over what is to be written down since it was asked last."""
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
        standing = newest(settings, self._topic).items()
        self._current: dict[str, Desired] = {key.decode(): desired.decode(value) for key, value in standing}

    def deliver(self, rollout: str, kinds: Mapping[str, str], action: Deploy | Restore, /) -> bool:
        """Publish the desired state of the colos that change, all of them or none."""
        made = desired.changed(self._current, rollout, kinds, action)
        if not made:
            return True
        self._producer.begin_transaction()
        for one in made:
            self._producer.produce(self._topic, key=one.colo.encode(), value=desired.encode(one))
        self._producer.commit_transaction(_ANSWER_S)
        self._current.update({one.colo: one for one in made})
        return True

    def hold(self, _rollout: str, /) -> None:
        """Do nothing: what was asked for is done."""

    def notes(self) -> list[Noted]:
        """Hand over nothing: what was done is on the topic."""
        return []

    def close(self) -> None:
        """Send what is queued, which is nothing outside of a transaction."""
        self._producer.flush(_ANSWER_S)


def require(settings: Settings) -> None:
    """Check that what the settings name can be used, before anything hangs on it.

    Raises
    ------
    BadInput
        If there is no such program, or the file of secrets cannot be used.
    """
    webhook, command = settings.deployer.webhook, settings.deployer.command
    if webhook is not None:
        secrets_in(Path(webhook.secret))
    if command is not None and shutil.which(command.run[0]) is None:
        message = f"deployer.command.run: found {command.run[0]!r}; allowed: a program that is there and can be run"
        raise BadInput(message)


def deployer_of(settings: Settings) -> Deployer:
    """Make the deployer that the settings name.

    Raises
    ------
    BadInput
        If a file that they name cannot be used.
    """
    webhook, command = settings.deployer.webhook, settings.deployer.command
    if webhook is not None:
        return Courier("webhook", WebhookCarrier(webhook), webhook)
    if command is not None:
        return Courier("command", CommandCarrier(command), command)
    return TopicDeployer(settings)
