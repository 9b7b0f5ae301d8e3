"""Data points of OTLP as rows of samples: numbers as they are, histograms and summaries as Prometheus has them."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streams.recording import NO_TIME
from streams.wire.fields import Fields, scan
from streams.wire.frame import BadFrame
from streams.wire.otlp_attributes import number_text
from streams.wire.protobuf import BYTES, FIXED64, VARINT, Frame, Ints, Kind, Spans, where
from streams.wire.texts import Codes, Words, first_appearances

_START: Final = 2 << 3 | FIXED64
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
_HISTOGRAM_NUMBERS: Final = (_START, _TIME, _COUNT, _SUM, 11 << 3 | FIXED64, 12 << 3 | FIXED64)

EXPONENTIAL_POINT: Final = Kind(
    "ExponentialHistogramDataPoint",
    {
        1: ("attributes", (BYTES,)),
        2: ("start_time_unix_nano", (FIXED64,)),
        3: ("time_unix_nano", (FIXED64,)),
        4: ("count", (FIXED64,)),
        5: ("sum", (FIXED64,)),
        6: ("scale", (VARINT,)),
        7: ("zero_count", (FIXED64,)),
        8: ("positive", (BYTES,)),
        9: ("negative", (BYTES,)),
        10: ("flags", (VARINT,)),
        11: ("exemplars", (BYTES,)),
        12: ("min", (FIXED64,)),
        13: ("max", (FIXED64,)),
        14: ("zero_threshold", (FIXED64,)),
    },
)
EXPONENTIAL_ATTRIBUTES: Final = 1 << 3 | BYTES
_EXPONENTIAL_NUMBERS: Final = (_START, _TIME, _COUNT, _SUM, *(number << 3 | FIXED64 for number in (7, 12, 13, 14)))

SUMMARY_POINT: Final = Kind(
    "SummaryDataPoint",
    {
        2: ("start_time_unix_nano", (FIXED64,)),
        3: ("time_unix_nano", (FIXED64,)),
        4: ("count", (FIXED64,)),
        5: ("sum", (FIXED64,)),
        6: ("quantile_values", (BYTES,)),
        7: ("attributes", (BYTES,)),
        8: ("flags", (VARINT,)),
    },
)
SUMMARY_ATTRIBUTES: Final = 7 << 3 | BYTES
_QUANTILE_VALUES: Final = 6 << 3 | BYTES
_QUANTILE_VALUE: Final = Kind("ValueAtQuantile", {1: ("quantile", (FIXED64,)), 2: ("value", (FIXED64,))})
_QUANTILE: Final = 1 << 3 | FIXED64
_VALUE: Final = 2 << 3 | FIXED64

SUFFIXES: Final = ("_bucket", "_count", "_sum")
"""What is appended to the name of a histogram, or but for the first of a summary."""


_DOUBLE, _SIGNED, _UNSIGNED, _BUCKET = range(4)
"""What the eight bytes of a row are: its value, as a double or an integer, or a bucket to add up."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Where the numbers of rows are in a frame: 8 bytes each, at -1 where there are none, which reads as zero.

    `at` [row] is the value's place, `kind` [row] what is there, `void` [row] whether it was not recorded, whatever is
    there, and `time_at` [row] the time's place. Buckets are also
    numbered among themselves: `first` [bucket] is the first of the same point; each point that has any is closed by
    its last, `closing` [point], which must come to the count at `count_at` [point].
    """

    at: Ints
    kind: NDArray[np.int8]
    void: NDArray[np.bool_]
    time_at: Ints
    first: Ints
    closing: Ints
    count_at: Ints

    def shifted(self, by: Ints) -> "Cells":
        """Return the cells of as many stretches of the same layout as there are places [stretch] to move them by."""
        buckets = len(self.first) * np.arange(len(by))[:, np.newaxis]
        return Cells(
            _shifted(self.at, by),
            np.tile(self.kind, len(by)),
            np.tile(self.void, len(by)),
            _shifted(self.time_at, by),
            (self.first + buckets).ravel(),
            (self.closing + buckets).ravel(),
            _shifted(self.count_at, by),
        )


@dataclass(frozen=True, slots=True)
class Points:
    """Points of one kind: their rows, lists of `attributes` [point], and the places of all numbers that may differ.

    `point` [row] says whose a row is. Its `suffix` [row] is one of `SUFFIXES`, -1 for none. Buckets of a histogram and
    quantiles of a summary have a label of their own, `bounded`, the code of which is `bound` [row] among `bounds`, -1
    where there is none.
    """

    cells: Cells
    point: Ints
    attributes: Spans
    free: list[Ints]
    suffix: Codes
    bound: Codes
    bounds: Words
    bounded: str = ""


def numbers(frame: Frame, points: Spans) -> Points:
    """Find the values of number points [point]: one row each.

    Raises
    ------
    BadFrame
        If a point has neither a value nor the flag that says that none was recorded.
    """
    fields = scan(frame, points, NUMBER_POINT)
    doubles, integers = fields.last(_AS_DOUBLE).start, fields.last(_AS_INT).start
    at = np.maximum(doubles, integers)  # of two, the later holds
    kind = np.where(integers > doubles, np.int8(_SIGNED), np.int8(_DOUBLE))
    missing = at < 0
    void = _unrecorded(frame, fields, _NUMBER_FLAGS, len(points))
    missing &= ~void
    if missing.any():
        msg = (
            f"the NumberDataPoint at byte {points.start[missing][0]} has no value; allowed is as_double or as_int, "
            "or the flag of a value that was not recorded"
        )
        raise BadFrame(msg)
    none = np.empty(0, np.int64)
    cells = Cells(at, kind, void, fields.last(_TIME).start, none, none, none)
    free = [fields.every(tag)[1].start for tag in (_START, _TIME, _AS_DOUBLE, _AS_INT)]
    bare = np.full(len(points), -1, np.int32)
    return Points(cells, np.arange(len(points)), fields.extent(NUMBER_ATTRIBUTES), free, bare, bare, Words())


def histograms(frame: Frame, points: Spans) -> Points:
    """Find the values of histogram points [point]: a row for each bucket, one for the count, one for the sum if any.

    Raises
    ------
    BadFrame
        If bounds do not grow, or do not fit the bucket counts.
    """
    fields = scan(frame, points, HISTOGRAM_POINT)
    total = len(points)
    count_at, sum_at = fields.last(_COUNT).start, fields.last(_SUM).start
    bucket_point, bucket_at = _elements(fields, _BUCKET_COUNTS)
    bound_point, bound_at = _elements(fields, _EXPLICIT_BOUNDS)
    bound = frame.doubles(bound_at)
    _check_bounds(points, bound_point, bound)
    buckets = np.bincount(bucket_point, minlength=total)
    _check_buckets(points, buckets, np.bincount(bound_point, minlength=total))
    last = np.cumsum(buckets) - 1
    with_buckets, without = np.flatnonzero(buckets), where(buckets == 0)
    with_sum, every = where(sum_at >= 0), np.arange(total)

    bounds = Words()
    infinite = bounds.number("+Inf")
    le = np.full(len(bucket_point), infinite, np.int32)
    inner = np.ones(len(bucket_point), np.bool_)
    inner[last[with_buckets]] = False  # the last bucket has no bound
    le[inner] = _bound_codes(bound, bounds)
    parts = (  # the rows: of which point, where, of which kind, suffix and bound
        (bucket_point, bucket_at, _BUCKET, 0, le),
        (without, count_at[without], _UNSIGNED, 0, np.full(len(without), infinite, np.int32)),
        (every, count_at, _UNSIGNED, 1, np.full(total, -1, np.int32)),
        (with_sum, sum_at[with_sum], _DOUBLE, 2, np.full(len(with_sum), -1, np.int32)),
    )
    sizes = [len(part[0]) for part in parts]
    point = np.concatenate([part[0] for part in parts])
    order = np.argsort(point, kind="stable")
    point = point[order]
    cells = Cells(
        np.concatenate([part[1] for part in parts])[order],
        np.repeat(np.array([part[2] for part in parts], np.int8), sizes)[order],
        _unrecorded(frame, fields, _HISTOGRAM_FLAGS, total)[point],
        fields.last(_TIME).start[point],
        (last - buckets + 1)[bucket_point],
        last[with_buckets],
        count_at[with_buckets],
    )
    return Points(
        cells,
        point,
        fields.extent(HISTOGRAM_ATTRIBUTES),
        [fields.every(tag)[1].start for tag in _HISTOGRAM_NUMBERS] + [bucket_at],
        np.repeat(np.array([part[3] for part in parts], np.int32), sizes)[order],
        np.concatenate([part[4] for part in parts])[order],
        bounds,
        "le",
    )


def exponentials(frame: Frame, points: Spans) -> Points:
    """Find count and sum of exponential histograms' points [point]; their buckets are not read."""
    fields = scan(frame, points, EXPONENTIAL_POINT)
    every, count_at, sum_at = np.arange(len(points)), fields.last(_COUNT).start, fields.last(_SUM).start
    with_sum = where(sum_at >= 0)
    parts = [(every, count_at, _UNSIGNED, 1), (with_sum, sum_at[with_sum], _DOUBLE, 2)]
    free = [fields.every(tag)[1].start for tag in _EXPONENTIAL_NUMBERS]
    void = _unrecorded(frame, fields, _HISTOGRAM_FLAGS, len(points))
    return _told(fields, parts, void, fields.extent(EXPONENTIAL_ATTRIBUTES), free)


