"""The judge's worker: the journal in; verdicts, evidence and checkpoints out."""

import logging
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Message, TopicPartition

from detectors.errors import BadInput, StateMismatch
from detectors.state import State
from holdfast.live.dead_letters import dead_letter
from holdfast.live.records import Outputs, Record
from holdfast.live.rows import Rows, as_stream
from holdfast.live.settings import Settings
from holdfast.live.telemetry import Telemetry
from holdfast.live.terms import terms_of
from holdfast.setting import ENGINE
from holdfast.wall import now_ms
from sinks.cloudevents import verdict_event
from sinks.messages import Message as Sent
from sinks.signatures import Signer
from sinks.verdict_messages import heartbeat_message, verdict_message
from streams.journal import Ticked, tick_rows
from streams.live.checkpoint import encode
from streams.live.frames import FrameError, header_of
from streams.live.judging import Decided, LiveJudge, Reader
from streams.live.resuming import Resumption, snapshot
from streams.live.turnstile import Part

log = logging.getLogger(__name__)

_EVIDENCE_TICKS: Final = 6
"""Ticks between two messages of evidence: a chart may be a minute behind, a verdict may not."""

_ROWS_AT_ONCE: Final = 40_000
"""Rows that are sent between two looks at what has come: a large fleet has many, and a tick may close meanwhile."""

_ROWS_HELD_MAX: Final = 1_000_000
"""Rows of a rollout that may wait for a quiet moment, as there is none while a judge catches up."""

_PIECE_ROWS: Final = 500
"""What a piece costs beside its rows, told in rows."""

_TABLE_SHARE: Final = 8
"""How many times as long it takes to send rows as to make a table of them."""

_NOT_YET: Final = -1
_NEVER: Final = -2
"""In the place of the tick of a checkpoint: no tick was judged yet, or none ever will be."""

Checkpoints = Callable[[int], dict[str, State]]
"""Reads the checkpoints of a partition of the journal to their end: state by rollout."""


@dataclass(slots=True)
class Judged:
    """A rollout on a partition: on its way back (`resumption`), or under way (`live`)."""

    rollout: str
    partition: int
    rows: Rows
    resumption: Resumption | None = None
    live: LiveJudge | None = None
    position: int = 0  # the offset after the last frame taken
    checkpointed: int | None = None  # the tick of the last checkpoint
    unsent: int = 0  # ticks since evidence was last sent
    is_sending: bool = False  # whether all its rows are to be sent
    beaten: int | None = None  # the tick of the last heartbeat
    decided: list[tuple[Decided, int]] = field(default_factory=list)  # with the time of the frame that released it

    def gather(self) -> int:
        """Make tables of what is not one yet; return how many rows they have."""
        before = self.rows.count
        if self.live is not None and self.live.journal is not None:
            self.live.journal.flush()
        return self.rows.count - before

    @property
    def held(self) -> int:
        """About how many rows are not sent yet."""
        journal = None if self.live is None else self.live.journal
        return self.rows.count + (0 if journal is None else journal.rows)


def _is_uncertified(live: LiveJudge | None) -> bool:
    """Tell whether a rollout is under way whose policy may let nothing advance."""
    return live is not None and not live.is_finished and live.terms is not None and live.terms.objection is not None


