"""The parts of an OTLP frame: what becomes of each, and which are refused with what words."""

import json
import math
import tracemalloc

import numpy as np
import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics, ScopeMetrics

from streams.wire import otlp
from streams.wire.frame import BadFrame
from streams.wire.protobuf import field
from tests.streams.otlp_frames import TIME, gauge, histogram, pairs, rows, walked


def test_the_attribute_of_a_point_goes_before_that_of_its_scope_and_this_before_the_resource():
    data = gauge(resource=pairs(a="r", b="r", c="r"), scope=pairs(b="s", c="s"), point=pairs(c="p"))
    assert rows(otlp.decode(data.SerializeToString()))[0][2] == (
        ("a", "r"), ("b", "s"), ("c", "p"), ("metric", "load"),
    )  # fmt: skip


def test_host_is_what_is_called_so_before_what_the_conventions_call_so():
    data = gauge(resource=pairs(host__name="conventional"))
    data.MergeFrom(gauge(resource=pairs(host__name="conventional", host="own")))
    labels = otlp.decode(data.SerializeToString()).labels
    assert [labels["host"].values[code] for code in labels["host"].codes] == ["conventional", "own"]


def test_colo_is_taken_from_no_other_attribute():
    data = gauge(resource=pairs(cloud__region="eu", cloud__availability_zone="eu-1"))
    colo = otlp.decode(data.SerializeToString()).labels["colo"]
    assert (colo.codes.tolist(), colo.values) == ([-1], [])


def test_an_attribute_that_is_no_string_becomes_the_text_of_it():
    data = gauge()
    point = data.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0]
    nested = AnyValue()
    nested.array_value.values.extend([AnyValue(int_value=-1), AnyValue(string_value="é"), AnyValue(bool_value=True)])
    listed = AnyValue()
    listed.kvlist_value.values.extend([KeyValue(key="b", value=nested), KeyValue(key="a", value=AnyValue())])
    for key, value in {
        "array": nested, "list": listed, "bytes": AnyValue(bytes_value=b"\xff"), "int": AnyValue(int_value=-(2**63)),
        "true": AnyValue(bool_value=True), "tenth": AnyValue(double_value=0.1), "inf": AnyValue(double_value=math.inf),
    }.items():  # fmt: skip
        point.attributes.add(key=key, value=value)
    labels = otlp.decode(data.SerializeToString()).labels
    assert {name: labels[name].values for name in labels if name not in ("metric", "colo")} == {
        "array": ['[-1,"é",true]'], "list": ['{"a":null,"b":[-1,"é",true]}'], "bytes": ["/w=="],
        "int": ["-9223372036854775808"], "true": ["true"], "tenth": ["0.1"], "inf": ["+Inf"],
    }  # fmt: skip
    assert json.loads(labels["list"].values[0])["a"] is None


def test_numbers_that_are_not_packed_are_read_the_same():
    fixed = [b"\x19" + (TIME * 10**6).to_bytes(8, "little"), b"\x21" + (6).to_bytes(8, "little")]
    counts = [b"\x31" + count.to_bytes(8, "little") for count in (1, 2, 3)]
    bounds = [b"\x39" + np.float64(bound).tobytes() for bound in (0.1, 1.0)]
    point = b"".join(fixed + counts + bounds)
    metric = field(1, b"seconds") + field(9, field(1, point))
    frame = field(1, field(2, field(2, metric)))
    assert rows(otlp.decode(frame)) == walked(histogram())


def summary(**attributes):
    data = gauge()
    point = data.resource_metrics[0].scope_metrics[0].metrics.add(name="pause").summary.data_points.add()
    point.count, point.sum, point.time_unix_nano = 3, 0.25, TIME * 10**6
    point.quantile_values.add(quantile=0.5, value=0.0625)
    point.attributes.extend(pairs(**attributes))
    return data


