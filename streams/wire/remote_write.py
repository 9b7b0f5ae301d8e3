"""Prometheus remote write, 1.0 and 2.0: protobuf in a block of snappy.

The label `__name__` is the metric; every other label is a label, `colo` among them if the sender sets it. A value that
marks a series as stale is a NaN and stays one. Metadata and exemplars hold no samples and are not read. Native
histograms are refused: a frame with one is a bad frame. Which version a frame is follows from its field numbers.

Source: https://prometheus.io/docs/specs/prw/remote_write_spec/ and the one of 2.0 beside it.
"""

from typing import Final

import cramjam
import numpy as np
import pyarrow as pa

from streams.recording import LabelColumn, Samples
from streams.wire.fields import Fields, scan
from streams.wire.frame import BadFrame
from streams.wire.label_sets import LabelSets, check_cells, check_names, label_sets
from streams.wire.protobuf import (
    BYTES,
    FIXED64,
    FRAME_BYTES_MAX,
    VARINT,
    Frame,
    Ints,
    Kind,
    Spans,
    field,
    varint,
    where,
)
from streams.wire.texts import distinct, first_appearances, texts

_FIRST: Final = 1 << 3 | BYTES
_SECOND: Final = 2 << 3 | BYTES
_SYMBOLS: Final = 4 << 3 | BYTES
_SERIES_OF_TWO: Final = 5 << 3 | BYTES

_REQUEST: Final = Kind("WriteRequest", {1: ("timeseries", (BYTES,)), 3: ("metadata", (BYTES,))})
_REQUEST_OF_TWO: Final = Kind("Request", {4: ("symbols", (BYTES,)), 5: ("timeseries", (BYTES,))})
_EITHER: Final = Kind("WriteRequest", {**_REQUEST.fields, **_REQUEST_OF_TWO.fields})
_SERIES: Final = Kind(
    "TimeSeries",
    {1: ("labels", (BYTES,)), 2: ("samples", (BYTES,)), 3: ("exemplars", (BYTES,)), 4: ("histograms", (BYTES,))},
)
_HISTOGRAMS: Final = 4 << 3 | BYTES
_SERIES_TWO: Final = Kind(
    "TimeSeries",
    {
        1: ("labels_refs", (BYTES, VARINT)),
        2: ("samples", (BYTES,)),
        3: ("histograms", (BYTES,)),
        4: ("exemplars", (BYTES,)),
        5: ("metadata", (BYTES,)),
    },
)
_HISTOGRAMS_OF_TWO: Final = 3 << 3 | BYTES
_LABEL: Final = Kind("Label", {1: ("name", (BYTES,)), 2: ("value", (BYTES,))})
_SAMPLE: Final = Kind("Sample", {1: ("value", (FIXED64,)), 2: ("timestamp", (VARINT,))})
_VALUE: Final = 1 << 3 | FIXED64
_TIMESTAMP: Final = 2 << 3 | VARINT
_NAME: Final = "__name__"

_LENGTH_BYTES_MAX: Final = 5  # of the length before a block of snappy
_COMPRESSION_MAX: Final = 64  # snappy never makes a block smaller than by about twenty times


def looks_like(payload: bytes | memoryview) -> bool:
    """Guess from its first bytes whether a frame is remote write: snappy that begins with a literal of a series."""
    head = bytes(payload[:80])
    length, at = _length(head)
    if not 0 < length <= FRAME_BYTES_MAX or at + 2 >= len(head) or head[at] & 3:
        return False
    size = head[at] >> 2  # of the literal, less one; from 60 on it says how many bytes tell the size
    letters = head[at + 1 + max(size - 59, 0) :]
    if len(letters) < 2:
        return False
    if letters[0] in (_SYMBOLS, _SERIES_OF_TWO):
        return True
    inner = 2 if letters[1] < 0x80 else 3 if letters[2:3] < b"\x80" else 4
    return letters[0] == _FIRST and letters[inner : inner + 1] in (b"\x0a", b"\x12")


