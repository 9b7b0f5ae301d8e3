"""Reading the dead-letter topic, and sending letters to where they came from."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from holdfast.errors import BadInput
from holdfast.live.clients import admin, consumer, transactional_producer
from holdfast.live.dead_letters import Chosen, Letter, Mark, again, mark, marks, metrics_topics, objection, read_letter
from holdfast.live.reading import read_to_end
from holdfast.live.records import Record
from holdfast.live.settings import Settings
from streams.live.frames import FrameError, header_of
from streams.wire.decoding import decode
from streams.wire.frame import BadFrame

_TRANSACTION_LETTERS: Final = 100
_TRANSACTION_BYTES: Final = 32 << 20
_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Listed:
    """A letter, the size of its value in bytes, and how often it was sent again."""

    letter: Letter
    size: int
    redriven: int


@dataclass(slots=True)
class Redriven:
    """What came of sending letters again: those that were sent, had been sent before, and may not be sent, with why."""

    sent: list[str]
    before: int
    refused: list[tuple[str, str]]


class DeadLetters:
    """The dead-letter topic of an engine.

    Parameters
    ----------
    settings
        See `holdfast.live.settings`.

    Raises
    ------
    BadInput
        If there is no such topic.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.topics.dead_letters
        self._admin: AdminClient = admin(settings)
        self._reader: Consumer = consumer(settings, f"{settings.prefix}-deadletters")
        self._counts = _counts(self._admin)
        if self._topic not in self._counts:
            message = f"the brokers have no topic {self._topic}; `holdfast topics create` makes it"
            raise BadInput(message)

    def listed(self, chosen: Chosen, limit: int, *, is_whole: bool = False) -> list[Listed]:
        """Return the newest letters of those that are meant, oldest first, at most `limit` of each partition.

        Their values, which may be large, are left out unless `is_whole`.
        """
        found: list[Listed] = []
        for number in range(self._counts[self._topic]):
            kept: deque[tuple[Letter, int]] = deque(maxlen=limit)
            times: dict[int, int] = {}
            for each in self._read(number):
                if isinstance(each, Mark):
                    times[each.offset] = each.times
                elif chosen.fits(each):
                    kept.append((each if is_whole else replace(each, value=None), len(each.value or b"")))
            found += [Listed(letter, size, times.get(letter.offset, 0)) for letter, size in kept]
        return found

    def redrive(self, chosen: Chosen, *, is_again: bool, is_dry: bool) -> Redriven:
        """Send letters to where they came from.

        A letter and the mark that says so are one transaction. All who do this bear one transactional id, and take it
        before they read which letters were sent: so of two at a time one is fenced off, and nothing is sent twice.

        Parameters
        ----------
        chosen
            Which letters.
        is_again
            Send those too that were sent before.
        is_dry
            Send nothing, and tell what would be sent.

        Raises
        ------
        BadInput
            If somebody else began to redrive meanwhile.
        """
        try:
            producer = None if is_dry else self._producer()
            result = Redriven([], 0, [])
            for number in range(self._counts[self._topic]):
                times = marks(self._read(number))
                self._partition(number, chosen, times, result, producer, is_again=is_again)
        except KafkaException as exception:
            error = exception.args[0]
            if not error.fatal():
                raise
            message = f"{self._topic}: somebody else began to redrive; what was sent so far is marked: {error.str()}"
            raise BadInput(message) from exception
        return result

    def _partition(
        self,
        number: int,
        chosen: Chosen,
        times: dict[int, int],
        result: Redriven,
        producer: Producer | None,
        *,
        is_again: bool,
    ) -> None:
        waiting: list[Record] = []
        places: list[str] = []
        size = 0
        for letter in self._read(number):
            if isinstance(letter, Mark) or not chosen.fits(letter):
                continue
            before = times.get(letter.offset, 0)
            if before and not is_again:
                result.before += 1
                continue
            why = objection(self._settings, letter, self._counts)
            if why is not None:
                result.refused.append((letter.place, why))
                continue
            waiting += [again(letter, before + 1), mark(self._settings, letter, before + 1)]
            places.append(letter.place)
            size += len(letter.value or b"")
            if len(places) >= _TRANSACTION_LETTERS or size >= _TRANSACTION_BYTES:
                result.sent += _sent(producer, waiting, places)
                waiting, places, size = [], [], 0
        result.sent += _sent(producer, waiting, places)

    def _read(self, number: int) -> Iterator[Letter | Mark]:
        """Read a partition to its end; what is neither a letter nor a mark is not ours, and is passed over."""
        for message in read_to_end(self._admin, self._reader, self._topic, number):
            found = read_letter(message)
            if found is not None:
                yield found

    def _producer(self) -> Producer:
        made = transactional_producer(msgspec.structs.replace(self._settings, worker="any"), "redrive")
        made.init_transactions(_SECONDS)
        return made


def reason_now(settings: Settings, letter: Letter) -> str:
    """Tell what a reader says of a letter today: another version may understand what the one before did not."""
    payload = letter.value or b""
    try:
        if letter.from_topic in metrics_topics(settings):
            return f"readable now: {len(decode(payload, letter.content_type).time):,} samples"
        if letter.from_topic == settings.topics.cohort_ticks:
            header = header_of(payload)
            return f"readable now: tick {header.tick} of {header.rollout}"
    except (BadFrame, FrameError, BadInput) as error:
        return str(error)
    return f"{letter.from_topic} holds no metrics"


def _sent(producer: Producer | None, records: list[Record], places: list[str]) -> list[str]:
    """Send records in one transaction, and return the places that they stand for."""
    if producer is not None and records:
        producer.begin_transaction()
        for record in records:
            producer.produce(record.topic, record.value, record.key, record.partition, headers=list(record.headers))
        producer.commit_transaction(_SECONDS)
    return places


def _counts(client: AdminClient) -> dict[str, int]:
    known = client.list_topics(timeout=10.0).topics
    return {name: len(topic.partitions) for name, topic in known.items()}