def summaries(frame: Frame, points: Spans) -> Points:
    """Find the values of summaries' points [point]: a row for each quantile, one for the count, one for the sum."""
    fields = scan(frame, points, SUMMARY_POINT)
    every = np.arange(len(points))
    point, spans = fields.every(_QUANTILE_VALUES)
    values = scan(frame, spans, _QUANTILE_VALUE)
    quantile_at, value_at = values.last(_QUANTILE).start, values.last(_VALUE).start
    # Both are zero where they are absent, as the sum is.
    parts = [
        (point, value_at, _DOUBLE, -1),
        (every, fields.last(_COUNT).start, _UNSIGNED, 1),
        (every, fields.last(_SUM).start, _DOUBLE, 2),
    ]
    free = [fields.every(tag)[1].start for tag in (_START, _TIME, _COUNT, _SUM)] + [values.every(_VALUE)[1].start]
    void = _unrecorded(frame, fields, _NUMBER_FLAGS, len(points))
    told = _told(fields, parts, void, fields.extent(SUMMARY_ATTRIBUTES), free)
    bounds = Words()
    bound = np.full(len(told.point), -1, np.int32)
    bound[told.suffix < 0] = _bound_codes(frame.doubles(quantile_at)[np.argsort(point, kind="stable")], bounds)
    return replace(told, bound=bound, bounds=bounds, bounded="quantile")