def decode(payload: bytes | memoryview) -> Samples:
    """Read a frame; its samples come in the order in which it has them.

    Raises
    ------
    BadFrame
        If it is not remote write, or has a native histogram.
    """
    frame = Frame(_decompressed(payload))
    root = scan(frame, frame.whole, _EITHER)
    for number in (_SYMBOLS, _SERIES_OF_TWO):
        if len(root.every(number)[0]):
            root = scan(frame, frame.whole, _REQUEST_OF_TWO)
            return _decode_two(frame, root)
    _, series = root.every(_FIRST)
    fields = scan(frame, series, _SERIES)
    _refuse_histograms(fields, series, _HISTOGRAMS)
    owner, spans = fields.every(_FIRST)
    pair, first = distinct(frame, spans)
    labels = scan(frame, spans.take(first), _LABEL)
    names, values = (_words(frame, labels.last(tag)) for tag in (_FIRST, _SECOND))
    return _samples(frame, series, fields, label_sets(len(series), owner, pair, names, values))


def encode(samples: Samples) -> bytes:
    """Write samples as remote write 1.0, a series for each distinct set of labels.

    Raises
    ------
    ValueError
        If a sample has no metric.
    """
    if samples.labels["metric"].codes.min(initial=0) < 0:
        msg = "a sample has no metric; every sample must have one to be written"
        raise ValueError(msg)
    rows = len(samples.time)
    series = np.zeros(rows, np.int64)
    columns: list[tuple[list[bytes], list[int]]] = []
    by_name = {_NAME if name == "metric" else name: column for name, column in samples.labels.items()}
    for name in sorted(by_name):
        column = by_name[name]
        letters = [field(1, field(1, name.encode()) + field(2, value.encode())) for value in column.values]
        columns.append(([*letters, b""], column.codes.tolist()))
        key = series * (len(column.values) + 1) + column.codes
        _, series = np.unique(key, return_inverse=True)
    heads = np.empty(rows, np.dtype([("tag", "u1"), ("value", "<f8"), ("time_tag", "u1")]))
    heads["tag"], heads["value"], heads["time_tag"] = _VALUE, samples.value, _TIMESTAMP
    head, size = heads.tobytes(), heads.itemsize
    parts: dict[int, list[bytes]] = {}
    times = (samples.time.view(np.uint64)).tolist()
    for row, (number, time) in enumerate(zip(series.tolist(), times, strict=True)):
        if number not in parts:
            parts[number] = [letters[codes[row]] for letters, codes in columns]
        parts[number].append(field(2, head[row * size : row * size + size] + varint(time)))
    content = b"".join([field(1, b"".join(part)) for part in parts.values()])
    return bytes(cramjam.snappy.compress_raw(content))


def _decode_two(frame: Frame, root: Fields) -> Samples:
    """Read a request of version 2.0, whose labels are references to a table of symbols."""
    _, spans = root.every(_SYMBOLS)
    symbols = _words(frame, spans.take(np.argsort(spans.start, kind="stable")))
    _, series = root.every(_SERIES_OF_TWO)
    fields = scan(frame, series, _SERIES_TWO)
    _refuse_histograms(fields, series, _HISTOGRAMS_OF_TWO)
    owner, reference = _references(frame, fields)
    counts = np.bincount(owner, minlength=len(series))
    odd = where(counts % 2 > 0)
    if len(odd):
        msg = f"the TimeSeries at byte {series.start[odd[0]]} has {counts[odd[0]]} labels_refs; they must come in pairs"
        raise BadFrame(msg)
    beyond = where(reference >= len(symbols))
    if len(beyond):
        msg = f"a label refers to symbol {reference[beyond[0]]}; there are {len(symbols)}, from 0 on"
        raise BadFrame(msg)
    key = reference[::2] * len(symbols) + reference[1::2]
    pair, first = first_appearances(pa.array(key))
    names, values = ([symbols[index] for index in reference[half::2][first].tolist()] for half in (0, 1))
    return _samples(frame, series, fields, label_sets(len(series), owner[::2], pair, names, values))


