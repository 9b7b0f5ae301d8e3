"""Frames of OTLP built with the reference library, and what a plain walk over their objects reads in them."""

import math

import numpy as np
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    MetricsData,
    NumberDataPoint,
    SummaryDataPoint,
)

from streams.recording import NO_TIME

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
                for point in metric.exponential_histogram.data_points:
                    add(labels, point, point.count, metric=f"{metric.name}_count")
                    if point.HasField("sum"):
                        add(labels, point, point.sum, metric=f"{metric.name}_sum")
                for point in metric.summary.data_points:
                    for value in point.quantile_values:
                        quantile = np.format_float_positional(value.quantile, trim="-")
                        add(labels, point, value.value, metric=metric.name, quantile=quantile)
                    add(labels, point, point.count, metric=f"{metric.name}_count")
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


exponential_points = st.builds(
    ExponentialHistogramDataPoint,
    time_unix_nano=times,
    count=st.integers(0, 2**40),
    sum=st.one_of(st.none(), st.floats(allow_nan=False)),
    scale=st.integers(-10, 20),
    zero_count=st.integers(0, 9),
    positive=st.builds(ExponentialHistogramDataPoint.Buckets, bucket_counts=st.lists(st.integers(0, 999), max_size=4)),
    attributes=attributes,
    flags=st.sampled_from([0, 0, 1]),
)
summary_points = st.builds(
    SummaryDataPoint,
    time_unix_nano=times,
    count=st.integers(0, 2**40),
    sum=st.floats(allow_nan=False),
    quantile_values=st.lists(
        st.builds(SummaryDataPoint.ValueAtQuantile, quantile=st.sampled_from([0.0, 0.5, 0.99, 1.0]), value=st.floats()),
        max_size=3,
    ),
    attributes=attributes,
    flags=st.sampled_from([0, 0, 1]),
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
                match draw(st.sampled_from(["gauge", "sum", "histogram", "exponential", "summary", "none"])):
                    case "gauge":
                        metric.gauge.data_points.extend(draw(st.lists(number_points, max_size=4)))
                    case "sum":
                        metric.sum.aggregation_temporality = 2
                        metric.sum.data_points.extend(draw(st.lists(number_points, max_size=4)))
                    case "histogram":
                        metric.histogram.data_points.extend(draw(st.lists(histogram_points(), max_size=3)))
                    case "exponential":
                        points = draw(st.lists(exponential_points, max_size=3))
                        metric.exponential_histogram.data_points.extend(points)
                    case "summary":
                        metric.summary.data_points.extend(draw(st.lists(summary_points, max_size=3)))
    return data


def fleet(hosts: int, seed: int, points: int = 9) -> MetricsData:
    """Return a frame of alike hosts, each with two numbers for each path and a histogram."""
    rng = np.random.default_rng(seed)
    data = MetricsData()
    for host in range(hosts):
        of_resource = data.resource_metrics.add()
        of_resource.resource.attributes.extend(pairs(host__name=f"edge-{host}", colo=f"c{host % 3}"))
        metrics = of_resource.scope_metrics.add().metrics
        load, hits, seconds = metrics.add(name="load"), metrics.add(name="hits"), metrics.add(name="seconds")
        time = TIME * 10**6 + int(rng.integers(10**9))
        for path in range(points):
            point = {"time_unix_nano": time, "attributes": pairs(path=f"/{path}")}
            load.gauge.data_points.add(as_double=rng.normal(), **point)
            hits.sum.data_points.add(as_int=int(rng.integers(10**6)), start_time_unix_nano=time - 10**12, **point)
        counts = rng.integers(0, 100, 4).tolist()
        seconds.histogram.data_points.add(
            time_unix_nano=time, count=sum(counts), sum=rng.random(), bucket_counts=counts, explicit_bounds=(0.1, 1, 10)
        )
    return data
