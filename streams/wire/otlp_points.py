"""Data points of OTLP as rows of samples: numbers as they are, histograms as Prometheus has them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.recording import NO_TIME
from streams.wire.fields import Fields, scan
from streams.wire.frame import BadFrame
from streams.wire.otlp_attributes import number_text
from streams.wire.protobuf import BYTES, FIXED64, VARINT, Frame, Ints, Kind, Spans
from streams.wire.texts import Codes, Words, first_appearances

_TIME: Final = 3 << 3 | FIXED64
_NANOSECONDS: Final = np.uint64(1_000_000)  # in a millisecond
_NO_RECORDED_VALUE: Final = np.uint64(1)

NUMBER_POINT: Final = Kind(
    "NumberDataPoint",
    {
        2: ("start_time_unix_nano", (FIXED64,)),
        3: ("time_unix_nano", (FIXED64,)),
        4: ("as_double", (FIXED64,)),
        5: ("exemplars", (BYTES,)),
        6: ("as_int", (FIXED64,)),
        7: ("attributes", (BYTES,)),
        8: ("flags", (VARINT,)),
    },
)
NUMBER_ATTRIBUTES: Final = 7 << 3 | BYTES
_AS_DOUBLE: Final = 4 << 3 | FIXED64
_AS_INT: Final = 6 << 3 | FIXED64
_NUMBER_FLAGS: Final = 8 << 3 | VARINT

HISTOGRAM_POINT: Final = Kind(
    "HistogramDataPoint",
    {
        2: ("start_time_unix_nano", (FIXED64,)),
        3: ("time_unix_nano", (FIXED64,)),
        4: ("count", (FIXED64,)),
        5: ("sum", (FIXED64,)),
        6: ("bucket_counts", (BYTES, FIXED64)),
        7: ("explicit_bounds", (BYTES, FIXED64)),
        8: ("exemplars", (BYTES,)),
        9: ("attributes", (BYTES,)),
        10: ("flags", (VARINT,)),
        11: ("min", (FIXED64,)),
        12: ("max", (FIXED64,)),
    },
)
HISTOGRAM_ATTRIBUTES: Final = 9 << 3 | BYTES
_COUNT: Final = 4 << 3 | FIXED64
_SUM: Final = 5 << 3 | FIXED64
_BUCKET_COUNTS: Final = 6
_EXPLICIT_BOUNDS: Final = 7
_HISTOGRAM_FLAGS: Final = 10 << 3 | VARINT

SUFFIXES: Final = ("_bucket", "_count", "_sum")
"""What is appended to a histogram's name."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Number points: one row each. `time` [point] in epoch ms, `value` [point], list of `attributes` [point]."""

    time: NDArray[np.int64]
    value: NDArray[np.float64]
    attributes: Spans


@dataclass(frozen=True, slots=True)
class Histograms:
    """Histogram points: several rows each.

    `point` [row] and `suffix` [row] (of `SUFFIXES`) say what a row is, `time` [row] and `value` [row] are its own,
    and `le` [row] is the code of its bound among `bounds`, -1 where it has none.
    """

    point: Ints
    suffix: Codes
    time: NDArray[np.int64]
    value: NDArray[np.float64]
    le: Codes
    bounds: Words
    attributes: Spans


def numbers(frame: Frame, points: Spans) -> Numbers:
    """Read number points [point].

    Raises
    ------
    BadFrame
        If a point has neither a value nor the flag that says that none was recorded.
    """
    fields = scan(frame, points, NUMBER_POINT)
    doubles, integers = fields.last(_AS_DOUBLE).start, fields.last(_AS_INT).start
    value = frame.doubles(doubles)
    is_integer = integers > doubles  # of two, the later holds
    if is_integer.any():
        value[is_integer] = frame.signed(integers[is_integer])
    missing = np.maximum(doubles, integers) < 0
    unrecorded = _unrecorded(frame, fields, _NUMBER_FLAGS, len(points))
    value[unrecorded] = np.nan
    missing[unrecorded] = False
    if missing.any():
        msg = (
            f"the NumberDataPoint at byte {points.start[missing][0]} has no value; allowed is as_double or as_int, "
            "or the flag of a value that was not recorded"
        )
        raise BadFrame(msg)
    return Numbers(_times(frame, fields), value, fields.extent(NUMBER_ATTRIBUTES))


