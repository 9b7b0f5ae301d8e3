"""Joining a consumer group such that whatever goes wrong in a rebalance is told as the exception that it is."""

import functools
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

Reaction = Callable[[Consumer, list[TopicPartition]], None]


def subscribe(
    member: Consumer, topics: Sequence[str], *, on_assign: Reaction, on_revoke: Reaction, on_lost: Reaction
) -> None:
    """Have a consumer join its group, and call these while it polls or closes, as partitions come and go.

    What they raise comes out of `poll`, `consume` or `close`. On Python 3.11 an exception that C raised inside of a
    callback, and that no `try` on its way has seen, comes out as its bare argument: as a `KafkaError`, which no
    `except` but one without a class catches, or, if that is a text, as a `SystemError`. From here all come out whole.
    """
    member.subscribe(list(topics), on_assign=_whole(on_assign), on_revoke=_whole(on_revoke), on_lost=_whole(on_lost))


def _whole(react: Reaction) -> Reaction:
    @functools.wraps(react)
    def callback(member: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            react(member, partitions)
        except KafkaException as error:
            raise KafkaException(*error.args) from error

    return callback
