"""The workers: each role of the live engine, wired to Kafka."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient

from detectors.state import State
from holdfast.live.aggregating import AggregateStep
from holdfast.live.announcing import Announcements
from holdfast.live.catalogue import Catalogued, KeptMarks, catalogue_partition, marks_key
from holdfast.live.certified import reader as reader_of
from holdfast.live.clients import admin, base, consumer, transactional_producer
from holdfast.live.http import Server
from holdfast.live.judging import JudgeStep
from holdfast.live.loop import Hook, Loop, Step, let_pass
from holdfast.live.orphans import Orphans
from holdfast.live.past_reader import KafkaPast
from holdfast.live.reading import read_to_end
from holdfast.live.rekeying import RekeyStep
from holdfast.live.settings import Settings
from holdfast.live.telemetry import Telemetry
from holdfast.live.topics import require
from sinks.signatures import Signer
from streams.changes import changed
from streams.live.checkpoint import decode, read
from streams.live.frames import SourcePartition

log = logging.getLogger(__name__)

EXIT_STUCK: Final = 75
"""Exit status of a process that was stuck: `EX_TEMPFAIL`, try again."""

_WATCH_SECONDS: Final = 0.2
_TIMES_MAX: Final = 3
"""How many times as long as the broker's limit a transaction may take here."""


class Failed(Exception):
    """A worker came to an end that was not asked for; to be started again it is best."""


class Worker:
    """One role: its loop, and what is told of it over HTTP.

    Parameters
    ----------
    settings
        See `holdfast.live.settings`.
    role
        `aggregate`, `judge` or `rekey`.
    hook
        See `holdfast.live.loop.Hook`.
    telemetry
        Counts; by default one of its own.
    """

    def __init__(
        self, settings: Settings, role: str, hook: Hook = let_pass, telemetry: Telemetry | None = None
    ) -> None:
        self.role = role
        self.telemetry = telemetry or Telemetry(role, settings.worker)
        self._admin = admin(settings)
        topics, step = self._made(settings)
        group = f"{settings.prefix}-{role}"
        member = consumer(settings, group, member=f"{settings.worker}-{role}")
        self.loop = Loop(
            member,
            transactional_producer(settings, role),
            topics,
            step,
            self.telemetry,
            batch_messages=settings.batch_messages,
            orphans=Orphans(self._admin, member, group, topics, settings.session_ms / 1_000, self.telemetry),
            hook=hook,
        )

    def _made(self, settings: Settings) -> tuple[list[str], Step]:
        """Make the step of the role, and say what it reads."""
        if self.role == "rekey":
            return [each.topic for each in settings.metrics if not each.keyed], RekeyStep(settings, self.telemetry)
        # Compacted topics are read by a consumer of their own, outside of any group.
        reader = consumer(settings, f"{settings.prefix}-{self.role}-state")
        if self.role == "judge":
            changed(np.zeros((0, 2)))  # what it imports takes seconds, which no verdict should wait for
            checkpoints = partial(_checkpoints, self._admin, reader, settings.topics.checkpoints)
            signer = None if settings.signing is None else Signer.load(settings.signing.key, settings.signing.id)
            return [settings.topics.cohort_ticks], JudgeStep(
                settings, checkpoints, signer, self.telemetry, reader_of(settings)
            )
        topics = settings.sources
        announcements = Announcements(base(settings), settings.topics.rollouts)
        announcements.load()
        catalogue = partial(_catalogue, self._admin, reader, settings)
        counts = partial(_counts, self._admin, topics)
        past = KafkaPast(lambda: consumer(settings, f"{settings.prefix}-{self.role}-past"))
        return topics, AggregateStep(settings, announcements, catalogue, counts, past, self.telemetry)


def _counts(client: AdminClient, topics: Sequence[str]) -> Mapping[str, int]:
    """Ask how many partitions each topic has."""
    known = client.list_topics(timeout=10.0).topics
    return {topic: len(known[topic].partitions) for topic in topics if topic in known}


Pairs = Iterable[tuple[bytes, bytes | None]]
"""Keys and values of a compacted topic, in order; no value takes back what the key had."""


