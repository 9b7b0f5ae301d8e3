"""The audit topic: read to its end, and written by one at a time, so that its entries are one chain."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaException, Message, TopicPartition

from holdfast.errors import BadInput, Unreachable
from holdfast.live.announcing import ATTEMPTS_MAX, FENCED, partitions_of, writer
from holdfast.live.clients import base, consumer
from holdfast.live.reading import PARTITION_END
from holdfast.live.settings import Settings
from holdfast.wall import now
from rollouts.audit import Chain, Link, Record, decode, encode, hash_of

ANSWER_SECONDS: Final = 30.0
"""How long each answer of the brokers is waited for."""

TAIL_RECORDS: Final = 64
"""How many offsets before its end a log is read from by `load_tail`."""

_TAIL_LINKS: Final = 2
"""Fewest entries of a tail that must hang together; with fewer the whole log is read."""

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
    records
        How many records were read, those that were read again too.
    """

    def __init__(self, settings: Settings, seconds: float = ANSWER_SECONDS) -> None:
        self._topic, self._seconds, self._installation = settings.topics.audit, seconds, settings.prefix
        self.chain = Chain(settings.prefix)
        self.records = 0
        self._next = 0  # the offset after what was read
        # A replica nearby may lag behind its leader, and what is decided on must be the newest.
        near = {key: value for key, value in settings.kafka.items() if key != "client.rack"}
        self._settings = msgspec.structs.replace(settings, kafka=near)
        self._made: Consumer | None = None

    def __enter__(self) -> "AuditLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the topic."""
        if self._made is not None:
            self._made.close()
        self._made = None

    @property
    def _consumer(self) -> Consumer:
        """What reads, from its first use on."""
        if self._made is None:
            self._made = consumer(self._settings, f"{self._settings.prefix}-audit-reader")
        return self._made

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
        """Read the topic to the end that it has now, from where the call before has ended.

        If what comes does not follow what was read, or less is there than was, all of it is read anew: then somebody
        has made the topic anew, or tampered with it, and the chain says what of it holds.

        Raises
        ------
        BadInput, Unreachable
            As `check` does, or if the end is not reached in time.
        """
        self.check()
        is_first, breaks = self._next == 0, len(self.chain.breaks)
        if not self._to_end(self._next) or (not is_first and len(self.chain.breaks) > breaks):
            self.chain = Chain(self._installation)
            self._to_end(0)

    def load_tail(self) -> None:
        """Read no more than the end of the topic, for whoever writes an entry that hangs on none before it.

        The newest entry is taken for right if those just before it hang together with it, each by its hash; else the
        whole topic is read, as `load` does. That proves nothing of what is further back: `verify` does.

        Raises
        ------
        BadInput, Unreachable
            As `load` does.
        """
        self.check()
        low, end = self._marks()
        if end - TAIL_RECORDS <= low:
            self.load()
            return
        taken: list[Record] = []
        chain = _tail(taken, self._installation) if self._to_end(end - TAIL_RECORDS, taken) else None
        if chain is None:
            self._next, self.chain = 0, Chain(self._installation)
            self.load()
            return
        self.chain = chain

    def poll(self) -> list[Link]:
        """Take what came since, for a moment, and return the entries that count."""
        return [link for record in self._read()[0] if (link := self.chain.take(record)) is not None]

    def _marks(self) -> tuple[int, int]:
        """Ask for the first offset that is there, and the end."""
        place = TopicPartition(self._topic, 0)
        found: Any = self._consumer.get_watermark_offsets(place, timeout=self._seconds)
        if found is None:
            message = f"{self._topic}: the broker does not tell its offsets"
            raise Unreachable(message)
        return int(found[0]), int(found[1])

    def _to_end(self, first: int, taken: list[Record] | None = None) -> bool:
        """Read from an offset to the end, into the chain or a list; tell whether nothing has gone from before it."""
        self._consumer.assign([TopicPartition(self._topic, 0, first)])
        self._next = first
        end = time.monotonic() + self._seconds
        while True:
            records, reached = self._read()
            if any(record.offset < first for record in records) or (reached is not None and reached < first):
                return False
            if taken is not None:
                taken += records
            else:
                for record in records:
                    self.chain.take(record)
            if reached is not None:
                return True
            if time.monotonic() > end:
                message = f"{self._topic}: not read to its end in {self._seconds:g} s"
                raise Unreachable(message)

    def _read(self) -> tuple[list[Record], int | None]:
        """Take the records that are there; tell the offset of the end if it was reached."""
        found: list[Record] = []
        reached: int | None = None
        for message in self._consumer.consume(_BATCH_MESSAGES, _POLL_SECONDS):
            error = message.error()
            if error is None:
                found.append(_record(message))
                self._next = found[-1].offset + 1
            elif error.code() == PARTITION_END:
                reached = self._next = message.offset() or 0
            elif error.fatal():
                raise KafkaException(error)
            else:
                _log.warning("%s: %s", self._topic, error.str())
        self.records += len(found)
        return found, reached


def _tail(records: Sequence[Record], installation: str) -> Chain | None:
    """Make a chain of the last records of a log; None if they do not hang together."""
    if not records:
        return None
    try:
        entry = decode(records[0].raw)
    except BadInput:
        return None
    first = records[0]
    base = Link(entry=entry, hash=hash_of(first.raw), offset=first.offset, written=first.written)
    chain = Chain(installation, base)
    for record in records[1:]:
        chain.take(record)
    return None if chain.breaks or len(chain.links) < _TAIL_LINKS else chain


def read(settings: Settings, seconds: float = ANSWER_SECONDS) -> Chain:
    """Read the audit topic to its end; raises what `AuditLog.load` raises."""
    with AuditLog(settings, seconds) as log:
        log.load()
        return log.chain


def append(
    settings: Settings, make: Make, seconds: float = ANSWER_SECONDS, *, is_tail_enough: bool = False
) -> Link | None:
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
    is_tail_enough
        Whether `make` looks at nothing of the log but its end, so that no more of it needs to be read.

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

    found = append_all(settings, some, seconds, is_tail_enough=is_tail_enough)
    return found[0] if found else None


def append_all(
    settings: Settings,
    make: MakeAll,
    seconds: float = ANSWER_SECONDS,
    log: AuditLog | None = None,
    *,
    is_tail_enough: bool = False,
) -> list[Link]:
    """Add entries one behind the other in one transaction, and wait until they can be read; see `append`.

    Parameters
    ----------
    log
        What was read of the log before, for whoever writes again and again: then only what came since is read. After
        an error it is to be closed, and not used again.

    Returns
    -------
    list[Link]
        What was written by the last try. If somebody who does not work in transactions came between, entries of a try
        before may be there too: `make` finds them in the log that it gets.
    """
    topic = settings.topics.audit
    for _ in range(ATTEMPTS_MAX):
        try:
            if log is None:
                with AuditLog(settings, seconds) as fresh:
                    is_done, found = _attempt(settings, make, seconds, fresh, is_tail_enough=is_tail_enough)
            else:
                is_done, found = _attempt(settings, make, seconds, log, is_tail_enough=False)
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


def _attempt(
    settings: Settings, make: MakeAll, seconds: float, log: AuditLog, *, is_tail_enough: bool
) -> tuple[bool, list[Link]]:
    """Write once; tell whether it is done, and the entries if there are any.

    It is not done if another entry took the place, as of a writer who does not work in transactions.
    """
    log.check()  # a missing topic is told before a producer waits for it
    producer = writer(base(settings), settings.topics.audit, _WRITER)
    producer.init_transactions(seconds)
    (log.load_tail if is_tail_enough else log.load)()
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
