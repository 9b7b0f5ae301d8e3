"""Remote write: what google.protobuf writes by the published schema is read, and what is written it reads."""

import math
from collections import Counter

import cramjam
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.recording import NO_TIME, LabelColumn, Samples
from streams.wire import remote_write
from streams.wire.frame import BadFrame
from streams.wire.protobuf import FRAME_BYTES_MAX, varint
from tests.streams.remote_write_schema import SCHEMA

TIME = 1_700_000_000_000  # ms
STALE = np.array([0x7FF0000000000002], np.uint64).view(np.float64)[0]


def packed(message):
    return bytes(cramjam.snappy.compress_raw(message.SerializeToString()))


def request(*series):
    """Return a request of series, each of labels and samples (value, time)."""
    message = SCHEMA["WriteRequest"]()
    for labels, samples in series:
        one = message.timeseries.add()
        for name, value in labels.items():
            one.labels.add(name=name, value=value)
        for value, time in samples:
            one.samples.add(value=value, timestamp=time)
    return message


def request_of_two(*series):
    message = SCHEMA["Request"]()
    symbols = {"": 0}
    for labels, samples in series:
        one = message.timeseries.add()
        for pair in labels.items():
            one.labels_refs.extend([symbols.setdefault(word, len(symbols)) for word in pair])
        for value, time in samples:
            one.samples.add(value=value, timestamp=time)
    message.symbols.extend(symbols)
    return message


def expected(*series):
    found: list[tuple[int, str, tuple[tuple[str, str], ...]]] = []
    for labels, samples in series:
        renamed = {"metric" if name == "__name__" else name: value for name, value in labels.items() if value}
        found.extend((time, repr(float(value)), tuple(sorted(renamed.items()))) for value, time in samples)
    return found


def rows(samples):
    found = []
    for row, (time, value) in enumerate(zip(samples.time.tolist(), samples.value.tolist(), strict=True)):
        codes = {name: int(column.codes[row]) for name, column in samples.labels.items()}
        labels = {name: samples.labels[name].values[code] for name, code in codes.items() if code >= 0}
        found.append((time, repr(value), tuple(sorted((name, text) for name, text in labels.items() if text))))
    return found


words = st.text(st.characters(codec="utf-8"), max_size=20) | st.text("ab", min_size=130, max_size=140)
label_sets = st.builds(
    lambda name, rest: {"__name__": name} | rest,
    words,
    st.dictionaries(st.sampled_from(["colo", "host", "le", "path", "job" * 50]), words, max_size=5),
)
sample_lists = st.lists(st.tuples(st.floats(), st.integers(-(2**63), 2**63 - 1)), max_size=4)
many_series = st.lists(st.tuples(label_sets, sample_lists), max_size=8)


@pytest.mark.parametrize("write", [request, request_of_two])
@settings(max_examples=80, deadline=None)
@given(series=many_series, times_over=st.sampled_from([1, 1, 50]))
def test_every_request_is_read_as_what_it_was_written_from(write, series, times_over):
    assert rows(remote_write.decode(packed(write(*series * times_over)))) == expected(*series * times_over)


def test_metadata_holds_no_samples_and_is_passed_over():
    message = request(({"__name__": "up"}, [(1.0, TIME)]))
    message.metadata.add(metric_family_name="up")
    assert len(remote_write.decode(packed(message)).time) == 1


def test_the_mark_of_a_stale_series_stays_a_nan_of_the_same_bits():
    samples = remote_write.decode(packed(request(({"__name__": "up"}, [(STALE, TIME)]))))
    assert samples.value.view(np.uint64).tolist() == [0x7FF0000000000002]


def test_an_empty_request_has_no_samples_and_yet_its_columns():
    samples = remote_write.decode(packed(request()))
    assert (len(samples.time), sorted(samples.labels)) == (0, ["colo", "metric"])


def with_histogram(write):
    message = write(({"__name__": "up"}, [(1.0, TIME)]))
    message.timeseries[0].histograms.add(sum=1.0)
    return packed(message)


def with_references(*references):
    message = request_of_two(({"__name__": "up"}, [(1.0, TIME)]))
    message.timeseries[0].labels_refs.extend(references)
    return packed(message)


