"""The scopes of an OTLP frame: their metrics and points as rows, found by reading every field of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.recording import LabelColumn
from streams.wire.fields import Fields, scan
from streams.wire.frame import BadFrame
from streams.wire.label_sets import LabelSets, check_cells, stacked
from streams.wire.otlp_attributes import AttributeLists
from streams.wire.otlp_points import (
    EXPONENTIAL_ATTRIBUTES,
    EXPONENTIAL_POINT,
    HISTOGRAM_ATTRIBUTES,
    HISTOGRAM_POINT,
    NUMBER_ATTRIBUTES,
    NUMBER_POINT,
    SUFFIXES,
    SUMMARY_ATTRIBUTES,
    SUMMARY_POINT,
    Cells,
    Points,
    exponentials,
    histograms,
    numbers,
    summaries,
)
from streams.wire.protobuf import BYTES, VARINT, Frame, Ints, Kind, Spans, where
from streams.wire.texts import Codes, Words, distinct, texts

_NONE: Final = np.empty(0, np.int64)
_FIRST: Final = 1 << 3 | BYTES
_SECOND: Final = 2 << 3 | BYTES
_THIRD: Final = 3 << 3 | BYTES

_SCOPE_METRICS: Final = Kind(
    "ScopeMetrics", {1: ("scope", (BYTES,)), 2: ("metrics", (BYTES,)), 3: ("schema_url", (BYTES,))}
)
_SCOPE: Final = Kind(
    "InstrumentationScope",
    {
        1: ("name", (BYTES,)),
        2: ("version", (BYTES,)),
        3: ("attributes", (BYTES,)),
        4: ("dropped_attributes_count", (VARINT,)),
    },
)
_METRIC: Final = Kind(
    "Metric",
    {
        1: ("name", (BYTES,)),
        2: ("description", (BYTES,)),
        3: ("unit", (BYTES,)),
        5: ("gauge", (BYTES,)),
        7: ("sum", (BYTES,)),
        9: ("histogram", (BYTES,)),
        10: ("exponential_histogram", (BYTES,)),
        11: ("summary", (BYTES,)),
        12: ("metadata", (BYTES,)),
    },
)
_DATA_KINDS: Final = (
    ((5, 7), numbers, NUMBER_POINT, NUMBER_ATTRIBUTES),
    ((9,), histograms, HISTOGRAM_POINT, HISTOGRAM_ATTRIBUTES),
    ((10,), exponentials, EXPONENTIAL_POINT, EXPONENTIAL_ATTRIBUTES),
    ((11,), summaries, SUMMARY_POINT, SUMMARY_ATTRIBUTES),
)
"""Fields of a metric that hold its points, who reads these, what they are and where their attributes are."""

_READ_KINDS: Final = "gauge, sum, histogram, exponential histogram and summary"
_BOUNDED: Final = {"le": "a histogram has an attribute 'le', which is the label of its buckets"} | {
    "quantile": "a summary has an attribute 'quantile', which is the label of its quantiles"
}
_DATA: Final = Kind(
    "Gauge, Sum, Histogram, ExponentialHistogram or Summary",
    {1: ("data_points", (BYTES,)), 2: ("aggregation_temporality", (VARINT,))},
)


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of some scopes, in their order: `scope` [row] of the frame, where the numbers are, and labels.

    The labels are those of metric, scope and point; the resource's are not among them. `free` are the places of all
    numbers of fixed size, which may differ between scopes that are otherwise equal.
    """

    scope: Ints
    cells: Cells
    labels: Mapping[str, LabelColumn]
    free: list[Ints]


@dataclass(frozen=True, slots=True)
class _Metrics:
    """Metrics: `name` [metric] is a code of `names`, `scope` [metric] an index."""

    name: Codes
    names: list[str]
    fields: Fields
    scope: Ints


def read_scopes(frame: Frame, spans: Spans) -> Block:
    """Find the rows of scopes [scope].

    Raises
    ------
    BadFrame
        If something there is malformed, or is a metric of an unknown kind.
    """
    fields = scan(frame, spans, _SCOPE_METRICS)
    scopes = fields.one(_FIRST, "the scope of a ScopeMetrics")
    metrics = _metrics(frame, *fields.every(_SECOND))
    parts: list[tuple[Points, Ints, Ints]] = []  # points, metric of each, place of each
    lists = AttributeLists(frame)
    of_scope = lists.add(scopes, _SCOPE, _THIRD)
    of_point: list[Codes] = []
    for kinds, read, kind, attributes in _DATA_KINDS:
        metric, spans = _points(frame, metrics, kinds)
        if len(metric):
            points = read(frame, spans)
            parts.append((points, metric, spans.start))
            of_point.append(lists.add(points.attributes, kind, attributes))
    if not parts:
        return Block(_NONE, Cells(_NONE, np.empty(0, np.int8), np.empty(0, np.bool_), *[_NONE] * 4), {}, [])
    sets = lists.read()
    blocks = [_block(metrics, sets, of_scope, *found) for found in zip(parts, of_point, strict=True)]
    return blocks[0][0] if len(blocks) == 1 else _interleaved(blocks)


