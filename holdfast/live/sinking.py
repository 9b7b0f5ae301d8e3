"""The loop that moves rows from Kafka into a store.

Offsets are committed once their rows are in the store. A batch that comes again changes nothing there, so no
transaction is needed. While the store cannot take rows, nothing is read and the topics hold the data.
"""

import logging
import time
from collections.abc import Sequence
from typing import Final, Protocol

import pyarrow as pa
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from detectors.errors import BadInput
from holdfast.live.backlog import Backlog
from holdfast.live.breaker import Breaker
from holdfast.live.dead_letters import dead_letter
from holdfast.live.grouping import subscribe
from holdfast.live.orphans import Orphans
from holdfast.live.reading import PARTITION_END
from holdfast.live.records import Record
from holdfast.live.settings import Settings
from holdfast.live.telemetry import Telemetry
from sinks.batches import Batch, Batches, by_offset, put
from sinks.errors import StoreError
from sinks.live_rows import LiveRows, Place

log = logging.getLogger(__name__)

BYTES_MAX: Final = 64 << 20
"""Most bytes that are held back before they are put into the store."""

_POLL_SECONDS: Final = 0.1
"""Longest wait for a message, and so the time between two looks at the clock."""

Messages = dict[tuple[str, int], dict[int, Message]]


class Kept(Protocol):
    """What the sink needs of a store."""

    def prepare(self) -> None:
        """Make sure that the tables are there; `StoreError` if that cannot be."""
        ...

    def insert(self, table: str, rows: pa.Table, token: str = "", /) -> None:
        """Put rows in; see `sinks.backend.Backend.insert`."""
        ...


