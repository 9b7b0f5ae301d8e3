"""Threads that follow topics for the status page; while brokers are away, what was read stays."""

import logging
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from confluent_kafka import KafkaException, TopicPartition

from holdfast.api.watching import Watch
from holdfast.control.asking import ANSWERED, ASKED, NOTED
from holdfast.control.board import Board
from holdfast.errors import BadInput, Unreachable
from holdfast.live.clients import producer
from holdfast.live.settings import Settings
from holdfast.status.kept import DAY, SUBSCRIBER, TOLD, UNSENT, Kept, Listened, Subscriber, Told, Unsent, merged
from holdfast.status.sealing import Seal
from holdfast.status.snapshot import Heard
from holdfast.wall import now
from rollouts.blast import Blast, blast
from rollouts.breakers import summary_of
from rollouts.context import Context, Override
from rollouts.controlled import State, decode
from rollouts.folding import fold
from rollouts.incidents.folding import fold as fold_incident
from rollouts.incidents.history import History
from rollouts.incidents.history import decode as decode_history
from rollouts.reports import Report, fleet_of
from rollouts.reports import decode as decode_report

_POLL_S: Final = 0.1
_BEAT_S: Final = 2.0
_ANSWER_S: Final = 5.0

log = logging.getLogger(__name__)


class _Ear(Board):
    """A topic that is followed, whose broker is asked again and again whether it is there."""

    def beat(self) -> None:
        """Have the broker answer; raises `KafkaException` if it does not."""
        self._consumer.get_watermark_offsets(TopicPartition(self._topic, 0), timeout=_ANSWER_S, cached=False)


class Follower(Watch):
    """Follows a compacted topic as a whole.

    Parameters
    ----------
    name
        What is watched, for people.
    settings
        Brokers.
    topic
        Which one.

    Attributes
    ----------
    heard
        When its broker last answered, after all of the topic had been read; None before.
    trouble
        Why it is not heard now; None if it is.
    version
        Grows with each record.
    """

    def __init__(self, name: str, settings: Settings, topic: str) -> None:
        super().__init__(name)
        self._settings, self._topic = settings, topic
        self.heard: datetime | None = None
        self.trouble: str | None = "it was not read to its end yet"
        self.version = 0

    def watch(self) -> None:
        """Read the topic to its end, and follow it."""
        ear = _Ear(self._settings, self._topic)
        try:
            self.begin()
            for key, value in ear.load():
                self._taken(key, value)
                self.alive()
            self.end()
            beat_s = 0.0
            while not self.is_stopped:
                self.alive()
                if time.monotonic() - beat_s >= _BEAT_S:
                    self._beat(ear)
                    beat_s = time.monotonic()
                for key, value in ear.poll(_POLL_S):
                    self._taken(key, value)
        finally:
            ear.close()

    def _beat(self, ear: _Ear) -> None:
        """Note whether the broker is there: the client itself looks for it again, and goes on where it was."""
        try:
            ear.beat()
        except KafkaException as error:
            if self.trouble is None:
                log.warning("%s: not heard: %s", self._topic, error.args[0].str())
            self.trouble = error.args[0].str()
            return
        self.heard, self.trouble = now(), None

    def failed(self, why: str) -> None:
        """Say why it is not heard; what was read stays."""
        self.trouble = why

    def _taken(self, key: bytes, value: bytes | None) -> None:
        self.take(key, value)
        self.version += 1

    def begin(self) -> None:
        """Begin to read from the beginning."""

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take a record."""
        raise NotImplementedError

    def end(self) -> None:
        """Take note that all was read."""
        self.version += 1


class Incidents(Follower):
    """Follows the topic of incidents.

    What cannot be read leaves an incident as it was known; of one that was not, it is kept as a history without an
    event, so that the page says that it does not know all.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__("incidents", settings, settings.topics.incidents)
        self._found: dict[str, History] = {}
        self._bad: dict[str, str] = {}
        self._fresh: dict[str, History] | None = None

    def histories(self) -> Mapping[str, History]:
        """Return the histories by incident; one that cannot be read is there without an event."""
        return self._found

    def begin(self) -> None:
        """Read all anew, beside what is known."""
        self._fresh = {}

    def end(self) -> None:
        """Put what was read in the place of what was known."""
        self._found, self._fresh = self._fresh or {}, None
        super().end()

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take a history."""
        table = dict(self._found) if self._fresh is None else self._fresh
        name = key.decode(errors="replace")[:100]
        if value is None:
            table.pop(name, None)
        else:
            table[name] = self._read(name, value) or table.get(name) or History(incident=name, events=[])
        if self._fresh is None:
            self._found = table

    def _read(self, name: str, value: bytes) -> History | None:
        try:
            found = decode_history(value)
            fold_incident(found)
        except BadInput as error:
            log.warning("%s: %s: left out: %s", self._topic, name, error)
            return None
        if found.incident == name:
            return found
        log.warning("%s: found the history of %s under the key %s", self._topic, found.incident, name)
        return None


class Table(Follower):
    """Follows, and writes, what the page keeps; see `holdfast.status.kept`.

    Parameters
    ----------
    settings
        Brokers and the topic.
    seal
        Hides addresses; None where nobody can subscribe.
    """

    def __init__(self, settings: Settings, seal: Seal | None) -> None:
        super().__init__("status", settings, settings.topics.status)
        self._seal, self._producer = seal, producer(settings)
        self._lock = threading.Lock()
        self._kept = Kept()
        self._fresh: Kept | None = None

    def begin(self) -> None:
        """Read all anew, beside what is known."""
        self._fresh = Kept()

    def end(self) -> None:
        """Put what was read in the place of what was known."""
        self._kept, self._fresh = self._fresh or Kept(), None
        super().end()

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take a record."""
        try:
            (self._fresh or self._kept).take(key, value)
        except BadInput as error:
            log.warning("%s: left out: %s", self._topic, error)

    def watched(self, as_of: datetime) -> list[tuple[datetime, datetime]]:
        """List when the page was listening."""
        return self._kept.watched(as_of)

    def listened(self, day: str, span: tuple[int, int]) -> None:
        """Note that the page was listening; raises `Unreachable` if that cannot be kept."""
        spans = merged([*self._kept.days.get(day, []), span])
        self._write(f"{DAY}{day}", msgspec.json.encode(Listened(spans=spans)))

    def told(self) -> Mapping[str, int] | None:
        """Return how many updates subscribers were told, by incident; None before that is known."""
        return dict(self._kept.told) if self.heard is not None else None

    def tell(self, incident: str, count: int) -> None:
        """Note how many were told; raises `Unreachable` if it cannot be kept."""
        self._write(f"{TOLD}{incident}", msgspec.json.encode(Told(count=count)))

    def give_up(self, incident: str, letters: int, why: str) -> None:
        """Note that letters about an incident are not sent any more; raises `Unreachable` if it cannot be kept."""
        before = self._kept.unsent.get(incident)
        count = letters + (0 if before is None else before.letters)
        self._write(f"{UNSENT}{incident}", msgspec.json.encode(Unsent(letters=count, at=now(), why=why[:1_000])))

    def unsent(self) -> Heard | None:
        """Say of the newest letters that were given up what came of them; None if there are none."""
        found = max(dict(self._kept.unsent).items(), key=lambda pair: pair[1].at, default=None)
        if found is None:
            return None
        name, one = found
        letters = "1 letter" if one.letters == 1 else f"{one.letters:,} letters"
        return Heard(name="mail to subscribers", at=one.at, trouble=f"{letters} about {name} given up: {one.why}")

    def addresses(self) -> Mapping[str, str]:
        """Return subscribers' addresses by key; those hidden with another secret cannot be read, and are left out."""
        assert self._seal is not None
        found = {key: self._seal.shown(one.address, key) for key, one in dict(self._kept.subscribers).items()}
        return {key: address for key, address in found.items() if address is not None}

    def add(self, address: str) -> bool:
        """Put somebody on the list; false if it is full. Raises `Unreachable` if it cannot be kept."""
        assert self._seal is not None
        self._known()
        key = self._seal.key(address)
        with self._lock:
            known = self._kept.subscribers
            if key in known and self._seal.shown(known[key].address, key) == address:
                return True
            if key not in known and len(known) >= self._settings.status.subscribers_max:
                return False
            one = Subscriber(address=self._seal.hidden(address, key), since=now())
            self._write(f"{SUBSCRIBER}{key}", msgspec.json.encode(one))
        return True

    def remove(self, key: str) -> None:
        """Take somebody off the list; raises `Unreachable` if it cannot be kept."""
        self._known()
        if key in self._kept.subscribers:  # whoever asks again and again writes nothing
            self._write(f"{SUBSCRIBER}{key}", None)

    def _known(self) -> None:
        if self.heard is None:
            message = f"{self._topic}: {self.trouble}"
            raise Unreachable(message)

    def _write(self, key: str, value: bytes | None) -> None:
        failures: list[str] = []
        name = key.encode()
        self._producer.produce(
            self._topic, value, name, on_delivery=lambda error, _: failures.append(str(error)) if error else None
        )
        if self._producer.flush(_ANSWER_S) or failures:
            message = f"{self._topic}: the brokers did not take a record{f': {failures[0]}' if failures else ''}"
            raise Unreachable(message)
        try:  # seen at once, not only when it comes back
            self._kept.take(name, value)
        except BadInput as error:
            log.warning("%s: %s", self._topic, error)


