"""What is known beside a verdict, with Kafka alone: rollouts, how far they are, what is back, where the traffic is."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from detectors.errors import BadInput
from detectors.policy import duration_ms
from holdfast.control.asking import ANSWERED, ASKED, NOTED
from holdfast.control.board import Board
from holdfast.errors import Unreachable
from holdfast.live.announcing import Announcements
from holdfast.live.clients import base, consumer
from holdfast.live.reading import PARTITION_END
from holdfast.live.settings import Settings
from holdfast.response.onsets import Onsets, Wanted
from holdfast.response.reach import Reach, reach_of
from holdfast.wall import now
from rollouts.announced import Announcement, finished_at, start_of
from rollouts.controlled import Event, Reverted, State
from rollouts.controlled import decode as decode_history
from rollouts.folding import fold
from rollouts.incidents.attribution import Change, Start, Surroundings
from rollouts.incidents.folding import ENGINE, Incident
from rollouts.incidents.history import Cause, Dated
from rollouts.incidents.opening import DRILL_KIND, plain
from sinks.cloudevents import epoch_ms
from streams.live.frames import FrameError, Header, SourcePartition, header_of

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""How long cohort ticks are looked for when a stop has come: who is to hear of it waits for that."""

RECENT: Final = timedelta(days=2)
"""How long after its end a rollout counts as a change that may have done harm."""

BACK_SECONDS: Final = 60.0
"""How long before a verdict what it is about was written, if the judge is not far behind."""

_OLD_MS: Final = 60_000
"""By how much a cohort tick may be older than the verdict: a source partition may be some ticks behind the others."""

_BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class Place:
    """Where a verdict stands: the cohort ticks that it is about are on the same partition of theirs.

    `timestamp_ms` is when it was written, `at_ms` the end of the last tick that it is about.
    """

    rollout: str
    partition: int
    timestamp_ms: int
    at_ms: int


