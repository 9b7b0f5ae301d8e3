"""What is refused over HTTP, on the audit topic: who asked for which change, and why it was not made.

Only who was let in gets there: whom no token names is told so, and anybody could fill the topic otherwise. The same
refusal to the same one is one entry a day, and so many an hour are written at the most: the topic is kept for ever, and
clients repeat themselves.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

import msgspec

from holdfast.api.refusals import Refused
from holdfast.control.audit_log import Draft
from holdfast.control.scribe import Noted, Scribe, draft_of
from holdfast.live.settings import Settings
from rollouts.controlled import Note
from rollouts.packages import digest_of

WAIT_S: Final = 5.0
"""How long an answer waits for its entry. The entry is written later if it must be, and the answer says so."""

PER_HOUR: Final = 500
"""Most entries of an hour. What is refused beyond them is in the log alone."""

RECORDED: Final = frozenset((HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY))
"""Statuses of what was understood and not done; the others say that nothing was understood, or to ask again."""

_POLL_S: Final = 0.02
_KNOWN_MAX: Final = 10_000

log = logging.getLogger(__name__)

Keep = Callable[[Noted], bool | None]
"""Sees to it that a refusal gets on the audit topic; tells at once whether it is there, or None if it will not be."""


class Auditing:
    """Has refusals written, in a thread of its own.

    Parameters
    ----------
    made
        Makes what writes; again after one has failed for good.
    """

    def __init__(self, made: Callable[[], Scribe]) -> None:
        self._made = made
        self._scribe: Scribe | None = None
        self._there: dict[tuple[str, str], None] = {}
        self._hour: datetime | None = None
        self._asked: set[tuple[str, str]] = set()

    def keep(self, noted: Noted) -> bool | None:
        """See `Keep`. To be called from one thread alone."""
        if noted.key in self._there:
            return True
        hour = noted.note.at.replace(minute=0, second=0, microsecond=0)
        if hour != self._hour:
            self._hour, self._asked = hour, set()
        if noted.key not in self._asked:
            if len(self._asked) >= PER_HOUR:
                log.error("%s: not on the audit topic, as there were %d this hour", _sentence(noted), PER_HOUR)
                return None
            self._asked.add(noted.key)
            log.warning("%s", _sentence(noted))
        try:
            if self._scribe is None:
                self._scribe = self._made()
                self._scribe.start()
            is_there = self._scribe.has_written(noted)
        except Exception:
            log.exception("the audit topic: what writes to it has failed, and is begun anew")
            self.close()
            return False
        if is_there:
            self._there[noted.key] = None
            while len(self._there) > _KNOWN_MAX:
                del self._there[next(iter(self._there))]
        return is_there

    def close(self) -> None:
        """Stop writing."""
        if self._scribe is not None:
            self._scribe.close()
        self._scribe = None


def auditing(settings: Settings) -> Auditing:
    """Make what puts refusals on the audit topic; brokers may be away."""
    return Auditing(lambda: Scribe(settings, drafted=drafted))


def drafted(noted: Noted) -> Draft:
    """Write a refusal as an entry of whoever asked, as the command line does."""
    draft = draft_of(noted)
    return Draft(noted.note.by, draft.kind, draft.subject, draft.body)


def noted_of(refused: Refused, what: str, rollout: str, who: str, at: datetime) -> Noted:
    """Note a refusal; the same gives the same name all day.

    Parameters
    ----------
    refused
        What was answered.
    what
        What was asked for, as "announcement".
    rollout
        Which one it is about; empty if that is not known.
    who, at
        Who asked, and when.
    """
    why = "; ".join((refused.detail, *refused.errors))
    name = digest_of(msgspec.json.encode([who, what, rollout, why]))[7:23]
    note = Note(id=f"api/{name}/{at:%Y-%m-%d}", at=at, what=f"{what} refused", by=who, why=why)
    return Noted(rollout=rollout, note=note)


async def on_record(refused: Refused, noted: Noted, keep: Keep, wait: timedelta) -> Refused:
    """Wait until a refusal is on the audit topic, and return what is to be answered; if it is not in time, that too."""
    try:
        async with asyncio.timeout(wait.total_seconds()):
            while (is_there := keep(noted)) is False:
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        is_there = False
    if is_there:
        return refused
    too_much = "is kept off the audit topic, as too much is refused"
    reason = "is not on the audit topic yet" if is_there is False else too_much
    return Refused(HTTPStatus(refused.status), f"{refused.detail}; that {reason}", refused.errors, refused.headers)


def _sentence(noted: Noted) -> object:
    return draft_of(noted).body["sentence"]
