"""The sink: verdicts, evidence and announcements into the store, away from the verdict path.

Offsets are committed once their rows are in the store. A batch that comes again changes nothing there, so no
transaction is needed. While the store refuses, the topics hold the data.
"""

import logging
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Protocol

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from detectors.errors import BadInput
from holdfast.documents import digest
from holdfast.live.backlog import Backlog
from holdfast.live.clients import consumer, producer
from holdfast.live.dead_letters import Letter, Mark, dead_letter, read_letter
from holdfast.live.http import Server
from holdfast.live.reading import PARTITION_END
from holdfast.live.records import Record
from holdfast.live.settings import Settings
from holdfast.live.store_owner import Owner
from holdfast.live.telemetry import Telemetry
from rollouts.announced import decode as decode_announcement
from sinks.cloudevents import decode as decode_verdict
from sinks.live_rows import (
    LiveRows,
    Place,
    dead_letter_rows,
    event_rows,
    rollout_rows,
    table_rows,
    verdict_rows,
)
from sinks.store import Store, StoreBusy, StoreError

log = logging.getLogger(__name__)

ROWS_MAX: Final = 100_000
BYTES_MAX: Final = 64 << 20
"""Most that is held back before it is put into the store: rows, and bytes in memory."""

SECONDS_MAX: Final = 2.0
"""Longest time that a row is held back; each batch costs ClickHouse a part for each table."""

_BACKOFF_SECONDS: Final = (0.5, 60.0)
"""After how long the store is tried again at first, and at most."""

_OPEN_SECONDS: Final = 30.0
"""How long to wait for the store at the start."""

_VERDICT: Final = "dev.holdfast.verdict.v1"


class Kept(Protocol):
    """What the sink needs of a store."""

    def append(self, batch: Sequence[LiveRows], /) -> None:
        """Put rows in; StoreError if that cannot be."""
        ...


class Reader:
    """Reads messages of the engine's topics as rows.

    Parameters
    ----------
    settings
        Names of topics.
    """

    def __init__(self, settings: Settings) -> None:
        self._topics = settings.topics

    @property
    def topics(self) -> list[str]:
        """What is read."""
        topics = self._topics
        return [topics.verdicts, topics.evidence, topics.rollouts, topics.dead_letters]

    def read(self, message: Message) -> list[LiveRows]:
        """Return the rows of a message, by table; none of a heartbeat, for example.

        A dead letter always has one, whatever it holds: one that was put aside once more would come back as another.

        Raises
        ------
        BadInput
            If it cannot be read.
        """
        place = Place(message.topic() or "", message.partition() or 0, message.offset() or 0)
        value, written_ms = message.value(), message.timestamp()[1]
        if place.topic == self._topics.dead_letters:
            return [_letter(message, place, written_ms)]
        if value is None:
            return []  # a rollout that was taken back: what was recorded of it stays
        if place.topic == self._topics.evidence:
            return [table_rows(_header(message, "table"), value, place, written_ms)]
        if place.topic == self._topics.rollouts:
            return _announced(value, place)
        kind = _header(message, "ce_type")
        return [] if kind is not None and kind != _VERDICT else [verdict_rows(decode_verdict(value), place)]


def _announced(value: bytes, place: Place) -> list[LiveRows]:
    announcement = decode_announcement(value)
    plan, policy, events = announcement.rollout, announcement.policy, announcement.events
    rollout = rollout_rows(
        place,
        rollout=plan.rollout,
        started=plan.started,
        policy=policy.policy,
        mode=plan.mode,
        document=msgspec.json.encode(plan),
        policy_document=msgspec.json.encode(policy),
        policy_digest=digest(policy),
        recorded=max([plan.started, *(event.effective_at for event in events)]),
    )
    told = [(event.event, event.stage or "", event.effective_at) for event in events]
    return [rollout, event_rows(place, plan.rollout, told)] if told else [rollout]


