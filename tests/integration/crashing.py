"""Runs workers as the command line does, and kills the process at a point of the transaction that is named.

That is the COUNT-th time that POINT is passed. POINT is one of `taken`, `produced`, `offsets_added`, `committed`,
`taken_over`, `aborted`, `revoked`, or `none`.
"""

import faulthandler
import os
import signal

from confluent_kafka import Consumer, TopicPartition

from holdfast.live.clients import consumer
from holdfast.live.grouping import subscribe
from holdfast.live.settings import Settings, load_settings
from holdfast.live.workers import run


def work(roles: str, point: str, count: int) -> None:
    """Run until killed."""
    faulthandler.register(signal.SIGUSR1)  # a worker that hangs can be asked where
    passed = 0

    def hook(name: str) -> None:
        nonlocal passed
        if name == point:
            passed += 1
            if passed == count:
                os.kill(os.getpid(), signal.SIGKILL)

    run(load_settings(), roles.split(","), hook)


def hold(settings: Settings, group: str, member: str, topics: list[str]) -> None:
    """Have partitions, without reading them, until some are to be given up; and be killed just then."""
    holder = consumer(settings, group, member=member)

    def assigned(_holder: Consumer, partitions: list[TopicPartition]) -> None:
        holder.incremental_assign(partitions)
        holder.pause(partitions)

    def revoked(_holder: Consumer, _partitions: list[TopicPartition]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    subscribe(holder, topics, on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    while True:
        holder.poll(0.1)