def _references(frame: Frame, fields: Fields) -> tuple[Ints, Ints]:
    """Return the series [reference] and the symbols [reference] of all labels, packed or not, in order."""
    packed_owner, packed = fields.every(_FIRST)
    single_owner, single = fields.every(1 << 3 | VARINT)
    owner = np.concatenate([packed_owner, single_owner])
    start, end = np.concatenate([packed.start, single.start]), np.concatenate([packed.end, single.end])
    order = np.lexsort((start, owner))
    owner, start, size = owner[order], start[order], (end - start)[order]
    within = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
    at = np.repeat(start, size) + within
    byte = frame.bytes[at]
    is_last = byte < 0x80
    last = where(is_last)
    if len(size) and not is_last[np.cumsum(size)[size > 0] - 1].all():
        msg = "the labels_refs of a TimeSeries end within a number; they must end with one"
        raise BadFrame(msg)
    first = np.append(np.zeros(min(len(last), 1), np.int64), last[:-1] + 1)
    value, width = frame.varints(at[first])
    if (width != last - first + 1).any() or (value >> np.uint64(32)).any():
        msg = "the labels_refs of a TimeSeries have a number of more than 32 bits; no larger one is allowed"
        raise BadFrame(msg)
    return np.repeat(owner, size)[first], value.astype(np.int64)


def _samples(frame: Frame, series: Spans, fields: Fields, sets: LabelSets) -> Samples:
    """Read the samples of series [series] whose labels are these sets [series]."""
    check_names(sets.codes)
    nameless = where(sets.codes[_NAME] < 0) if _NAME in sets.codes else np.arange(len(series))
    if len(nameless):
        msg = f"the TimeSeries at byte {series.start[nameless[0]]} has no label {_NAME}; every series must have one"
        raise BadFrame(msg)
    owner, spans = fields.every(_SECOND)
    order = np.argsort(spans.start, kind="stable")
    owner, spans = owner[order], spans.take(order)
    found = scan(frame, spans, _SAMPLE)
    value = frame.doubles(found.last(_VALUE).start)  # what is left out is zero, and reads as zero
    value = np.where(found.last(_VALUE).start < 0, 0.0, value)
    at = found.last(_TIMESTAMP).start
    time = np.zeros(len(owner), np.int64)
    given = where(at >= 0)
    time[given] = frame.varints(at[given])[0].view(np.int64)
    check_cells(len(owner), len(sets.codes) + 1)
    labels = {
        "metric" if name == _NAME else name: sets.words[name].column(codes.take(owner))
        for name, codes in sets.codes.items()
    }
    for name in ("metric", "colo"):
        labels.setdefault(name, LabelColumn(np.full(len(owner), -1, np.int32), []))
    return Samples(time, value, labels)


def _words(frame: Frame, spans: Spans) -> list[str]:
    """Decode names or values; what is left out is empty."""
    number, first = distinct(frame, Spans(np.maximum(spans.start, 0), np.maximum(spans.end, 0)))
    words = texts(frame, Spans(np.maximum(spans.start, 0), np.maximum(spans.end, 0)).take(first), "a label")
    return [words[index] for index in number.tolist()]


def _refuse_histograms(fields: Fields, series: Spans, tag: int) -> None:
    owner, _ = fields.every(tag)
    if len(owner):
        msg = (
            f"the TimeSeries at byte {series.start[owner[0]]} has a native histogram, which is not read; "
            "allowed are samples, as classic histograms have them"
        )
        raise BadFrame(msg)


def _length(letters: bytes) -> tuple[int, int]:
    """Read the length of what a block of snappy holds, and where the block begins; a length of -1 is none."""
    value = 0
    for index, byte in enumerate(letters[:_LENGTH_BYTES_MAX]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, index + 1
    return -1, 0


def _decompressed(payload: bytes | memoryview) -> bytes:
    """Decompress a block of snappy, if what it says that it holds is sensible."""
    view = memoryview(payload).cast("B")
    length, _ = _length(bytes(view[:_LENGTH_BYTES_MAX]))
    most = min(FRAME_BYTES_MAX, _COMPRESSION_MAX * len(view))
    if not 0 <= length <= most:
        found = "no length" if length < 0 else f"a length of {length} bytes"
        msg = f"the frame is no block of snappy: it begins with {found}; allowed are up to {most} bytes of content"
        raise BadFrame(msg)
    try:
        content = bytes(cramjam.snappy.decompress_raw(view))
    except cramjam.DecompressionError as error:
        msg = f"the frame is no block of snappy: {error}"
        raise BadFrame(msg) from error
    return content