def _letter(message: Message, place: Place, written_ms: int) -> LiveRows:
    letter = read_letter(message)
    worker, is_redriven = "", False
    if isinstance(letter, Mark) and _fits(0, letter.offset):
        origin = Place(place.topic, place.partition, letter.offset)
        reason, is_redriven = f"sent again, for the {letter.times}. time", True
    elif isinstance(letter, Letter) and _fits(letter.from_partition, letter.from_offset):
        origin = Place(letter.from_topic, letter.from_partition, letter.from_offset)
        worker, reason = letter.worker, letter.reason
    else:
        origin, reason = Place("", 0, 0), "neither a dead letter nor the mark of one"
    size = len(message.value() or b"")
    return dead_letter_rows(
        place,
        written_ms=written_ms,
        origin=origin,
        worker=worker,
        reason=reason,
        size=size,
        is_redriven=is_redriven,
    )


def _fits(partition: int, offset: int) -> bool:
    """Tell whether a place that a letter names can be one."""
    return 0 <= partition < 1 << 31 and 0 <= offset < 1 << 63


def _header(message: Message, name: str) -> str | None:
    found = dict(message.headers() or []).get(name)
    return found.decode(errors="replace") if isinstance(found, bytes) else found


class SinkLoop:
    """Moves rows from Kafka into the store.

    Parameters
    ----------
    settings
        Names of topics.
    source
        As `holdfast.live.clients.consumer` makes it.
    dead
        Producer of dead letters.
    store
        Where rows go.
    telemetry
        Counts.
    rows_max, seconds_max
        When a batch is put in.
    """

    def __init__(
        self,
        settings: Settings,
        source: Consumer,
        dead: Producer,
        store: Kept,
        telemetry: Telemetry,
        *,
        rows_max: int = ROWS_MAX,
        seconds_max: float = SECONDS_MAX,
    ) -> None:
        self._settings, self._consumer, self._producer, self._store = settings, source, dead, store
        self._telemetry = telemetry
        self._reader = Reader(settings)
        self._backlog = Backlog(source, telemetry)
        self._rows_max, self._seconds_max = rows_max, seconds_max
        self._batch: list[LiveRows] = []
        self._dead: list[Record] = []
        self._position: dict[tuple[str, int], int] = {}
        self._rows = self._bytes = 0
        self._begun: float | None = None  # when the oldest row of the batch came
        self._failures = 0  # in a row
        self._retry_at: float | None = None
        self._stopping = False
        self.is_ready = False
        """Whether partitions were assigned."""

    def stop(self) -> None:
        """End after the batch at hand; may be called from a signal handler or another thread."""
        self._stopping = True

    def run(self) -> None:
        """Work until stopped; then put in what was taken, and commit.

        Raises
        ------
        KafkaException
            If the broker refuses for good.
        """
        self._consumer.subscribe(
            self._reader.topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        try:
            while not self._stopping:
                self.once()
            self._flush()
        finally:
            self._consumer.close()

    def once(self) -> None:
        """Take what is there, and put it in when it is time to."""
        message = self._consumer.poll(0.1)
        while message is not None:
            self._take(message)
            message = None if self._is_full() else self._consumer.poll(0)
        self._telemetry.alive()
        self._backlog.look(len(self._producer))
        now = time.monotonic()
        if self._retry_at is not None:
            if now >= self._retry_at:
                self._flush()
        elif self._begun is not None and (self._is_full() or now - self._begun >= self._seconds_max):
            self._flush()

    def _is_full(self) -> bool:
        return self._rows >= self._rows_max or self._bytes >= BYTES_MAX

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.fatal():
                raise KafkaException(error)
            if error.code() != PARTITION_END:
                log.warning("the broker says: %s", error.str())
            return
        try:
            rows = self._reader.read(message)
        except BadInput as reason:
            self._dead.append(dead_letter(self._settings, message, str(reason)))
            self._bytes += len(message.value() or b"")
            self._telemetry.dead_letter("unreadable")
        else:
            self._batch += rows
            self._rows += sum(each.rows.num_rows for each in rows)
            self._bytes += sum(each.rows.nbytes for each in rows)
        self._position[message.topic() or "", message.partition() or 0] = (message.offset() or 0) + 1
        if self._begun is None:
            self._begun = time.monotonic()

    def _flush(self) -> bool:
        """Put everything in and commit; tell whether that is done. After a failure nothing is read for a while."""
        if self._begun is None:
            return True
        try:
            self._store.append(self._batch)
        except StoreError as error:
            self._failures += 1
            self._telemetry.store_failure()
            first, longest = _BACKOFF_SECONDS
            seconds = min(longest, first * 2 ** (self._failures - 1))
            log.error("the store refused; trying again in %g s: %s", seconds, error)  # noqa: TRY400, the text says it all
            self._retry_at = time.monotonic() + seconds
            self._consumer.pause(self._consumer.assignment())
            return False
        self._send_dead()
        for each in self._batch:
            self._telemetry.stored(each.table, each.rows.num_rows)
        self._commit([TopicPartition(*place, offset) for place, offset in self._position.items()])
        self._forget()
        if self._retry_at is not None:
            self._retry_at, self._failures = None, 0
            self._consumer.resume(self._consumer.assignment())
        return True

    def _send_dead(self) -> None:
        """Send dead letters, and wait until the broker has them.

        Raises
        ------
        KafkaException
            If it does not take them; offsets are not committed then.
        """
        failed: list[KafkaException] = []

        def delivered(error: object, _message: object) -> None:
            if error is not None:
                failed.append(KafkaException(error))

        for record in self._dead:
            self._producer.produce(
                record.topic, record.value, record.key, headers=list(record.headers), on_delivery=delivered
            )
        # Whatever is not delivered in time is reported as failed, so that flush ends with an empty queue.
        self._producer.flush()
        if failed:
            raise failed[0]

    def _commit(self, offsets: list[TopicPartition]) -> None:
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as exception:
            # As when partitions went to somebody else meanwhile: rows that come again change nothing.
            log.warning("offsets were not committed, and will be read again: %s", exception.args[0].str())

    def _forget(self) -> None:
        self._batch, self._dead, self._position = [], [], {}
        self._rows = self._bytes = 0
        self._begun = None

    def _assigned(self, source: Consumer, partitions: list[TopicPartition]) -> None:
        self._telemetry.rebalance("assigned", len(partitions))
        source.incremental_assign(partitions)
        if self._retry_at is not None:
            source.pause(partitions)
        self.is_ready = True

    def _revoked(self, source: Consumer, partitions: list[TopicPartition]) -> None:
        self._telemetry.rebalance("revoked", len(partitions))
        # What cannot be put in now is read again by whoever comes next.
        if not self._flush():
            self._forget_of(partitions)
        source.incremental_unassign(partitions)

    def _lost(self, source: Consumer, partitions: list[TopicPartition]) -> None:
        self._telemetry.rebalance("lost", len(partitions))
        self._forget_of(partitions)
        source.incremental_unassign(partitions)

    def _forget_of(self, partitions: Sequence[TopicPartition]) -> None:
        """Do not commit partitions that somebody else reads; their rows may go in all the same."""
        for partition in partitions:
            self._position.pop((partition.topic, partition.partition), None)


def _opened(folder: Path) -> Store:
    """Open the store; wait a while for somebody who has it open, as a query at the same moment."""
    end = time.monotonic() + _OPEN_SECONDS
    while True:
        try:
            return Store(folder)
        except StoreBusy as error:
            if time.monotonic() >= end:
                raise
            log.warning("waiting: %s", error)
            time.sleep(0.5)


def run(settings: Settings) -> None:
    """Own the store's folder, fill it, and answer questions about it, until SIGTERM or SIGINT.

    Raises
    ------
    StoreError
        If the folder is somebody else's, or cannot be used.
    BadInput
        If the settings do not fit.
    """
    telemetry = Telemetry("sink", settings.worker)
    with ExitStack() as opened:
        store = opened.enter_context(_opened(settings.data))
        opened.enter_context(Owner(store, settings.data))
        group = f"{settings.prefix}-sink"
        loop = SinkLoop(
            settings,
            consumer(settings, group, member=f"{settings.worker}-sink"),
            producer(settings),
            store,
            telemetry,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:  # whoever started this may stop it otherwise
                signal.signal(number, lambda *_: loop.stop())
        opened.enter_context(Server(settings.http, [telemetry], lambda: loop.is_ready))
        loop.run()
