"""The audit topic: read to its end, and written by one at a time, so that its entries are one chain."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaException, Message, TopicPartition

from holdfast.errors import Unreachable
from holdfast.live.announcing import ATTEMPTS_MAX, FENCED, partitions_of, writer
from holdfast.live.clients import base, consumer
from holdfast.live.reading import PARTITION_END
from holdfast.live.settings import Settings
from holdfast.wall import now_ms
from rollouts.audit import Chain, Link, Record, decode, encode, hash_of

ANSWER_SECONDS: Final = 30.0
"""How long each answer of the brokers is waited for."""

_BATCH_MESSAGES: Final = 1_000
_POLL_SECONDS: Final = 0.1
_WRITER: Final = "chain"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Draft:
    """What an entry is to say; its place in the chain and its time come when it is written."""

    who: str
    kind: str
    subject: str
    body: dict[str, object]


Make = Callable[[Chain, datetime], Draft | None]
MakeAll = Callable[[Chain, datetime], Sequence[Draft]]


class AuditLog:
    """Reads the audit topic from its beginning on, in no consumer group.

    Parameters
    ----------
    settings
        Brokers, the name of the topic, and the prefix, which is the name of the installation.
    seconds
        How long each answer of the brokers is waited for.

    Attributes
    ----------
    chain
        What was read.
    """

    def __init__(self, settings: Settings, seconds: float = ANSWER_SECONDS) -> None:
        self._topic, self._seconds = settings.topics.audit, seconds
        self.chain = Chain(settings.prefix)
        # A replica nearby may lag behind its leader, and what is decided on must be the newest.
        near = {key: value for key, value in settings.kafka.items() if key != "client.rack"}
        self._consumer: Consumer = consumer(
            msgspec.structs.replace(settings, kafka=near), f"{settings.prefix}-audit-reader"
        )

    def __enter__(self) -> "AuditLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def check(self) -> None:
        """Make sure that there is a topic.

        Raises
        ------
        BadInput
            If there is none.
        Unreachable
            If no broker answers.
        """
        partitions_of(self._consumer, self._topic, self._seconds)

    def load(self) -> None:
        """Read the topic to the end that it has now. Call it once, before `poll`.

        Raises
        ------
        BadInput, Unreachable
            As `check` does, or if the end is not reached in time.
        """
        self.check()
        self._consumer.assign([TopicPartition(self._topic, 0, 0)])
        end = time.monotonic() + self._seconds
        while not self._read()[1]:
            if time.monotonic() > end:
                message = f"{self._topic}: not read to its end in {self._seconds:g} s"
                raise Unreachable(message)

    def poll(self) -> list[Link]:
        """Take what came since, for a moment, and return the entries that count."""
        return self._read()[0]

    def _read(self) -> tuple[list[Link], bool]:
        """Take what is there; tell the entries that count, and whether the end was reached."""
        found: list[Link] = []
        is_end = False
        for message in self._consumer.consume(_BATCH_MESSAGES, _POLL_SECONDS):
            error = message.error()
            if error is None:
                link = self.chain.take(_record(message))
                found += [] if link is None else [link]
            elif error.code() == PARTITION_END:
                is_end = True
            elif error.fatal():
                raise KafkaException(error)
            else:
                _log.warning("%s: %s", self._topic, error.str())
        return found, is_end


def read(settings: Settings, seconds: float = ANSWER_SECONDS) -> Chain:
    """Read the audit topic to its end; raises what `AuditLog.load` raises."""
    with AuditLog(settings, seconds) as log:
        log.load()
        return log.chain


def append(settings: Settings, make: Make, seconds: float = ANSWER_SECONDS) -> Link | None:
    """Add an entry to the log, and wait until it can be read.

    Who writes begins a transaction of the one id of the topic, which ends that of any other writer, and reads the topic
    only then. So two who write at once write one after the other, and each decides on what the other wrote.

    Parameters
    ----------
    settings
        Brokers, the name of the topic, and the prefix.
    make
        Makes the entry from the log as it is and the time; called again for another try. If it makes none, nothing is
        written.
    seconds
        How long each answer of the brokers is waited for.

    Returns
    -------
    Link | None
        The entry as it was read back.

    Raises
    ------
    BadInput
        What `make` raises, or that there is no such topic.
    Unreachable
        If the brokers do not answer in time, or others wrote all the time. Whether the entry is there is not known
        then; what people sign may be said again, and counts once.
    """

    def some(chain: Chain, at: datetime) -> list[Draft]:
        draft = make(chain, at)
        return [] if draft is None else [draft]

    found = append_all(settings, some, seconds)
    return found[0] if found else None


def append_all(settings: Settings, make: MakeAll, seconds: float = ANSWER_SECONDS) -> list[Link]:
    """Add entries one behind the other in one transaction, and wait until they can be read; see `append`.

    Returns
    -------
    list[Link]
        What was written by the last try. If somebody who does not work in transactions came between, entries of a try
        before may be there too: `make` finds them in the log that it gets.
    """
    topic = settings.topics.audit
    for _ in range(ATTEMPTS_MAX):
        try:
            is_done, found = _attempt(settings, make, seconds)
        except KafkaException as error:
            if error.args[0].code() not in FENCED:
                message = f"{topic}: not known to be written: {error.args[0].str()}"
                raise Unreachable(message) from error
        else:
            if is_done:
                return found
        _log.info("%s: somebody else wrote meanwhile; trying again", topic)
    message = f"{topic}: not written: somebody else wrote {ATTEMPTS_MAX} times meanwhile"
    raise Unreachable(message)


def now() -> datetime:
    """Return the time by the clock on the wall."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=now_ms())


