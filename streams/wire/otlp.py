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
- A summary's points are `<name>` with the label `quantile`, `<name>_count` and `<name>_sum`; an exponential histogram's
  are `<name>_count` and `<name>_sum`, without its buckets.

Source: https://github.com/open-telemetry/opentelemetry-proto, `metrics/v1/metrics.proto`.
"""

from threading import Lock
from typing import Final

import numpy as np

from streams.recording import LabelColumn, Samples
from streams.wire.fields import each_field, scan
from streams.wire.frame import BadFrame
from streams.wire.label_sets import check_cells, filled, stacked
from streams.wire.otlp_attributes import AttributeLists
from streams.wire.otlp_encoding import encode
from streams.wire.otlp_layouts import Layouts
from streams.wire.otlp_points import read
from streams.wire.otlp_scopes import Block, label_columns, read_scopes
from streams.wire.protobuf import BYTES, VARINT, Frame, Ints, Kind
from streams.wire.texts import Codes

__all__ = ["decode", "encode", "looks_like"]

_FIRST: Final = 1 << 3 | BYTES
_SECOND: Final = 2 << 3 | BYTES
_THIRD: Final = 3 << 3 | BYTES

_METRICS_DATA: Final = Kind("MetricsData", {1: ("resource_metrics", (BYTES,))})
_RESOURCE_METRICS: Final = Kind(
    "ResourceMetrics", {1: ("resource", (BYTES,)), 2: ("scope_metrics", (BYTES,)), 3: ("schema_url", (BYTES,))}
)
_RESOURCE: Final = Kind("Resource", {1: ("attributes", (BYTES,)), 2: ("dropped_attributes_count", (VARINT,))})
_HEADER_BYTES_MAX: Final = 11  # a tag and the longest varint

_layouts: Final = Layouts()
_LOCK: Final = Lock()  # workers of one process read frames in threads of their own


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
    """Read a frame; its samples come in the order in which it has them.

    Raises
    ------
    BadFrame
        If it is not OTLP metrics, or has a metric of a kind that is not read.
    """
    frame = Frame(payload)
    _, spans = scan(frame, frame.whole, _METRICS_DATA).every(_FIRST)
    fields = scan(frame, spans, _RESOURCE_METRICS)
    lists = AttributeLists(frame)
    of_resource = lists.add(fields.one(_FIRST, "the resource of a ResourceMetrics"), _RESOURCE, _FIRST)
    resource, scopes = fields.every(_SECOND)
    order = np.argsort(scopes.start, kind="stable")
    resource, scopes = resource[order], scopes.take(order)

    with _LOCK:
        blocks, rest = _layouts.split(frame, scopes)
    if len(rest):
        block = read_scopes(frame, scopes.take(rest))
        blocks.append(Block(rest[block.scope], block.cells, block.labels, block.free))
    values = [read(frame, block.cells) for block in blocks]
    time = np.concatenate([np.empty(0, np.int64), *(time for time, _ in values)])
    value = np.concatenate([np.empty(0), *(value for _, value in values)])
    scope = np.concatenate([np.empty(0, np.int64), *(block.scope for block in blocks)])
    labels = stacked([(block.labels, len(block.scope)) for block in blocks])
    if len(blocks) > 1:
        order = np.argsort(scope, kind="stable")
        time, value, scope = time[order], value[order], scope[order]
        labels = {name: LabelColumn(column.codes[order], column.values) for name, column in labels.items()}
    _add_resources(labels, lists, of_resource[resource], scope)
    return Samples(time, value, labels)


def _add_resources(labels: dict[str, LabelColumn], lists: AttributeLists, of_scope: Codes, scope: Ints) -> None:
    """Add the attributes of the resource of each scope [scope] to the labels of its rows, and those always there."""
    sets = lists.read()
    check_cells(len(scope), len(sets.codes) + len(labels))
    for name, column in label_columns(sets, [of_scope]).items():
        if name == "le":
            msg = "a resource has an attribute 'le', which is the label of buckets; any other name is allowed"
            raise BadFrame(msg)
        of_row = LabelColumn(column.codes.take(scope), column.values)
        labels[name] = filled(labels[name], of_row) if name in labels else of_row
    if "host.name" in labels:  # what the semantic conventions call a host
        named = labels["host.name"]
        labels["host"] = filled(labels["host"], named) if "host" in labels else named
    for name in ("metric", "colo"):
        labels.setdefault(name, LabelColumn(np.full(len(scope), -1, np.int32), []))
