"""OTLP: what the reference library writes is read as a plain walk over its objects reads it."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    HistogramDataPoint,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)

from streams.recording import NO_TIME, LabelColumn, Samples
from streams.wire import otlp, otlp_layouts
from streams.wire.frame import BadFrame

TIME = 1_700_000_000_000  # ms
NO_VALUE = 1  # the flag of a point without a recorded value


def pairs(**labels):
    return [KeyValue(key=key.replace("__", "."), value=AnyValue(string_value=value)) for key, value in labels.items()]


def gauge(name="load", value=1.0, time=TIME, resource=(), scope=(), point=()):
    """Return a frame of a single gauge point, with its objects to change."""
    data = MetricsData()
    of_resource = data.resource_metrics.add()
    of_resource.resource.attributes.extend(resource)
    of_scope = of_resource.scope_metrics.add()
    of_scope.scope.attributes.extend(scope)
    metric = of_scope.metrics.add(name=name)
    metric.gauge.data_points.add(as_double=value, time_unix_nano=time * 1_000_000, attributes=point)
    return data


def histogram(name="seconds", counts=(1, 2, 3), bounds=(0.1, 1.0), **fields):
    data = MetricsData()
    metric = data.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    metric.histogram.data_points.add(
        **{"bucket_counts": counts, "explicit_bounds": bounds, "count": sum(counts), "time_unix_nano": TIME * 10**6}
        | fields
    )
    return data


def rows(samples):
    """Return samples as comparable rows: time, value and labels that are there."""
    columns = {
        name: [column.values[code] if code >= 0 else "" for code in column.codes.tolist()]
        for name, column in samples.labels.items()
    }
    return [
        (time, "NaN" if math.isnan(value) else value, tuple(sorted((n, c[row]) for n, c in columns.items() if c[row])))
        for row, (time, value) in enumerate(zip(samples.time.tolist(), samples.value.tolist(), strict=True))
    ]


def text(value):
    match value.WhichOneof("value"):
        case None:
            return ""
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "double_value":
            return np.format_float_positional(value.double_value, trim="-")
        case "int_value":
            return str(value.int_value)
        case "string_value":
            return value.string_value
    raise AssertionError


def walked(data):
    """Read a frame object by object, as slowly as that is."""
    found = []

    def add(labels, point, value, **more):
        time = point.time_unix_nano // 1_000_000 if point.time_unix_nano else NO_TIME
        there = labels | {pair.key: text(pair.value) for pair in point.attributes} | more
        if "host.name" in there:
            there.setdefault("host", there["host.name"])
        value = "NaN" if point.flags & NO_VALUE or math.isnan(value) else float(value)
        found.append((time, value, tuple(sorted((n, w) for n, w in there.items() if w))))

    for of_resource in data.resource_metrics:
        outer = {pair.key: text(pair.value) for pair in of_resource.resource.attributes}
        for of_scope in of_resource.scope_metrics:
            labels = outer | {pair.key: text(pair.value) for pair in of_scope.scope.attributes}
            for metric in of_scope.metrics:
                for point in [*metric.gauge.data_points, *metric.sum.data_points]:
                    value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
                    add(labels, point, value, metric=metric.name)
                for point in metric.histogram.data_points:
                    running = 0
                    for bound, count in zip(
                        [*point.explicit_bounds, math.inf], point.bucket_counts or [point.count], strict=True
                    ):
                        running += count
                        le = "+Inf" if math.isinf(bound) else np.format_float_positional(bound, trim="-")
                        add(labels, point, running, metric=f"{metric.name}_bucket", le=le)
                    add(labels, point, point.count, metric=f"{metric.name}_count")
                    if point.HasField("sum"):
                        add(labels, point, point.sum, metric=f"{metric.name}_sum")
    return found


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
keys = st.sampled_from(["colo", "host", "host.name", "path", "état", "a" * 200])
values = st.one_of(
    words.map(lambda word: AnyValue(string_value=word)),
    st.text("ab", min_size=130, max_size=300).map(lambda word: AnyValue(string_value=word)),
    st.booleans().map(lambda value: AnyValue(bool_value=value)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: AnyValue(int_value=value)),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: AnyValue(double_value=value)),
    st.just(AnyValue()),
)
attributes = st.dictionaries(keys, values, max_size=4).map(
    lambda found: [KeyValue(key=key, value=value) for key, value in found.items()]
)
times = st.one_of(st.just(0), st.integers(1, 2**63))
number_points = st.builds(
    lambda value, **rest: NumberDataPoint(**value, **rest),
    value=st.one_of(
        st.floats().map(lambda value: {"as_double": value}),
        st.integers(-(2**63), 2**63 - 1).map(lambda value: {"as_int": value}),
    ),
    time_unix_nano=times,
    start_time_unix_nano=times,
    attributes=attributes,
    flags=st.sampled_from([0, 0, 1, 2, 300]),
)


@st.composite
def histogram_points(draw):
    bounds = sorted(draw(st.sets(st.floats(-1e9, 1e9).map(lambda bound: bound + 0.0), max_size=4)))
    counts = draw(st.lists(st.integers(0, 2**40), min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    bare = not bounds and draw(st.booleans())
    return HistogramDataPoint(
        time_unix_nano=draw(times),
        count=sum(counts),
        sum=draw(st.one_of(st.none(), st.floats(allow_nan=False))),
        bucket_counts=[] if bare else counts,
        explicit_bounds=bounds,
        attributes=draw(attributes),
        flags=draw(st.sampled_from([0, 1])),
        min=draw(st.one_of(st.none(), st.just(1.0))),
    )


@st.composite
def frames(draw):
    data = MetricsData()
    for _ in range(draw(st.integers(0, 3))):
        of_resource = data.resource_metrics.add(schema_url=draw(words))
        of_resource.resource.attributes.extend(draw(attributes))
        for _ in range(draw(st.integers(0, 2))):
            of_scope = of_resource.scope_metrics.add()
            of_scope.scope.name = draw(words)
            of_scope.scope.attributes.extend(draw(attributes))
            for _ in range(draw(st.integers(0, 3))):
                metric = of_scope.metrics.add(name=draw(words.filter(bool)), unit=draw(words))
                match draw(st.sampled_from(["gauge", "sum", "histogram", "none"])):
                    case "gauge":
                        metric.gauge.data_points.extend(draw(st.lists(number_points, max_size=4)))
                    case "sum":
                        metric.sum.aggregation_temporality = 2
                        metric.sum.data_points.extend(draw(st.lists(number_points, max_size=4)))
                    case "histogram":
                        metric.histogram.data_points.extend(draw(st.lists(histogram_points(), max_size=3)))
    return data


@pytest.fixture
def no_layouts(monkeypatch):
    """Forget the layouts that other tests have left."""
    layouts = otlp_layouts.Layouts()
    monkeypatch.setattr(otlp, "_layouts", layouts)
    return layouts


@settings(max_examples=150, deadline=None)
@given(frames())
def test_every_frame_is_read_as_a_walk_over_its_objects_reads_it(data):
    assert rows(otlp.decode(data.SerializeToString())) == walked(data)


@settings(max_examples=30, deadline=None)
@given(st.lists(frames(), min_size=1, max_size=3), st.integers(2, 40))
def test_many_scopes_of_few_layouts_are_read_in_the_order_of_the_frame(some, times_over):
    data = MetricsData()
    for _ in range(times_over):
        for one in some:
            data.MergeFrom(one)
    assert rows(otlp.decode(data.SerializeToString())) == walked(data)


def fleet(hosts, seed, points=9):
    """Return a frame of alike hosts, each with two numbers for each path and a histogram."""
    rng = np.random.default_rng(seed)
    data = MetricsData()
    for host in range(hosts):
        of_resource = data.resource_metrics.add()
        of_resource.resource.attributes.extend(pairs(host__name=f"edge-{host}", colo=f"c{host % 3}"))
        metrics = of_resource.scope_metrics.add().metrics
        load, hits, seconds = metrics.add(name="load"), metrics.add(name="hits"), metrics.add(name="seconds")
        for path in range(points):
            time = TIME * 10**6 + int(rng.integers(10**9))
            point = {"time_unix_nano": time, "attributes": pairs(path=f"/{path}")}
            load.gauge.data_points.add(as_double=rng.normal(), **point)
            hits.sum.data_points.add(as_int=int(rng.integers(10**6)), start_time_unix_nano=time - 10**12, **point)
        counts = rng.integers(0, 100, 4).tolist()
        seconds.histogram.data_points.add(
            time_unix_nano=time, count=sum(counts), sum=rng.random(), bucket_counts=counts, explicit_bounds=(0.1, 1, 10)
        )
    return data


def test_a_known_layout_changes_nothing_in_what_is_read(no_layouts):
    frames = [fleet(40, seed) for seed in range(3)]
    assert [rows(otlp.decode(data.SerializeToString())) for data in frames] == [walked(data) for data in frames]
    assert no_layouts.known == 1


def test_scopes_of_equal_length_and_other_bytes_are_told_apart(no_layouts):
    data = fleet(40, seed=1)
    for of_resource in data.resource_metrics[::2]:
        of_resource.scope_metrics[0].metrics[0].name = "idle"
    data.resource_metrics[7].scope_metrics[0].metrics[1].name = "miss"
    assert rows(otlp.decode(data.SerializeToString())) == walked(data)
    assert no_layouts.known == 2


def test_layouts_are_forgotten_when_they_are_many(no_layouts):
    for points in range(otlp_layouts._LENGTHS_MAX + 10):
        otlp.decode(fleet(1, seed=1, points=200 + points).SerializeToString())
    assert no_layouts.known == otlp_layouts._LENGTHS_MAX


def test_layouts_are_forgotten_when_they_are_large(no_layouts, monkeypatch):
    monkeypatch.setattr(otlp_layouts, "_BYTES_MAX", 100_000)
    for points in range(20):
        otlp.decode(fleet(1, seed=1, points=200 + points).SerializeToString())
    assert 0 < no_layouts.known < 5


def test_a_count_that_its_buckets_do_not_come_to_is_refused_in_a_known_layout_too(no_layouts):
    data = fleet(40, seed=1)
    otlp.decode(data.SerializeToString())
    data.resource_metrics[3].scope_metrics[0].metrics[2].histogram.data_points[0].count += 1
    with pytest.raises(BadFrame, match="add up to"):
        otlp.decode(data.SerializeToString())


def test_a_request_is_read_as_the_data_that_it_carries():
    data = fleet(2, seed=1)
    request = ExportMetricsServiceRequest(resource_metrics=data.resource_metrics)
    assert rows(otlp.decode(memoryview(request.SerializeToString()))) == walked(data)


def test_an_empty_frame_has_no_samples_and_yet_its_columns():
    samples = otlp.decode(b"")
    assert (len(samples.time), len(samples.value), sorted(samples.labels)) == (0, 0, ["colo", "metric"])


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
    assert otlp.decode(data.SerializeToString()).labels["colo"] == LabelColumn(pytest.approx(np.array([-1])), [])


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
    point = b"".join(
        [b"\x21" + (6).to_bytes(8, "little")]
        + [b"\x31" + count.to_bytes(8, "little") for count in (1, 2, 3)]
        + [b"\x39" + np.float64(bound).tobytes() for bound in (0.1, 1.0)]
        + [b"\x19" + (TIME * 10**6).to_bytes(8, "little")]
    )
    expected = histogram()
    packed = expected.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[0].SerializeToString()
    frame = expected.SerializeToString()
    assert packed in frame
    unpacked = b""
    for tag in (b"\x0a", b"\x4a"):
        unpacked = tag + bytes([len(unpacked or point)]) + (unpacked or point)
    metric = b"\x0a\x07seconds" + unpacked
    for tag in (b"\x12", b"\x12", b"\x0a"):
        metric = tag + bytes([len(metric)]) + metric
    assert rows(otlp.decode(metric)) == walked(expected)


REFUSED = {
    "exponential_histogram": ("is of kind exponential_histogram", "gauge, sum and histogram"),
    "summary": ("is of kind summary", "gauge, sum and histogram"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_kind_of_metric_that_is_not_read_is_refused_by_name(kind):
    data = gauge()
    getattr(data.resource_metrics[0].scope_metrics[0].metrics.add(name="odd"), kind).data_points.add()
    with pytest.raises(BadFrame, match="the metric 'odd' is of kind " + kind + ".*gauge, sum and histogram"):
        otlp.decode(data.SerializeToString())


def without_value():
    data = gauge()
    data.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[0].ClearField("as_double")
    return data


def of_unknown_kind():
    data = gauge()
    data.resource_metrics[0].scope_metrics[0].metrics.add().ParseFromString(b"\x0a\x03odd\x6a\x00")
    return data


def of_two_kinds():
    frame = gauge("x")
    metric = b"\x0a\x03odd\x2a\x00\x3a\x00"
    frame.resource_metrics[0].scope_metrics.add()
    return bytes([0x0A, len(metric) + 4, 0x12, len(metric) + 2, 0x12, len(metric)]) + metric


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
    "'le'.*label of its buckets": (lambda data: (
        data.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[0].attributes.extend(pairs(le="1")),
        data,
    )[1])(histogram()),
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
    data = gauge(resource=pairs(**{f"label_{index}": "x" for index in range(3000)}))
    points = data.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    points.extend([points[0]] * 20_000)
    with pytest.raises(BadFrame, match="labels on"):
        otlp.decode(data.SerializeToString())


def test_no_damage_to_a_frame_raises_anything_but_a_bad_frame(no_layouts):
    rng = np.random.default_rng(4)
    good = np.frombuffer(fleet(6, seed=4, points=20).SerializeToString(), np.uint8)
    outcomes = Counter()
    for _ in range(600):
        damaged = good[: rng.integers(1, len(good))] if rng.random() < 0.2 else good.copy()
        damaged = damaged.copy()
        damaged[rng.integers(0, len(damaged), rng.integers(1, 4))] = rng.integers(0, 256)
        try:
            otlp.decode(damaged.tobytes())
            outcomes["read"] += 1
        except BadFrame as error:
            assert str(error)
            outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 50


@given(st.binary(max_size=60))
def test_noise_raises_nothing_but_a_bad_frame(noise):
    otlp.looks_like(noise)
    try:
        otlp.decode(noise)
    except BadFrame as error:
        assert str(error)


def test_a_frame_is_known_by_its_first_bytes():
    assert otlp.looks_like(fleet(2, seed=1).SerializeToString())
    assert otlp.looks_like(gauge(resource=pairs(a="x" * 300)).SerializeToString())


@pytest.mark.parametrize("other", [b"", b"{}", b'\n{"metric": 1}', b"\xff\xff\xff\xff", b"\n", b"\n\x05\x0a", b"[1]"])
def test_another_frame_is_not_taken_for_otlp(other):
    assert not otlp.looks_like(other)


def some_samples():
    rng = np.random.default_rng(2)
    labels = {
        "metric": ["load", "hits", "seconds_bucket"], "colo": ["ams", "fra"], "host": ["a", "b", "c"], "le": ["1", "+Inf"]
    }  # fmt: skip
    columns = {
        name: LabelColumn(rng.integers(0 if name == "metric" else -1, len(values), 500, dtype=np.int32), values)
        for name, values in labels.items()
    }
    time = np.where(rng.random(500) < 0.1, NO_TIME, TIME + rng.integers(0, 10**6, 500))
    return Samples(time, np.where(rng.random(500) < 0.1, np.nan, rng.normal(size=500)), columns)


def test_what_is_written_is_read_again_by_the_reference_library_and_here():
    samples = some_samples()
    frame = otlp.encode(samples)
    expected = sorted(rows(samples), key=str)
    assert sorted(rows(otlp.decode(frame)), key=str) == expected
    assert sorted(walked(MetricsData.FromString(frame)), key=str) == expected


def test_samples_that_otlp_has_no_form_for_are_not_written():
    samples = some_samples()
    with pytest.raises(ValueError, match="-5 ms"):
        otlp.encode(Samples(np.full(500, -5), samples.value, samples.labels))
    nameless = samples.labels | {"metric": LabelColumn(np.full(500, -1, np.int32), [])}
    with pytest.raises(ValueError, match="no metric"):
        otlp.encode(Samples(samples.time, samples.value, nameless))


def test_parts_that_repeat_where_one_is_allowed_are_refused():
    scope = ScopeMetrics()
    scope.metrics.add(name="x").gauge.data_points.add(as_double=1.0)
    twice = ResourceMetrics(scope_metrics=[scope]).SerializeToString() + b"\x0a\x00\x0a\x00"
    with pytest.raises(BadFrame, match="the resource of a ResourceMetrics comes a second time"):
        otlp.decode(bytes([0x0A, len(twice)]) + twice)