class Facts:
    """Follows what is known; what cannot be read is unknown, and keeps nothing from being opened.

    Parameters
    ----------
    settings
        Brokers, and names of topics.
    """

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topics.cohort_ticks
        self._announcements = Announcements(base(settings), settings.topics.rollouts)
        self._control = Board(settings, settings.topics.control)
        self._ticks: Consumer = consumer(settings, f"{settings.prefix}-respond-ticks")
        self._onsets = Onsets(settings)
        self._states: dict[str, State] = {}
        self._reach: dict[str, Reach] = {}
        self.back: dict[str, datetime] = {}
        """When each rollout under control was taken back, as its hosts have reported."""

    def load(self) -> None:
        """Read topics to their ends.

        Raises
        ------
        BadInput
            If one of them is missing.
        Unreachable
            If the brokers do not answer in time.
        """
        self._announcements.load()
        self._take(self._control.load())

    def poll(self) -> None:
        """Take what came since, without waiting."""
        self._announcements.poll()
        self._take(self._control.poll(0.0))

    def close(self) -> None:
        """Leave the topics."""
        self._onsets.close()
        self._announcements.close()
        self._control.close()
        self._ticks.close()

    def began(self, incident: Incident, at: datetime) -> Dated | None:
        """Say about when the harm of an incident began, once its evidence was read; None if nobody has to, or can."""
        compared = [cause for cause in incident.causes if cause.e_value is not None]
        if incident.impact.onset is not None or not compared:
            return None
        first = min(compared, key=lambda cause: cause.at)
        announcement = self._announcements.current.get(first.rollout)
        wanted = None if announcement is None else wanted_of(incident, first, announcement)
        found = None if wanted is None else self._onsets.of(wanted, at)
        return None if found is None else Dated(at=at, by=ENGINE, onset=found.at, why=plain(found.why))

    def _take(self, records: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, value in records:
            if key.startswith((ASKED, ANSWERED, NOTED)) or value is None:
                continue
            try:
                events = decode_history(value)
                state = fold(events)
            except BadInput as error:
                log.warning("control: left out: %s", error)
                continue
            if state is not None:
                self._states[state.rollout] = state
                back = taken_back(events, state)
                if back is not None:
                    self.back[state.rollout] = back
                else:
                    self.back.pop(state.rollout, None)

    def around(
        self, places: Sequence[Place] = (), seconds: float = LOOK_SECONDS, back: float = BACK_SECONDS
    ) -> Surroundings:
        """Return what is known beside some verdicts.

        So many `seconds` at most are for how the fleet was then, which is looked for from `back` seconds before on.
        """
        reach = self._looked(places, seconds, back) if places else {}
        traffic: dict[str, float] = {}
        colos: dict[str, frozenset[str]] = {}
        shares: dict[str, float] = {}
        for name in sorted(reach):
            traffic.update(reach[name].traffic or {})
            colos.update(reach[name].colos)
            shares.update(reach[name].hosts_share)
        for name, state in self._states.items():
            # A rollout that has passed is where everybody is: who else got it, nobody reports.
            if name not in colos and state.phase != "completed":
                colos[name] = reached_of(state)
        changes = {
            name: change_of(each, colos.get(name), shares.get(name), self._gone(name))
            for name, each in self._announcements.current.items()
            if name in reach or _is_recent(each)
        }
        return Surroundings(changes=changes, traffic=traffic or None)

    def _gone(self, name: str) -> datetime | None:
        state = self._states.get(name)
        return self.back.get(name) if state is not None and state.phase in ("reverted", "aborted") else None

    def _looked(self, places: Sequence[Place], seconds: float, back: float) -> dict[str, Reach]:
        """Read the cohort ticks of rollouts from shortly before their verdicts on."""
        found: dict[str, Reach] = {}
        try:
            frames = self._frames({each.rollout: each for each in places}, seconds, round(back * 1_000))
        except (KafkaException, Unreachable) as error:
            log.warning("%s: not read, and so shares of traffic are not known: %s", self._topic, error)
            return found
        for name in sorted({each.rollout for each in places} - {*frames}):
            log.info("%s: %s: nothing found of its last tick, so shares are not known", self._topic, name)
        for name, mine in frames.items():
            try:
                reach = reach_of([*mine.values()])
            except (FrameError, BadInput) as error:
                log.warning("%s: %s: left out: %s", self._topic, name, error)
                continue
            if reach is None:
                log.info("%s: %s: not all source partitions are there, so shares are not known", self._topic, name)
            else:
                found[name] = reach
        return found

    def _frames(
        self, places: Mapping[str, Place], seconds: float, back_ms: int
    ) -> dict[str, dict[SourcePartition, bytes]]:
        """Return, for each rollout, the newest frame of each source partition up to the tick of the verdict."""
        end = time.monotonic() + seconds
        first: dict[int, int] = {}
        for each in places.values():
            first[each.partition] = min(each.timestamp_ms - back_ms, first.get(each.partition, each.timestamp_ms))
        starts = [TopicPartition(self._topic, number, at) for number, at in sorted(first.items())]
        self._ticks.assign(self._ticks.offsets_for_times(starts, timeout=seconds))
        unread = {*first}
        frames: dict[str, dict[SourcePartition, bytes]] = {}
        try:
            while unread and time.monotonic() < end:
                for message in self._ticks.consume(_BATCH, 0.05):
                    error = message.error()
                    if error is not None:
                        unread -= {message.partition() or 0} if error.code() == PARTITION_END else set()
                        continue
                    place = places.get((message.key() or b"").decode(errors="replace"))
                    if place is not None and message.timestamp()[1] <= place.timestamp_ms:
                        header = _near(message.value() or b"", place.at_ms)
                        mine = frames.setdefault(place.rollout, {})
                        if header is not None and (header.kind == "tick" or header.source not in mine):
                            mine[header.source] = message.value() or b""
        finally:
            self._ticks.unassign()
        return frames


def _is_recent(announcement: Announcement) -> bool:
    """Tell whether a rollout is still of interest: thousands may be announced that are long over."""
    end = finished_at(announcement)
    return end is None or end > now() - RECENT


def _near(frame: bytes, at_ms: int) -> Header | None:
    """Read what a frame is about, if that is about the tick that ends then, or a source that had no data."""
    try:
        header = header_of(frame)
    except FrameError:
        return None  # the judge puts it aside, and says why
    is_near = at_ms - _OLD_MS < header.tick * header.tick_ms <= at_ms
    return header if is_near or header.kind == "idle" else None


def wanted_of(incident: Incident, cause: Cause, announcement: Announcement) -> Wanted | None:
    """Ask when the harm of a stop began; None if its stage has not begun as far as is announced."""
    names = [stage.name for stage in announcement.rollout.stages]
    since = start_of(announcement, names.index(cause.stage)) if cause.stage in names else None
    if since is None:
        return None
    return Wanted(
        incident.id,
        cause.rollout,
        cause.stage,
        frozenset(incident.impact.metrics),
        epoch_ms(since),
        epoch_ms(cause.at),
        duration_ms(announcement.policy.tick),
    )


def taken_back(events: Sequence[Event], state: State) -> datetime | None:
    """Return when hosts had reported that all of a rollout, or all that was asked for, was back; None if it is not."""
    if state.reverting is not None:
        return None
    return next((event.at for event in reversed(events) if isinstance(event, Reverted)), None)


def reached_of(state: State) -> frozenset[str]:
    """Name the colos with hosts that a rollout under control has reached, whether or not it is back since."""
    return frozenset(seat.colo for one in state.reached for group in one.before for seat in group.seats)


def change_of(
    announcement: Announcement, colos: frozenset[str] | None, hosts_share: float | None, gone: datetime | None
) -> Change:
    """Write an announced rollout as a change that may have done harm."""
    rollout = announcement.rollout
    starts = [(stage.name, start_of(announcement, number)) for number, stage in enumerate(rollout.stages)]
    return Change(
        rollout=rollout.rollout,
        units=frozenset(f"{unit.unit}@{unit.digest}" for unit in rollout.package),
        starts=[Start(stage=name, at=at) for name, at in starts if at is not None],
        colos=colos,
        hosts_share=hosts_share,
        gone=gone,
        is_drill=bool(rollout.package) and all(unit.kind == DRILL_KIND for unit in rollout.package),
    )
