"""Looking for drift again and again: metrics, a line in the log when something comes or goes, entries if wished."""

import logging
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from holdfast.control.audit_log import Draft, append_all
from holdfast.control.drifting import Kept, gather
from holdfast.errors import BadInput, Unreachable
from holdfast.live.http import Server
from holdfast.live.settings import Settings
from holdfast.live.telemetry import Telemetry
from holdfast.wall import now
from rollouts.audit import Chain
from rollouts.drift import audit, counts
from rollouts.drift_facts import Finding
from rollouts.drift_notes import FOUND, Note, Open, after, changes, open_of

log = logging.getLogger(__name__)

WHO: Final = "drift"
"""Who writes entries on the audit topic."""

SILENT_SECONDS_MAX: Final = 900.0
"""How long one look may take and the process still count as alive."""

_TICK_S: Final = 1.0


class Counts:
    """Findings as metrics, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._found = Gauge("holdfast_drift", "What is not as it was decided, by kind.", ["kind"], registry=registry)
        self._unknown = Gauge(
            "holdfast_drift_unknown", "Of what cannot be told whether it is, by kind.", ["kind"], registry=registry
        )
        self._looked = Gauge(
            "holdfast_drift_looked_timestamp_seconds", "When it was looked at last; alert if old.", registry=registry
        )

    def set(self, findings: Sequence[Finding], at: datetime) -> None:
        """Take what was found. All kinds are there, so that an alert has something to look at."""
        for gauge, known in ((self._found, True), (self._unknown, False)):
            for kind, count in counts(findings, known=known).items():
                gauge.labels(kind).set(count)
        self._looked.set(at.timestamp())


def write_metrics(path: Path, findings: Sequence[Finding], at: datetime) -> None:
    """Write the metrics to a file, as the textfile collector of Prometheus' node exporter reads them.

    Raises
    ------
    BadInput
        If it cannot be written.
    """
    registry = CollectorRegistry()
    Counts(registry).set(findings, at)
    try:
        write_to_textfile(str(path), registry)
    except OSError as error:
        message = f"{path}: cannot be written: {error.strerror or error}"
        raise BadInput(message) from error


def record(settings: Settings, findings: Sequence[Finding]) -> int:
    """Write on the audit topic what has come and what has gone since it was written there last; return how much.

    Raises
    ------
    BadInput, Unreachable
        If that cannot be done.
    """

    def make(chain: Chain, _at: datetime) -> list[Draft]:
        return [_draft(note) for note in changes(open_of(chain.links), findings)]

    return len(append_all(settings, make))


def _draft(note: Note) -> Draft:
    body: dict[str, object] = {
        "drift": note.kind,
        "about": note.subject,
        "sentence": f"{note.kind}: {note.sentence}"[:2_000] if note.entry == FOUND else f"{note.kind}: no longer",
    }
    return Draft(WHO, note.entry, note.subject[:200], body)


class Watch:
    """Looks every so often until it is stopped.

    Parameters
    ----------
    settings
        Of the engine; `http` says where the metrics are.
    kept
        What is in files.
    every_s
        From one look to the next.
    is_recorded
        Whether what comes and goes is written on the audit topic too.
    """

    def __init__(self, settings: Settings, kept: Kept, every_s: float, *, is_recorded: bool) -> None:
        self._settings, self._kept, self._every_s, self._is_recorded = settings, kept, every_s, is_recorded
        self._telemetry = Telemetry("drift", settings.worker)
        self._counts = Counts(self._telemetry.registry)
        self._open: Open = {}
        self._stopping = threading.Event()
        self._has_looked = False
        self.server = Server(
            settings.http,
            [self._telemetry],
            lambda: self._has_looked,
            silent_seconds_max=SILENT_SECONDS_MAX,
        )

    def stop(self) -> None:
        """End after what is at hand."""
        self._stopping.set()

    def run(self) -> None:
        """Look, and wait, until stopped.

        Raises
        ------
        BadInput
            If the address of the metrics cannot be listened on.
        """
        with self.server:
            while not self._stopping.is_set():
                begun = time.monotonic()
                self._look()
                self._has_looked = True
                while not self._stopping.is_set() and time.monotonic() < begun + self._every_s:
                    self._telemetry.alive()
                    self._stopping.wait(_TICK_S)

    def _look(self) -> None:
        self._telemetry.alive()
        at = now()
        findings = audit(gather(self._settings, self._kept, at), at)
        self._counts.set(findings, at)
        notes = changes(self._open, findings)
        self._open = after(self._open, notes)
        for note in notes:
            given = {"drift": note.kind, "about": note.subject}
            if note.entry == FOUND:
                log.warning("%s: %s: %s", note.kind, note.subject, note.sentence, extra=given)
            else:
                log.info("%s: %s: no longer", note.kind, note.subject, extra=given)
        for one in findings:
            if not one.known:
                log.info("%s: %s: not known: %s", one.kind, one.subject, one.sentence)
        if self._is_recorded:
            self._record(findings)

    def _record(self, findings: Sequence[Finding]) -> None:
        try:
            record(self._settings, findings)
        except (BadInput, Unreachable, KafkaException) as error:
            log.warning("not written on the audit topic, tried again the next time: %s", error)