def label_columns(sets: LabelSets, parts: list[Codes]) -> dict[str, LabelColumn]:
    """Look the labels of rows up in the sets [row] that apply to them; of several, the last that has one holds."""
    check_cells(len(parts[0]), len(sets.codes))
    labels: dict[str, LabelColumn] = {}
    indices = [part.astype(np.int64) for part in parts]
    ranges = [slice(int(part.min(initial=0)), int(part.max(initial=-1)) + 1) for part in parts]
    for name, codes in sets.codes.items():
        found: Codes | None = None
        for index, span in zip(indices, ranges, strict=True):
            if codes[span].max(initial=-1) < 0:
                continue
            here = codes.take(index)
            found = here if found is None else np.where(here < 0, found, here)
        if found is not None:
            labels[name] = sets.words[name].column(found)
    return labels


def _metrics(frame: Frame, scope: Ints, metrics: Spans) -> _Metrics:
    """Read the names of metrics, and check that all of them can be read."""
    fields = scan(frame, metrics, _METRIC)
    found = fields.last(_FIRST)
    nameless = where(found.start == found.end)
    if len(nameless):
        msg = f"the Metric at byte {metrics.start[nameless[0]]} has no name; every metric must have one"
        raise BadFrame(msg)
    name, first = distinct(frame, found)
    names = texts(frame, found.take(first), "a metric's name")
    _check_kinds(fields, name, names)
    return _Metrics(name, names, fields, scope)


def _check_kinds(fields: Fields, name: Codes, names: list[str]) -> None:
    """Refuse what is not read, so that nothing is lost in silence."""
    kinds = [number for kinds, *_ in _DATA_KINDS for number in kinds]
    count = np.bincount(np.concatenate([fields.every(number << 3 | BYTES)[0] for number in kinds]), minlength=len(name))
    unknown = fields.outside(_METRIC)
    strange = np.concatenate([where(count > 1), unknown[count[unknown] == 0]])
    if len(strange):
        metric = names[name[strange[0]]]
        found = f"{count[strange[0]]} kinds of data" if count[strange[0]] else "data of an unknown kind"
        msg = f"the metric {metric!r} has {found}; allowed is one of {_READ_KINDS}"
        raise BadFrame(msg)


def _points(frame: Frame, metrics: _Metrics, kinds: tuple[int, ...]) -> tuple[Ints, Spans]:
    """Find the points of metrics of some kinds in the order of the frame, and the metric [point] of each."""
    found = [metrics.fields.every(number << 3 | BYTES) for number in kinds]
    owner = np.concatenate([owner for owner, _ in found])
    data = Spans(np.concatenate([data.start for _, data in found]), np.concatenate([data.end for _, data in found]))
    of_data, points = scan(frame, data, _DATA).every(_FIRST)
    order = np.argsort(points.start, kind="stable")
    return owner[of_data[order]], points.take(order)


def _block(
    metrics: _Metrics, sets: LabelSets, of_scope: Codes, found: tuple[Points, Ints, Ints], of_point: Codes
) -> tuple[Block, Ints]:
    """Put the rows of points of one kind together, with the place [row] of their points."""
    points, metric, start = found
    scope = metrics.scope[metric]
    labels = label_columns(sets, [of_scope[scope], of_point])
    if points.suffix.max(initial=-1) >= 0:  # several rows a point
        labels = {name: LabelColumn(column.codes[points.point], column.values) for name, column in labels.items()}
        scope, metric, start = scope[points.point], metric[points.point], start[points.point]
    if points.bounded:
        if points.bounded in labels:
            msg = f"{_BOUNDED[points.bounded]}; any other name is allowed"
            raise BadFrame(msg)
        labels[points.bounded] = points.bounds.column(points.bound)
    labels["metric"] = _names(metrics, metrics.name[metric], points.suffix)
    return Block(scope, points.cells, labels, points.free), start


def _names(metrics: _Metrics, code: Codes, suffix: Codes) -> LabelColumn:
    """Name rows by their metric, and by their suffix where they have one."""
    words = Words()
    suffixes = ("", *SUFFIXES)
    key = code * np.int32(len(suffixes)) + (suffix + np.int32(1))
    table = np.full(len(metrics.names) * len(suffixes), -1, np.int32)
    used = np.flatnonzero(np.bincount(key, minlength=len(table)))
    table[used] = words.numbers(
        metrics.names[index // len(suffixes)] + suffixes[index % len(suffixes)] for index in used.tolist()
    )
    return words.column(table.take(key))


def _interleaved(blocks: list[tuple[Block, Ints]]) -> Block:
    """Put the rows of several kinds together, in the order in which their points come in the frame."""
    order = np.argsort(np.concatenate([start for _, start in blocks]), kind="stable")
    every = [block.cells for block, _ in blocks]
    cells = Cells(
        np.concatenate([each.at for each in every])[order],
        np.concatenate([each.kind for each in every])[order],
        np.concatenate([each.void for each in every])[order],
        np.concatenate([each.time_at for each in every])[order],
        np.concatenate([each.first for each in every]),  # only histograms have buckets
        np.concatenate([each.closing for each in every]),
        np.concatenate([each.count_at for each in every]),
    )
    stack = stacked([(block.labels, len(block.scope)) for block, _ in blocks])
    labels = {name: LabelColumn(column.codes[order], column.values) for name, column in stack.items()}
    scope = np.concatenate([block.scope for block, _ in blocks])[order]
    return Block(scope, cells, labels, [place for block, _ in blocks for place in block.free])
