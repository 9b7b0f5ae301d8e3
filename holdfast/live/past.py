"""The past of rollouts that were announced late: read again from the metrics topic, beside the live reading.

A source partition is read a second time, from where the past begins up to where the live reading is. Until then the
frames of these rollouts are written from the second reading alone, tick after tick, so that no judge can tell them
from those of a rollout that was announced in time. A restart reads again from the same place, comes to the same ticks,
and writes those that are not there yet.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Final

from confluent_kafka import Message

from holdfast.live.catalogue import Catalogue
from holdfast.live.fed import Fed
from holdfast.live.framing import Framing
from holdfast.live.joining import Asked, Joining, JoiningMarks, Reading, ReadingMarks, Searching, short
from holdfast.live.past_reader import PastReader
from holdfast.live.records import Outputs, content_type_of
from holdfast.live.telemetry import Telemetry
from streams.live.earlier import Earlier, first_wanted, known_before, needed_from_ms
from streams.live.frames import SourcePartition
from streams.live.search import Answer, Found, search
from streams.recording import Samples
from streams.wire.decoding import decode
from streams.wire.frame import BadFrame

log = logging.getLogger(__name__)

_MESSAGES_MAX: Final = 2_000
"""Messages of the past that are taken at a time: live ticks wait as long as that takes."""

_FRAMES_MAX: Final = 200
_BYTES_MAX: Final = 4 << 20
"""Frames of the past in one transaction, and their bytes."""


class Pasts:
    """Reads the past for the source partitions of a worker: one reading at a time for each of them.

    Parameters
    ----------
    framing
        What is announced.
    catalogue
        Tells which series had come before the past.
    reader
        Reads the metrics topics.
    telemetry
        Told how much there is to do.
    """

    def __init__(self, framing: Framing, catalogue: Catalogue, reader: PastReader, telemetry: Telemetry) -> None:
        self._framing = framing
        self._catalogue = catalogue
        self._reader = reader
        self._telemetry = telemetry
        self._is_idle = True

    # ------------------------------------------------------------ who joins

    def restored(self, source: SourcePartition, marks: JoiningMarks | None) -> Joining:
        """Go on from what was written down; None is of a version in which every open rollout had joined."""
        known = self._framing.known
        if marks is None:
            return Joining(set(known))
        joining = Joining.restored(marks, known)
        if marks.reading is not None:
            self._restore_reading(source, joining, marks.reading)
        return joining

    def _restore_reading(self, source: SourcePartition, joining: Joining, marks: ReadingMarks) -> None:
        names = {short(name): name for name in self._framing.known}
        digests = {short(known.digest): known.digest for known in self._framing.known.values()}
        asked = {}
        for each in marks.asked:
            name = names.get(each.name)
            if name is None:
                continue
            if each.digest in digests:
                asked[name] = Asked(digests[each.digest], each.first, each.through)
            else:  # it has got another policy meanwhile
                joining.waiting[name] = each.through
        floors = {digests[digest]: tick for digest, tick in marks.floors.items() if digest in digests}
        found = Found(marks.offset, marks.time_ms, marks.time_ms, marks.is_whole)
        if asked:
            joining.reading = self._begun(source, found, asked, floors)

    def stop(self, source: SourcePartition, joining: Joining) -> None:
        """Read no more of a partition."""
        if joining.searching is not None or joining.reading is not None:
            self._reader.stop(source)
        joining.searching = joining.reading = None

    def announce(self, feds: Mapping[SourcePartition, Fed]) -> None:
        """Take the rollouts that are open now."""
        for source, fed in feds.items():
            joining = fed.joining
            joining.keep_only(self._framing.open)
            self._look_at_policies(joining)
            for name in sorted(self._framing.open - joining.joined - joining.behind):
                if self.has_passed(fed, name):
                    continue
                if fed.partition.is_new or not self._is_late(fed, name):
                    joining.joined.add(name)
                else:
                    joining.waiting[name] = None
                joining.is_changed = True
            if joining.reading is not None and joining.reading.asked:
                self._group(joining.reading)
            elif joining.reading is not None or not joining.waiting:
                self.stop(source, joining)

    def has_passed(self, fed: Fed, name: str) -> bool:
        """Tell whether the live reading has closed all ticks of a rollout that is finished."""
        finished_ms = self._framing.known[name].finished_ms
        return finished_ms is not None and self.passed_ms(fed) >= finished_ms

    def passed_ms(self, fed: Fed) -> int:
        """Return up to where in event time (ms) the live reading has closed ticks."""
        joining = fed.joining
        joining.passed_ms = max(joining.passed_ms, fed.closed_ms(self._framing.tick_ms))
        return joining.passed_ms

    def _is_late(self, fed: Fed, name: str) -> bool:
        """Tell whether a rollout may want ticks that the live reading has closed without it."""
        known = self._framing.known[name]
        closed = fed.partition.closed().get(known.digest)
        return closed is None or self._first(name, closed) is not None

    def _first(self, name: str, live: int) -> int | None:
        group = self._framing.groups[self._framing.known[name].digest]
        return first_wanted(group, next(each for each in group.rollouts if each.rollout == name), live)

    def _look_at_policies(self, joining: Joining) -> None:
        """Have rollouts that got another policy be read once more; what was written for them stays."""
        asked = {} if joining.reading is None else joining.reading.asked
        for name in [name for name, each in asked.items() if each.digest != self._framing.known[name].digest]:
            joining.waiting[name] = asked.pop(name).through
            joining.is_changed = True

    def _group(self, reading: Reading) -> None:
        digests = {asked.digest for asked in reading.asked.values()}
        reading.earlier.announce([self._framing.groups[digest] for digest in sorted(digests)])

    # ------------------------------------------------------------ reading

    def outputs(self, feds: Mapping[SourcePartition, Fed], result: Outputs) -> None:
        """Read on, and write what has come of it; the live ticks so far must have been written."""
        if all(not fed.joining.behind for fed in feds.values()):
            if not self._is_idle:
                self._reader.close()
                self._telemetry.past(0, 0)
            self._is_idle = True
            return
        self._is_idle = False
        for source, fed in feds.items():
            self._go_on(source, fed)
        # What has closed is written before more is read, so that it does not pile up.
        if not any(fed.joining.reading.earlier.is_pending for fed in feds.values() if fed.joining.reading is not None):
            self._read(feds)
        frames, size = _FRAMES_MAX, _BYTES_MAX
        for source, fed in feds.items():
            if fed.joining.reading is not None:
                fed.joining.reading.earlier.close()
                frames, size = self._write(source, fed.joining, fed.joining.reading, result, frames, size)
                self._hand_over(source, fed, fed.joining.reading)
        self._telemetry.past(
            sum(len(fed.joining.behind) for fed in feds.values()),
            sum(
                max(0, fed.end - fed.joining.reading.earlier.position)
                for fed in feds.values()
                if fed.joining.reading is not None
            ),
        )

    def _go_on(self, source: SourcePartition, fed: Fed) -> None:
        """Begin what is to be read next, or read on what the live reading has taken meanwhile."""
        joining, reading = fed.joining, fed.joining.reading
        if reading is not None:
            if reading.is_paused and not reading.is_level and reading.earlier.position < fed.end:
                reading.is_paused = False
                self._reader.read_from(source, reading.earlier.position)
            elif reading.is_paused:
                reading.is_level = not fed.is_behind
        elif joining.searching is None and joining.waiting:
            looking = search(fed.end, lambda end_ms: self._wanted(joining, end_ms))
            probe = next(looking)
            joining.searching = Searching(looking, fed.end, Answer(probe, fed.end))
            self._reader.read_from(source, probe.offset)

    def _wanted(self, joining: Joining, end_ms: int) -> int | None:
        """Return the event time from which samples are needed, given that of the live reading."""
        assert joining.searching is not None
        joining.searching.names = set(joining.waiting)
        times = []
        for name in joining.waiting:
            known = self._framing.known[name]
            first = self._first(name, -(-end_ms // known.tick_ms))
            if first is not None:
                times.append(needed_from_ms(first, known.announcement.policy, known.tick_ms))
        return min(times, default=None)

    def _read(self, feds: Mapping[SourcePartition, Fed]) -> None:
        by_source: dict[SourcePartition, list[Message]] = {}
        for message in self._reader.take(_MESSAGES_MAX):
            source = SourcePartition(message.topic() or "", message.partition() or 0)
            by_source.setdefault(source, []).append(message)
        for source, messages in by_source.items():
            fed = feds.get(source)
            if fed is None:
                continue
            for message in messages:
                if not self._take(source, fed, message):
                    break  # the others are not of where it is read from now on

    def _take(self, source: SourcePartition, fed: Fed, message: Message) -> bool:
        """Take a message, and tell whether the one that follows it is wanted next."""
        joining, offset = fed.joining, message.offset() or 0
        is_end = message.error() is not None
        if joining.searching is not None:
            searching = joining.searching
            if not is_end and not searching.answer.take(offset, _decoded(message)):
                return True
            self._answer(source, fed, searching)
            return False
        reading = joining.reading
        if reading is None or reading.is_paused:
            return False
        if offset >= fed.end:
            reading.earlier.position = max(reading.earlier.position, fed.end)
        elif not is_end and offset >= reading.earlier.position:
            reading.earlier.push(_decoded(message), offset)
        if reading.earlier.position >= fed.end:
            # Now or never: before the next batch of the past is there, the live reading has taken more.
            reading.is_paused, reading.is_level = True, not fed.is_behind
            self._reader.stop(source)
        return not reading.is_paused

    def _answer(self, source: SourcePartition, fed: Fed, searching: Searching) -> None:
        try:
            probe = searching.search.send(searching.answer.look)
        except StopIteration as stop:
            found: Found | None = stop.value
            self._found(source, fed, searching.names, found)
        else:
            searching.answer = Answer(probe, searching.end)
            self._reader.read_from(source, probe.offset)

    def _found(self, source: SourcePartition, fed: Fed, names: set[str], found: Found | None) -> None:
        """Begin to read for those who want it; the others join, and so do all if there is nothing to read."""
        joining = fed.joining
        joining.searching, joining.is_changed = None, True
        asked: dict[str, Asked] = {}
        for name in [name for name in joining.waiting if not names or name in names]:
            through = joining.waiting.pop(name)
            known = self._framing.known[name]
            first = None if found is None else self._first(name, -(-found.end_ms // known.tick_ms))
            if first is None:
                joining.joined.add(name)
            else:
                asked[name] = Asked(known.digest, first, through)
        if found is None or not asked:
            self._reader.stop(source)
            return
        named = ", ".join(sorted(asked))
        log.info(
            "%s/%d: the past of %s is read, messages %d to %d", source.topic, source.partition, named, found.offset,
            fed.end - 1,
        )  # fmt: skip
        closed = fed.partition.closed()
        digests = {each.digest for each in asked.values()}
        floors = {digest: closed[digest] for digest in digests if digest in closed}
        joining.reading = self._begun(source, found, asked, floors)
        self._group(joining.reading)

    def _begun(self, source: SourcePartition, found: Found, asked: dict[str, Asked], floors: dict[str, int]) -> Reading:
        known = None
        if not found.is_whole:
            known = known_before([table for _, table in self._catalogue(source).segments], found.time_ms)
        self._reader.read_from(source, found.offset)
        return Reading(found.offset, found.time_ms, found.is_whole, asked, Earlier(found.offset, known), floors)

    # ------------------------------------------------------------ writing

    def _write(
        self, source: SourcePartition, joining: Joining, reading: Reading, result: Outputs, frames: int, size: int
    ) -> tuple[int, int]:
        """Write closed ticks, at most so many frames and so many bytes, and return what is left of these."""
        framing, earlier = self._framing, reading.earlier
        while earlier.is_pending and frames > 0 and size > 0:
            group, closed, column = earlier.next()
            tick = closed.ticks.first + column
            dropped: dict[str, Counter[str]] = {}
            for name, asked in reading.asked.items():
                if asked.digest != closed.digest or framing.is_after(name, tick):
                    continue
                if tick < asked.first:
                    asked.skipped += int(closed.samples[column])
                elif asked.through is None or tick > asked.through:
                    asked.through = tick
                    # What was dropped is told at the end, since it hangs on how messages were cut into polls.
                    is_last = framing.is_after(name, tick + 1)
                    dropped[name] = _dropped(earlier, asked) if is_last else Counter()
            if not dropped:
                continue
            records = framing.tick(source, group, closed, column, reading.keys.of(closed), dropped)
            result.records += records
            joining.is_changed = True
            frames -= len(records)
            size -= sum(len(record.value or b"") for record in records)
        return frames, size

    def _hand_over(self, source: SourcePartition, fed: Fed, reading: Reading) -> None:
        """Have the live reading go on for rollouts whose past is through."""
        joining = fed.joining
        if not reading.is_level or reading.earlier.is_pending:
            return
        if not joining.joined:
            self._replace(source, fed, reading)
            return
        before = len(reading.asked)
        for digest in {asked.digest for asked in reading.asked.values()}:
            if self._is_even(fed, reading, digest):
                live = Counter(fed.partition.unreported(digest))
                own = Counter(reading.earlier.partition.unreported(digest))
                self._join(source, joining, reading, digest, own - live)
        self._forget_finished(fed, reading)
        if not reading.asked:
            self.stop(source, joining)
        elif len(reading.asked) < before:
            self._group(reading)

    def _replace(self, source: SourcePartition, fed: Fed, reading: Reading) -> None:
        """Put the second reading in the place of the live one, which has written nothing for anybody."""
        fed.partition, fed.keys = reading.earlier.partition, reading.keys
        for digest in {asked.digest for asked in reading.asked.values()}:
            self._join(source, fed.joining, reading, digest, Counter())
        fed.joining.reading = None
        fed.partition.announce(list(self._framing.groups.values()))

    def _is_even(self, fed: Fed, reading: Reading, digest: str) -> bool:
        """Tell whether both readings have closed the same ticks, and know the same from there on."""
        live = fed.partition.closed().get(digest)
        if live is None:
            return False
        # What the live reading has begun with the announcement has no past of its own at first.
        settling = 2 * self._framing.groups[digest].policy.gap_ticks_max
        if live < reading.floors.setdefault(digest, live) + settling:
            return False
        partition = reading.earlier.partition
        own = partition.closed().get(digest)
        if own is None or own < live:  # closed by patience, or by units that this one has not heard
            partition.pass_through(digest, live)
            reading.earlier.close()
            own = partition.closed().get(digest)
        return not reading.earlier.is_pending and own in (None, live)

    def _join(
        self, source: SourcePartition, joining: Joining, reading: Reading, digest: str, more: Counter[str]
    ) -> None:
        for name in [name for name, asked in reading.asked.items() if asked.digest == digest]:
            asked = reading.asked.pop(name)
            joining.joined.add(name)
            joining.owed[name] = _dropped(reading.earlier, asked) + more
            through = "nothing" if asked.through is None else f"tick {asked.through}"
            log.info("%s/%d: the past of %s is through: %s", source.topic, source.partition, name, through)
        joining.is_changed = True

    def _forget_finished(self, fed: Fed, reading: Reading) -> None:
        """Let go of rollouts that finished in their past, once it is through to there."""
        closed = reading.earlier.partition.closed()
        for name, asked in list(reading.asked.items()):
            if self.has_passed(fed, name) and self._framing.is_after(name, closed.get(asked.digest, 0) + 1):
                del reading.asked[name]
                fed.joining.is_changed = True


def _dropped(earlier: Earlier, asked: Asked) -> Counter[str]:
    """Add up what was dropped for a rollout, samples of ticks that it does not want included."""
    dropped = earlier.dropped(asked.digest)
    dropped["before_start"] += asked.skipped
    return +dropped


def _decoded(message: Message) -> Samples | None:
    """Read the samples of a message; that it cannot be read the live reading has told."""
    try:
        return decode(message.value() or b"", content_type_of(message))
    except BadFrame:
        return None