class Reader(Protocol):
    """Reads messages as rows."""

    @property
    def topics(self) -> list[str]:
        """What is read."""
        ...

    def read(self, message: Message) -> list[LiveRows]:
        """Return the rows of a message; `BadInput` if it cannot be read."""
        ...


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
    reader
        Makes rows of messages.
    telemetry
        Counts.
    rows_max, seconds_max
        When a batch is put in.
    orphans
        Looks after partitions that belong to nobody; None leaves them.
    """

    def __init__(
        self,
        settings: Settings,
        source: Consumer,
        dead: Producer,
        store: Kept,
        reader: Reader,
        telemetry: Telemetry,
        *,
        rows_max: int,
        seconds_max: float,
        orphans: Orphans | None = None,
    ) -> None:
        self._settings, self._consumer, self._producer, self._store = settings, source, dead, store
        self._telemetry, self._reader = telemetry, reader
        self._backlog, self._orphans = Backlog(source, telemetry), orphans
        self._breaker = Breaker(settings.worker)
        self._rows_max = rows_max
        self._batches = Batches(rows_max, BYTES_MAX, seconds_max)
        self._messages: Messages = {}  # a row that is refused takes its message to the dead letters
        self._reasons: dict[tuple[str, int, int], str] = {}
        self._is_prepared = self._stopping = False
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
        self._join()
        try:
            while not self._stopping:
                self.once()
            self._put(time.monotonic(), is_last=True)
        finally:
            self._consumer.close()

    def _join(self) -> None:
        subscribe(
            self._consumer, self._reader.topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def once(self) -> None:
        """Take what is there, and put in what is due.

        After a failure nothing is taken for a while. Partitions are not paused for that: a pause that meets a rebalance
        may never end (librdkafka issues 2190 and 5591). Who does not poll for longer than `max.poll.interval.ms` loses
        its partitions and reads them again from what was committed, which changes nothing in the store.
        """
        state = self._breaker.state(time.monotonic())
        self._telemetry.breaker(state)
        if state == "open":
            time.sleep(_POLL_SECONDS)
        else:
            if state == "closed" or not self._is_full():  # else each try would take one message more
                self._fill()
            self._put(time.monotonic())
        self._telemetry.alive()
        self._backlog.look(len(self._producer))

    def _fill(self) -> None:
        """Take what is there, as long as there is room; one message at least, as a batch may wait for its last ones."""
        if self._orphans is not None:
            self._orphans.look(self._join)
        message = self._consumer.poll(_POLL_SECONDS)
        while message is not None:
            self._take(message)
            message = None if self._is_full() else self._consumer.poll(0)

    def _is_full(self) -> bool:
        return self._batches.count >= self._rows_max or self._batches.size >= BYTES_MAX

    def _take(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            if error.fatal():
                raise KafkaException(error)
            if error.code() != PARTITION_END:
                log.warning("the broker says: %s", error.str())
            return
        place = Place(message.topic() or "", message.partition() or 0, message.offset() or 0)
        key = (place.topic, place.partition)
        try:
            rows = self._reader.read(message)
        except BadInput as reason:
            rows = []
            self._reasons[(*key, place.offset)] = str(reason)
        if rows or (*key, place.offset) in self._reasons:
            self._messages.setdefault(key, {})[place.offset] = message
        self._batches.add(place, rows, len(message.value() or b""), time.monotonic())

    def _put(self, now: float, *, is_last: bool = False) -> None:
        """Put in what is due and commit. After a failure nothing is read for a while."""
        due = self._batches.due(now, is_last=is_last)
        # Asked although nothing is due: a store that was away is found to be back before rows wait for it.
        if not due and self._breaker.state(now) == "closed":
            return
        done: list[Batch] = []
        try:
            if not self._is_prepared:
                self._store.prepare()
                self._is_prepared = True
            for batch in due:
                self._put_batch(batch)
                done.append(batch)
        except StoreError as error:
            self._is_prepared = False
            self._telemetry.store_failure()
            seconds = self._breaker.failed(time.monotonic())
            log.error("the store refused; trying again in %.1f s: %s", seconds, error)  # noqa: TRY400, the text says it all
        else:
            self._breaker.succeeded()
        self._commit([TopicPartition(batch.topic, batch.partition, batch.last + 1) for batch in done])

    def _put_batch(self, batch: Batch) -> None:
        """Put a batch in, and what of it cannot be stored among the dead letters."""
        key = (batch.topic, batch.partition)
        refused = by_offset(put(batch, self._store.insert, self._rows_max))
        reasons = {
            offset: reason
            for (*place, offset), reason in self._reasons.items()
            if tuple(place) == key and batch.first <= offset <= batch.last
        }
        held = self._messages.get(key, {})
        letters = [
            (kind, dead_letter(self._settings, held[offset], reason))
            for kind, found in (("unreadable", reasons), ("refused", refused))
            for offset, reason in found.items()
        ]
        if batch.topic == self._settings.topics.dead_letters:
            for kind, letter in letters:  # it stands there already; another letter about it would come back as well
                log.error("a dead letter cannot be stored (%s): %s", kind, dict(letter.headers)["holdfast-reason"])
        else:
            self._send([letter for _, letter in letters])
        for kind, _ in letters:
            self._telemetry.dead_letter(kind)
        for each in batch.rows:
            self._telemetry.stored(each.table, each.rows.num_rows)
        self._batches.done(batch)
        for offset in [offset for offset in held if offset <= batch.last]:
            del held[offset]
            self._reasons.pop((*key, offset), None)

    def _send(self, letters: Sequence[Record]) -> None:
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

        for record in letters:
            self._producer.produce(
                record.topic, record.value, record.key, headers=list(record.headers), on_delivery=delivered
            )
        # Whatever is not delivered in time is reported as failed, so that flush ends with an empty queue.
        self._producer.flush()
        if failed:
            raise failed[0]

    def _commit(self, offsets: list[TopicPartition]) -> None:
        if not offsets:
            return
        newest = {(each.topic, each.partition): each for each in offsets}
        try:
            self._consumer.commit(offsets=list(newest.values()), asynchronous=False)
        except KafkaException as exception:
            # As when partitions went to somebody else meanwhile: rows that come again change nothing.
            log.warning("offsets were not committed, and will be read again: %s", exception.args[0].str())

    def _assigned(self, source: Consumer, partitions: list[TopicPartition]) -> None:
        self._telemetry.rebalance("assigned", len(partitions))
        source.incremental_assign(partitions)
        self.is_ready = True

    def _revoked(self, source: Consumer, partitions: list[TopicPartition]) -> None:
        self._telemetry.rebalance("revoked", len(partitions))
        now = time.monotonic()
        if self._breaker.state(now) != "open":
            self._put(now, is_last=True)
        # What could not be put in is read again by whoever comes next.
        self._forget(partitions)
        source.incremental_unassign(partitions)

    def _lost(self, source: Consumer, partitions: list[TopicPartition]) -> None:
        self._telemetry.rebalance("lost", len(partitions))
        self._forget(partitions)
        source.incremental_unassign(partitions)

    def _forget(self, partitions: Sequence[TopicPartition]) -> None:
        for each in partitions:
            self._batches.forget(each.topic, each.partition)
            for offset in self._messages.pop((each.topic, each.partition), {}):
                self._reasons.pop((each.topic, each.partition, offset), None)
