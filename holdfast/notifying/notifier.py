"""The notifier: follows the topic of incidents, tells people, and keeps on a topic what it has told them.

One notifier at a time tells, others stand by: whoever has the one partition of the topic of what was told fences off
whoever had it before, and reads what was told. A message is sent, and then it is kept that it was: so none is lost, and
one that was sent just before its notifier was killed comes a second time, under the same id. What keeps it from
working, as brokers that do not answer, it waits out: nobody else's work depends on it.
"""

import logging
import queue
import threading
import time
from collections.abc import Iterable
from datetime import timedelta
from itertools import groupby
from typing import Final

from confluent_kafka import KafkaException, Producer

from detectors.policy import duration_ms
from holdfast.control.board import Board
from holdfast.errors import BadInput, Unreachable
from holdfast.live.clients import base
from holdfast.live.loop import Hook, let_pass
from holdfast.live.settings import Settings
from holdfast.live.standing_by import LOOK_S, Candidate
from holdfast.notifying.addresses import Address, addresses_of
from holdfast.notifying.carrying import STOPPED, Carrier
from holdfast.notifying.journal import Place, decode, encode, encode_key
from holdfast.notifying.outbox import Outbox, Outcome, Told
from holdfast.notifying.sending import Sender, Senders
from holdfast.notifying.telemetry import NotifyTelemetry
from holdfast.wall import now
from rollouts.incidents.history import decode as decode_history
from rollouts.incidents.response import Response

log = logging.getLogger(__name__)

_ANSWER_S: Final = 30.0
_AGAIN_S: Final = 2.0
_TIDY_S: Final = 10.0


