"""What drift has to know of large topics: read from their ends backwards, and no further than it has to be."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Final

import numpy as np
import pyarrow as pa
from confluent_kafka import OFFSET_END, Consumer, Message, TopicPartition
from numpy.typing import NDArray

from detectors.errors import BadInput
from holdfast.control.board import Board
from holdfast.live.announcing import partitions_of
from holdfast.live.clients import admin, consumer
from holdfast.live.reading import end_of
from holdfast.live.records import headers_of
from holdfast.live.settings import Settings
from holdfast.recording.topic import BAD_FRAMES, Range, Topic, offsets_at, watermarks
from rollouts.drift_facts import Judged, Sent, Series, Verdicts
from sinks import messages
from sinks.cloudevents import VerdictEvent
from sinks.signatures import Keys
from sinks.verdict_messages import read
from streams.live.known import labels_of
from streams.recording import LabelColumn

FRAMES_MAX: Final = 5_000
"""Most messages of a partition of a metrics topic that are looked at, the newest ones."""

VERDICTS_MAX: Final = 2_000_000
"""Most messages of the verdict topic that are looked at, the newest ones."""

SECONDS_MAX: Final = 120.0
"""How long metrics topics are read at the most."""

_ANSWER_S: Final = 30.0
_VERDICT: Final = b"dev.holdfast.verdict.v1"
_STEPS: Final = (timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=7))
"""How far back verdicts are looked for, one after the other, before all of the stretch is read."""

_NO_VALUES: Final = LabelColumn(np.empty(0, np.int32), [])


def verdicts(
    settings: Settings, now: datetime, within: timedelta, policies: Collection[str], rollouts: Collection[str]
) -> Verdicts:
    """Read what judges have said, from the newest back until all that is asked for was found.

    Parameters
    ----------
    settings
        Of the engine. Where there are trusted keys, what is not signed by one of them counts for nothing.
    now, within
        The time, and how far back is read at the most.
    policies, rollouts
        Digests that are looked for, and rollouts whose newest verdict is.

    Raises
    ------
    BadInput, Unreachable
        If there is no such topic, or no answer.
    """
    keys = Keys.load(settings.trusted_keys) if settings.trusted_keys else None
    topic, heard = settings.topics.verdicts, _Heard()
    reader = consumer(settings, f"{settings.prefix}-drift")
    try:
        until = {each.partition: each.end for each in _since(settings, reader, topic, now)}
        read_so_far, since = 0, now
        for back in (*(step for step in _STEPS if step < within), within):
            ranges = [
                Range(each.partition, each.first, until[each.partition])
                for each in _since(settings, reader, topic, now - back)
                if each.partition in until
            ]
            read_so_far += sum(each.end - each.first for each in ranges)
            if read_so_far > VERDICTS_MAX:
                break
            source = Topic(reader, topic, ranges)
            for each in ranges:
                for message in source.messages(each):
                    heard.take(message, keys)
            until = {each.partition: each.first for each in ranges}
            since = _kept_since(reader, topic, ranges, now - back, now, heard)
            if since > now - back or (heard.policies.keys() >= set(policies) and heard.newest.keys() >= set(rollouts)):
                break
        return Verdicts(policies=heard.policies, newest=heard.newest, since=since)
    finally:
        reader.close()


class _Heard:
    """What was heard so far, of whatever order."""

    def __init__(self) -> None:
        self.policies: dict[str, datetime] = {}
        self.newest: dict[str, Judged] = {}
        self.oldest: dict[int, datetime] = {}  # by partition: when the first message that was read was written
        self._sequences: dict[str, int] = {}

    def take(self, message: Message, keys: Keys | None) -> None:
        """Take a message; heartbeats, and what is not to be trusted, count for nothing."""
        written = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=message.timestamp()[1])
        partition = message.partition() or 0
        self.oldest[partition] = min(written, self.oldest.get(partition, written))
        headers = headers_of(message)
        if ("ce_type", _VERDICT) not in headers:
            return
        plain = messages.Message(message.key() or b"", message.value() or b"", headers)
        try:
            if keys is not None:
                keys.verify(plain)
            event = read(plain)
        except BadInput:
            return
        if isinstance(event, VerdictEvent):
            self._verdict(event)

    def _verdict(self, event: VerdictEvent) -> None:
        at, said = datetime.fromisoformat(event.time), event.data
        self.policies[said.policy] = max(at, self.policies.get(said.policy, at))
        if said.sequence > self._sequences.get(event.subject, 0):
            self._sequences[event.subject] = said.sequence
            self.newest[event.subject] = Judged(policy=said.policy, engine=said.engine, at=at)


def _kept_since(
    reader: Consumer, topic: str, ranges: Sequence[Range], edge: datetime, now: datetime, heard: _Heard
) -> datetime:
    """Return from when on nothing is missing: later than the edge if messages from before were deleted already."""
    found = edge
    for each in ranges:
        low, high = watermarks(reader, TopicPartition(topic, each.partition))
        if low > 0 and each.first <= low:
            first = now if low >= high else edge
            found = max(found, heard.oldest.get(each.partition, first))
    return found


def _since(settings: Settings, reader: Consumer, topic: str, at: datetime) -> list[Range]:
    """Fix what is read of each partition: from what was written at a time on, to the end that it has now."""
    partitions = partitions_of(reader, topic, _ANSWER_S)
    firsts = offsets_at(reader, topic, partitions, int(at.timestamp() * 1_000))
    asking = admin(settings)
    ranges: list[Range] = []
    for partition in partitions:
        end, first = end_of(asking, TopicPartition(topic, partition)), firsts[partition]
        ranges.append(Range(partition, end if first == OFFSET_END else min(first, end), end))
    return ranges


def sent(settings: Settings, now: datetime, within: timedelta, must: Iterable[Series], may: Iterable[Series]) -> Sent:
    """Find which series come on the metrics topics; those that `may` be absent are looked for in the catalogue too.

    Raises
    ------
    BadInput, Unreachable
        If there is no such topic, or no answer.
    """
    since, left, rare = now - within, {*must, *may}, {*may}
    everything, incomplete = frozenset(left), None
    reader = consumer(settings, f"{settings.prefix}-drift")
    end_s = time.monotonic() + SECONDS_MAX
    try:
        for each in settings.metrics:
            why = _look(settings, reader, each.topic, since, left, end_s)
            incomplete = incomplete or why
    finally:
        reader.close()
    ever = _catalogued(settings, rare & left) if rare & left else frozenset[Series]()
    return Sent(now=everything - left, ever=ever, since=since, incomplete=incomplete)


def _look(
    settings: Settings, reader: Consumer, topic: str, since: datetime, left: set[Series], end_s: float
) -> str | None:
    """Take what is found out of what is left, and say why not all was looked at, if it was not."""
    whole = _since(settings, reader, topic, since)
    ranges = [Range(each.partition, max(each.first, each.end - FRAMES_MAX), each.end) for each in whole]
    source = Topic(reader, topic, ranges)
    for piece in source.read() if left else ():
        left -= {series for series in left if is_there(piece.samples.labels, series)}
        if not left:
            return None
        if time.monotonic() > end_s:
            return f"{topic} was read for {SECONDS_MAX:g} s, and not to its end"
    cut = sum(each.end - each.first for each in whole) - sum(each.end - each.first for each in ranges)
    if cut:
        return f"{cut} older messages of {topic} were not looked at"
    if source.told.lost[BAD_FRAMES]:
        return f"{source.told.lost[BAD_FRAMES]} messages of {topic} cannot be read"
    return None


def is_there(labels: Mapping[str, LabelColumn], series: Series) -> bool:
    """Tell whether some sample of a frame is of a series: its metric, and all labels that are selected."""
    rows = _fitting(labels.get("metric", _NO_VALUES), [series.metric], is_pattern=False)
    for label, patterns in series.select:
        if not rows.any():
            return False
        column = labels.get(label)
        if column is None:
            if "" not in patterns:
                return False
            continue
        rows &= _fitting(column, patterns, is_pattern=True)
    return bool(rows.any())


def _fitting(column: LabelColumn, patterns: Sequence[str], *, is_pattern: bool) -> NDArray[np.bool_]:
    """Tell for each row whether its label is one of some values or patterns; an absent one is empty."""
    fits = [
        any(fnmatchcase(value, pattern) if is_pattern else value == pattern for pattern in patterns)
        and (bool(value) or "" in patterns)
        for value in (*column.values, "")
    ]
    return np.array(fits, np.bool_)[column.codes]  # -1, which is absent, is the last one


def _catalogued(settings: Settings, wanted: set[Series]) -> frozenset[Series]:
    """Find series in the catalogue of the aggregate."""
    left = set(wanted)
    with Board(settings, settings.topics.catalogue) as board:
        for key, value in board.load():
            if value is not None and left and not key.endswith(b"/marks"):
                labels = _labels(value)
                left -= {series for series in left if is_there(labels, series)}
    return frozenset(wanted - left)


def _labels(raw: bytes) -> dict[str, LabelColumn]:
    """Read the labels of a segment of the catalogue; its last columns are times."""
    table = pa.ipc.open_stream(raw).read_all().combine_chunks()
    found: dict[str, LabelColumn] = {}
    for name in labels_of(table):
        column = table.column(name).combine_chunks().dictionary_encode()
        codes = column.indices.fill_null(-1).cast(pa.int32()).to_numpy(zero_copy_only=False)
        found[name] = LabelColumn(codes, [text or "" for text in column.dictionary.to_pylist()])
    return found
