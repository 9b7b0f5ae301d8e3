"""When harm began, out of the evidence topic: read in a thread of its own, since only the record waits for it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, KafkaException, TopicPartition
from numpy.typing import NDArray

from detectors.errors import BadInput
from holdfast.errors import Unreachable
from holdfast.live.announcing import partitions_of
from holdfast.live.clients import consumer
from holdfast.live.partitioner import partition_of
from holdfast.live.reading import PARTITION_END, since
from holdfast.live.settings import Settings
from rollouts.incidents.history import IncidentId
from rollouts.incidents.onset import begun
from streams.records import EVIDENCE

PATIENCE: Final = timedelta(minutes=5)
"""How long after it was asked for the evidence of a verdict's tick may come: the judge sends it when it is not busy."""

WANTED_MAX: Final = 1_000
"""Most incidents that are asked for at a time, and whose answers are kept."""

ROWS_MAX: Final = 5_000_000
"""Most rows of one stage that are looked at: some 200 MB. Of more the onset stays unknown."""

_AGAIN_S: Final = 2.0
_ANSWER_S: Final = 10.0
_END_S: Final = 5.0
_BATCH: Final = 100
_SLACK_MS: Final = 60_000
_KEPT: Final = ("time", "metric", "edge", "level", "place", "effect", "log_e", "information")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A stop whose beginning is asked for.

    `metrics` are those that it names, empty for any; `since_ms` is when the stage began, `at_ms` the end of the last
    tick that the verdict is about, `tick_ms` how long one is.
    """

    incident: IncidentId
    rollout: str
    stage: str
    metrics: frozenset[str]
    since_ms: int
    at_ms: int
    tick_ms: int


@dataclass(frozen=True, slots=True)
class Began:
    """About when harm began, and what shows it."""

    at: datetime
    why: str


@dataclass(slots=True)
class _Course:
    """What was read for one of them, and from where to read on."""

    wanted: Wanted
    until: datetime
    next: TopicPartition | None = None
    rows: list[pa.Table] = field(default_factory=list)
    count: int = 0
    is_whole: bool = False


class Onsets:
    """Answers when harm began, once for each incident.

    Parameters
    ----------
    settings
        Brokers, and the name of the topic of evidence.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._topic = settings, settings.topics.evidence
        self._change = threading.Condition()
        self._waiting: dict[IncidentId, _Course] = {}
        self._found: dict[IncidentId, Began | None] = {}
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._reader: Consumer | None = None

    def of(self, wanted: Wanted, now: datetime) -> Began | None:
        """Return when the harm of a stop began; None if that is not known, or not yet: then see to it."""
        with self._change:
            if wanted.incident in self._found:
                return self._found[wanted.incident]
            if self._settings.evidence and wanted.incident not in self._waiting and len(self._waiting) < WANTED_MAX:
                self._waiting[wanted.incident] = _Course(wanted, now + PATIENCE)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._work, name="holdfast-onsets", daemon=True)
                    self._thread.start()
            return None

    def close(self) -> None:
        """End it."""
        with self._change:
            self._is_closed = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _work(self) -> None:
        while not self._rested():
            with self._change:
                courses = [*self._waiting.values()]
            for course in courses:
                if self._is_closed:
                    break
                self._look(course)
        if self._reader is not None:
            self._reader.close()

    def _rested(self) -> bool:
        """Wait a little; tell whether it is over."""
        with self._change:
            return self._change.wait_for(lambda: self._is_closed, _AGAIN_S)

    def _look(self, course: _Course) -> None:
        """Read what there is by now; answer if that is all, or if it has taken too long."""
        from holdfast.wall import now

        name, began = course.wanted.incident, None
        try:
            self._read(course)
        except (KafkaException, Unreachable, BadInput, pa.ArrowException) as error:
            log.warning("%s: %s: not read: %s", name, self._topic, error)
        if course.is_whole:
            began = began_of(course.wanted, pa.concat_tables(course.rows) if course.rows else None)
        elif now() < course.until:
            return
        if began is None:
            log.info("%s: when the harm began, the evidence does not tell", name)
        with self._change:
            del self._waiting[name]
            self._found[name] = began
            while len(self._found) > WANTED_MAX:
                del self._found[next(iter(self._found))]

    def _read(self, course: _Course) -> None:
        """Read on to the end that there is, or to the tick of the verdict."""
        reader = self._reader = self._reader or consumer(self._settings, f"{self._settings.prefix}-respond-evidence")
        wanted = course.wanted
        if course.next is None:
            partitions = len(partitions_of(reader, self._topic, _ANSWER_S))
            place = partition_of(wanted.rollout.encode(), partitions)
            first = TopicPartition(self._topic, place, wanted.since_ms - _SLACK_MS)
            (course.next,) = since(reader, [first], _ANSWER_S)
        reader.assign([course.next])
        try:
            for table, offset in self._tables(reader, wanted):
                course.next = TopicPartition(self._topic, course.next.partition, offset + 1)
                kept = chosen(table, wanted)
                course.count += kept.num_rows
                course.rows.append(kept)
                course.is_whole = bool((_times(table) >= wanted.at_ms).any())
                if course.is_whole:
                    return
                if course.count > ROWS_MAX:
                    course.rows, course.is_whole = [], True
                    return
        finally:
            reader.unassign()

    def _tables(self, reader: Consumer, wanted: Wanted) -> Iterator[tuple[pa.Table, int]]:
        """Yield the evidence of a rollout, with its offsets, to the end that there is."""
        while not self._is_closed:
            for message in reader.consume(_BATCH, _AGAIN_S):
                error = message.error()
                if error is not None:
                    if error.code() == PARTITION_END:
                        return
                    raise KafkaException(error)
                if message.key() == wanted.rollout.encode() and ("table", b"evidence") in (message.headers() or []):
                    with suppress(pa.ArrowException):  # what is no evidence the sink puts aside, and says why
                        with pa.ipc.open_stream(pa.py_buffer(message.value() or b"")) as stream:
                            table = stream.read_all()
                        if table.schema.equals(EVIDENCE):
                            yield table, message.offset() or 0


