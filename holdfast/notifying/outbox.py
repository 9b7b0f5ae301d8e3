"""What is still to be told, to whom, and in which message: without topics, threads and a clock of its own."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from holdfast.notifying.journal import REASON_MAX, Delivered, Key, Place, State, key_of
from rollouts.incidents.folding import fold
from rollouts.incidents.history import History
from rollouts.incidents.notices import Notice, notices
from rollouts.incidents.pacing import HOUR, Sent, next_message
from rollouts.incidents.plain import line
from rollouts.incidents.response import Response
from rollouts.incidents.wording import Message, subject_of, sum_up, words

WAITING_MAX: Final = 5_000
"""Most notices that wait for one address; what comes beyond them is given up."""

Told = list[tuple[Key, Delivered]]
"""What became of notices."""


class Parcel(Struct, frozen=True, kw_only=True):
    """A message on its way to one address, and the notices that it tells of; it is given up at `until`."""

    place: Place
    message: Message
    covers: list[Notice]
    is_summary: bool
    until: datetime


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of a parcel: sent, if there is no reason."""

    parcel: Parcel
    at: datetime
    attempts: int
    reason: str | None = None


@dataclass(slots=True)
class _Way:
    """One address: what waits for it, what went to it, and whether a message is on its way."""

    per_hour: int
    waiting: dict[str, Notice]
    sent: dict[str, Sent]
    is_busy: bool = False
    again: datetime | None = None


class Outbox:
    """Knows what was told and what is still to be told.

    Parameters
    ----------
    response
        Who hears what.
    addresses
        How many each recipient has.
    age_max
        For how long after something happened it is told.
    link
        Where more can be read.
    """

    def __init__(
        self, response: Response, addresses: Mapping[str, int], age_max: timedelta, link: str | None = None
    ) -> None:
        self._response, self._age_max, self._link = response, age_max, link
        limits = {each.name: each.per_hour for each in response.recipients}
        self._ways = {
            Place(recipient=name, index=index): _Way(per_hour=limits[name], waiting={}, sent={})
            for name, count in addresses.items()
            for index in range(count)
        }
        self._known: dict[Key, datetime] = {}

    @property
    def places(self) -> list[Place]:
        """All addresses."""
        return list(self._ways)

    def waiting(self, place: Place) -> int:
        """Count the notices that wait for an address."""
        return len(self._ways[place].waiting)

    def remember(self, told: Iterable[tuple[Key, Delivered]]) -> None:
        """Note what became of notices, as the topic says."""
        for key, value in told:
            self._known[key] = max(value.at, value.told)
            way = self._ways.get(key[1])
            if way is not None:
                way.waiting.pop(key[0], None)
                if value.attempts:
                    way.sent[value.message] = Sent(at=value.at, is_summary=value.is_summary)

    def take(self, history: History, now: datetime) -> Told:
        """Take what happened to an incident; what of it is still to be told waits from now on.

        Returns
        -------
        list
            What cannot be told: to somebody whom the document does not know, or who has too many waiting already, or
            what happened too long ago to an incident that is not over. What is long over nobody has to hear of.

        Raises
        ------
        BadInput
            If the history is none.
        """
        given_up: Told = []
        is_over = fold(history).is_over
        for notice in notices(history, self._response):
            is_late = notice.at < now - self._age_max
            if is_late and is_over:
                continue
            ways = [place for place in self._ways if place.recipient == notice.recipient]
            if not ways:
                given_up += self._unless_known(notice, 0, now, "the document has no recipient of that name")
            for place in ways:
                way = self._ways[place]
                if (notice.id, place) in self._known or notice.id in way.waiting:
                    continue
                if is_late:
                    given_up += self._unless_known(notice, place.index, now, "it was too old when it was first seen")
                elif len(way.waiting) < WAITING_MAX:
                    way.waiting[notice.id] = notice
                else:
                    given_up += self._unless_known(notice, place.index, now, f"{WAITING_MAX:,} others waited")
        return given_up

    def _unless_known(self, notice: Notice, index: int, now: datetime, reason: str) -> Told:
        key = key_of(notice, index)
        return [] if key in self._known else [(key, _became("undelivered", notice, now, reason=reason))]

    def late(self, now: datetime) -> Told:
        """Give up what has waited for too long, and forget what is too old to be told again."""
        forgotten = now - self._age_max - HOUR
        self._known = {key: at for key, at in self._known.items() if at > forgotten}
        given_up: Told = []
        for place, way in self._ways.items():
            way.sent = {name: sent for name, sent in way.sent.items() if sent.at > now - HOUR}
            if not way.is_busy:
                old = [notice for notice in way.waiting.values() if notice.at < now - self._age_max]
                reason = "it waited for too long"
                given_up += [
                    (key_of(each, place.index), _became("undelivered", each, now, reason=reason)) for each in old
                ]
        return given_up

    def next(self, place: Place, now: datetime) -> Parcel | None:
        """Return the next message to an address, if one may be sent; it is on its way until `done`."""
        way = self._ways[place]
        if way.is_busy or not way.waiting or (way.again is not None and now < way.again):
            return None
        found = next_message(list(way.waiting.values()), list(way.sent.values()), way.per_hour, now)
        way.again = found.again
        if not found.covers:
            return None
        way.is_busy = True
        return Parcel(
            place=place,
            message=self._message(found.covers),
            covers=found.covers,
            is_summary=found.is_summary,
            until=max(notice.at for notice in found.covers) + self._age_max,
        )

    def done(self, outcome: Outcome) -> Told:
        """Take what came of a message; return what is to be kept of it, which is to be remembered once it is."""
        parcel = outcome.parcel
        self._ways[parcel.place].is_busy = False
        return became(outcome)

    def _message(self, covered: Sequence[Notice]) -> Message:
        if len(covered) == 1:
            return words(covered[0], self._response, self._link)
        names = "\n".join((covered[0].recipient, *(notice.id for notice in covered)))
        name = f"sum-{hashlib.sha256(names.encode()).hexdigest()[:16]}"
        return sum_up(covered, min(notice.at for notice in covered), name, self._link)


def became(outcome: Outcome) -> Told:
    """Say what became of each notice of a message."""
    parcel = outcome.parcel
    state: State = "sent" if len(parcel.covers) == 1 else "summed"
    return [
        (
            key_of(notice, parcel.place.index),
            _became(
                state if outcome.reason is None else "undelivered",
                notice,
                outcome.at,
                message=parcel.message.id,
                attempts=outcome.attempts,
                is_summary=parcel.is_summary,
                reason=outcome.reason,
            ),
        )
        for notice in parcel.covers
    ]


def _became(
    state: State,
    notice: Notice,
    at: datetime,
    *,
    message: str | None = None,
    attempts: int = 0,
    is_summary: bool = False,
    reason: str | None = None,
) -> Delivered:
    return Delivered(
        state=state,
        at=at,
        told=notice.at,
        message=message or notice.id,
        subject=subject_of(notice),
        attempts=attempts,
        is_summary=is_summary,
        reason=None if reason is None else line(reason, REASON_MAX),
    )