BAD = {
    "native histogram": with_histogram(request),
    "native histogram, which is not read": with_histogram(request_of_two),
    "has no label __name__": packed(request(({"colo": "ams"}, [(1.0, TIME)]))),
    "named 'metric'": packed(request(({"__name__": "up", "metric": "x"}, [(1.0, TIME)]))),
    "has 3 labels_refs": with_references(1),
    "refers to symbol 99; there are 3": with_references(1, 99),
    "more than 32 bits": bytes(cramjam.snappy.compress_raw(b"\x22\x00\x2a\x08\x0a\x06" + varint(1 << 40)[:6])),
    "end within a number": bytes(cramjam.snappy.compress_raw(b"\x22\x00\x2a\x03\x0a\x01\x80")),
    "no block of snappy": b"\x05hello",
    "begins with no length": b"\xff" * 8,
    "begins with no length; allowed": b"",
    f"{FRAME_BYTES_MAX + 1} bytes": varint(FRAME_BYTES_MAX + 1) + b"\x00" * 2_000_000,
    "allowed are up to 448 bytes": varint(60_000_000) + b"\x00" * 3,
    "runs over the end of its message": bytes(cramjam.snappy.compress_raw(b"\x0a\x05\x0a\x09ab1")),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_read_is_refused_with_a_sentence_on_it(message):
    with pytest.raises(BadFrame, match=message):
        remote_write.decode(BAD[message])


@pytest.mark.parametrize("write", [request, request_of_two])
def test_no_damage_to_a_request_raises_anything_but_a_bad_frame(write):
    rng = np.random.default_rng(4)
    series = [
        ({"__name__": "up", "host": f"h{host}", "colo": "ams"}, [(rng.random(), TIME + host)]) for host in range(300)
    ]
    good = np.frombuffer(write(*series).SerializeToString(), np.uint8)
    outcomes: Counter[str] = Counter()
    for _ in range(300):
        damaged = (good[: rng.integers(1, len(good))] if rng.random() < 0.2 else good).copy()
        damaged[rng.integers(0, len(damaged), rng.integers(1, 4))] = rng.integers(0, 256)
        try:
            remote_write.decode(bytes(cramjam.snappy.compress_raw(damaged.tobytes())))
            outcomes["read"] += 1
        except BadFrame:
            outcomes["refused"] += 1
    assert min(outcomes["read"], outcomes["refused"]) > 20


@given(st.binary(max_size=60))
def test_noise_raises_nothing_but_a_bad_frame(noise):
    remote_write.looks_like(noise)
    for frame in (noise, bytes(cramjam.snappy.compress_raw(noise))):
        try:
            remote_write.decode(frame)
        except BadFrame:
            continue


@pytest.mark.parametrize("write", [request, request_of_two])
@pytest.mark.parametrize("size", [1, 40, 70, 300, 20_000])
def test_a_frame_is_known_by_its_first_bytes(write, size):
    frame = packed(write(({"__name__": "up", "path": "x" * size}, [(1.0, TIME)])))
    assert remote_write.looks_like(frame)


@pytest.mark.parametrize("other", [b"", b"{}", b'{"metric": 1}', b"\xff\xff\xff\xff", b"\n\x05\n\x03\n\x01a", b"[1]"])
def test_another_frame_is_not_taken_for_remote_write(other):
    assert not remote_write.looks_like(other)


def some_samples():
    rng = np.random.default_rng(2)
    labels = {"metric": ["load", "hits"], "colo": ["ams", "fra"], "host": ["a", "b", "c"], "le": ["1", "+Inf"]}
    columns = {
        name: LabelColumn(rng.integers(0 if name == "metric" else -1, len(values), 500, dtype=np.int32), values)
        for name, values in labels.items()
    }
    time = np.where(rng.random(500) < 0.1, NO_TIME, TIME + rng.integers(0, 10**6, 500))
    return Samples(time, np.where(rng.random(500) < 0.1, np.nan, rng.normal(size=500)), columns)


def test_what_is_written_is_read_again_by_google_protobuf_and_here():
    samples = some_samples()
    frame = remote_write.encode(samples)
    wanted = sorted(rows(samples))
    assert sorted(rows(remote_write.decode(frame))) == wanted
    message = SCHEMA["WriteRequest"].FromString(bytes(cramjam.snappy.decompress_raw(frame)))
    series = [
        ({label.name: label.value for label in one.labels}, [(each.value, each.timestamp) for each in one.samples])
        for one in message.timeseries
    ]
    assert sorted(expected(*series)) == wanted
    assert len({tuple(labels.items()) for labels, _ in series}) == len(series)


def test_the_labels_of_a_written_series_are_sorted_as_the_protocol_asks():
    message = SCHEMA["WriteRequest"].FromString(
        bytes(cramjam.snappy.decompress_raw(remote_write.encode(some_samples())))
    )
    names = [[label.name for label in one.labels] for one in message.timeseries]
    assert names == [sorted(one) for one in names]


def test_a_sample_without_a_metric_is_not_written():
    samples = some_samples()
    nameless = samples.labels | {"metric": LabelColumn(np.full(500, -1, np.int32), [])}
    with pytest.raises(ValueError, match="no metric"):
        remote_write.encode(Samples(samples.time, samples.value, nameless))


def test_a_nan_is_not_lost_among_numbers():
    samples = remote_write.decode(packed(request(({"__name__": "up"}, [(math.nan, TIME), (0.0, 0)]))))
    assert rows(samples) == [(TIME, "nan", (("metric", "up"),)), (0, "0.0", (("metric", "up"),))]