def histograms(frame: Frame, points: Spans) -> Histograms:
    """Read histogram points [point] as cumulative buckets, counts and sums.

    Raises
    ------
    BadFrame
        If bounds do not grow, do not fit the bucket counts, or these do not add up to the count.
    """
    fields = scan(frame, points, HISTOGRAM_POINT)
    total = len(points)
    count_at = fields.last(_COUNT).start
    count = np.where(count_at < 0, np.uint64(0), frame.unsigned(count_at))
    sum_at = fields.last(_SUM).start
    with_sum = np.flatnonzero(sum_at >= 0)
    bucket_point, bucket_at = _elements(fields, _BUCKET_COUNTS, points)
    bound_point, bound_at = _elements(fields, _EXPLICIT_BOUNDS, points)
    bound = frame.doubles(bound_at)
    _check_bounds(points, bound_point, bound)
    buckets = np.bincount(bucket_point, minlength=total)
    _check_buckets(points, buckets, np.bincount(bound_point, minlength=total))
    running = np.cumsum(frame.unsigned(bucket_at), dtype=np.uint64)
    last = np.cumsum(buckets) - 1
    before = np.concatenate([np.zeros(1, np.uint64), running])[last - buckets + 1]
    _check_counts(points, buckets, np.concatenate([np.zeros(1, np.uint64), running])[last + 1] - before, count)
    inner = np.ones(len(running), np.bool_)
    inner[last[buckets > 0]] = False  # the last bucket has no bound: all are at most infinite
    cumulative = (running - before[bucket_point])[inner]

    every = np.arange(total)
    point = np.concatenate([bound_point, every, every, with_sum])
    parts = (len(bound_point), total, total, len(with_sum))
    value = np.concatenate([cumulative.astype(np.float64), count, count, frame.doubles(sum_at[with_sum])])
    value[_unrecorded(frame, fields, _HISTOGRAM_FLAGS, total)[point]] = np.nan
    bounds = Words()
    le = [_bound_codes(bound, bounds), np.full(total, bounds.number("+Inf")), np.full(total + len(with_sum), -1)]
    return Histograms(
        point,
        np.repeat(np.array([0, 0, 1, 2], np.int32), parts),
        _times(frame, fields)[point],
        value,
        np.concatenate(le).astype(np.int32),
        bounds,
        fields.extent(HISTOGRAM_ATTRIBUTES),
    )


def _times(frame: Frame, fields: Fields) -> NDArray[np.int64]:
    """Return the times [point] in epoch milliseconds."""
    at = fields.last(_TIME).start
    nanoseconds = frame.unsigned(at)
    time = (nanoseconds // _NANOSECONDS).astype(np.int64)
    time[(at < 0) | (nanoseconds == 0)] = NO_TIME
    return time


def _unrecorded(frame: Frame, fields: Fields, tag: int, points: int) -> NDArray[np.bool_]:
    """Say which points [point] bear the flag that there was no value."""
    owner, flags = fields.every(tag)
    unrecorded = np.zeros(points, np.bool_)
    unrecorded[owner] = frame.varints(flags.start)[0] & _NO_RECORDED_VALUE != 0
    return unrecorded


def _elements(fields: Fields, number: int, points: Spans) -> tuple[Ints, Ints]:
    """Return the points [element] and places [element] of a repeated number, packed (as is usual) or not."""
    packed_owner, packed = fields.every(number << 3 | BYTES)
    single_owner, single = fields.every(number << 3 | FIXED64)
    owner = np.concatenate([packed_owner, single_owner])
    start = np.concatenate([packed.start, single.start])
    length = np.concatenate([packed.end, single.end]) - start
    odd = np.flatnonzero(length & 7)
    if len(odd):
        name, _ = HISTOGRAM_POINT.fields[number]
        msg = f"the {name} at byte {start[odd[0]]} take {length[odd[0]]} bytes; allowed are multiples of 8"
        raise BadFrame(msg)
    order = np.lexsort((start, owner))
    owner, start, size = owner[order], start[order], length[order] >> 3
    within = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
    return np.repeat(owner, size), np.repeat(start, size) + 8 * within


def _check_bounds(points: Spans, point: Ints, bound: NDArray[np.float64]) -> None:
    falls = (bound[1:] <= bound[:-1]) & (point[1:] == point[:-1])
    wrong = np.append(falls, np.zeros(min(len(bound), 1), np.bool_)) | ~np.isfinite(bound)
    if wrong.any():
        place = points.start[point[wrong][0]]
        msg = f"the bounds of the HistogramDataPoint at byte {place} are not finite numbers that grow, as they must"
        raise BadFrame(msg)


def _check_buckets(points: Spans, buckets: Ints, bounds: Ints) -> None:
    wrong = np.flatnonzero((buckets != bounds + 1) & ((buckets > 0) | (bounds > 0)))
    if len(wrong):
        index = wrong[0]
        msg = (
            f"the HistogramDataPoint at byte {points.start[index]} has {buckets[index]} bucket counts and "
            f"{bounds[index]} bounds; allowed is one count more than bounds, or neither"
        )
        raise BadFrame(msg)


def _check_counts(points: Spans, buckets: Ints, added: NDArray[np.uint64], count: NDArray[np.uint64]) -> None:
    wrong = np.flatnonzero((added != count) & (buckets > 0))
    if len(wrong):
        index = wrong[0]
        msg = (
            f"the bucket counts of the HistogramDataPoint at byte {points.start[index]} add up to {added[index]}, "
            f"but its count is {count[index]}; they must be equal"
        )
        raise BadFrame(msg)


def _bound_codes(bound: NDArray[np.float64], words: Words) -> Codes:
    # Zero has two signs and one text: the words see to that.
    number, first = first_appearances(pa.array(bound.view(np.uint64)))
    return words.numbers([number_text(value) for value in bound[first].tolist()])[number]
