"""Writing what control does to the audit topic: in a thread of its own, so that nothing else waits for it."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

import msgspec
from confluent_kafka import KafkaException
from msgspec import Struct

from holdfast.control.audit_log import AuditLog, Draft, append_all
from holdfast.errors import BadInput, Unreachable
from holdfast.live.loop import Hook, let_pass
from holdfast.live.settings import Settings
from rollouts.audit import Chain
from rollouts.controlled import Note
from rollouts.folding import CONTROL

log = logging.getLogger(__name__)

DID: Final = "control.did"
"""Kind of an entry that says what control did, or that it does not rely on the judge."""

REFUSED: Final = "control.refused"
"""Kind of an entry that says what it refused."""

WAITING_MAX: Final = 1_000
"""Most notes that wait here; the others wait where they came from."""

WORDS_MAX: Final = 2_000
"""Longest text of an entry; the history of the rollout has all of it."""

_BATCH: Final = 50
_AGAIN_S: Final = 2.0
_END_S: Final = 5.0


class Noted(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What control did, or refused, and the rollout that it is about; empty if that is not known."""

    rollout: str
    note: Note

    @property
    def kind(self) -> str:
        """Kind of its entry."""
        return REFUSED if self.note.what.endswith("refused") else DID

    @property
    def key(self) -> tuple[str, str]:
        """What names it: a rollout has each id once."""
        return self.rollout, self.note.id


def draft_of(noted: Noted) -> Draft:
    """Write a note as an entry."""
    note = noted.note
    by = "" if note.by == CONTROL else f", by {note.by}"
    sentence = f"{note.what}{by}{': ' if note.why else ''}{note.why}"
    body: dict[str, object] = {
        "id": note.id,
        "at": msgspec.to_builtins(note.at),
        "what": note.what[:WORDS_MAX],
        "by": note.by[:WORDS_MAX],
        "why": note.why[:WORDS_MAX],
        "sentence": sentence[:WORDS_MAX],
    }
    return Draft(CONTROL, noted.kind, noted.rollout[:200], body)


def missing_of(drafts: Sequence[Draft], chain: Chain) -> list[Draft]:
    """Leave out what is on the log already, whoever wrote it there before being killed.

    One that says something else under the same id is somebody else's, and does not count.
    """
    return Remembered().missing_of(drafts, chain)


class Remembered:
    """What is on a log that grows: of each entry it is looked once what it says."""

    def __init__(self) -> None:
        self._chain: Chain | None = None
        self._seen = 0
        self._there: set[bytes] = set()

    def missing_of(self, drafts: Sequence[Draft], chain: Chain) -> list[Draft]:
        """See the function of that name."""
        if chain is not self._chain:  # another one is a log that was read anew
            self._chain, self._seen, self._there = chain, 0, set()
        for link in islice(chain.links, self._seen, None):
            if link.entry.kind in (DID, REFUSED):
                self._there.add(_said(link.entry.subject, link.entry.body))
        self._seen = len(chain.links)
        return [draft for draft in drafts if _said(draft.subject, draft.body) not in self._there]


def _said(subject: str, body: dict[str, object]) -> bytes:
    """Return what tells two entries apart: not when it was, as the same may be decided anew after a crash."""
    return msgspec.json.encode([subject, body.get("id"), body.get("sentence")], order="deterministic")


class Scribe:
    """Writes notes, those that wait together in one transaction.

    Parameters
    ----------
    settings
        Of the engine.
    hook
        Told `noted` once entries are on the topic, and nobody knows yet.
    drafted
        Writes a note as an entry.
    """

    def __init__(self, settings: Settings, hook: Hook = let_pass, drafted: Callable[[Noted], Draft] = draft_of) -> None:
        self._settings, self._hook, self._drafted = settings, hook, drafted
        self._change = threading.Condition()
        self._waiting: dict[tuple[str, str], Noted] = {}
        self._written: set[tuple[str, str]] = set()
        self._failed: Exception | None = None
        self._log: AuditLog | None = None  # read once, and from there on what comes
        self._remembered = Remembered()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="holdfast-scribe", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def has_written(self, noted: Noted) -> bool:
        """Tell, once, whether a note is on the topic; if it is not, see to it. Returns at once."""
        with self._change:
            if self._failed is not None:
                raise self._failed
            if noted.key in self._written:
                self._written.remove(noted.key)
                return True
            if noted.key not in self._waiting and len(self._waiting) < WAITING_MAX:
                self._waiting[noted.key] = noted
                self._change.notify()
                if noted.kind == DID:  # what is refused is logged where it is
                    # The text as a whole is the line's kind, so that none is counted as one more like another.
                    text = f"{noted.rollout}: {draft_of(noted).body['sentence']}"
                    log.info(text)
            return False

    def close(self) -> None:
        """Stop writing; what waits is still to be done by whoever handed it over."""
        with self._change:
            self._is_closed = True
            self._change.notify()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def _work(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._write(batch)
        except Exception as error:  # noqa: BLE001 - handed to whoever asks next, who ends the worker
            with self._change:
                self._failed = error
        finally:
            self._forget()

    def _forget(self) -> None:
        if self._log is not None:
            self._log.close()
        self._log = None

    def _next(self) -> list[Noted] | None:
        with self._change:
            self._change.wait_for(lambda: self._is_closed or self._waiting)
            return None if self._is_closed else [*islice(self._waiting.values(), _BATCH)]

    def _write(self, batch: list[Noted]) -> None:
        drafts = [self._drafted(noted) for noted in batch]

        def make(chain: Chain, _at: datetime) -> list[Draft]:
            return self._remembered.missing_of(drafts, chain)

        begun = time.monotonic()
        self._log = self._log or AuditLog(self._settings)
        try:
            append_all(self._settings, make, log=self._log)
        except (BadInput, Unreachable, KafkaException) as error:
            self._forget()
            log.warning("%d entries wait for the audit topic: %s", len(batch), error)
            self._rest(_AGAIN_S)
            return
        self._hook("noted")
        with self._change:
            for noted in batch:
                del self._waiting[noted.key]
                self._written.add(noted.key)
        # Who writes fences others off: people who sign are to get their turn.
        self._rest(min(_AGAIN_S, time.monotonic() - begun))

    def _rest(self, seconds: float) -> None:
        with self._change:
            self._change.wait_for(lambda: self._is_closed, seconds)
