"""What control has refused, and what else is no part of a rollout's history, until it is on the audit topic.

It is kept on the control topic, in the transaction that answers whoever asked: so it is not lost if the worker is
killed before it is on the audit topic.
"""

import logging
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import msgspec
from confluent_kafka import KafkaException

from holdfast.control.asking import NOTED
from holdfast.control.audit_log import Draft, append
from holdfast.control.scribe import REFUSED, WORDS_MAX, Noted, draft_of
from holdfast.errors import BadInput, Unreachable
from holdfast.live.settings import Settings
from rollouts.controlled import Note
from rollouts.packages import digest_of

log = logging.getLogger(__name__)

WAITING_MAX: Final = 1_000
"""Most that wait for the audit topic. What is refused beyond them is in the worker's log alone."""

_KNOWN_MAX: Final = 10_000

_DECODER: Final = msgspec.json.Decoder(Noted)


class Refusals:
    """Keeps refusals until they are written."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, Noted] = {}
        self._known: dict[bytes, None] = {}  # those said before: the same is refused at every look

    def read(self, key: bytes, value: bytes | None) -> None:
        """Take a record of the control topic."""
        if value is None:
            self._waiting.pop(key, None)
            return
        try:
            self._waiting[key] = _DECODER.decode(value)
        except msgspec.DecodeError as error:
            log.warning("%r: left out: not a note: %s", key, error)

    def waiting(self) -> list[Noted]:
        """List those that are not known to be on the audit topic."""
        return [*self._waiting.values()]

    def new(self, noted: Iterable[Noted], level: int = logging.WARNING) -> list[Noted]:
        """Leave out what was said before, and log the rest."""
        found = [one for one in noted if _key(one) not in self._known]
        for one in found:
            log.log(level, "%s: %s", one.rollout, draft_of(one).body["sentence"])
            self._known[_key(one)] = None
        while len(self._known) > _KNOWN_MAX:
            self._known.pop(next(iter(self._known)))
        return found

    def records(self, noted: Iterable[Noted], written: Iterable[Noted]) -> dict[bytes, bytes | None]:
        """Write what is to be kept, and take away what is on the audit topic."""
        gone: dict[bytes, bytes | None] = dict.fromkeys(map(_key, written))
        kept = {_key(one): msgspec.json.encode(one) for one in noted}
        room = max(0, WAITING_MAX - len(self._waiting))
        if len(kept) > room:
            log.error("%d refusals are left out: %d wait for the audit topic", len(kept) - room, len(self._waiting))
        return {**gone, **dict([*kept.items()][:room])}


def of_host(host: str, what: str, why: str, at: datetime) -> Noted:
    """Note what a host said, or could not do: the same once a day at the most, as a host says it again and again."""
    name = digest_of(f"{host}\n{what}".encode())[7:23]
    return Noted(rollout="", note=Note(id=f"host/{name}/{at:%Y-%m-%d}", at=at, what=what, by=host, why=why))


@contextmanager
def on_record(settings: Settings, by: str, rollout: str, what: str) -> Generator[None]:
    """Put on the audit topic that something was refused, when it is, and refuse it.

    Parameters
    ----------
    settings
        Of the engine.
    by, rollout, what
        Who asked, about which rollout, and for what.

    Raises
    ------
    BadInput
        What was raised within. If that cannot be put on the topic, the error says so too.
    """
    try:
        yield
    except BadInput as error:
        body: dict[str, object] = {"what": f"{what} refused", "why": str(error)[:WORDS_MAX]}
        body["sentence"] = f"{what} refused, by {by}: {error}"[:WORDS_MAX]
        try:
            append(settings, lambda _chain, _at: Draft(by, REFUSED, rollout[:200], body), is_tail_enough=True)
        except (BadInput, Unreachable, KafkaException) as second:
            message = f"{error}\nand that is not on the audit topic: {second}"
            raise BadInput(message) from error
        raise


def _key(noted: Noted) -> bytes:
    return NOTED + digest_of(msgspec.json.encode(noted.key)).encode()
