"""The loop takes a batch in pieces of bounded size, and all of it before it asks what has come of it."""

from collections.abc import Sequence
from typing import Any

from confluent_kafka import Message

from holdfast.live.loop import Loop
from holdfast.live.records import Outputs
from holdfast.live.telemetry import Telemetry

MEGABYTE = 1 << 20


class Sized:
    """A message of some size."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def error(self) -> None:
        return None


class Queue:
    """A consumer with messages of one size."""

    def __init__(self, count: int, size: int) -> None:
        self._messages = [Sized(size) for _ in range(count)]

    def poll(self, _seconds: float) -> Sized | None:
        return self._messages.pop() if self._messages else None

    def consume(self, count: int, _seconds: float) -> list[Sized]:
        taken, self._messages = self._messages[:count], self._messages[count:]
        return taken

    def assignment(self) -> list[Any]:
        return []

    def position(self, _partitions: list[Any]) -> list[Any]:
        return []


class Noting:
    """A step that notes how many messages it is given at a time."""

    def __init__(self) -> None:
        self.noted: list[int] = []

    def take(self, messages: Sequence[Message], _now: float) -> None:
        self.noted.append(len(messages))

    def held(self) -> list[tuple[str, int]]:
        return []

    def outputs(self, _now: float) -> Outputs:
        self.noted.append(0)
        return Outputs()


def taken(count: int, size: int, batch: int) -> list[int]:
    step: Any = Noting()
    consumer: Any = Queue(count, size)
    producer: Any = []  # has nothing queued, and is given nothing
    Loop(consumer, producer, ["t"], step, Telemetry("aggregate", "w"), batch_messages=batch).once()
    noted: list[int] = step.noted
    return noted


def test_small_messages_are_taken_all_at_once() -> None:
    assert taken(count=50, size=100, batch=1_000) == [1, 49, 0]


def test_large_messages_are_taken_a_few_at_a_time() -> None:
    assert taken(count=9, size=MEGABYTE // 4, batch=1_000) == [1, 4, 4, 0]


def test_a_message_beyond_the_bound_is_taken_by_itself() -> None:
    assert taken(count=3, size=3 * MEGABYTE, batch=1_000) == [1, 1, 1, 0]


def test_a_batch_ends_when_it_is_full() -> None:
    assert taken(count=50, size=MEGABYTE // 4, batch=6) == [1, 4, 2, 0]
