"""The envelopes of an Arrow stream's messages, read before Arrow allocates anything for what they claim to hold.

A compressed buffer says itself how large it will be, and Arrow believes it. A frame of some kilobytes could so ask for
gigabytes. The layout is that of the Arrow columnar format, "IPC streaming format", and of its Message.fbs.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from streams.wire.frame import DECODED_BYTES_MAX, BadFrame

_U16: Final = struct.Struct("<H")
_I32: Final = struct.Struct("<i")
_I64: Final = struct.Struct("<q")
_BUFFER: Final = struct.Struct("<qq")  # where it begins in the body, and its length
_PREFIX: Final = struct.Struct("<Ii")  # of a message: the continuation, and the length of its metadata

_CONTINUATION: Final = 0xFFFFFFFF
_UNCOMPRESSED: Final = -1  # in place of a length: this one buffer was left as it is
_DICTIONARY, _RECORDS = 2, 3

# Fields of the tables in Message.fbs, by their number.
_HEADER_TYPE, _HEADER, _BODY_LENGTH = 1, 2, 3
_BUFFERS, _COMPRESSION = 2, 3
_DATA: Final = 1  # of a DictionaryBatch


@dataclass(frozen=True, slots=True)
class _Message:
    """Where a message's flatbuffer begins, and where its body begins and ends."""

    metadata: int
    body: int
    end: int


def check_messages(payload: bytes | memoryview) -> int:
    """Walk over the messages of a stream, and refuse what would grow beyond bounds, or is not whole.

    Returns
    -------
    int
        Where the first message ends, which is the schema.

    Raises
    ------
    BadFrame
        If messages are not laid out as in a stream, or would take too much memory once unpacked.
    """
    unpacked = first = 0
    try:
        for message in _messages(payload):
            first = first or message.end
            unpacked += _unpacked_bytes(payload, message)
            if unpacked > DECODED_BYTES_MAX:
                msg = f"larger than {DECODED_BYTES_MAX:,} bytes once unpacked; allowed: at most so many"
                raise BadFrame(msg)
    except (struct.error, IndexError) as error:
        msg = "not a readable Arrow stream: a message is cut off, or points outside of itself"
        raise BadFrame(msg) from error
    return first


def _messages(payload: bytes | memoryview) -> Iterator[_Message]:
    place = 0
    while place < len(payload):
        start = place
        continuation, length = _PREFIX.unpack_from(payload, place)
        place += _PREFIX.size
        if continuation != _CONTINUATION or length < 0:
            msg = f"not a readable Arrow stream: no message begins at byte {start:,}"
            raise BadFrame(msg)
        if length == 0:  # the end of the stream
            if place < len(payload):
                msg = f"{len(payload) - place:,} bytes behind the stream's end; allowed: one Arrow stream in a frame"
                raise BadFrame(msg)
            return
        table = _table(payload, place)
        at = _field(payload, table, _BODY_LENGTH)
        body = _I64.unpack_from(payload, at)[0] if at else 0
        message = _Message(place, place + length, place + length + body)
        if body < 0 or message.end > len(payload):
            missing = f"{message.end - len(payload):,} bytes are missing" if body >= 0 else "a body of negative length"
            msg = f"not a readable Arrow stream: {missing} of the message at byte {start:,}"
            raise BadFrame(msg)
        yield message
        place = message.end


def _unpacked_bytes(payload: bytes | memoryview, message: _Message) -> int:
    """Add up what the compressed buffers of a message claim to hold."""
    table = _table(payload, message.metadata)
    kind_at, header_at = _field(payload, table, _HEADER_TYPE), _field(payload, table, _HEADER)
    kind = payload[kind_at] if kind_at else 0
    if kind not in (_DICTIONARY, _RECORDS) or not header_at:
        return 0
    batch = _table(payload, header_at)
    if kind == _DICTIONARY:
        data_at = _field(payload, batch, _DATA)
        if not data_at:
            return 0
        batch = _table(payload, data_at)
    buffers_at = _field(payload, batch, _BUFFERS)
    if not buffers_at or not _field(payload, batch, _COMPRESSION):
        return 0
    vector = _table(payload, buffers_at)
    count = _I32.unpack_from(payload, vector)[0]
    total = 0
    for index in range(count):
        offset, length = _BUFFER.unpack_from(payload, vector + 4 + index * _BUFFER.size)
        if length > 0:
            claimed = _I64.unpack_from(payload, _inside(message.body + offset))[0]
            total += length if claimed == _UNCOMPRESSED else max(0, claimed)
    return total


def _table(payload: bytes | memoryview, place: int) -> int:
    """Follow an offset to what it points at."""
    return _inside(place + _I32.unpack_from(payload, place)[0])


def _field(payload: bytes | memoryview, table: int, number: int) -> int:
    """Return where a field of a table is, 0 if it is left out."""
    layout = _inside(table - _I32.unpack_from(payload, table)[0])
    entry = 4 + 2 * number
    if entry >= _U16.unpack_from(payload, layout)[0]:
        return 0
    offset = _U16.unpack_from(payload, layout + entry)[0]
    return table + offset if offset else 0


def _inside(place: int) -> int:
    """Refuse a place before the beginning, which Python would count from the end."""
    if place < 0:
        msg = "negative"
        raise struct.error(msg)
    return place
