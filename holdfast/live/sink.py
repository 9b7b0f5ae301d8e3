"""The sink: verdicts, evidence, announcements, dead letters and audit entries into the store, off the verdict path."""

import logging
import signal
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pyarrow as pa
from confluent_kafka import Message

from detectors.policy import duration_ms
from holdfast.documents import digest
from holdfast.live.clickhouse_settings import Batch, Keep
from holdfast.live.clients import admin, consumer, producer
from holdfast.live.dead_letters import Letter, Mark, read_letter
from holdfast.live.http import Server
from holdfast.live.orphans import Orphans
from holdfast.live.settings import Settings
from holdfast.live.sinking import Kept, SinkLoop
from holdfast.live.store_owner import Owner
from holdfast.live.telemetry import Telemetry
from rollouts.announced import decode as decode_announcement
from rollouts.announced import start_of
from rollouts.audit import decode as decode_entry
from rollouts.audit import hash_of
from sinks.cloudevents import decode as decode_verdict
from sinks.errors import StoreBusy
from sinks.live_rows import (
    LiveRows,
    Place,
    audit_rows,
    dead_letter_rows,
    event_rows,
    rollout_rows,
    table_rows,
    verdict_rows,
)
from sinks.migrations import migrate
from sinks.retention import keep
from sinks.store import Store

if TYPE_CHECKING:  # its driver and pandas are nothing for a folder
    from sinks.clickhouse import Server as ClickHouse

log = logging.getLogger(__name__)

_OPEN_SECONDS: Final = 30.0
"""How long to wait for the store at the start."""

_DAY_SECONDS: Final = 86_400
_VERDICT: Final = "dev.holdfast.verdict.v1"


class Reader:
    """Reads messages of the engine's topics as rows.

    Parameters
    ----------
    settings
        Names of topics.
    """

    def __init__(self, settings: Settings) -> None:
        self._topics = settings.topics

    @property
    def topics(self) -> list[str]:
        """What is read."""
        topics = self._topics
        return [topics.verdicts, topics.evidence, topics.rollouts, topics.dead_letters, topics.audit]

    def read(self, message: Message) -> list[LiveRows]:
        """Return the rows of a message, by table; none of a heartbeat, for example.

        A dead letter always has one, whatever it holds: one that was put aside once more would come back as another.

        Raises
        ------
        BadInput
            If it cannot be read.
        """
        place = Place(message.topic() or "", message.partition() or 0, message.offset() or 0)
        value, written_ms = message.value(), message.timestamp()[1]
        if place.topic == self._topics.dead_letters:
            return [_letter(message, place, written_ms)]
        if place.topic == self._topics.audit:
            return [_entry(value or b"", place, written_ms)]
        if value is None:
            return []  # a rollout that was taken back: what was recorded of it stays
        if place.topic == self._topics.evidence:
            return [table_rows(_header(message, "table"), value, place, written_ms)]
        if place.topic == self._topics.rollouts:
            return _announced(value, place)
        kind = _header(message, "ce_type")
        return [] if kind is not None and kind != _VERDICT else [verdict_rows(decode_verdict(value), place)]


def _announced(value: bytes, place: Place) -> list[LiveRows]:
    announcement = decode_announcement(value)
    plan, policy, events = announcement.rollout, announcement.policy, announcement.events
    started = start_of(announcement, 0) or plan.started
    rollout = rollout_rows(
        place,
        rollout=plan.rollout,
        started=started,
        policy=policy.policy,
        mode=plan.mode,
        document=msgspec.json.encode(plan),
        policy_document=msgspec.json.encode(policy),
        policy_digest=digest(policy),
        recorded=max([started, *(event.effective_at for event in events)]),
    )
    told = [(event.event, event.stage or "", event.effective_at) for event in events]
    return [rollout, event_rows(place, plan.rollout, told)] if told else [rollout]


def _entry(value: bytes, place: Place, written_ms: int) -> LiveRows:
    """Make the row of an entry of the audit log, whether or not its links hold: `holdfast audit verify` tells that."""
    entry = decode_entry(value)
    return audit_rows(
        place,
        time=entry.time,
        written_ms=written_ms,
        sequence=entry.sequence,
        hashes=(hash_of(value), entry.previous),
        who=entry.who,
        kind=entry.kind,
        subject=entry.subject,
        body=msgspec.json.encode(entry.body, order="deterministic"),
    )