def _pairs(client: AdminClient, reader: Consumer, topic: str, partition: int) -> Pairs:
    for message in read_to_end(client, reader, topic, partition):
        yield message.key() or b"", message.value()


def _catalogue(client: AdminClient, reader: Consumer, settings: Settings, source: SourcePartition) -> Catalogued:
    place = catalogue_partition(source, settings.partitions)
    return catalogued(source, _pairs(client, reader, settings.topics.catalogue, place))


def catalogued(source: SourcePartition, pairs: Pairs) -> Catalogued:
    """Read what is known of a source partition."""
    prefix = f"{source.topic}/{source.partition}/".encode()
    found: dict[int, pa.Table] = {}
    marks = None
    for key, value in pairs:
        if key == marks_key(source) and value:
            marks = msgspec.json.decode(value, type=KeptMarks)
        elif key.startswith(prefix) and value:
            with pa.ipc.open_stream(value) as stream:
                found[int(key.removeprefix(prefix))] = stream.read_all()
    return Catalogued(sorted(found.items()), marks)


def _checkpoints(client: AdminClient, reader: Consumer, topic: str, partition: int) -> dict[str, State]:
    return checkpoints_of(_pairs(client, reader, topic, partition))


def checkpoints_of(pairs: Pairs) -> dict[str, State]:
    """Put checkpoints together from their blocks: state by rollout.

    Raises
    ------
    StateMismatch
        If blocks are missing.
    """
    blocks: dict[str, dict[int, bytes]] = {}
    for key, value in pairs:
        rollout, _, number = key.decode().rpartition("\n")
        if value:
            blocks.setdefault(rollout, {})[int(number)] = value
    # Where an earlier checkpoint had more blocks than the latest, those that are left over belong to no set.
    return {
        rollout: decode([mine[number] for number in range(read(mine[0]).count) if number in mine])
        for rollout, mine in blocks.items()
        if 0 in mine
    }


def run(settings: Settings, roles: Sequence[str], hook: Hook = let_pass) -> None:
    """Run some roles in this process, each in a thread of its own, until SIGTERM or SIGINT.

    If one of them fails, all end: whoever watches over the process starts it again, from what was committed.

    Raises
    ------
    BadInput
        If topics are missing, or are not what the engine needs.
    Unreachable
        If no broker answers.
    Failed
        If a worker has to end.
    """
    require(admin(settings), settings)
    workers = [Worker(settings, role, hook) for role in roles]
    failures: list[BaseException] = []
    server = Server(settings.http, [worker.telemetry for worker in workers], lambda: _are_ready(workers))

    def stop() -> None:
        for worker in workers:
            worker.loop.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())
    threads = [threading.Thread(target=_guarded(worker, failures, stop), name=worker.role) for worker in workers]
    with server:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(_WATCH_SECONDS)
            _end_if_stuck(workers, _TIMES_MAX * settings.transaction_ms / 1_000)
    if failures:
        msg = f"this worker has to end: {failures[0]}"
        raise Failed(msg) from failures[0]


def _end_if_stuck(workers: Sequence[Worker], seconds: float) -> None:
    """End the process if a transaction takes longer than any may.

    librdkafka may wait for ever for a group's coordinator that was killed, whatever its timeout (its issues 5456 and
    5511). The broker has taken the transaction back long before; so whoever starts this process again loses nothing.
    """
    for worker in workers:
        if worker.loop.commits_for(time.monotonic()) > seconds:
            log.critical("%s: a transaction has not come to an end in %g s; this process ends", worker.role, seconds)
            os._exit(EXIT_STUCK)


def _are_ready(workers: Sequence[Worker]) -> bool:
    return all(worker.loop.is_ready for worker in workers)


def _guarded(worker: Worker, failures: list[BaseException], stop: Callable[[], None]) -> Callable[[], None]:
    """Run a worker's loop; what ends it is kept, and ends the others too."""

    def target() -> None:
        try:
            worker.loop.run()
        except Exception as error:
            log.exception("%s: ended by an error", worker.role)
            failures.append(error)
        finally:
            stop()

    return target
