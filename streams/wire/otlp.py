"""OTLP metrics as protobuf, which is what the OpenTelemetry collector's Kafka exporter writes as `otlp_proto`.

A frame is an `ExportMetricsServiceRequest` or a `MetricsData`, which have the same bytes. `docs/wire-otlp.md` says what
becomes of each part; in short:

- A metric's name stays as it is, dots and all. A gauge's or sum's points are samples with their value as it is;
  whether a sum is cumulative or a delta is for the policy to say. A histogram's points become cumulative buckets
  `<name>_bucket` with the bound in the label `le`, `<name>_count`, and `<name>_sum` if the point has a sum.
- Attributes of the resource, the scope and the data point become labels under their own names; of the same name, the
  point's goes before the scope's, and this before the resource's. What is not a string is written as text.
- `colo` is the attribute `colo` and nothing else. `host` is the attribute `host`, or where that is absent `host.name`.
- A point whose flags say that no value was recorded has the value NaN. A time of 0 is no time.
- Exponential histograms and summaries are refused by name: a frame with one is a bad frame.

Source: https://github.com/open-telemetry/opentelemetry-proto, `metrics/v1/metrics.proto`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from streams.recording import LabelColumn, Samples
from streams.wire.fields import Fields, each_field, scan
from streams.wire.frame import BadFrame
from streams.wire.label_sets import LabelSets, check_cells
from streams.wire.otlp_attributes import AttributeLists
from streams.wire.otlp_encoding import encode
from streams.wire.otlp_points import (
    HISTOGRAM_ATTRIBUTES,
    HISTOGRAM_POINT,
    NUMBER_ATTRIBUTES,
    NUMBER_POINT,
    SUFFIXES,
    Histograms,
    histograms,
    numbers,
)
from streams.wire.protobuf import BYTES, VARINT, Frame, Ints, Kind, Spans
from streams.wire.texts import Codes, Words, distinct, texts

__all__ = ["decode", "encode", "looks_like"]

_FIRST: Final = 1 << 3 | BYTES
_SECOND: Final = 2 << 3 | BYTES
_THIRD: Final = 3 << 3 | BYTES

_METRICS_DATA: Final = Kind("MetricsData", {1: ("resource_metrics", (BYTES,))})
_RESOURCE_METRICS: Final = Kind(
    "ResourceMetrics", {1: ("resource", (BYTES,)), 2: ("scope_metrics", (BYTES,)), 3: ("schema_url", (BYTES,))}
)
_SCOPE_METRICS: Final = Kind(
    "ScopeMetrics", {1: ("scope", (BYTES,)), 2: ("metrics", (BYTES,)), 3: ("schema_url", (BYTES,))}
)
_RESOURCE: Final = Kind("Resource", {1: ("attributes", (BYTES,)), 2: ("dropped_attributes_count", (VARINT,))})
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
_HEADER_BYTES_MAX: Final = 11  # a tag and the longest varint
_NUMBER_KINDS: Final = (5, 7)
_HISTOGRAM_KIND: Final = 9
_REFUSED_KINDS: Final = (10, 11)
_READ_KINDS: Final = "gauge, sum and histogram (with explicit bounds)"
_DATA: Final = Kind(
    "Gauge, Sum or Histogram", {1: ("data_points", (BYTES,)), 2: ("aggregation_temporality", (VARINT,))}
)


@dataclass(frozen=True, slots=True)
class _Metrics:
    """The metrics of a frame: `name` [metric] is a code of `names`, `scope` [metric] and `resource` [scope] indices."""

    name: Codes
    names: list[str]
    fields: Fields
    scope: Ints
    scopes: Spans
    resource: Ints
    resources: Spans


def looks_like(payload: bytes | memoryview) -> bool:
    """Guess from its first resource whether a frame is OTLP; traces and logs look the same from there."""
    view = memoryview(payload).cast("B")
    try:
        header = Frame(view[:_HEADER_BYTES_MAX])
        if header.bytes[0] != _FIRST:
            return False
        length, width = header.varints(np.ones(1, np.int64))
        start, end = 1 + int(width[0]), 1 + int(width[0]) + int(length[0])
        inner = list(each_field(Frame(view[start:end]), 0, end - start, _RESOURCE_METRICS)) if end <= len(view) else []
    except BadFrame:
        return False
    return bool(inner) and all(tag in (_FIRST, _SECOND, _THIRD) for tag, _, _ in inner)


def decode(payload: bytes | memoryview) -> Samples:
    """Read a frame; the order of the samples follows from its bytes, but is not that of its points.

    Raises
    ------
    BadFrame
        If it is not OTLP metrics, or has a metric of a kind that is not read.
    """
    frame = Frame(payload)
    metrics = _metrics(frame)
    number_metric, number_points = _points(frame, metrics, _NUMBER_KINDS)
    histogram_metric, histogram_points = _points(frame, metrics, (_HISTOGRAM_KIND,))
    number = numbers(frame, number_points)
    histogram = histograms(frame, histogram_points)

    lists = AttributeLists(frame)
    of_resource = lists.add(metrics.resources, _RESOURCE, _FIRST)
    of_scope = lists.add(metrics.scopes, _SCOPE, _THIRD)
    of_point = np.concatenate(
        [
            lists.add(number.attributes, NUMBER_POINT, NUMBER_ATTRIBUTES),
            lists.add(histogram.attributes, HISTOGRAM_POINT, HISTOGRAM_ATTRIBUTES),
        ]
    )
    sets = lists.read()
    scope = metrics.scope[np.concatenate([number_metric, histogram_metric])]
    by_row = None if not len(histogram.point) else _rows(len(number_points), histogram.point)
    rows = len(of_point) if by_row is None else len(by_row)
    check_cells(rows, len(sets.codes))
    labels = _labels(sets, (of_resource[metrics.resource[scope]], of_scope[scope], of_point), by_row)
    _add_le(labels, len(number_points), histogram)
    _name_host(labels)
    labels.setdefault("colo", LabelColumn(np.full(rows, -1, np.int32), []))
    labels["metric"] = _names(metrics, number_metric, histogram_metric, histogram)
    time = np.concatenate([number.time, histogram.time])
    return Samples(time, np.concatenate([number.value, histogram.value]), labels)


def _metrics(frame: Frame) -> _Metrics:
    """Find the metrics of a frame, and check that all of them can be read."""
    _, of_resources = scan(frame, frame.whole, _METRICS_DATA, _FIRST).every(_FIRST)
    fields = scan(frame, of_resources, _RESOURCE_METRICS, _SECOND)
    resources = fields.one(_FIRST, "the resource of a ResourceMetrics")
    resource, of_scopes = fields.every(_SECOND)
    fields = scan(frame, of_scopes, _SCOPE_METRICS, _SECOND)
    scopes = fields.one(_FIRST, "the scope of a ScopeMetrics")
    scope, metrics = fields.every(_SECOND)
    fields = scan(frame, metrics, _METRIC)
    found = fields.last(_FIRST)
    nameless = np.flatnonzero(found.start == found.end)
    if len(nameless):
        msg = f"the Metric at byte {metrics.start[nameless[0]]} has no name; every metric must have one"
        raise BadFrame(msg)
    name, first = distinct(frame, found)
    names = texts(frame, found.take(first), "a metric's name")
    _check_kinds(fields, name, names)
    return _Metrics(name, names, fields, scope, scopes, resource, resources)


def _check_kinds(fields: Fields, name: Codes, names: list[str]) -> None:
    """Refuse what is not read, so that nothing is lost in silence."""
    for number in _REFUSED_KINDS:
        owner, _ = fields.every(number << 3 | BYTES)
        if len(owner):
            kind, _ = _METRIC.fields[number]
            msg = (
                f"the metric {names[name[owner[0]]]!r} is of kind {kind}, which is not read; allowed are {_READ_KINDS}"
            )
            raise BadFrame(msg)
    kinds = (*_NUMBER_KINDS, _HISTOGRAM_KIND)
    count = np.bincount(np.concatenate([fields.every(number << 3 | BYTES)[0] for number in kinds]), minlength=len(name))
    unknown = fields.outside(_METRIC)
    strange = np.concatenate([np.flatnonzero(count > 1), unknown[count[unknown] == 0]])
    if len(strange):
        metric = names[name[strange[0]]]
        found = f"{count[strange[0]]} kinds of data" if count[strange[0]] else "data of an unknown kind"
        msg = f"the metric {metric!r} has {found}; allowed is one of {_READ_KINDS}"
        raise BadFrame(msg)


def _points(frame: Frame, metrics: _Metrics, kinds: tuple[int, ...]) -> tuple[Ints, Spans]:
    """Find the points of metrics of some kinds, and the metric [point] of each."""
    found = [metrics.fields.every(number << 3 | BYTES) for number in kinds]
    owner = np.concatenate([owner for owner, _ in found])
    data = Spans(np.concatenate([data.start for _, data in found]), np.concatenate([data.end for _, data in found]))
    of_data, points = scan(frame, data, _DATA, _FIRST).every(_FIRST)
    return owner[of_data], points


def _rows(number_points: int, histogram_point: Ints) -> Ints:
    """Return the point [row] of each row: number points first, then histogram points."""
    return np.concatenate([np.arange(number_points), histogram_point + number_points])


def _labels(sets: LabelSets, parts: tuple[Codes, Codes, Codes], by_row: Ints | None) -> dict[str, LabelColumn]:
    """Look the labels of rows up in the sets of their resource, scope and point [point]; the last that has one holds."""
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
            labels[name] = sets.words[name].column(found if by_row is None else found.take(by_row))
    return labels


def _add_le(labels: dict[str, LabelColumn], number_points: int, histogram: Histograms) -> None:
    """Give the buckets of histograms the label of their bound, beside number points that may have one of their own."""
    if not len(histogram.le):
        return
    before = labels.get("le") or LabelColumn(np.full(number_points + len(histogram.le), -1, np.int32), [])
    if before.codes[number_points:].max() >= 0:
        msg = "a histogram has an attribute 'le', which is the label of its buckets; any other name is allowed"
        raise BadFrame(msg)
    bounds = histogram.bounds.column(histogram.le)
    after = np.concatenate([np.full(number_points, -1, np.int32), bounds.codes])
    labels["le"] = _filled(before, LabelColumn(after, bounds.values))


def _name_host(labels: dict[str, LabelColumn]) -> None:
    """Call `host` what the semantic conventions call `host.name`, where there is no attribute of that name."""
    if "host.name" in labels:
        named = labels["host.name"]
        labels["host"] = _filled(labels["host"], named) if "host" in labels else named


def _filled(column: LabelColumn, other: LabelColumn) -> LabelColumn:
    """Return a label column with the other's values where it has none."""
    words = Words()
    own = np.append(words.numbers(column.values), np.int32(-1))[column.codes]
    return words.column(np.where(own < 0, np.append(words.numbers(other.values), np.int32(-1))[other.codes], own))


def _names(metrics: _Metrics, number_metric: Ints, histogram_metric: Ints, histogram: Histograms) -> LabelColumn:
    """Name the rows: number points by their metric, rows of histograms with a suffix."""
    words = Words()
    code = metrics.name[number_metric]
    table = np.full(len(metrics.names), -1, np.int32)
    used = np.flatnonzero(np.bincount(code, minlength=len(metrics.names)))
    table[used] = words.numbers(metrics.names[index] for index in used)
    parts = [table[code]]
    if len(histogram_metric):
        code = metrics.name[histogram_metric]
        tables = np.full((len(metrics.names), len(SUFFIXES)), -1, np.int32)
        for index in np.unique(code):
            tables[index] = words.numbers(metrics.names[index] + suffix for suffix in SUFFIXES)
        parts.append(tables[code[histogram.point], histogram.suffix])
    return words.column(np.concatenate(parts))
