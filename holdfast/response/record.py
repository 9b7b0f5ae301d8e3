"""The topic of incidents: one message for each, under its id, that holds all that happened to it.

Whoever writes begins a transaction of the one id of the topic, which ends that of any other writer, and decides only on
what is read after that. So two who write at once write one after the other, and each decides on what the other wrote.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from holdfast.errors import BadInput, Unreachable
from holdfast.live.announcing import ATTEMPTS_MAX, FENCED, writer
from holdfast.live.clients import base
from holdfast.live.loop import Hook, let_pass
from holdfast.live.records import Record, put
from holdfast.live.settings import Settings
from holdfast.response.ledger import ANSWER_SECONDS, POLL_SECONDS, Ledger
from holdfast.wall import now
from rollouts.incidents.folding import Incident, fold, folded
from rollouts.incidents.history import Event, History, IncidentId, Opened, checked, encode

HISTORY_BYTES_MAX: Final = 4_000_000
"""Longest history that people may still add to; what the engine adds to it fits into a message beside that."""

_WRITER: Final = "writer"

log = logging.getLogger(__name__)

Added = Mapping[IncidentId, Sequence[Event]]
Make = Callable[[Ledger, datetime], Added]
"""Says what is to be added, from the incidents as they are and the time; called again for another try."""


class Writer:
    """Writes incidents, as long as nobody else does.

    Parameters
    ----------
    settings
        Brokers, and the name of the topic.
    hook
        Told each point that a commit has passed; tests stop the process there.

    Attributes
    ----------
    ledger
        All incidents, up to what was written last.
    """

    def __init__(self, settings: Settings, hook: Hook = let_pass) -> None:
        self._topic, self._hook = settings.topics.incidents, hook
        self.ledger = Ledger(settings)
        try:
            self.ledger.check()  # a missing topic is told before a producer waits for it
            self._producer: Producer = writer(base(settings), self._topic, _WRITER)
            self._producer.init_transactions(ANSWER_SECONDS)
            self.ledger.load()
        except BaseException:
            self.ledger.close()
            raise

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.close()

    def write(
        self,
        added: Added,
        records: Sequence[Record] = (),
        offsets: Sequence[TopicPartition] = (),
        reader: Consumer | None = None,
    ) -> dict[IncidentId, Incident]:
        """Add events to histories, all or none of them, together with what else belongs to them.

        Parameters
        ----------
        added
            Events by incident; one that is not known begins with `Opened`. An event that stands there already, as after
            a try whose end nobody saw, is not added again.
        records
            Further messages.
        offsets, reader
            What was read of other topics until then, and by whom.

        Returns
        -------
        dict[IncidentId, Incident]
            How those incidents stand.

        Raises
        ------
        BadInput
            If an event may not follow; nothing was written.
        KafkaException
            If the broker refuses: with a code of `FENCED` if somebody else has written since.
        """
        histories = self._grown(added)
        if not histories and not records and not offsets:
            return {name: self.ledger.incidents[name] for name in added}
        self._producer.begin_transaction()
        try:
            for name, history in histories.items():
                put(self._producer, Record(self._topic, name.encode(), encode(history), partition=0))
            for record in records:
                put(self._producer, record)
            self._hook("produced")
            if offsets and reader is not None:
                self._producer.send_offsets_to_transaction([*offsets], reader.consumer_group_metadata(), ANSWER_SECONDS)
            self._hook("offsets_added")
            self._producer.commit_transaction(ANSWER_SECONDS)
        except KafkaException as error:
            if not error.args[0].fatal() and error.args[0].code() not in FENCED:
                self._producer.abort_transaction(ANSWER_SECONDS)
            raise
        self._hook("committed")
        for history in histories.values():
            self.ledger.put(history)
        return {name: self.ledger.incidents[name] for name in added}

    def _grown(self, added: Added) -> dict[IncidentId, History]:
        """Add events, and look at what comes of it as it will be read again."""
        histories: dict[IncidentId, History] = {}
        for name, events in added.items():
            before = self.ledger.histories.get(name, History(incident=name, events=[]))
            new = [event for event in events if event not in before.events]
            if not new:
                continue
            history = checked(History(incident=name, events=[*before.events, *new]))
            if before.events:
                folded(self.ledger.incidents[name], new)
            else:
                fold(history)
            histories[name] = history
        return histories


def change(settings: Settings, make: Make) -> dict[IncidentId, Incident]:
    """Change incidents by hand, all that is said or nothing of it, and wait until everybody can read it.

    Parameters
    ----------
    settings
        Brokers, and the name of the topic.
    make
        See `Make`.

    Raises
    ------
    BadInput
        What `make` raises; if an event may not follow, has a text that is not allowed, or makes a history longer than
        `HISTORY_BYTES_MAX`; or if there is no such topic.
    Unreachable
        If the brokers do not answer in time, or others wrote all the time. Whether it was written is not known then.
    """
    at = now()
    for _ in range(ATTEMPTS_MAX):
        try:
            with Writer(settings) as one:
                added = make(one.ledger, at)
                _look(one.ledger, added)
                found = one.write(added)
                _wait_until_read(settings, found)
                return found
        except KafkaException as error:
            if error.args[0].code() not in FENCED:
                message = f"{settings.topics.incidents}: not known to be written: {error.args[0].str()}"
                raise Unreachable(message) from error
            log.info("%s: somebody else wrote meanwhile; trying again", settings.topics.incidents)
    message = f"{settings.topics.incidents}: not written: somebody else wrote {ATTEMPTS_MAX} times meanwhile"
    raise Unreachable(message)


def amend(
    settings: Settings,
    incident_id: IncidentId,
    make: Callable[[Incident, datetime], Sequence[Event]],
) -> Incident:
    """Add what is decided on how an incident stands to its history; see `change`.

    Raises
    ------
    BadInput
        If there is no such incident, or as `change` does.
    """

    def made(ledger: Ledger, at: datetime) -> Added:
        return {incident_id: make(known(ledger, incident_id), at)}

    return change(settings, made)[incident_id]


def append(settings: Settings, incident_id: IncidentId, events: Sequence[Event]) -> Incident:
    """Add events to the history of an incident, or begin one with `Opened`; see `change`.

    Events that are there already are not added again, so that who does not know whether it got through may try again.
    """

    def made(ledger: Ledger, _: datetime) -> Added:
        if not (events and isinstance(events[0], Opened)):
            known(ledger, incident_id)
        return {incident_id: events}

    return change(settings, made)[incident_id]


def known(ledger: Ledger, incident_id: str) -> Incident:
    """Return how an incident stands; `BadInput` if there is none."""
    found = ledger.incidents.get(incident_id)
    if found is None:
        near = sorted(ledger.incidents, reverse=True)[:3]
        message = f"incident {incident_id[:100]!r}: there is none; the newest are: {', '.join(near) or 'none at all'}"
        raise BadInput(message)
    return found


def history_of(settings: Settings, incident_id: str) -> History:
    """Read the history of an incident; raises as `read_all` does, and `BadInput` if there is none."""
    with Ledger(settings) as ledger:
        ledger.load()
        return ledger.histories[known(ledger, incident_id).id]


def read_all(settings: Settings) -> dict[IncidentId, History]:
    """Read the histories of all incidents, by id.

    Raises
    ------
    BadInput
        If there is no such topic.
    Unreachable
        If the brokers do not answer in time.
    """
    with Ledger(settings) as ledger:
        ledger.load()
        return ledger.histories


def follow(settings: Settings, stop: threading.Event) -> Iterator[tuple[IncidentId, History]]:
    """Yield the history of each incident, and again whenever something has happened to it, until told to stop.

    Those that there are come first, each once. Raises as `read_all` does.
    """
    with Ledger(settings) as ledger:
        ledger.load()
        yield from [*ledger.histories.items()]
        while not stop.is_set():
            for name in dict.fromkeys(ledger.poll(POLL_SECONDS)):
                if name in ledger.histories:
                    yield name, ledger.histories[name]


def _look(ledger: Ledger, added: Added) -> None:
    """Refuse what would make a history too long for what is still to come."""
    for name, events in added.items():
        before = ledger.histories.get(name, History(incident=name, events=[]))
        size = len(encode(History(incident=name, events=[*before.events, *events])))
        if size > HISTORY_BYTES_MAX:
            message = f"{name}: its history would have {size} bytes; allowed: {HISTORY_BYTES_MAX}"
            raise BadInput(message)


def _wait_until_read(settings: Settings, written: Mapping[IncidentId, Incident]) -> None:
    """Wait until readers see what was committed: brokers say that it is before it can be read."""
    end = time.monotonic() + ANSWER_SECONDS
    with Ledger(settings) as ledger:
        ledger.load()
        while not all(_has(ledger, one) for one in written.values()):
            if time.monotonic() > end:
                message = f"{', '.join(written)}: written, but could not be read in {ANSWER_SECONDS:g} s"
                raise Unreachable(message)
            ledger.poll(POLL_SECONDS)


def _has(ledger: Ledger, written: Incident) -> bool:
    found = ledger.incidents.get(written.id)
    return found is not None and found.count >= written.count