class JudgeStep:
    """Judges the rollouts of the partitions that it is given.

    Parameters
    ----------
    settings
        Names of topics, how often to checkpoint and to beat.
    checkpoints
        See `Checkpoints`.
    signer
        Signs verdicts; None leaves them unsigned.
    telemetry
        Counts.
    read
        Reads announcements; see `holdfast.live.certified.reader`.
    """

    def __init__(
        self,
        settings: Settings,
        checkpoints: Checkpoints,
        signer: Signer | None,
        telemetry: Telemetry,
        read: Reader = terms_of,
    ) -> None:
        self._settings = settings
        self._checkpoints = checkpoints
        self._signer = signer
        self._telemetry = telemetry
        self._read = read
        self._judged: dict[str, Judged] = {}
        self._committed: dict[int, int] = {}  # what was committed when a partition was assigned
        self._position: dict[int, int] = {}
        self._moved: set[int] = set()  # partitions read further since the last commit
        self._dead: list[Record] = []
        self._beat: float | None = None
        self._is_busy = False  # whether ticks were judged since the last outputs

    def assigned(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        """See `holdfast.live.loop.Step`."""
        started = []
        for partition in partitions:
            number, committed = partition.partition, partition.offset
            self._committed[number] = self._position[number] = max(committed, 0)
            offsets = []
            for rollout, state in self._checkpoints(number).items():
                resumption = Resumption(state)
                self._judged[rollout] = Judged(rollout, number, Rows(), resumption)
                offsets.append(resumption.needed_from)
            start = min([committed, *offsets]) if committed >= 0 else committed
            started.append(TopicPartition(partition.topic, number, start))
        return started

    def revoked(self, partitions: Sequence[TopicPartition]) -> Outputs:
        """See `holdfast.live.loop.Step`: write down where each rollout stands."""
        result = Outputs()
        numbers = {partition.partition for partition in partitions}
        for judged in self._judged.values():
            if judged.partition in numbers and judged.live is not None:
                self._checkpoint(judged, result)
        self._offsets(numbers & self._moved, result)
        self.lost(partitions)
        return result

    def lost(self, partitions: Sequence[TopicPartition]) -> None:
        """See `holdfast.live.loop.Step`."""
        numbers = {partition.partition for partition in partitions}
        self._judged = {name: each for name, each in self._judged.items() if each.partition not in numbers}
        for number in numbers:
            self._committed.pop(number, None)
            self._position.pop(number, None)
        self._moved -= numbers
        self._dead = []

    def held(self) -> Collection[tuple[str, int]]:
        """See `holdfast.live.loop.Step`."""
        return ()

    def take(self, messages: Sequence[Message], _now: float) -> None:
        """See `holdfast.live.loop.Step`."""
        for message in messages:
            number = message.partition() or 0
            if number not in self._position:  # polled before it was given up
                continue
            if message.error() is not None:
                self._resume_all(number)
                continue
            self._push(number, message)

    def _push(self, number: int, message: Message) -> None:
        offset, frame = message.offset() or 0, message.value() or b""
        is_new = offset >= self._committed[number]
        try:
            part = Part(header_of(frame), frame, offset)
            judged = self._of(number, part)
            if judged.live is None:
                assert judged.resumption is not None
                if offset < judged.resumption.offset:
                    judged.resumption.add(part)
                    return
                self._resume(judged)
            assert judged.live is not None
            if offset < judged.position:
                return
            judged.position = offset + 1
            sent_ms = message.timestamp()[1]
            for decided in judged.live.push(part):
                self._telemetry.tick_judged(decided.samples, decided.dropped if is_new else {})
                judged.unsent += decided.is_live
                self._is_busy = True
                if is_new:
                    judged.decided.append((decided, sent_ms))
        except (FrameError, BadInput) as error:
            if is_new:
                self._dead.append(dead_letter(self._settings, message, str(error)))
                self._telemetry.dead_letter("no_cohort_tick")
        if is_new:
            self._position[number] = offset + 1
            self._moved.add(number)

    def _of(self, number: int, part: Part) -> Judged:
        name = part.header.rollout
        if name not in self._judged:
            judged = self._judged[name] = Judged(name, number, Rows(), None, None, part.offset)
            judged.live = LiveJudge(name, self._read, ENGINE, self._sink_of(judged))
        return self._judged[name]

    def _sink_of(self, judged: Judged) -> Rows | None:
        return judged.rows if self._settings.evidence else None

    def _resume(self, judged: Judged) -> None:
        assert judged.resumption is not None
        try:
            judged.live = judged.resumption.resume(self._read, ENGINE, self._sink_of(judged))
        except StateMismatch as error:
            # As after an upgrade: the journal still tells all that is needed, it only takes longer.
            log.warning("%s: judged again from the journal, as its checkpoint does not fit: %s", judged.rollout, error)
            self._telemetry.checkpoint_unfit()
            judged.live = judged.resumption.judge_again(self._read, ENGINE, self._sink_of(judged))
        judged.position = judged.resumption.offset
        judged.checkpointed = judged.live.turnstile.released
        judged.resumption = None

    def _resume_all(self, number: int) -> None:
        for judged in self._judged.values():
            if judged.partition == number and judged.live is None:
                self._resume(judged)

    def outputs(self, now: float) -> Outputs:
        """See `holdfast.live.loop.Step`."""
        result = Outputs(self._dead)
        self._dead = []
        for judged in self._judged.values():
            self._verdicts(judged, result)
        self._telemetry.uncertified(sum(_is_uncertified(judged.live) for judged in self._judged.values()))
        self._heartbeats(now, result)
        # What nobody waits for is done while nobody waits, little by little: a checkpoint of a large one takes long.
        is_busy, self._is_busy = self._is_busy, False
        due = [each for each in self._judged.values() if self._is_due(each)]
        overdue = [each for each in due if self._is_overdue(each)]
        for judged in overdue:
            self._checkpoint(judged, result)
        if not overdue and not self._send_rows(result, is_busy=is_busy) and not is_busy:
            for judged in due[:1]:
                self._checkpoint(judged, result)
            self._forget_finished()
        if result.records:
            self._offsets(self._moved, result)
        return result

    def _verdicts(self, judged: Judged, result: Outputs) -> None:
        at = now_ms()
        for decided, sent_ms in judged.decided:
            self._telemetry.decided(max(0, at - sent_ms) / 1_000, decided.verdict.action if decided.verdict else None)
            if decided.verdict is not None:
                event = verdict_event(judged.rollout, decided.time_ms, decided.verdict)
                result.records.append(self._record(verdict_message(event, at, self._signer)))
            if decided.is_last:
                result.records.append(self._record(self._beat_of(judged, at, is_finished=True)))
        if judged.decided:
            # At once, since the time of this message is when they were decided.
            ticked = [Ticked(each.time_ms, each.is_live, each.samples, each.dropped) for each, _ in judged.decided]
            result.records.append(self._rows(judged.rollout, "ticks", as_stream(tick_rows(judged.rollout, ticked))))
        judged.decided = []

    def _rows(self, rollout: str, table: str, stream: bytes) -> Record:
        headers = [("table", table.encode()), ("content-type", b"application/vnd.apache.arrow.stream")]
        return Record(self._settings.topics.evidence, rollout.encode(), stream, headers)

    def _heartbeats(self, now: float, result: Outputs) -> None:
        """Say, every so often, how far each rollout that is under way has been judged."""
        if self._beat is not None and now - self._beat < self._settings.heartbeat_seconds:
            return
        self._beat = now
        at = now_ms()
        for judged in self._judged.values():
            live = judged.live
            if live is not None and live.turnstile.released is not None and not live.is_finished:
                result.records.append(self._record(self._beat_of(judged, at, is_finished=False)))
                judged.is_sending |= judged.beaten == live.turnstile.released  # no tick comes that they could go with
                judged.beaten = live.turnstile.released

    def _beat_of(self, judged: Judged, at: int, *, is_finished: bool) -> Sent:
        live = judged.live
        assert live is not None
        assert live.terms is not None
        last = live.last_verdict[1] if live.last_verdict else None
        released = live.turnstile.released
        through = ((live.terms.finished or 0) if released is None else released) * live.terms.tick_ms
        return heartbeat_message(
            judged.rollout,
            last.sequence if last else 0,
            last.action if last else None,
            through,
            at,
            self._signer,
            finished=is_finished,
        )

    def _record(self, message: Sent) -> Record:
        return Record(self._settings.topics.verdicts, message.key, message.value, message.headers)

    def _is_due(self, judged: Judged) -> bool:
        """Tell whether it is time for a checkpoint: at the first tick, every so many ticks, and at the end."""
        live = judged.live
        if live is None:
            return False
        if self._is_overdue(judged, patience=1):
            return True
        released = live.turnstile.released
        return live.is_finished and judged.checkpointed != (_NEVER if released is None else released)

    def _is_overdue(self, judged: Judged, patience: int = 2) -> bool:
        """Tell whether a checkpoint must not wait for a quiet moment: the first, and one that has waited long."""
        assert judged.live is not None
        if judged.checkpointed is None:
            return True  # it says where in the journal the rollout begins
        released = judged.live.turnstile.released
        return released is not None and released - judged.checkpointed >= patience * self._settings.checkpoint_ticks

    def _checkpoint(self, judged: Judged, result: Outputs) -> None:
        """Write down where a rollout stands; its rows before, as who goes on from there does not make them again."""
        live = judged.live
        assert live is not None
        self._send_all(judged, result)
        released = live.turnstile.released
        blocks = encode(snapshot(live, judged.position), 0 if released is None else released)
        for number, block in enumerate(blocks):
            key = f"{judged.rollout}\n{number}".encode()
            result.records.append(Record(self._settings.topics.checkpoints, key, block, [], judged.partition))
        judged.checkpointed = (_NEVER if live.is_finished else _NOT_YET) if released is None else released
        self._telemetry.checkpoint(judged.rollout, sum(len(block) for block in blocks))

    def _send_rows(self, result: Outputs, *, is_busy: bool) -> bool:
        """Send some of the rows that ticks left behind; tell whether that took any time.

        It is done while nobody waits, unless too many are held. They go seldom, so that small ones go together.
        """
        room: float = _ROWS_AT_ONCE
        for judged in self._judged.values():
            if is_busy:
                if judged.held > _ROWS_HELD_MAX:
                    self._send_all(judged, result)
                continue
            if room <= 0:
                break
            gathered = judged.gather()
            if gathered:
                room -= _PIECE_ROWS + gathered // _TABLE_SHARE
            is_finished = judged.live is not None and judged.live.is_finished
            judged.is_sending |= judged.unsent >= _EVIDENCE_TICKS or is_finished or self._is_due(judged)
            if judged.is_sending:
                room = self._messages(judged, result, room)
        return room < _ROWS_AT_ONCE

    def _send_all(self, judged: Judged, result: Outputs) -> None:
        judged.gather()
        self._messages(judged, result, math.inf)

    def _messages(self, judged: Judged, result: Outputs, room: float) -> float:
        """Send rows of a rollout as far as there is room; return what is left of it."""
        before = judged.rows.count
        for table, value in judged.rows.taken():
            result.records.append(self._rows(judged.rollout, table, value))
            room -= _PIECE_ROWS + before - judged.rows.count
            before = judged.rows.count
            if room <= 0:
                break
        if not judged.rows.count:
            judged.is_sending, judged.unsent = False, 0
        return room

    def _forget_finished(self) -> None:
        """Let go of what rollouts took that are over, once all of it is written down."""
        for judged in self._judged.values():
            live = judged.live
            if live is not None and live.is_finished and not (judged.decided or judged.held or self._is_due(judged)):
                live.forget()

    def _offsets(self, numbers: set[int], result: Outputs) -> None:
        topic = self._settings.topics.cohort_ticks
        result.offsets += [TopicPartition(topic, number, self._position[number]) for number in sorted(numbers)]
        self._moved -= numbers
