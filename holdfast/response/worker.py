"""The worker of incidents: verdicts open them, clocks escalate them, hosts that are back mitigate them.

One at a time works, others stand by: whoever has the one partition of the incidents topic. What came of verdicts is
written in one transaction with how far they were read, so that none is lost and none counts twice, wherever the worker
is killed. People write to the topic at any time, which fences this worker off: it reads what they wrote and decides
again. Nothing of this is on the way of a verdict.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from detectors.policy import Name, duration_ms
from holdfast.errors import BadInput, Unreachable
from holdfast.live.announcing import FENCED, partitions_of
from holdfast.live.clients import consumer
from holdfast.live.dead_letters import dead_letter
from holdfast.live.loop import Fenced, Hook, let_pass
from holdfast.live.reading import PARTITION_END, since
from holdfast.live.records import Record
from holdfast.live.settings import Settings
from holdfast.live.standing_by import LOOK_S, Candidate
from holdfast.live.subscription import message_of
from holdfast.live.telemetry import Telemetry
from holdfast.response.counts import Counts
from holdfast.response.facts import Facts, Place
from holdfast.response.parts import Beside, Make, Part
from holdfast.response.record import Added, Writer
from holdfast.wall import now, now_ms
from rollouts.incidents.folding import ENGINE, Incident
from rollouts.incidents.history import Event, IncidentId, Joined, Opened, Ranked
from rollouts.incidents.mitigating import mitigated
from rollouts.incidents.opening import Stop, candidates_of, opens, respond, sharpened
from rollouts.incidents.response import Response
from rollouts.incidents.timers import due
from sinks.cloudevents import epoch_ms
from sinks.signatures import Keys
from sinks.verdict_messages import Heartbeat, read

log = logging.getLogger(__name__)

COMMIT_SECONDS: Final = 10.0
"""How often it is written down how far verdicts were read, if nothing comes of them."""

ATTEMPTS_MAX: Final = 20
"""How many writes in a row may fail before the worker ends, to be started anew."""

LOOKS_MAX: Final = 5
"""How often shares of traffic are looked for again that were not found when an incident was opened."""

VAGUE_MAX: Final = 100
"""Most incidents of which that is looked for."""

_LOOK_AGAIN_S: Final = 2.0
_LOOK_BACK_S: Final = 900.0
_ANSWER_S: Final = 30.0
_TICK_S: Final = 0.5
_REST_S: Final = 0.5
_BATCH: Final = 500


@dataclass(slots=True)
class Taken:
    """What messages bring: stops and where each stands, letters, and up to where each partition was read."""

    stops: list[Stop] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)
    read: dict[int, int] = field(default_factory=dict)


class Respond:
    """Works as long as it is the one that does.

    Parameters
    ----------
    settings
        Of the engine.
    response
        The response document.
    telemetry
        Counts.
    parts
        What runs beside it, by name.
    hook
        Told each point that a commit has passed; tests stop the process there.

    Raises
    ------
    BadInput
        If a trusted key cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        response: Response,
        telemetry: Telemetry,
        parts: Mapping[Name, Make],
        hook: Hook = let_pass,
    ) -> None:
        self._settings, self._response, self.telemetry, self._hook = settings, response, telemetry, hook
        self._parts = parts
        self._counts = Counts(telemetry)
        self._keys = Keys.load(settings.trusted_keys) if settings.trusted_keys else None
        self._vague: dict[IncidentId, tuple[list[Place], int]] = {}
        self._stopping = threading.Event()
        self.is_ready = False
        """Whether it has joined the others, and if it is in charge has read what there is."""

    def stop(self) -> None:
        """End after what is at hand."""
        self._stopping.set()

    def run(self) -> None:
        """Stand by, and work while it is up to this worker.

        Raises
        ------
        Fenced
            If the brokers refuse what it writes, again and again.
        """
        candidate = Candidate(self._settings, self._settings.topics.incidents, "respond")
        try:
            while not self._stopping.is_set():
                self.telemetry.alive()
                candidate.poll(LOOK_S)
                self.is_ready = candidate.stands_by
                if candidate.is_in_charge:
                    self._lead(candidate)
        except KafkaException as error:
            message = f"respond ends: {error.args[0].str()}"
            raise Fenced(message) from error
        finally:
            candidate.close()

    def _lead(self, candidate: Candidate) -> None:
        """Take over, and work until the partition is given to somebody else."""
        facts = Facts(self._settings)
        reader: Consumer = consumer(self._settings, f"{self._settings.prefix}-respond-verdicts")
        beside = Beside({name: self._made(make) for name, make in self._parts.items()}, self._counts.failed)
        self._failures = 0
        try:
            facts.load()
            beside.start()
            while candidate.is_in_charge and not self._stopping.is_set():
                try:
                    with Writer(self._settings, self._hook) as writer:
                        self._work(candidate, writer, reader, facts)
                except (KafkaException, Unreachable) as error:
                    self._again(error)
        finally:
            self.is_ready = False
            beside.close()
            facts.close()
            reader.close()

    def _made(self, make: Make) -> Callable[[], Part]:
        return lambda: make(self._settings, self._response)

    def _again(self, error: KafkaException | Unreachable) -> None:
        """Have what was not written be decided again, or end if that has not helped for long."""
        is_fenced = isinstance(error, KafkaException) and error.args[0].code() in FENCED
        self._failures += not is_fenced
        if self._failures > ATTEMPTS_MAX:
            message = f"respond ends: {self._failures} tries in a row have failed; the last one: {error}"
            raise Fenced(message) from error
        self._counts.again()
        if is_fenced:
            log.info("incidents: somebody else wrote; deciding again on what they wrote")
        else:
            log.warning("incidents: not known to be written; reading again: %s", error)
            self._stopping.wait(_REST_S)

    def _work(self, candidate: Candidate, writer: Writer, reader: Consumer, facts: Facts) -> None:
        """Work until told to stop, or until an error says that somebody else has written."""
        self._begin(reader)
        taken, committed, ticked = Taken(), time.monotonic(), 0.0
        while candidate.is_in_charge and not self._stopping.is_set():
            self.telemetry.alive()
            candidate.poll(0.0)
            self._take(reader.consume(_BATCH, LOOK_S), taken)
            facts.poll()
            writer.ledger.poll()  # what people have written since; that it was, the next write is told
            at = time.monotonic()
            is_tick, is_late = at - ticked >= _TICK_S, bool(taken.read) and at - committed >= COMMIT_SECONDS
            added = self._decided(writer, facts, taken, is_tick=is_tick)
            if added or taken.letters or is_late:
                self._write(writer, reader, added, taken)
                taken, committed = Taken(), time.monotonic()
            elif taken.stops:  # all of them were there already
                taken.stops, taken.places = [], []
            if is_tick:
                self._counts.incidents(writer.ledger.incidents.values(), writer.ledger.rejected, now())
                ticked = at
            self.is_ready = True

    def _write(self, writer: Writer, reader: Consumer, added: Added, taken: Taken) -> None:
        topic, started = self._settings.topics.verdicts, time.monotonic()
        offsets = [TopicPartition(topic, number, offset) for number, offset in sorted(taken.read.items())]
        found = writer.write(added, taken.letters, offsets, reader)
        self._failures = 0
        self.telemetry.transaction(time.monotonic() - started, is_committed=True, records=len(added))
        events = [event for each in added.values() for event in each]
        for name, incident in found.items():
            if incident.impact.traffic_share is None and taken.places and len(self._vague) < VAGUE_MAX:
                theirs = {cause.rollout for cause in incident.causes}
                self._vague[name] = [each for each in taken.places if each.rollout in theirs], 0
        self._counts.stops(sum(isinstance(event, Opened | Joined) for event in events))
        for name, each in added.items():
            for event in each:
                if not isinstance(event, Ranked):
                    log.info("%s: %s", name, type(event).__struct_config__.tag)

    def _begin(self, reader: Consumer) -> None:
        """Read verdicts on from where that was written down; at the very first, from `merge_within` ago."""
        topic = self._settings.topics.verdicts
        places = [TopicPartition(topic, number) for number in partitions_of(reader, topic, _ANSWER_S)]
        committed = {each.partition: each for each in reader.committed(places, timeout=_ANSWER_S)}
        since_ms = now_ms() - duration_ms(self._response.merge_within)
        fresh = [TopicPartition(topic, number, since_ms) for number, each in committed.items() if each.offset < 0]
        found = {each.partition: each for each in since(reader, fresh, _ANSWER_S)}
        reader.assign([found.get(number, each) for number, each in sorted(committed.items())])

    def _take(self, messages: Sequence[Message], taken: Taken) -> None:
        for message in messages:
            error, number, offset = message.error(), message.partition() or 0, message.offset() or 0
            if error is not None:
                if error.fatal():
                    raise KafkaException(error)
                if error.code() != PARTITION_END:
                    log.warning("%s: %s", self._settings.topics.verdicts, error.str())
                continue
            taken.read[number] = offset + 1
            try:
                stop = self._stop_of(message)
            except BadInput as bad:
                log.warning("%s[%s]@%s: put aside: %s", self._settings.topics.verdicts, number, offset, bad)
                self._counts.refused()
                taken.letters.append(dead_letter(self._settings, message, str(bad)))
                continue
            if stop is not None:
                taken.stops.append(stop)
                taken.places.append(Place(stop.rollout, number, message.timestamp()[1], epoch_ms(stop.at)))

    def _stop_of(self, message: Message) -> Stop | None:
        """Read a verdict; None if it opens nothing."""
        said = message_of(message)
        if self._keys is not None:
            self._keys.verify(said)
        event = read(said)
        if isinstance(event, Heartbeat) or not opens(event.data, self._response):
            return None
        return Stop(rollout=event.subject, verdict=event.id, at=moment(event.time), said=event.data)

    def _decided(self, writer: Writer, facts: Facts, taken: Taken, *, is_tick: bool) -> dict[IncidentId, list[Event]]:
        """Say what is to be added: what stops bring, and what the clock does."""
        at, known = now(), writer.ledger.incidents
        added: dict[IncidentId, list[Event]] = {}
        if taken.stops:
            around = facts.around(taken.places)
            added = respond(known, taken.stops, self._response, around, at)
        elif is_tick and self._vague:
            added |= self._looked_again(known, facts, at)
        if is_tick:
            for name, incident in known.items():
                if not incident.is_over and name not in added:
                    events = self._in_time(incident, facts, at)
                    if events:
                        added[name] = events
        return added

    def _looked_again(
        self, known: Mapping[IncidentId, Incident], facts: Facts, at: datetime
    ) -> dict[IncidentId, list[Event]]:
        """Look once more, while nobody waits, for how much one incident hurts."""
        name, (places, looks) = self._vague.popitem()
        incident = known.get(name)
        if incident is None or incident.is_over or not places:
            return {}
        around = facts.around(places, _LOOK_AGAIN_S, _LOOK_BACK_S)
        events = sharpened(incident, self._response, around, at)
        if not events and looks + 1 < LOOKS_MAX:
            self._vague = {name: (places, looks + 1), **self._vague}
        return {name: events} if events else {}

    def _in_time(self, incident: Incident, facts: Facts, at: datetime) -> list[Event]:
        events = due(incident, self._response, at)
        if not incident.candidates:  # opened by hand
            events.append(Ranked(at=at, by=ENGINE, candidates=candidates_of(incident, facts.around())))
        found = (facts.began(incident, at), mitigated(incident, facts.back, at))
        return [*events, *(each for each in found if each is not None)]


def moment(text: str) -> datetime:
    """Read the time of a verdict; `BadInput` if there is no such day."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        message = f"time: found {text[:40]!r}; allowed: a time of the calendar"
        raise BadInput(message) from error