def _letter(message: Message, place: Place, written_ms: int) -> LiveRows:
    letter = read_letter(message)
    worker, is_redriven = "", False
    if isinstance(letter, Mark) and _fits(0, letter.offset):
        origin = Place(place.topic, place.partition, letter.offset)
        reason, is_redriven = f"sent again, for the {letter.times}. time", True
    elif isinstance(letter, Letter) and _fits(letter.from_partition, letter.from_offset):
        origin = Place(letter.from_topic, letter.from_partition, letter.from_offset)
        worker, reason = letter.worker, letter.reason
    else:
        origin, reason = Place("", 0, 0), "neither a dead letter nor the mark of one"
    size = len(message.value() or b"")
    return dead_letter_rows(
        place,
        written_ms=written_ms,
        origin=origin,
        worker=worker,
        reason=reason,
        size=size,
        is_redriven=is_redriven,
    )


def _fits(partition: int, offset: int) -> bool:
    """Tell whether a place that a letter names can be one."""
    return 0 <= partition < 1 << 31 and 0 <= offset < 1 << 63


def _header(message: Message, name: str) -> str | None:
    found = dict(message.headers() or []).get(name)
    return found.decode(errors="replace") if isinstance(found, bytes) else found


def _opened(folder: Path) -> Store:
    """Open the store; wait a while for somebody who has it open, as a query at the same moment."""
    end = time.monotonic() + _OPEN_SECONDS
    while True:
        try:
            return Store(folder)
        except StoreBusy as error:
            if time.monotonic() >= end:
                raise
            log.warning("waiting: %s", error)
            time.sleep(0.5)


class Embedded:
    """The store in a folder of this machine; its schema is right since it was opened."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def prepare(self) -> None:
        """Do nothing."""

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Put rows in, between questions."""
        self._store.insert(table, rows, token)


class Remote:
    """A ClickHouse server: its tables are made, or brought to this version, when it is first reached."""

    def __init__(self, server: "ClickHouse", known: Keep) -> None:
        self._server, self._keep = server, known

    def prepare(self) -> None:
        """Make sure that the tables are there, and say how long rows are kept."""
        migrate(self._server, f"the store in {self._server.name}")
        keep(self._server, {table: days * _DAY_SECONDS for table, days in self._keep.by_table.items()})

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Put rows in."""
        self._server.insert(table, rows, token)


def run(settings: Settings) -> None:
    """Fill the store until SIGTERM or SIGINT; an embedded one is owned meanwhile, and questions about it are answered.

    Raises
    ------
    StoreError
        If the folder is somebody else's, or cannot be used. A server may be away.
    BadInput
        If the settings do not fit.
    """
    telemetry = Telemetry("sink", settings.worker)
    with ExitStack() as opened:
        kept: Kept
        batch = Batch()
        if settings.clickhouse is None:
            store = opened.enter_context(_opened(settings.data))
            opened.enter_context(Owner(store, settings.data))
            kept = Embedded(store)
        else:
            from sinks.clickhouse import Server as ClickHouse

            server = opened.enter_context(closing(ClickHouse(settings.clickhouse.connection)))
            kept, batch = Remote(server, settings.clickhouse.keep_days), settings.clickhouse.batch
        group, reader = f"{settings.prefix}-sink", Reader(settings)
        member = consumer(settings, group, member=f"{settings.worker}-sink")
        loop = SinkLoop(
            settings,
            member,
            producer(settings),
            kept,
            reader,
            telemetry,
            rows_max=batch.rows,
            seconds_max=duration_ms(batch.seconds) / 1_000,
            orphans=Orphans(admin(settings), member, group, reader.topics, settings.session_ms / 1_000, telemetry),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) is not signal.SIG_IGN:  # whoever started this may stop it otherwise
                signal.signal(number, lambda *_: loop.stop())
        opened.enter_context(Server(settings.http, [telemetry], lambda: loop.is_ready))
        loop.run()
