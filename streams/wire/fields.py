"""Messages of protocol buffers read as columns: all messages of one kind at once, field by field, with numpy.

Messages of a kind are scanned in lockstep: one step reads the field that every message stands at, and moves every
message on. A step costs some twenty calls of numpy however many messages there are, so ten thousand data points of six
fields are read in six steps. Few long messages are the bad case of that, and are walked one field at a time instead,
only to find where each begins. Either way the work grows with the number of fields and no faster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.wire.frame import BadFrame
from streams.wire.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    VARINT_BYTES_MAX,
    WIRE_NAMES,
    Frame,
    Ints,
    Kind,
    Spans,
    endless,
    where,
)

_LENGTH_MAX: Final = 1 << 40  # any longer length overruns every frame just the same
_STEP_FIELDS: Final = 64  # a step of lockstep takes as long as walking about so many fields


@dataclass(frozen=True, slots=True)
class _Step:
    """Fields read at once: of which message, tag (of each, or of all), place of the tag, place of the content."""

    owner: Ints
    tag: int | Ints
    at: Ints
    start: Ints
    end: Ints

    def of(self, tag: int) -> "_Step":
        """Return the fields with this tag."""
        if isinstance(self.tag, int):
            return self if self.tag == tag else _NO_FIELDS
        index = where(self.tag == tag)
        return _Step(self.owner[index], tag, self.at[index], self.start[index], self.end[index])


_NOTHING: Final = np.empty(0, np.int64)
_NO_FIELDS: Final = _Step(_NOTHING, 0, _NOTHING, _NOTHING, _NOTHING)


class Fields:
    """The fields of `count` messages of a kind, as `scan` found them. A tag is `number << 3 | wire type`."""

    def __init__(self, count: int, steps: list[_Step]) -> None:
        self._count = count
        self._steps = steps

    def last(self, tag: int) -> Spans:
        """Return what each message [message] has under a tag, the last if there are several; -1 where none."""
        steps = self._having(tag)
        if len(steps) == 1 and len(steps[0].owner) == self._count:
            owner = steps[0].owner
            if (owner[1:] > owner[:-1]).all():  # one of each, in the order of the messages
                return Spans(steps[0].start, steps[0].end)
        spans = self._absent()
        for step in steps:
            spans.start[step.owner] = step.start
            spans.end[step.owner] = step.end
        return spans

    def every(self, tag: int) -> tuple[Ints, Spans]:
        """Return all fields with a tag, those of one message in its order, and the message [field] of each."""
        steps = self._having(tag) or [_NO_FIELDS]
        if len(steps) == 1:
            return steps[0].owner, Spans(steps[0].start, steps[0].end)
        start, end = ([step.start for step in steps], [step.end for step in steps])
        return np.concatenate([step.owner for step in steps]), Spans(np.concatenate(start), np.concatenate(end))

    def one(self, tag: int, what: str) -> Spans:
        """Do as `last`, where a message [message] may have one at most; empty, at 0, where none is.

        Raises
        ------
        BadFrame
            If a message has several.
        """
        spans = self.last(tag)
        if sum(len(step.owner) for step in self._having(tag)) > np.count_nonzero(spans.start >= 0):
            owner, every = self.every(tag)
            place = every.start[np.argsort(owner, kind="stable")[np.flatnonzero(np.diff(np.sort(owner)) == 0)[0] + 1]]
            msg = f"{what} comes a second time at byte {place}; one is allowed"
            raise BadFrame(msg)
        return Spans(np.maximum(spans.start, 0), np.maximum(spans.end, 0))

    def extent(self, tag: int) -> Spans:
        """Return the stretch [message] from the first to the last field with a tag; empty, at 0, where none is."""
        spans = Spans(np.zeros(self._count, np.int64), np.zeros(self._count, np.int64))
        steps = self._having(tag)
        for step in reversed(steps):
            spans.start[step.owner[::-1]] = step.at[::-1]
        for step in steps:
            spans.end[step.owner] = step.end
        return spans

    def outside(self, kind: Kind) -> Ints:
        """Return the messages that have a field of a number that the kind does not list."""
        owners: list[Ints] = []
        for step in self._steps:
            tags = np.broadcast_to(np.asarray(step.tag), len(step.owner))
            owners.append(step.owner[~np.isin(tags >> 3, list(kind.fields))])
        return np.unique(np.concatenate(owners)) if owners else _NOTHING

    def _having(self, tag: int) -> list[_Step]:
        return [step for step in (step.of(tag) for step in self._steps) if len(step.owner)]

    def _absent(self) -> Spans:
        return Spans(np.full(self._count, -1, np.int64), np.full(self._count, -1, np.int64))


def scan(frame: Frame, messages: Spans, kind: Kind) -> Fields:
    """Find the fields of messages.

    Parameters
    ----------
    frame
        The frame that they are part of.
    messages
        Where they are.
    kind
        What they are.

    Raises
    ------
    BadFrame
        If a field runs over the end of its message, has a wire type that does not exist, or a known field has
        another wire type than its own.
    """
    steps: list[_Step] = []
    owner = where(messages.start < messages.end)
    whole = len(owner) == len(messages)
    cursor, limit = (messages.start, messages.end) if whole else (messages.start[owner], messages.end[owner])
    while len(owner):
        if len(owner) < _STEP_FIELDS:
            steps.append(_walked(frame, owner, Spans(cursor, limit), kind))
            break
        step = _read(frame, owner, cursor)
        over = step.end > limit
        if over.any():
            raise _overrun(kind, int(cursor[over][0]), int(limit[over][0]))
        steps.append(step)
        cursor = step.end
        still = cursor < limit
        if not still.all():
            owner, cursor, limit = owner.compress(still), cursor.compress(still), limit.compress(still)
    for step in steps:
        _check_wires(step, kind)
    return Fields(len(messages), steps)


def each_field(frame: Frame, start: int, end: int, kind: Kind) -> Iterator[tuple[int, int, int]]:
    """Yield the fields of a single message: tag, and where the content begins and ends.

    Raises
    ------
    BadFrame
        As `scan` does.
    """
    if start < end:
        step = _walked(frame, np.zeros(1, np.int64), Spans(np.array([start]), np.array([end])), kind)
        _check_wires(step, kind)
        tags = np.broadcast_to(np.asarray(step.tag), len(step.at))
        yield from zip(tags.tolist(), step.start.tolist(), step.end.tolist(), strict=True)


def _read(frame: Frame, owner: Ints, at: Ints) -> _Step:
    """Read the fields that begin at these places; their ends may lie outside of their messages."""
    tag = frame.bytes[at]
    first = int(tag[0])
    if first >= 0x80 or not (tag == first).all():
        return _read_mixed(frame, owner, at)
    wire = first & 7
    start = at + 1
    if first < 8 or wire not in WIRE_NAMES:
        raise _bad_tag(first, int(at[0]))
    if wire == VARINT:
        return _Step(owner, first, at, start, start + frame.varints(start)[1])
    if wire != BYTES:
        return _Step(owner, first, at, start, start + (8 if wire == FIXED64 else 4))
    length = frame.bytes[start]
    if length.max() < 0x80:
        start += 1
        return _Step(owner, first, at, start, start + length)
    value, width = frame.varints(start)
    start += width
    return _Step(owner, first, at, start, start + np.minimum(value, _LENGTH_MAX).astype(np.int64))


def _read_mixed(frame: Frame, owner: Ints, at: Ints) -> _Step:
    """Do as `_read`, when tags differ or have more than one byte."""
    number, width = frame.varints(at)
    tag = np.minimum(number, 1 << 32).astype(np.int64)
    start = at + width
    end = start.copy()
    wire = tag & 7
    good = (tag >= 8) & (tag < 1 << 32)
    fixed = wire == FIXED64
    end[fixed] += 8
    good_wire = fixed
    fixed = wire == FIXED32
    end[fixed] += 4
    good_wire |= fixed
    which = where(wire == VARINT)
    end[which] += frame.varints(start[which])[1]
    good_wire[which] = True
    which = where(wire == BYTES)
    value, width = frame.varints(start[which])
    start[which] += width
    end[which] = start[which] + np.minimum(value, _LENGTH_MAX).astype(np.int64)
    good_wire[which] = True
    bad = where(~(good & good_wire))
    if len(bad):
        raise _bad_tag(int(number[bad[0]]), int(at[bad[0]]))
    return _Step(owner, tag, at, start, end)


def _walked(frame: Frame, owner: Ints, messages: Spans, kind: Kind) -> _Step:
    """Read the fields of a few messages one after the other."""
    places: list[int] = []
    counts: list[int] = []
    for start, end in zip(messages.start.tolist(), messages.end.tolist(), strict=True):
        before = len(places)
        _walk(frame.raw, start, end, places, kind)
        counts.append(len(places) - before)
    return _read(frame, np.repeat(owner, counts), np.array(places, np.int64))


def _walk(raw: bytes, start: int, end: int, places: list[int], kind: Kind) -> None:
    """Append the places at which the fields of a message begin."""
    place = start
    append = places.append
    while place < end:
        append(place)
        tag = raw[place]
        if tag & 0x87 == BYTES and tag > BYTES:  # what nearly every field of a long message is
            length = raw[place + 1]
            if length < 0x80:
                place += 2 + length
                continue
            more = raw[place + 2]
            if more < 0x80:
                place += 3 + (length & 0x7F | more << 7)
                continue
        place = _after(raw, place)
    if place > end:
        raise _overrun(kind, places[-1], end)


def _after(raw: bytes, place: int) -> int:
    """Return where the field ends that begins at a place."""
    tag, start = raw[place], place + 1
    if tag >= 0x80:
        tag, start = _varint(raw, place)
    wire = tag & 7
    if not 8 <= tag < 1 << 32 or wire not in WIRE_NAMES:
        raise _bad_tag(tag, place)
    if wire == BYTES:
        length = raw[start]
        if length < 0x80:
            return start + 1 + length
        length, start = _varint(raw, start)
        return start + length
    if wire == VARINT:
        return _varint(raw, start)[1]
    return start + (8 if wire == FIXED64 else 4)


def _varint(raw: bytes, place: int) -> tuple[int, int]:
    """Return the varint at a place, and where it ends."""
    value = 0
    for index in range(VARINT_BYTES_MAX):
        byte = raw[place + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, place + index + 1
    raise endless(place)


def _check_wires(step: _Step, kind: Kind) -> None:
    """Refuse a known field in a form that it cannot have: whoever wrote it means something else by it."""
    tags = [step.tag] if isinstance(step.tag, int) else np.flatnonzero(np.bincount(np.minimum(step.tag, 128))).tolist()
    for tag in tags:
        name, allowed = kind.fields.get(tag >> 3, ("", ()))
        if allowed and tag & 7 not in allowed:
            at = int(step.of(tag).at[0])
            wanted = " or ".join(WIRE_NAMES[wire] for wire in allowed)
            msg = f"{kind.name}: field {tag >> 3} ({name}) at byte {at} is {WIRE_NAMES[tag & 7]}; allowed is {wanted}"
            raise BadFrame(msg)


def _overrun(kind: Kind, at: int, end: int) -> BadFrame:
    return BadFrame(f"{kind.name}: the field at byte {at} runs over the end of its message, which is at byte {end}")


def _bad_tag(tag: int, at: int) -> BadFrame:
    wires = ", ".join(f"{wire} ({name})" for wire, name in WIRE_NAMES.items())
    return BadFrame(
        f"the tag at byte {at} has field number {tag >> 3} and wire type {tag & 7}; "
        f"allowed are numbers from 1 to {(1 << 29) - 1} and wire types {wires}"
    )