class Notifier:
    """Tells people of incidents as long as it is the one that does.

    Parameters
    ----------
    settings
        Of the engine: brokers, topics, and how notices are sent.
    response
        Who hears what.
    sender
        Sends a message once; None for Apprise.
    telemetry
        Counts; None for some of its own.
    hook
        Told each point that is passed; tests stop the process there.

    Attributes
    ----------
    is_ready
        Whether it stands by, or is in charge and knows what was told.

    Raises
    ------
    BadInput
        If an address of the document is none, or a variable that it names is not set.
    """

    def __init__(
        self,
        settings: Settings,
        response: Response,
        sender: Sender | None = None,
        telemetry: NotifyTelemetry | None = None,
        hook: Hook = let_pass,
    ) -> None:
        self._settings, self._response, self._hook = settings, response, hook
        self._sender = sender
        self.telemetry = telemetry or NotifyTelemetry()
        self._addresses = addresses_of(response, file=settings.response.document)
        self.is_ready = False
        self._unwritten: Told = []

    def run(self, stop: threading.Event) -> None:
        """Stand by, and tell people while it is up to this notifier, until it is to stop.

        Brokers that do not answer, and another notifier that takes over, are waited out.
        """
        senders = None if self._sender is not None else Senders()
        sender: Sender | None = self._sender or senders
        assert sender is not None
        if senders is not None:
            senders.warm_up()
        try:
            while not stop.is_set():
                try:
                    self._stand_by(sender, stop)
                except (KafkaException, Unreachable, BadInput) as error:
                    why = error.args[0].str() if isinstance(error, KafkaException) else error
                    log.warning("notifier: to be begun again: %s", why)
                    stop.wait(_AGAIN_S)
        finally:
            if senders is not None:
                senders.close()

    def _stand_by(self, sender: Sender, stop: threading.Event) -> None:
        candidate = Candidate(self._settings, self._settings.topics.notified, "notify")
        try:
            while not stop.is_set():
                self.telemetry.alive()
                candidate.poll(LOOK_S)
                self.is_ready = candidate.stands_by
                if candidate.is_in_charge:
                    self._lead(candidate, sender, stop)
        finally:
            self.is_ready = False
            candidate.close()

    def _lead(self, candidate: Candidate, sender: Sender, stop: threading.Event) -> None:
        """Take over, and tell until the partition is given to somebody else."""
        settings, topics, notify = self._settings, self._settings.topics, self._settings.notify
        self._producer = self._writer()
        self._producer.init_transactions(_ANSWER_S)
        journal, incidents = Board(settings, topics.notified), Board(settings, topics.incidents)
        counts = {name: len(found) for name, found in self._addresses.items()}
        age_max = timedelta(milliseconds=duration_ms(notify.age_max))
        outbox = Outbox(self._response, counts, age_max, notify.link)
        outcomes: queue.Queue[Outcome] = queue.Queue()
        carriers = {
            Place(recipient=address.recipient, index=address.index): self._carrier(address, sender, outcomes)
            for found in self._addresses.values()
            for address in found
        }
        try:
            known = dict(journal.load())
            outbox.remember(self._read(known.items()))
            self._keep(outbox, self._unwritten)
            self._take(outbox, dict(incidents.load()).items())
            log.info("notifier: in charge, %d addresses, %d notices told", len(carriers), len(known))
            self.is_ready = True
            tidied = time.monotonic()
            while candidate.is_in_charge and not stop.is_set():
                self.telemetry.alive()
                self._hand_over(outbox, carriers)
                candidate.poll(0.0)
                self._take(outbox, incidents.poll(0.0 if outcomes.qsize() else LOOK_S))
                self._settle(outbox, outcomes)
                if time.monotonic() - tidied > _TIDY_S:
                    tidied = time.monotonic()
                    self._keep(outbox, outbox.late(now()))
        finally:
            self.is_ready = False
            self._end(carriers.values(), outcomes, outbox)
            journal.close()
            incidents.close()
        self._keep(outbox, self._unwritten)

    def _carrier(self, address: Address, sender: Sender, outcomes: "queue.Queue[Outcome]") -> Carrier:
        carrier = Carrier(address, self._settings.notify, sender, outcomes, self.telemetry)
        carrier.start()
        return carrier

    def _writer(self) -> Producer:
        ours = {
            "transactional.id": f"{self._settings.topics.notified}-notify",
            "transaction.timeout.ms": self._settings.transaction_ms,
        }
        return Producer({**base(self._settings), **ours})

    def _read(self, records: Iterable[tuple[bytes, bytes | None]]) -> Told:
        """Read what was told; what cannot be read is counted, and then may be told twice."""
        found: Told = []
        for key, value in records:
            try:
                found += [] if value is None else [decode(key, value)]
            except BadInput as error:
                log.warning("%s: left out: %s", self._settings.topics.notified, error)
                self.telemetry.refused()
        return found

    def _take(self, outbox: Outbox, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Take histories; one that is none is counted and left out, and the others are told of."""
        given_up: Told = []
        for key, value in records:
            try:
                given_up += [] if value is None else outbox.take(decode_history(value), now())
            except BadInput as error:
                log.warning("%s: %r left out: %s", self._settings.topics.incidents, key[:200], error)
                self.telemetry.refused()
        self._keep(outbox, given_up)

    def _hand_over(self, outbox: Outbox, carriers: dict[Place, Carrier]) -> None:
        for place, carrier in carriers.items():
            parcel = outbox.next(place, now())
            if parcel is not None:
                carrier.carry(parcel)
        for name, ways in groupby(outbox.places, key=lambda place: place.recipient):
            self.telemetry.wait(name, sum(map(outbox.waiting, ways)))

    def _settle(self, outbox: Outbox, outcomes: "queue.Queue[Outcome]") -> None:
        """Keep what came of messages, those that are there together."""
        told: Told = []
        while True:
            try:
                outcome = outcomes.get_nowait()
            except queue.Empty:
                break
            told += self._said(outbox.done(outcome), outcome)
        if told:
            self._hook("sent")
            self._keep(outbox, told)

    def _said(self, told: Told, outcome: Outcome) -> Told:
        parcel = outcome.parcel
        if outcome.reason is None:
            for notice in parcel.covers:
                self.telemetry.told(notice.what, (outcome.at - notice.at).total_seconds())
            log.info("%s: %s sent, %d notices", parcel.place, parcel.message.id, len(parcel.covers))
        return told

    def _keep(self, outbox: Outbox, told: Told) -> None:
        """Write down what became of notices, in one transaction."""
        if not told:
            return
        self._unwritten = told
        self._producer.begin_transaction()
        for key, value in told:
            self._producer.produce(self._settings.topics.notified, key=encode_key(key), value=encode(value))
        self._producer.commit_transaction(_ANSWER_S)
        self._unwritten = []
        outbox.remember(told)
        for key, value in told:
            self.telemetry.became(key[1].recipient, value.state)
            if value.reason is not None:
                log.error("%s: %s given up: %s", key[1], key[0], value.reason)
        self._hook("kept")

    def _end(self, carriers: Iterable[Carrier], outcomes: "queue.Queue[Outcome]", outbox: Outbox) -> None:
        """Stop carrying, and keep what was sent meanwhile for the next time that this notifier is in charge."""
        seconds = duration_ms(self._settings.notify.timeout) / 1_000 + _AGAIN_S
        carriers = list(carriers)
        for carrier in carriers:
            carrier.stop()
        end = time.monotonic() + seconds
        for carrier in carriers:
            carrier.join(max(0.0, end - time.monotonic()))
        while not outcomes.empty():
            outcome = outcomes.get_nowait()
            if outcome.reason != STOPPED:
                self._unwritten = [*self._unwritten, *self._said(outbox.done(outcome), outcome)]
