"""OTLP: what the reference library writes is read as a plain walk over its objects reads it."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

from streams.recording import NO_TIME, LabelColumn, Samples
from streams.wire import otlp, otlp_layouts
from streams.wire.frame import BadFrame
from streams.wire.protobuf import Frame, Spans
from tests.streams.otlp_frames import TIME, fleet, frames, gauge, pairs, rows, walked


@pytest.fixture
def no_layouts(monkeypatch):
    """Forget the layouts that other tests have left."""
    layouts = otlp_layouts.Layouts()
    monkeypatch.setattr(otlp, "_layouts", layouts)
    return layouts


@settings(max_examples=50, deadline=None)
@given(frames())
def test_every_frame_is_read_as_a_walk_over_its_objects_reads_it(data):
    assert rows(otlp.decode(data.SerializeToString())) == walked(data)


@settings(max_examples=20, deadline=None)
@given(st.lists(frames(), min_size=1, max_size=3), st.integers(2, 40))
def test_many_scopes_of_few_layouts_are_read_in_the_order_of_the_frame(some, times_over):
    data = MetricsData()
    for _ in range(times_over):
        for one in some:
            data.MergeFrom(one)
    assert rows(otlp.decode(data.SerializeToString())) == walked(data)


def test_a_known_layout_changes_nothing_in_what_is_read(no_layouts):
    frames = [fleet(40, seed) for seed in range(3)]
    assert [rows(otlp.decode(data.SerializeToString())) for data in frames] == [walked(data) for data in frames]
    assert no_layouts.known == 1


def test_scopes_of_equal_length_and_other_bytes_are_told_apart(no_layouts):
    data = fleet(100, seed=1)
    for of_resource in data.resource_metrics[::2]:
        of_resource.scope_metrics[0].metrics[0].name = "idle"
    data.resource_metrics[7].scope_metrics[0].metrics[1].name = "miss"
    assert rows(otlp.decode(data.SerializeToString())) == walked(data)
    assert no_layouts.known == 2


def test_layouts_are_forgotten_when_they_are_many(no_layouts, monkeypatch):
    monkeypatch.setattr(otlp_layouts, "_LENGTHS_MAX", 5)
    for points in range(9):
        otlp.decode(fleet(1, seed=1, points=200 + points).SerializeToString())
    assert no_layouts.known == 5


def test_layouts_are_forgotten_when_they_are_large(no_layouts, monkeypatch):
    monkeypatch.setattr(otlp_layouts, "_BYTES_MAX", 100_000)
    for points in range(20):
        otlp.decode(fleet(1, seed=1, points=200 + points).SerializeToString())
    assert 0 < no_layouts.known < 5


def test_layouts_that_never_fit_are_tried_more_and_more_seldom(no_layouts, monkeypatch):
    tried: list[Spans] = []

    class Counted(otlp_layouts._Layout):
        def __init__(self, frame: Frame, span: Spans) -> None:
            tried.append(span)
            super().__init__(frame, span)

    monkeypatch.setattr(otlp_layouts, "_Layout", Counted)
    for seed in range(40):
        data = fleet(60, seed)
        for index, of_resource in enumerate(data.resource_metrics):
            of_resource.scope_metrics[0].metrics[0].name = f"load-{seed:02d}-{index:02d}"
        assert rows(otlp.decode(data.SerializeToString())) == walked(data)
    assert no_layouts.known == 0
    assert len(tried) < 10


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


def test_no_damage_to_a_frame_raises_anything_but_a_bad_frame(no_layouts):
    rng = np.random.default_rng(4)
    good = np.frombuffer(fleet(6, seed=4, points=20).SerializeToString(), np.uint8)
    outcomes: Counter[str] = Counter()
    for _ in range(600):
        damaged = good[: rng.integers(1, len(good))] if rng.random() < 0.2 else good.copy()
        damaged = damaged.copy()
        damaged[rng.integers(0, len(damaged), rng.integers(1, 4))] = rng.integers(0, 256)
        try:
            otlp.decode(damaged.tobytes())
            outcomes["read"] += 1
        except BadFrame:
            outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 50


@given(st.binary(max_size=60))
def test_noise_raises_nothing_but_a_bad_frame(noise):
    otlp.looks_like(noise)
    try:
        otlp.decode(noise)
    except BadFrame:
        return


def test_a_frame_is_known_by_its_first_bytes():
    assert otlp.looks_like(fleet(2, seed=1).SerializeToString())
    assert otlp.looks_like(gauge(resource=pairs(a="x" * 300)).SerializeToString())


@pytest.mark.parametrize("other", [b"", b"{}", b'\n{"metric": 1}', b"\xff\xff\xff\xff", b"\n", b"\n\x05\x0a", b"[1]"])
def test_another_frame_is_not_taken_for_otlp(other):
    assert not otlp.looks_like(other)


def some_samples():
    rng = np.random.default_rng(2)
    labels = {
        "metric": ["load", "hits", "seconds_bucket"],
        "colo": ["ams", "fra"],
        "host": ["a", "b", "c"],
        "le": ["1", "+Inf"],
    }
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
