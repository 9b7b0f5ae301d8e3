"""What a subscriber knows of each rollout: its newest verdict, and when the engine was last heard.

No Kafka and no clock: messages and times are handed in, events come out.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from detectors.errors import BadInput
from holdfast.live.durations import zoned
from holdfast.live.events import Event, Fresh, Gap, Received, Stale, Untrusted
from sinks.messages import Message
from sinks.signatures import DECIDED_AT, Keys
from sinks.verdict_messages import Heartbeat, read

ROLLOUTS_MAX: Final = 10_000
"""Most rollouts that are followed at once; beyond them the ones that are finished, or silent the longest, go."""

PLACE_BYTES_MAX: Final = 3_800
"""Most bytes of what is remembered beside an offset; brokers take 4096 if they are not told otherwise."""

_ID_DIGITS: Final = 8
"""How much of a verdict's id is remembered: enough to tell two verdicts of the same number apart."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Followed:
    """One rollout.

    `missing` is the number up to which verdicts are known to be missing. `is_doubted` until the engine is heard in this
    process: it is known from what was remembered alone.
    """

    heard_s: float
    partition: int | None = None
    sequence: int = 0
    id: str = ""
    missing: int = 0
    time: datetime | None = None
    is_stale: bool = False
    is_doubted: bool = False
    is_finished: bool = False


