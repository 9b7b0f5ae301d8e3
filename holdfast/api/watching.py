"""Threads that follow the engine's topics for the API, in no consumer group: every server knows of all rollouts."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from detectors.policy import duration_ms
from holdfast.api.board import Board
from holdfast.errors import BadInput, Unreachable
from holdfast.live.announcing import Announcements, change, partitions_of
from holdfast.live.clients import base, consumer
from holdfast.live.events import Untrusted
from holdfast.live.following import Following, Place
from holdfast.live.reading import PARTITION_END, since
from holdfast.live.settings import Settings
from holdfast.live.subscription import message_of
from holdfast.wall import now_ms
from rollouts.announced import Announcement
from sinks.signatures import Keys

_BATCH_MESSAGES: Final = 500
_POLL_S: Final = 0.25
_ANSWER_S: Final = 10.0
_AGAIN_S: Final = 2.0
_SEEN_S: Final = 5.0

log = logging.getLogger(__name__)


class Watch(threading.Thread):
    """Does something until it is stopped, and begins it anew after an error: without brokers the API serves on.

    Parameters
    ----------
    name
        What is watched, for the log.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._stopped = threading.Event()
        self._alive_s = time.monotonic()

    def silence(self) -> float:
        """Return the seconds since the loop went round last."""
        return time.monotonic() - self._alive_s

    def run(self) -> None:
        """Watch until `stop`."""
        while not self._stopped.is_set():
            try:
                self.watch()
            except (BadInput, Unreachable, KafkaException) as error:
                said = error.args[0].str() if isinstance(error, KafkaException) else str(error)
                log.warning("%s: %s; trying again", self.name, said)
                self.failed(said)
                self.alive()
                self._stopped.wait(_AGAIN_S)

    def stop(self) -> None:
        """End it soon."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        """Whether it is to end."""
        return self._stopped.is_set()

    def alive(self) -> None:
        """Note that the loop goes round."""
        self._alive_s = time.monotonic()

    def watch(self) -> None:
        """Go on until `is_stopped`, or an error."""
        raise NotImplementedError

    def failed(self, why: str) -> None:
        """Take note of what ended `watch`."""


class VerdictWatch(Watch):
    """Puts what the engine says on a board.

    What was there before this server is a memory of `api.history`: it may tell of a stop, but until the engine speaks
    of a rollout again that one is in doubt.

    Parameters
    ----------
    settings
        Brokers, the verdict topic, the trusted keys, and `api`.
    board
        Takes it.

    Raises
    ------
    BadInput
        If a trusted key cannot be read.
    """

    def __init__(self, settings: Settings, board: Board) -> None:
        super().__init__("api-verdicts")
        self._settings, self._board = settings, board
        self._topic = settings.topics.verdicts
        self._stale_after_s = duration_ms(settings.api.stale_after) / 1_000
        self._keys = Keys.load(settings.trusted_keys) if settings.trusted_keys else None
        self._following = Following(self._stale_after_s, self._keys)
        self._at_end: set[int] = set()
        self._unread: set[int] = set()

    def watch(self) -> None:
        """Read the topic from where `history` begins, and follow it."""
        reader = consumer(self._settings, f"{self._settings.prefix}-api")
        try:
            numbers = partitions_of(reader, self._topic, _ANSWER_S)
            self._following = Following(self._stale_after_s, self._keys)
            self._at_end, self._unread = set(), set(numbers)
            reader.assign(self._begin(reader, numbers))
            while not self.is_stopped:
                self.alive()
                self._round(reader.consume(_BATCH_MESSAGES, min(_POLL_S, self._stale_after_s / 4)))
        finally:
            reader.close()

    def failed(self, why: str) -> None:
        """Doubt everything meanwhile."""
        self._board.unheard(f"the verdict topic is not heard: {why}")

    def _begin(self, reader: Consumer, numbers: Iterable[int]) -> list[TopicPartition]:
        since_ms = now_ms() - duration_ms(self._settings.api.history)
        places = [TopicPartition(self._topic, number, since_ms) for number in numbers]
        return since(reader, places, _ANSWER_S)

    def _round(self, records: list[Any]) -> None:
        now_s = time.monotonic()
        ends = False
        for record in records:
            error = record.error()
            if error is None:
                self._take(record, now_s)
            elif error.code() == PARTITION_END:
                ends = True
                self._end(record.partition() or 0)
            elif error.fatal():
                raise KafkaException(error)
            else:
                log.warning("%s: %s", self._topic, error.str())
        if ends or not records:
            for event in self._following.silent(now_s, self._at_end if ends else None):
                self._board.take(event)

    def _take(self, record: Any, now_s: float) -> None:
        partition = record.partition() or 0
        self._at_end.discard(partition)
        message = message_of(record)
        name = message.key.decode(errors="replace")
        for event in self._following.take(message, Place(self._topic, partition, record.offset() or 0), now_s):
            self._board.take(event)
            if isinstance(event, Untrusted):
                self._following.doubt(partition, name)  # so that the next good sign of life is told
        if self._following.is_finished(name):
            self._board.finished(name)

    def _end(self, partition: int) -> None:
        """Note that a partition was read to its end; the first time, that what was read of it is a memory."""
        self._at_end.add(partition)
        if partition in self._unread:
            self._unread.discard(partition)
            self._board.remembered(self._following.doubt(partition))
            if not self._unread:
                self._board.unheard(None)


class RolloutWatch(Watch):
    """Knows what is announced, and changes it.

    Parameters
    ----------
    settings
        Brokers and the rollouts topic.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__("api-rollouts")
        self._client, self._topic = base(settings), settings.topics.rollouts
        self._current: dict[str, Announcement] = {}
        self._is_loaded = False

    def current(self) -> dict[str, Announcement] | None:
        """Return what is announced by name, or None if it was not read to its end yet."""
        return self._current if self._is_loaded else None

    def change(self, rollout: str, make: Callable[[Announcement | None], Announcement]) -> Announcement:
        """Change what is announced of a rollout, and wait until it can be seen here; see `announcing.change`."""
        made = change(self._client, self._topic, rollout, make)
        end = time.monotonic() + _SEEN_S
        while time.monotonic() < end and not self._sees(made):
            time.sleep(0.02)
        return made

    def _sees(self, made: Announcement) -> bool:
        found = self._current.get(made.rollout.rollout)
        return found is not None and found.version >= made.version

    def watch(self) -> None:
        """Read the topic to its end, and follow it."""
        reader = Announcements(self._client, self._topic)
        try:
            reader.load()
            self._current, self._is_loaded = reader.current, True
            while not self.is_stopped:
                self.alive()
                reader.poll(_POLL_S)
        finally:
            reader.close()

    def failed(self, why: str) -> None:
        """Go on with what was read."""
