"""Agents on Kafka: they read what their hosts are to have, fetch contents, and report what the hosts have."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.control import desired
from holdfast.control.agent import Agent
from holdfast.control.board import Board
from holdfast.control.desired import Desired
from holdfast.errors import BadInput
from holdfast.live.clients import producer
from holdfast.live.settings import Settings
from holdfast.wall import now, now_ms
from rollouts.packages import digest_of
from rollouts.reports import Report, encode

log = logging.getLogger(__name__)

_LOOK_S: Final = 0.2
_FLUSH_S: Final = 30.0
_REPORT_EVERY_MS: Final = 30_000


@dataclass(frozen=True, slots=True)
class Place:
    """A host, where it is, what else is known of it, and the folder that is its agent's alone."""

    host: str
    colo: str
    region: str
    root: Path
    labels: Mapping[str, str]


class Agents:
    """Runs agents of some hosts, which share one connection; mostly it is one.

    Parameters
    ----------
    settings
        Of the engine.
    places
        The hosts.
    """

    def __init__(self, settings: Settings, places: Sequence[Place]) -> None:
        self._settings, self._places = settings, list(places)
        self._agents = {place.host: Agent(place.root) for place in places}
        self._problems: dict[str, str | None] = {}
        self._sequences: dict[str, int] = {}
        self._wanted: dict[str, Desired] = {}
        self._contents: dict[str, bytes] = {}
        self._reported_ms = 0
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after what is at hand."""
        self._stopping.set()

    def run(self) -> None:
        """Work until stopped."""
        names = self._settings.topics
        wanted, units = Board(self._settings, names.desired), Board(self._settings, names.units)
        self._producer = producer(self._settings)
        try:
            while not self._stopping.is_set():
                for key, value in wanted.poll(_LOOK_S):
                    if value is not None and any(place.colo == key.decode() for place in self._places):
                        self._wanted[key.decode()] = desired.decode(value)
                changed = self._look(units)
                if now_ms() - self._reported_ms > _REPORT_EVERY_MS:
                    changed = self._places
                    self._reported_ms = now_ms()
                for place in changed:
                    self._report(place)
                if changed and self._producer.flush(_FLUSH_S):
                    log.warning("reports have not been taken in %g s", _FLUSH_S)
        finally:
            wanted.close()
            units.close()

    def _look(self, units: Board) -> list[Place]:
        """Have each agent do what it has not done, and return the hosts of which there is something to report."""
        changed: list[Place] = []
        for place in self._places:
            colo, agent = self._wanted.get(place.colo), self._agents[place.host]
            mine = colo.hosts.get(place.host) if colo is not None else None
            if mine is None or not agent.is_news(mine):
                continue
            before = self._problems.get(place.host)
            try:
                if not agent.lacks(mine) <= self._contents.keys():
                    self._fetch(units)
                agent.apply(mine, self._contents)
                self._problems[place.host] = None
            except (BadInput, OSError) as error:
                self._problems[place.host] = str(error)
            if before is None or self._problems[place.host] != before:
                changed.append(place)
        return changed

    def _fetch(self, units: Board) -> None:
        """Take contents that have come, those alone that are what they are called."""
        for key, value in units.poll(_LOOK_S):
            if value is not None and digest_of(value) == key.decode():
                self._contents[key.decode()] = value

    def _report(self, place: Place) -> None:
        held = self._agents[place.host].held
        sequence = max(now_ms(), self._sequences.get(place.host, 0) + 1)
        self._sequences[place.host] = sequence
        report = Report(
            host=place.host,
            colo=place.colo,
            region=place.region,
            sequence=sequence,
            at=now(),
            units={name: str(unit.digest) for name, unit in held.units.items()},
            numbers=held.numbers,
            labels=dict(place.labels),
            problem=self._problems.get(place.host),
        )
        self._producer.produce(self._settings.topics.applied, key=place.host.encode(), value=encode(report))