class _Remembered(Struct, frozen=True):
    """What is written beside an offset: number and id of the newest verdict, by the name of the rollout."""

    rollouts: dict[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands."""

    topic: str
    partition: int
    offset: int


class Following:
    """Follows rollouts by the messages of the verdict topic.

    Parameters
    ----------
    stale_after_s
        How long the engine may say nothing new about a rollout that is under way, in seconds.
    keys
        Whose signatures are trusted; None if signatures are not looked at.
    """

    def __init__(self, stale_after_s: float, keys: Keys | None) -> None:
        self._stale_after_s = stale_after_s
        self._keys = keys
        self._followed: dict[str, _Followed] = {}
        self._is_cramped = False
        self.repeated = 0
        """How many verdicts came that had come before, or are older than one that had."""

    def expect(self, rollout: str, now_s: float) -> None:
        """Take a rollout to be under way, though nothing was heard of it yet."""
        self._followed.setdefault(rollout, _Followed(now_s))

    def is_finished(self, rollout: str) -> bool:
        """Tell whether the engine said its last word on a rollout."""
        found = self._followed.get(rollout)
        return found is not None and found.is_finished

    def judged_through(self, rollout: str) -> datetime | None:
        """Tell through when a rollout has been judged, in event time; None if that is not known."""
        found = self._followed.get(rollout)
        return None if found is None else found.time

    def doubt(self, partition: int, rollout: str | None = None) -> list[str]:
        """Take what was read of a partition for a memory, and name the rollouts under way that it is of.

        The next sign of life of each is told as `Fresh`, if it is no verdict.

        Parameters
        ----------
        partition
            Where they are.
        rollout
            The one that is meant; None for all.
        """
        mine = [
            name
            for name, one in self._followed.items()
            if one.partition == partition and not one.is_finished and rollout in (None, name)
        ]
        for name in mine:
            self._followed[name].is_doubted = True
        return mine

    def take(self, message: Message, place: Place, now_s: float) -> list[Event]:
        """Take a message, and return what is to be told because of it, in order.

        Parameters
        ----------
        message, place
            The message and where it stands; those of a partition come in its order.
        now_s
            The time on a clock that only goes forward, in seconds.
        """
        try:
            if self._keys is not None:
                self._keys.verify(message)
            event = read(message)
            time, decided = _moment(event.time), message.header(DECIDED_AT)
            decided_at = None if decided is None else _moment(decided.decode(errors="replace"))
        except BadInput as error:
            name = message.key.decode(errors="replace")
            return [Untrusted(name, str(error), place.topic, place.partition, place.offset)]
        # Whoever was heard last stands last, so that the first ones may go.
        followed = self._followed.pop(event.subject, None) or _Followed(now_s)
        self._followed[event.subject] = followed
        followed.partition = place.partition
        self._bound()
        if isinstance(event, Heartbeat):
            return self._beat(event, time, followed, now_s)
        found = Received(event.subject, time, event.id, event.data, decided_at)
        return self._verdict(found, followed, place, now_s)

    def silent(self, now_s: float, partitions: Collection[int] | None = None) -> list[Event]:
        """Return the rollouts that went stale by now, each once, until they are heard again.

        Parameters
        ----------
        now_s
            The time on the same clock as everywhere here, in seconds.
        partitions
            Those that were read to their end; None for all. Of others it is not known yet whether there is news.
        """
        found: list[Event] = []
        for name, followed in self._followed.items():
            if partitions is not None and followed.partition is not None and followed.partition not in partitions:
                continue
            is_silent = now_s - followed.heard_s > self._stale_after_s
            if is_silent and not followed.is_stale and not followed.is_finished:
                followed.is_stale = True
                found.append(Stale(name, followed.time))
        return found

    def remembered(self, partition: int) -> str:
        """Write down the newest verdict of each rollout of a partition, as far as there is room."""
        kept: dict[str, tuple[int, str]] = {}
        room = PLACE_BYTES_MAX - len(msgspec.json.encode(_Remembered({})))
        for name, followed in reversed(self._followed.items()):
            if followed.partition != partition or followed.is_finished:
                continue
            room -= len(msgspec.json.encode({name: (followed.sequence, followed.id)})) - 1
            if room < 0:
                self._cramped(partition, len(kept))
                break
            kept[name] = (followed.sequence, followed.id)
        return msgspec.json.encode(_Remembered(kept)).decode()

    def restore(self, partition: int, text: str, now_s: float) -> None:
        """Take up what was written down; what cannot be read is logged, and the partition begins without a past."""
        try:
            found = msgspec.json.decode(text, type=_Remembered).rollouts
        except msgspec.DecodeError as error:
            _log.warning("partition %d: what stands beside the offset is not ours: %s", partition, error)
            return
        for name, (sequence, digits) in reversed(found.items()):
            before = self._followed.pop(name, None)
            known = _Followed(now_s, partition, sequence, digits, is_doubted=True)
            known.is_stale = before is not None and before.is_stale
            self._followed[name] = known
        self._bound()

    def forget(self, partitions: Collection[int]) -> None:
        """Drop the rollouts of partitions that somebody else reads from now on."""
        for name in [name for name, one in self._followed.items() if one.partition in partitions]:
            del self._followed[name]

    def unexpect(self, rollout: str) -> None:
        """Drop a rollout of which nothing was heard: it is somebody else's."""
        found = self._followed.get(rollout)
        if found is not None and found.partition is None:
            del self._followed[rollout]

    def _verdict(self, found: Received, followed: _Followed, place: Place, now_s: float) -> list[Event]:
        sequence, digits = found.sequence, found.id[:_ID_DIGITS]
        if sequence < followed.sequence or (sequence, digits) == (followed.sequence, followed.id):
            self.repeated += 1
            return []
        if sequence == followed.sequence:
            reason = f"sequence: found {sequence} again, with another verdict; allowed: each number once"
            return [Untrusted(found.rollout, reason, place.topic, place.partition, place.offset)]
        told: list[Event] = []
        known = max(followed.sequence, followed.missing)
        if known and sequence > known + 1:
            told.append(Gap(found.rollout, known + 1, sequence - 1, None))
        followed.sequence, followed.id = sequence, digits
        followed.heard_s, followed.is_stale, followed.is_doubted = now_s, False, False
        followed.time = max(found.time, followed.time or found.time)
        return [*told, found]

    def _beat(self, event: Heartbeat, time: datetime, followed: _Followed, now_s: float) -> list[Event]:
        told: list[Event] = []
        beat = event.data
        known = max(followed.sequence, followed.missing)
        if beat.sequence > known:
            told.append(Gap(event.subject, known + 1, beat.sequence, beat.action))
            followed.missing = beat.sequence
        followed.is_finished |= beat.finished
        if beat.sequence >= followed.sequence and (followed.time is None or time > followed.time):
            if followed.is_stale or followed.is_doubted:
                told.append(Fresh(event.subject, beat.action))
            followed.time, followed.heard_s = time, now_s
            followed.is_stale = followed.is_doubted = False
        return told

    def _cramped(self, partition: int, kept: int) -> None:
        if not self._is_cramped:
            self._is_cramped = True
            _log.warning("partition %d: no room to remember all rollouts beside an offset; %d are", partition, kept)

    def _bound(self) -> None:
        while len(self._followed) > ROLLOUTS_MAX:
            name = next((name for name, one in self._followed.items() if one.is_finished), next(iter(self._followed)))
            if not self._followed.pop(name).is_finished:
                _log.warning("%s: no longer followed: more than %d rollouts are under way", name, ROLLOUTS_MAX)


def _moment(text: str) -> datetime:
    moment = zoned(text)
    if moment is None:
        message = f"found {text[:200]!r}; allowed: a time with its zone, as in 2026-03-12T11:20:00Z"
        raise BadInput(message)
    return moment