def test_a_summary_becomes_what_prometheus_makes_of_it_and_leaves_the_rest_of_the_frame_be():
    found = rows(otlp.decode(summary().SerializeToString()))
    assert found == [
        (TIME, 1.0, (("metric", "load"),)),
        (TIME, 0.0625, (("metric", "pause"), ("quantile", "0.5"))),
        (TIME, 3.0, (("metric", "pause_count"),)),
        (TIME, 0.25, (("metric", "pause_sum"),)),
    ]


def test_of_an_exponential_histogram_count_and_sum_are_read():
    data = gauge()
    metric = data.resource_metrics[0].scope_metrics[0].metrics.add(name="wait")
    point = metric.exponential_histogram.data_points.add(count=7, sum=1.5, scale=3, time_unix_nano=TIME * 10**6)
    point.positive.bucket_counts.extend([3, 4])
    assert rows(otlp.decode(data.SerializeToString()))[1:] == [
        (TIME, 7.0, (("metric", "wait_count"),)),
        (TIME, 1.5, (("metric", "wait_sum"),)),
    ]


def without_value():
    data = gauge()
    data.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].ClearField("as_double")
    return data


def of_unknown_kind():
    data = gauge()
    data.resource_metrics[0].scope_metrics[0].metrics.add().ParseFromString(b"\x0a\x03odd\x6a\x00")
    return data


def of_two_kinds():
    return field(1, field(2, field(2, field(1, b"odd") + field(5, b"") + field(7, b""))))


def of_deep_values():
    value = AnyValue(string_value="x")
    for _ in range(30):
        outer = AnyValue()
        outer.array_value.values.append(value)
        value = outer
    return gauge(point=[KeyValue(key="deep", value=value)])


BAD = {
    "has no name": gauge(name=""),
    "has no value": without_value(),
    "data of an unknown kind": of_unknown_kind(),
    "2 kinds of data": of_two_kinds(),
    "nested deeper than": of_deep_values(),
    "'le'.*label of its buckets": histogram(attributes=pairs(le="1")),
    "'quantile'.*label of its quantiles": summary(quantile="1"),
    "'le'.*label of buckets": gauge(resource=pairs(le="1")),
    "has no key": gauge(point=[KeyValue(value=AnyValue(string_value="x"))]),
    "named 'metric'": gauge(point=pairs(metric="x")),
    "named 'time'": gauge(resource=pairs(time="x")),
    "two values in one set": gauge(point=[*pairs(a="x"), *pairs(a="y")]),
    "3 bucket counts and 3 bounds": histogram(bounds=(1.0, 2.0, 3.0)),
    "not finite numbers that grow": histogram(bounds=(2.0, 1.0)),
    "not finite numbers that": histogram(bounds=(2.0, math.inf)),
    "add up to 6.*is 7": histogram(count=7),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_read_is_refused_with_a_sentence_on_it(message):
    data = BAD[message]
    with pytest.raises(BadFrame, match=message):
        otlp.decode(data if isinstance(data, bytes) else data.SerializeToString())


def test_a_frame_of_few_bytes_and_many_labels_and_rows_is_refused_before_it_fills_the_memory():
    data = gauge(scope=pairs(**{f"label_{index}": "x" for index in range(3000)}))
    points = data.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    points.extend([points[0]] * 20_000)
    frame = data.SerializeToString()
    tracemalloc.start()
    with pytest.raises(BadFrame, match="labels on"):
        otlp.decode(frame)
    assert tracemalloc.get_traced_memory()[1] < 100_000_000
    tracemalloc.stop()


def test_parts_that_repeat_where_one_is_allowed_are_refused():
    scope = ScopeMetrics()
    scope.metrics.add(name="x").gauge.data_points.add(as_double=1.0)
    twice = ResourceMetrics(scope_metrics=[scope]).SerializeToString() + b"\x0a\x00\x0a\x00"
    with pytest.raises(BadFrame, match="the resource of a ResourceMetrics comes a second time"):
        otlp.decode(field(1, twice))