def chosen(table: pa.Table, wanted: Wanted) -> pa.Table:
    """Keep of evidence what the answer needs: of the stage and its metrics, up to the tick of the verdict."""
    kept = (_texts(table, "stage") == wanted.stage) & (_times(table) <= wanted.at_ms)
    if wanted.metrics:
        kept &= np.isin(_texts(table, "metric"), sorted(wanted.metrics))
    return table.filter(pa.array(kept)).select(_KEPT)


def _texts(table: pa.Table, name: str) -> NDArray[np.str_]:
    return np.array(table[name].to_pylist(), dtype=np.str_)


def _times(table: pa.Table) -> NDArray[np.int64]:
    return np.asarray(table["time"].cast(pa.int64()).to_numpy(), dtype=np.int64)


def began_of(wanted: Wanted, rows: pa.Table | None) -> Began | None:
    """Say when the harm of a stop began: by the comparison whose e-value was the largest when it came.

    Parameters
    ----------
    wanted
        The stop.
    rows
        What `chosen` has kept; None for nothing.
    """
    if rows is None or not rows.num_rows:
        return None
    times = _times(rows)
    newest = rows.filter(pa.array(times == times.max()))
    best = newest.sort_by([("log_e", "descending")]).slice(0, 1).to_pylist()[0]
    same = rows["edge"].to_numpy() == best["edge"]
    for name in ("metric", "level", "place"):
        same &= _texts(rows, name) == best[name]
    course = rows.filter(pa.array(same)).sort_by("time")
    times = _times(course)
    effect, information = course["effect"].to_numpy(), course["information"].to_numpy()
    # A tick that was sent twice counts once; and if a stage was begun anew with more hosts, what came after counts.
    last = np.append(np.diff(times) > 0, np.array([True]))
    times, effect, information = times[last], effect[last], information[last]
    anew = np.flatnonzero(np.diff(information) < 0)
    first = int(anew[-1]) + 1 if len(anew) else 0
    tick = begun(effect[first:], information[first:])
    if tick is None:
        return None
    # What a stage's first evidence shows was there before it, while ticks settled: from the stage's start.
    is_from_start = first + tick == 0 and wanted.since_ms < times[0]
    at_ms = wanted.since_ms if is_from_start else int(times[first + tick]) - wanted.tick_ms
    at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at_ms)
    place = best["place"] or "the fleet as a whole"
    if is_from_start:
        return Began(at, f"since the stage began, {best['metric']} in {place} was worse than it should be")
    return Began(at, f"from then on {best['metric']} in {place} was worse than before")
