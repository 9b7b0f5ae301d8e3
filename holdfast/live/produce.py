"""Playing samples into a metrics topic, as fast as they came, or at any other speed."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from holdfast.errors import BadInput, Unreachable
from holdfast.produce import Frame

ANSWER_SECONDS: Final = 30.0
"""How long to wait for the brokers to tell what topics there are."""

_POLL_SECONDS: Final = 0.2
"""How long at most to wait without listening to what the brokers say."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast event time is to go.

    Attributes
    ----------
    speed
        Seconds of event time in a second by the clock; None for as fast as it goes.
    origin_ms
        The event time at which playing begins, in epoch milliseconds: what is earlier is sent at once. None for the
        time of the first frame.
    """

    speed: float | None
    origin_ms: int | None = None


@dataclass(slots=True)
class Played:
    """What has been sent so far: how much, and in how many seconds."""

    frames: int = 0
    samples: int = 0
    size: int = 0
    seconds: float = 0.0


class Player:
    """Sends frames to a topic, each when its last sample is due: a collector sends what it has scraped.

    Parameters
    ----------
    producer
        An idempotent one, so that frames of a colo keep their order and come once.
    topic
        Where they go.
    pace
        How fast.
    observer
        Is told how far it has come after each frame.
    clock
        Tells seconds; it need not tell the time of day.
    """

    def __init__(
        self,
        producer: Producer,
        topic: str,
        pace: Pace,
        observer: Callable[[Played], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._producer, self._topic, self._pace = producer, topic, pace
        self._observer, self._clock = observer, clock
        self._failure: KafkaError | None = None

    def play(self, frames: Iterable[Frame]) -> Played:
        """Send all frames, and wait until the brokers have them.

        Raises
        ------
        BadInput
            If the brokers refuse one.
        Unreachable
            If they do not answer for as long as the producer waits.
        """
        played = Played()
        began, origin = self._clock(), self._pace.origin_ms
        try:
            for frame in frames:
                if origin is None:
                    origin = frame.first_ms
                if self._pace.speed is not None:
                    self._wait(began + (frame.last_ms - origin) / 1_000 / self._pace.speed)
                self._send(frame)
                played.frames += 1
                played.samples += frame.rows
                played.size += len(frame.payload)
                played.seconds = self._clock() - began
                self._observer(played)
        finally:
            # Also when somebody has had enough: what was counted as sent is to be there.
            while self._producer.flush(_POLL_SECONDS):
                self._refuse()
        self._refuse()
        played.seconds = self._clock() - began
        return played

    def _wait(self, due: float) -> None:
        while (left := due - self._clock()) > 0:
            self._producer.poll(min(left, _POLL_SECONDS))
            self._refuse()

    def _send(self, frame: Frame) -> None:
        headers: list[tuple[str, Any]] = [("content-type", frame.content_type.encode())]
        while True:
            try:
                self._producer.produce(
                    self._topic, frame.payload, frame.key, headers=headers, on_delivery=self._delivered
                )
            except BufferError:  # the queue is bounded: wait until the brokers have taken something out of it
                self._producer.poll(_POLL_SECONDS)
            except KafkaException as error:
                self._failure = error.args[0]
            else:
                self._producer.poll(0)
                self._refuse()
                return
            self._refuse()

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None and self._failure is None:
            self._failure = error

    def _refuse(self) -> None:
        error = self._failure
        if error is None:
            return
        message = f"topic {self._topic}: a frame was not taken: {error.str()}"
        if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
            message += "; fewer samples in a frame (--rows) make it smaller"
        elif error.retriable() or error.code() == KafkaError._MSG_TIMED_OUT:  # noqa: SLF001 - librdkafka's own, but public
            raise Unreachable(message)
        raise BadInput(message)


def require_topic(client: AdminClient, topic: str) -> None:
    """Refuse a topic that is not there; a broker might make it, with settings that nobody chose.

    Raises
    ------
    BadInput
        If it is not there.
    Unreachable
        If the brokers do not answer.
    """
    try:
        known = client.list_topics(timeout=ANSWER_SECONDS).topics
    except KafkaException as error:
        message = f"topic {topic}: the brokers do not answer: {error.args[0].str()}"
        raise Unreachable(message) from error
    if topic not in known:
        message = f"topic {topic}: not there; `holdfast topics create` makes those that the settings name"
        raise BadInput(message)