class Control(Follower):
    """Follows the rollouts that holdfast controls."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("control", settings, settings.topics.control)
        self.states: dict[str, State] = {}

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take how a rollout stands."""
        if key.startswith((ASKED, ANSWERED, NOTED)):
            return
        name = key.decode(errors="replace")
        rest = {other: state for other, state in self.states.items() if other != name}
        try:
            state = None if value is None else fold(decode(value))
        except BadInput as error:
            log.warning("%s: %s: left out: %s", self._topic, name, error)
            return
        self.states = rest if state is None else {**rest, name: state}


class Applied(Follower):
    """Follows what hosts report."""

    def __init__(self, settings: Settings) -> None:
        super().__init__("reports of hosts", settings, settings.topics.applied)
        self.reports: dict[str, Report] = {}

    def take(self, key: bytes, value: bytes | None) -> None:
        """Take a report."""
        name = key.decode(errors="replace")
        try:
            if value is None:
                self.reports.pop(name, None)
            else:
                self.reports[name] = decode_report(value)
        except BadInput as error:
            log.warning("%s: %s: left out: %s", self._topic, name, error)


def blasts(control: Control, applied: Applied, overrides: list[Override], at: datetime) -> dict[str, Blast]:
    """Say how far each rollout under control got; of none while no host has reported."""
    states, reports = control.states, dict(applied.reports)
    if not states or not reports:
        return {}
    others = [summary_of(state) for state in states.values()]
    context = Context(
        now=at,
        reports=reports,
        fleet=fleet_of(reports.values()),
        others=others,
        overrides=overrides,
        is_audited=True,
        is_watched=True,
    )
    return {name: blast(state, context) for name, state in states.items()}