def _attempt(settings: Settings, make: MakeAll, seconds: float) -> tuple[bool, list[Link]]:
    """Write once; tell whether it is done, and the entries if there are any.

    It is not done if another entry took the place, as of a writer who does not work in transactions.
    """
    with AuditLog(settings, seconds) as log:
        log.check()  # a missing topic is told before a producer waits for it
        producer = writer(base(settings), settings.topics.audit, _WRITER)
        producer.init_transactions(seconds)
        log.load()
        at = now()
        drafts = make(log.chain, at)
        if not drafts:
            return True, []
        raws = _chained(log.chain, drafts, at)
        producer.begin_transaction()
        for raw in raws:
            # Without a key: no compaction takes entries away.
            producer.produce(settings.topics.audit, raw, partition=0)
        producer.commit_transaction(seconds)
        wanted = [hash_of(raw) for raw in raws]
        found = _read_back(log, wanted, seconds)
        return len(found) == len(wanted), found


def _chained(chain: Chain, drafts: Sequence[Draft], at: datetime) -> list[bytes]:
    """Write entries that follow a log, one behind the other."""
    raws: list[bytes] = []
    for draft in drafts:
        entry, raw = chain.following(time=at, who=draft.who, kind=draft.kind, subject=draft.subject, body=draft.body)
        if raws:
            sequence = entry.sequence + len(raws)
            raw = encode(msgspec.structs.replace(entry, sequence=sequence, previous=hash_of(raws[-1])))
            decode(raw)
        raws.append(raw)
    return raws


def _read_back(log: AuditLog, wanted: Sequence[str], seconds: float) -> list[Link]:
    """Wait until readers see what was committed: brokers say that it is before it can be read.

    Less is returned if somebody else's entry has taken the place of one of them.
    """
    end, seen = time.monotonic() + seconds, len(log.chain.links)
    while time.monotonic() < end:
        log.poll()
        added = log.chain.links[seen:]
        found = [link for link in added if link.hash in wanted]
        if len(found) == len(wanted) or len(added) > len(found):
            return found
    message = f"the entry {wanted[-1][:12]} is written, but could not be read in {seconds:g} s"
    raise Unreachable(message)


def _record(message: Message) -> Record:
    kind, at_ms = message.timestamp()
    is_brokers = kind == TIMESTAMP_LOG_APPEND_TIME
    written = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at_ms) if is_brokers else None
    return Record(raw=message.value() or b"", offset=message.offset() or 0, written=written)