def _told(
    fields: Fields,
    parts: list[tuple[Ints, Ints, int, int]],
    void: NDArray[np.bool_],
    attributes: Spans,
    free: list[Ints],
) -> Points:
    """Put rows of points together: of which point, where, of which kind and suffix."""
    sizes = [len(part[0]) for part in parts]
    point = np.concatenate([part[0] for part in parts])
    order = np.argsort(point, kind="stable")
    point, none = point[order], np.empty(0, np.int64)
    at = np.concatenate([part[1] for part in parts])[order]
    kind = np.repeat(np.array([part[2] for part in parts], np.int8), sizes)[order]
    suffix = np.repeat(np.array([part[3] for part in parts], np.int32), sizes)[order]
    cells = Cells(at, kind, void[point], fields.last(_TIME).start[point], none, none, none)
    return Points(cells, point, attributes, free, suffix, np.full(len(point), -1, np.int32), Words())


def read(frame: Frame, cells: Cells) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read the times [row], in epoch milliseconds, and values [row] of rows.

    Raises
    ------
    BadFrame
        If the buckets of a histogram do not add up to its count.
    """
    words = frame.unsigned(cells.at)
    value = words.view(np.float64).copy()
    signed = where(cells.kind == _SIGNED)
    value[signed] = words[signed].view(np.int64)
    unsigned = where(cells.kind == _UNSIGNED)
    value[unsigned] = words[unsigned]
    if len(cells.first):
        bucket = where(cells.kind == _BUCKET)
        running = np.cumsum(words[bucket], dtype=np.uint64)
        running -= (running - words[bucket])[cells.first]
        value[bucket] = running
        _check_counts(cells, running[cells.closing], frame.unsigned(cells.count_at))
    value[cells.void] = np.nan
    nanoseconds = frame.unsigned(cells.time_at)
    time = (nanoseconds // _NANOSECONDS).astype(np.int64)
    time[nanoseconds == 0] = NO_TIME
    return time, value


def _shifted(at: Ints, by: Ints) -> Ints:
    moved = at + by[:, np.newaxis]
    moved[:, at < 0] = -1
    return moved.ravel()


def _unrecorded(frame: Frame, fields: Fields, tag: int, points: int) -> NDArray[np.bool_]:
    """Say which points [point] bear the flag that there was no value."""
    owner, flags = fields.every(tag)
    unrecorded = np.zeros(points, np.bool_)
    unrecorded[owner] = frame.varints(flags.start)[0] & _NO_RECORDED_VALUE != 0
    return unrecorded


def _elements(fields: Fields, number: int) -> tuple[Ints, Ints]:
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
    wrong = where((buckets != bounds + 1) & ((buckets > 0) | (bounds > 0)))
    if len(wrong):
        index = wrong[0]
        msg = (
            f"the HistogramDataPoint at byte {points.start[index]} has {buckets[index]} bucket counts and "
            f"{bounds[index]} bounds; allowed is one count more than bounds, or neither"
        )
        raise BadFrame(msg)


def _check_counts(cells: Cells, added: NDArray[np.uint64], count: NDArray[np.uint64]) -> None:
    wrong = where(added != count)
    if len(wrong):
        index = wrong[0]
        msg = (
            f"the bucket counts of a HistogramDataPoint add up to {added[index]}, but its count, at byte "
            f"{cells.count_at[index]}, is {count[index]}; they must be equal"
        )
        raise BadFrame(msg)


def _bound_codes(bound: NDArray[np.float64], words: Words) -> Codes:
    # Zero has two signs and one text: the words see to that.
    number, first = first_appearances(pa.array(bound.view(np.uint64)))
    return words.numbers([number_text(value) for value in bound[first].tolist()])[number]
