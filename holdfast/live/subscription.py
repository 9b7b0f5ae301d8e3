"""The verdict topic for rollout systems: verdicts once each and in order, doubts and silence as events of their own."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Record

from holdfast.errors import BadInput
from holdfast.live.durations import seconds_of
from holdfast.live.events import Event, Fresh, Stale
from holdfast.live.following import Following, Place
from holdfast.live.grouping import subscribe
from holdfast.live.partitioner import partition_of
from holdfast.live.reading import PARTITION_END, behind
from sinks.messages import Message
from sinks.signatures import Keys

TOPIC: Final = "holdfast.verdicts"

_OURS: Final = {
    "enable.auto.commit": False,  # a place is remembered when the caller is done with an event, not before
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",  # what a judge wrote and took back must not be seen
    "enable.partition.eof": True,  # silence begins at the end of a partition
    "partition.assignment.strategy": "cooperative-sticky",
}
_GIVEN: Final = ("bootstrap.servers", "group.id")
_COMMIT_EVERY_S: Final = 10.0
_COUNT_EVERY_S: Final = 5.0
_WAIT_S_MAX: Final = 0.5
_ANSWER_S: Final = 30.0
_LEAVE_S: Final = 5.0
_AGAIN_S: Final = 0.1
_HOPELESS: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
    }
)

_log = logging.getLogger(__name__)


class Subscription:
    """What the engine says about rollouts: an iterator, and an asynchronous one, over events without an end.

    An event is taken to be dealt with when the next one is asked for, or by `acknowledge`; only then is it remembered
    in the consumer group. Whoever dies in the middle of an event gets it again, and never misses one.

    `holdfast.subscribe` makes one, and says what it is given and what it raises.
    """

    def __init__(
        self,
        bootstrap: str,
        group: str,
        rollouts: Collection[str] | None = None,
        trusted_keys: Mapping[str, str | Path] | None = None,
        stale_after: str = "60s",
        topic: str = TOPIC,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        self._topic = topic
        self._names = None if rollouts is None else _listed(rollouts)
        self._stale_after_s = seconds_of("stale_after", stale_after)
        self._wait_s = min(_WAIT_S_MAX, self._stale_after_s / 4)
        keys = None if trusted_keys is None else Keys.load(trusted_keys)
        self._following = Following(self._stale_after_s, keys)
        self._lock = threading.RLock()
        self._ready: deque[Event] = deque()
        self._place: TopicPartition | None = None  # of the message whose events are being handed out
        self._next: dict[int, int] = {}  # partition -> the offset after the last message that was dealt with
        self._said: dict[int, TopicPartition] = {}  # partition -> what the group was last asked to remember
        self._dirty: set[int] = set()
        self._ours: set[int] = set()
        self._at_end: set[int] = set()
        self._begun_s = self._committed_s = self._counted_s = time.monotonic()
        self._partitions = self._backlog = 0
        self._is_joined = self._is_dumb = self._is_closed = self._is_shut = self._is_stepping = False
        for name in self._names or ():
            self._following.expect(name, self._begun_s)
        self._consumer = _consumer(bootstrap, group, settings or {}, self._on_commit)
        subscribe(self._consumer, [topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        self.acknowledge()
        while not self._ready and not self._is_closed:
            self._step()
        if self._is_closed:
            raise StopIteration
        return self._ready.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        await asyncio.to_thread(self.acknowledge)
        while not self._ready and not self._is_closed:
            # Cancelled meanwhile, the step ends by itself, and what it found is there for the next call.
            await asyncio.to_thread(self._step)
        if self._is_closed:
            raise StopAsyncIteration
        return self._ready.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def judged_through(self, rollout: str) -> datetime | None:
        """Tell through when the engine is known to have judged a rollout, in event time; None if it was not heard.

        It may be called from another thread.
        """
        return self._following.judged_through(rollout)

    @property
    def backlog(self) -> int:
        """How many messages there were a moment ago that had not been read yet."""
        return self._backlog

    def acknowledge(self) -> None:
        """Say that the event handed out last is dealt with; asking for the next one says so too."""
        with self._lock:
            if self._place is None or self._ready or self._is_closed:
                return
            self._next[self._place.partition] = self._place.offset + 1
            self._dirty.add(self._place.partition)
            self._place = None
            self._commit()

    def close(self) -> None:
        """End the iteration and leave the group. The event handed out last comes again, unless it was acknowledged.

        It may be called from another thread, or from the handler of a signal.
        """
        self._is_closed = True
        with self._lock:
            self._shut()

    def _shut(self) -> None:
        """Leave the group, if that was asked for; in the middle of a step, by the handler of a signal, at its end."""
        if self._is_closed and not self._is_stepping and not self._is_shut:
            self._is_shut = True
            # Brokers that are gone would keep it waiting for minutes; then the group finds out by itself.
            leaving = threading.Thread(target=self._leave, name="holdfast-leave", daemon=True)
            leaving.start()
            leaving.join(_LEAVE_S)
            if leaving.is_alive():
                _log.warning("%s: the group was not left in %g s; brokers do not answer", self._topic, _LEAVE_S)

    def _leave(self) -> None:
        try:
            self._commit()
            self._settle()
            self._consumer.close()
        except KafkaException as error:  # as when brokers are gone: nobody waits for what this thread might say
            _log.warning("%s: the group was not left in good order: %s", self._topic, error)

    def _settle(self) -> None:
        """Have the group remember where we are, and wait until it does: a consumer that closes drops what is under way.

        Brokers that have just come back refuse it for a moment.
        """
        end_s = time.monotonic() + _LEAVE_S
        while places := [place for partition, place in sorted(self._said.items()) if partition in self._ours]:
            try:
                answered = self._consumer.commit(offsets=places, asynchronous=False)
                failed = [place.error for place in answered if place.error is not None]
            except KafkaException as error:
                failed = [error.args[0]]
            if not failed or time.monotonic() > end_s:
                self._on_commit(failed[0] if failed else None, places)
                return
            time.sleep(_AGAIN_S)

    def _step(self) -> None:
        """Wait a moment for a message, and make ready what is to be told because of it, or of its absence."""
        with self._lock:
            if self._ready or self._is_closed:
                return
            self._is_stepping = True
            try:
                self._poll()
            finally:
                self._is_stepping = False
                self._shut()

    def _poll(self) -> None:
        record = self._consumer.poll(self._wait_s)
        now_s = time.monotonic()
        error = None if record is None else record.error()
        if record is not None and error is None:
            self._take(record, now_s)
        else:
            self._quiet(record, error, now_s)
        if self._dirty and now_s - self._committed_s > _COMMIT_EVERY_S:
            self._commit()
        if now_s - self._counted_s > _COUNT_EVERY_S:
            # Here alone: in the middle of a rebalance a consumer would keep whoever asks it from elsewhere for ever.
            self._counted_s, self._backlog = now_s, sum(behind(self._consumer).values())

    def _take(self, record: Record, now_s: float) -> None:
        partition, offset = record.partition() or 0, record.offset() or 0
        self._at_end.discard(partition)
        message = message_of(record)
        told: list[Event] = []
        if self._names is None or message.key in self._names.values():
            told = self._following.take(message, Place(self._topic, partition, offset), now_s)
        if told:
            self._ready.extend(told)
            self._place = TopicPartition(self._topic, partition, offset)
        else:
            self._next[partition] = offset + 1
            self._dirty.add(partition)

    def _quiet(self, record: Record | None, error: KafkaError | None, now_s: float) -> None:
        """Look who is stale, now that there is nothing to read."""
        if record is not None and error is not None and error.code() == PARTITION_END:
            self._at_end.add(record.partition() or 0)
            self._ready.extend(self._following.silent(now_s, self._at_end))
            return
        if error is not None:
            self._complain(error)
        if self._names is None and not self._is_joined and not self._is_dumb:
            self._is_dumb = now_s - self._begun_s > self._stale_after_s
            self._ready.extend([Stale(None, None)] if self._is_dumb else [])
        self._ready.extend(self._following.silent(now_s))

    def _complain(self, error: KafkaError) -> None:
        is_missing = error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART and not self._ours
        if is_missing:
            message = f"topic {self._topic}: {error.str()}"
            raise BadInput(message)
        if error.fatal() or error.code() in _HOPELESS:
            raise KafkaException(error)
        _log.warning("%s: %s", self._topic, error.str())

    def _commit(self) -> None:
        """Ask the group to remember where we are; if that fails, it is asked for again later.

        Of a partition whose event is in somebody's hands we know more than was dealt with. Were that written beside the
        offset, the event would be taken for one that came before when it comes again: such a partition waits.
        """
        self._committed_s = time.monotonic()
        held = set[int]() if self._place is None else {self._place.partition}
        places = [
            TopicPartition(self._topic, partition, self._next[partition], self._following.remembered(partition))
            for partition in sorted((self._dirty & self._ours) - held)
        ]
        self._said |= {place.partition: place for place in places}
        self._dirty &= held
        if places:
            try:
                self._consumer.commit(offsets=places, asynchronous=True)
            except KafkaException as error:
                self._on_commit(error.args[0], places)

    def _on_commit(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        for place in places:
            failed = error or place.error
            if failed is not None:
                _log.warning("%s[%d]: place not remembered yet: %s", place.topic, place.partition, failed.str())
                self._dirty.add(place.partition)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._is_closed:
            return  # a rebalance that ends while the group is left: nothing of it will be read
        now_s = time.monotonic()
        if partitions:
            for place in consumer.committed(partitions, timeout=_ANSWER_S):
                if place.error is not None:
                    raise KafkaException(place.error)
                if place.offset >= 0 and place.metadata:
                    self._following.restore(place.partition, place.metadata, now_s)
        self._ours |= {place.partition for place in partitions}
        self._partitions = len(consumer.list_topics(self._topic, timeout=_ANSWER_S).topics[self._topic].partitions)
        self._share(now_s)
        if self._is_dumb:
            self._ready.append(Fresh(None, None))
        self._is_joined, self._is_dumb = True, False

    def _share(self, now_s: float) -> None:
        """Expect those rollouts alone whose partitions are ours: of the others another process hears."""
        for name, key in (self._names or {}).items():
            if self._partitions and partition_of(key, self._partitions) in self._ours:
                self._following.expect(name, now_s)
            else:
                self._following.unexpect(name)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._commit()
        self._on_lost(consumer, partitions)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        gone = {place.partition for place in partitions}
        self._following.forget(gone)
        self._ours -= gone
        self._at_end -= gone
        self._dirty -= gone
        self._said = {partition: place for partition, place in self._said.items() if partition not in gone}
        self._share(time.monotonic())


def _consumer(bootstrap: str, group: str, settings: Mapping[str, object], on_commit: object) -> Consumer:
    for key in settings:
        if key in _OURS or key in _GIVEN:
            reason = "a parameter says it" if key in _GIVEN else "holdfast sets it itself"
            message = f"settings: {key}: {reason}; allowed: other settings of librdkafka"
            raise BadInput(message)
    given = {"bootstrap.servers": bootstrap, "group.id": group, "on_commit": on_commit}
    first = {"auto.offset.reset": "earliest", "message.max.bytes": 8_000_000, "reconnect.backoff.ms": 1_000}
    try:
        return Consumer({**first, **settings, **_OURS, **given}, logger=_log)
    except (KafkaException, ValueError) as error:
        message = f"settings: {error}"
        raise BadInput(message) from error


def message_of(record: Record) -> Message:
    """Take a record for what it says, whichever client brought it."""
    headers = record.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    kept = [(name, value.encode() if isinstance(value, str) else value or b"") for name, value in pairs]
    return Message(record.key() or b"", record.value() or b"", kept)


def _listed(rollouts: Collection[str]) -> dict[str, bytes]:
    if isinstance(rollouts, str) or not rollouts:
        message = f"rollouts: found {rollouts!r}; allowed: a list of names, or None for all"
        raise BadInput(message)
    return {name: name.encode() for name in rollouts}
