"""The one loop of aggregate, judge and re-key: poll a batch, take a step, and commit what came of it, all or nothing.

Outputs, state and input offsets go into one Kafka transaction, whose group metadata fences off a worker that was
thought dead and wakes up later. So nothing is lost and nothing comes twice, across kill -9 and rebalances.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final, Protocol

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from holdfast.live.backlog import Backlog
from holdfast.live.grouping import subscribe
from holdfast.live.orphans import Orphans
from holdfast.live.reading import PARTITION_END, TIMED_OUT
from holdfast.live.records import Outputs, put
from holdfast.live.telemetry import Telemetry

log = logging.getLogger(__name__)

_TRANSACTION_SECONDS: Final = 30.0
"""How long to wait for room in the producer's queue before trying again."""

_RETRIES_MAX: Final = 20

_BYTES_AT_A_TIME: Final = 1 << 20
"""About how much is taken out of the client's queue at a time: memory that is freed soon is still in the cache."""


class Step(Protocol):
    """What a worker does with what it reads; it never touches the consumer or the producer."""

    def assigned(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """Load the state of partitions, whose `offset` is the committed one, and return from where each is read."""
        ...

    def revoked(self, partitions: Sequence[TopicPartition], /) -> Outputs:
        """Give partitions up; return what has to be written down before."""
        ...

    def lost(self, partitions: Sequence[TopicPartition], /) -> None:
        """Forget partitions that somebody else has already."""
        ...

    def held(self) -> Collection[tuple[str, int]]:
        """Name partitions that are not to be read on for now: there is enough of them, and too little of others."""
        ...

    def take(self, messages: Sequence[Message], now: float, /) -> None:
        """Take messages, ends of partitions among them."""
        ...

    def outputs(self, now: float, /) -> Outputs:
        """Return what has come up since; what is returned will be committed, or the state be loaded anew."""
        ...


_POLL_SECONDS: Final = 0.1
"""Longest wait for a message, and so the pause between two looks at the clock."""

Hook = Callable[[str], None]
"""Told each point that a commit or a rebalance has passed, by name; tests stop the process there."""


def let_pass(_point: str) -> None:
    """Let a point pass."""


class Fenced(Exception):
    """The worker has to end: another one bears its name, or the broker refuses what it writes."""


def _explicit(partition: TopicPartition) -> TopicPartition:
    """Have a partition of which nothing was committed be read from its beginning."""
    if partition.offset < 0:
        partition.offset = OFFSET_BEGINNING
    return partition


class Loop:
    """Drives a step between a consumer and a transactional producer.

    Parameters
    ----------
    consumer, producer
        As `holdfast.live.clients` makes them: `read_committed`, no automatic commits, partition ends reported.
    topics
        What is read.
    step
        What is done with it.
    telemetry
        Counts transactions and rebalances.
    batch_messages
        Most messages taken at a time.
    orphans
        Looks after partitions that belong to nobody; None leaves them.
    hook
        See `Hook`.
    """

    def __init__(
        self,
        consumer: Consumer,
        producer: Producer,
        topics: Sequence[str],
        step: Step,
        telemetry: Telemetry,
        *,
        batch_messages: int,
        orphans: Orphans | None = None,
        hook: Hook = let_pass,
    ) -> None:
        self._consumer = consumer
        self._producer = producer
        self._topics = list(topics)
        self._step = step
        self._telemetry = telemetry
        self._backlog = Backlog(consumer, telemetry)
        self._batch = batch_messages
        self._orphans = orphans
        self._hook = hook
        self._stopping = False
        self._aborted = 0  # transactions in a row
        self._held: set[tuple[str, int]] = set()
        self._committing: float | None = None  # since when
        self._is_ready = False

    @property
    def is_ready(self) -> bool:
        """Whether partitions were assigned and their state is loaded."""
        return self._is_ready

    def commits_for(self, now: float) -> float:
        """Return for how many seconds a transaction has been under way; 0 if none is."""
        started = self._committing
        return 0.0 if started is None else now - started

    def stop(self) -> None:
        """End the loop after the batch at hand; may be called from a signal handler or another thread."""
        self._stopping = True

    def run(self) -> None:
        """Work until stopped.

        Raises
        ------
        Fenced
            If another worker has taken over.
        KafkaException
            If the broker refuses for good.
        """
        self.begin()
        try:
            while not self._stopping:
                self.once()
        finally:
            self.end()

    def begin(self) -> None:
        """Fence off an earlier self, and join the group."""
        self._producer.init_transactions(_TRANSACTION_SECONDS)
        self._join()

    def _join(self) -> None:
        subscribe(self._consumer, self._topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)

    def end(self) -> None:
        """Leave the group, which revokes what is assigned, and so writes down what has to be."""
        self._consumer.close()

    def position(self, topic: str, partition: int) -> int:
        """Return up to where a partition was read; negative as long as it was not."""
        return self._consumer.position([TopicPartition(topic, partition)])[0].offset

    def once(self) -> None:
        """Poll and take one batch, and commit what came of it."""
        if self._orphans is not None:
            self._orphans.look(self._join)
        # The first message is waited for, and what else is there is taken along: nothing waits for a batch to fill.
        first = self._consumer.poll(_POLL_SECONDS)
        self._telemetry.alive()
        self._backlog.look(len(self._producer))
        now = time.monotonic()
        if first is not None:
            self._take(first, now)
        self._hook("taken")
        self._hold_back()
        outputs = self._step.outputs(now)
        if outputs:
            if self._commit(outputs):
                self._hook("taken_over")
            else:
                self._rewind()

    def _take(self, first: Message, now: float) -> None:
        """Take a batch, a few messages at a time, so that large ones are not all in memory at once."""
        messages, left = [first], self._batch
        while messages:
            self._step.take(self._readable(messages), now)
            size = max(1, sum(len(message) for message in messages) // len(messages))
            messages = self._consumer.consume(min(left, max(1, _BYTES_AT_A_TIME // size)), 0.0) if left else []
            left -= len(messages)

    def _hold_back(self) -> None:
        """Pause what the step has enough of, and go on with what it has not."""
        held = set(self._step.held())
        if held == self._held:
            return
        mine = {(each.topic, each.partition) for each in self._consumer.assignment()}
        pause, resume = (held - self._held) & mine, (self._held - held) & mine
        self._consumer.pause([TopicPartition(topic, number) for topic, number in pause])
        self._consumer.resume([TopicPartition(topic, number) for topic, number in resume])
        self._held = held

    def _readable(self, messages: Sequence[Message]) -> list[Message]:
        """Keep messages and ends of partitions; other errors pass by themselves, or end the worker."""
        kept = []
        for message in messages:
            error = message.error()
            if error is None or error.code() == PARTITION_END:
                kept.append(message)
            elif error.fatal():
                raise KafkaException(error)
            else:
                log.warning("the broker says: %s", error.str())
        return kept

    def _commit(self, outputs: Outputs) -> bool:
        """Put outputs and offsets into one transaction; tell whether that is done."""
        started = self._committing = time.monotonic()
        try:
            self._producer.begin_transaction()
            for record in outputs.records:
                put(self._producer, record)
            self._hook("produced")
            if outputs.offsets:
                metadata = self._consumer.consumer_group_metadata()
                self._retried(
                    lambda: self._producer.send_offsets_to_transaction(outputs.offsets, metadata, _TRANSACTION_SECONDS)
                )
            self._hook("offsets_added")
            self._retried(lambda: self._producer.commit_transaction(_TRANSACTION_SECONDS))
            self._hook("committed")
        except KafkaException as exception:
            self._abort(exception)
            return False
        finally:
            self._committing = None
        self._telemetry.transaction(time.monotonic() - started, is_committed=True, records=len(outputs.records))
        self._aborted = 0
        return True

    def _retried(self, call: Callable[[], object]) -> None:
        """Call, and call again while Kafka says that this may help."""
        for attempt in range(_RETRIES_MAX):
            try:
                call()
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                # A call that has timed out may leave the client waiting for an answer that never comes: after a broker
                # was killed it did so for good. Taking the transaction back gets it out of that.
                if attempt == _RETRIES_MAX - 1 or not error.retriable() or error.code() == TIMED_OUT:
                    raise
                log.warning("transaction: %s; trying again", exception.args[0].str())
            else:
                return

    def _abort(self, exception: KafkaException) -> None:
        """Take a transaction back, or end if that is no longer ours to do."""
        error: KafkaError = exception.args[0]
        self._telemetry.transaction(0.0, is_committed=False)
        if error.fatal():
            msg = f"this worker was fenced off: {error.str()}"
            raise Fenced(msg) from exception
        self._aborted += 1
        if self._aborted > _RETRIES_MAX:
            msg = f"{self._aborted} transactions in a row were taken back; the last one: {error.str()}"
            raise Fenced(msg) from exception
        log.warning("transaction taken back: %s", error.str())
        self._retried(lambda: self._producer.abort_transaction(_TRANSACTION_SECONDS))
        self._hook("aborted")

    def _stable(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Ask for committed offsets until none is in the hands of an open transaction."""
        attempt = 0
        while True:
            attempt += 1
            found = self._consumer.committed(partitions, _TRANSACTION_SECONDS)
            errors = [partition.error for partition in found if partition.error is not None]
            if not errors:
                return [_explicit(partition) for partition in found]
            if attempt == _RETRIES_MAX:
                raise KafkaException(errors[0])
            log.warning("committed offsets are not known yet: %s", errors[0].str())

    def _rewind(self) -> None:
        """Load the state anew and read again from what was committed: the step had gone on, Kafka had not."""
        mine = self._consumer.assignment()
        if mine:
            self._step.lost(mine)
            for partition in self._step.assigned(self._stable(mine)):
                self._consumer.seek(partition)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._telemetry.rebalance("assigned", len(partitions))
        started = self._step.assigned(self._stable(partitions)) if partitions else []
        consumer.incremental_assign(started)
        self._is_ready = True

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._telemetry.rebalance("revoked", len(partitions))
        outputs = self._step.revoked(partitions)
        if outputs:
            self._commit(outputs)  # if it fails, whoever comes next begins from what was committed
        self._hook("revoked")
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._telemetry.rebalance("lost", len(partitions))
        self._step.lost(partitions)
        consumer.incremental_unassign(partitions)
