"""The overrides that are in force, as the audit topic says: read in a thread of its own."""

import logging
import threading
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from confluent_kafka import KafkaException
from msgspec.structs import replace

from holdfast.control.audit_log import AuditLog
from holdfast.errors import BadInput, Unreachable
from holdfast.live.settings import Settings
from rollouts.audit import Link
from rollouts.breakglass import Held, State, after, in_force
from rollouts.context import Override
from rollouts.people import Roster

log = logging.getLogger(__name__)

_AGAIN_S: Final = 5.0
_END_S: Final = 5.0


def overrides_of(state: State, now: datetime) -> list[Override]:
    """List the overrides that are in force, as the controller takes them."""
    return [
        Override(
            id=held.id,
            kind=held.request.override,
            rollout=held.request.rollout,
            stage=held.request.stage,
            metric=held.request.metric,
            expires_at=held.request.expires,
        )
        for held in in_force(state, now)
    ]


class Glass:
    """Follows what people have signed.

    Parameters
    ----------
    settings
        Of the engine.
    who
        The people; None if nobody may override, and nothing is read then.

    Attributes
    ----------
    unknown
        Why it is not known what people have decided; None if it is.
    """

    def __init__(self, settings: Settings, who: Roster | None) -> None:
        self._settings, self._who = settings, who
        self._state = State()
        self._is_told = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="holdfast-glass", daemon=True)
        self.unknown: str | None = None if who is None else "the audit topic has not been read yet"

    def start(self) -> None:
        """Begin to read."""
        if self._who is not None:
            self._thread.start()

    def overrides(self, now: datetime) -> list[Override]:
        """List what is in force; whatever has expired by now is not, whether or not anything was read since."""
        return overrides_of(self._state, now)

    def held(self, now: datetime) -> tuple[Held, ...]:
        """List what is in force, with who asked for it, who approved it and why."""
        return in_force(self._state, now)

    def close(self) -> None:
        """Stop reading."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def _follow(self) -> None:
        while not self._closing.is_set():
            try:
                self._read()
            except Exception as error:  # whatever it is, nothing begins on what is not known
                self.unknown = str(error) or type(error).__name__
                is_expected = isinstance(error, (BadInput, Unreachable, KafkaException))
                log.warning("overrides are not known, and nothing begins: %s", error, exc_info=not is_expected)
                self._closing.wait(_AGAIN_S)

    def _read(self) -> None:
        with AuditLog(self._settings) as audit:
            audit.load()
            self._take(State(), audit.chain.links, audit)
            self.unknown = None
            while not self._closing.is_set():
                self._take(self._state, audit.poll(), audit)

    def _take(self, before: State, links: Iterable[Link], audit: AuditLog) -> None:
        assert self._who is not None
        state = after(before, links, self._settings.prefix, self._who)
        self._state = replace(state, is_whole=audit.chain.is_whole)
        if not audit.chain.is_whole and not self._is_told:
            self._is_told = True
            broken = audit.chain.first_break()
            why = "broken" if broken is None else broken.sentence
            log.error("%s: force_advance and ignore_metric are suspended: %s", self._settings.topics.audit, why)
