"""Arrow frames: the same samples however they are laid out, and nothing believed that a frame says of itself."""

import struct

import numpy as np
import pyarrow as pa
import pytest

from streams.recording import NO_TIME, Samples
from streams.wire.arrow import decode, encode
from streams.wire.dictionaries import Dictionaries
from streams.wire.frame import LABELS_MAX, BadFrame
from tests.wire_frames import rows, samples

SAMPLES = samples(
    [
        (7_000, 1.5, {"metric": "cpu", "colo": "ams01", "host": "h1"}),
        (7_001, -2.0, {"metric": "cpu", "colo": "ams01", "host": "h2", "cohort": "canary"}),
        (17_000, 3.0, {"metric": "mem", "colo": "fra02", "host": "h1"}),
    ]
)
CODES = pa.dictionary(pa.int32(), pa.string())


def written(*batches: pa.RecordBatch, **options: object) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def batch(found: Samples = SAMPLES) -> pa.RecordBatch:
    with pa.ipc.open_stream(encode(found)) as reader:
        return reader.read_next_batch()


def with_column(name: str, column: pa.Array, base: pa.RecordBatch | None = None) -> pa.RecordBatch:
    base = base or batch()
    columns = dict(zip(base.schema.names, base.columns, strict=True)) | {name: column}
    return pa.record_batch(columns)


def refusal(payload: bytes) -> str:
    with pytest.raises(BadFrame) as caught:
        decode(payload)
    return str(caught.value)


def hosts(codes: list[int], values: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(values, pa.string()), safe=False)


def test_what_is_encoded_is_decoded() -> None:
    assert rows(decode(encode(SAMPLES))) == rows(SAMPLES)


def test_a_memoryview_is_read_too() -> None:
    assert rows(decode(memoryview(encode(SAMPLES)))) == rows(SAMPLES)


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.uint32(), pa.large_string()),
        pa.dictionary(pa.int64(), pa.string()),
    ],
    ids=str,
)
def test_strings_are_the_same_however_they_are_stored(kind: pa.DataType) -> None:
    stored = batch()
    for name in ("metric", "colo", "host", "cohort"):
        plain = stored.column(stored.schema.get_field_index(name)).cast(pa.string())
        if pa.types.is_dictionary(kind):
            encoded = plain.dictionary_encode()
            column = pa.DictionaryArray.from_arrays(
                encoded.indices.cast(kind.index_type), encoded.dictionary.cast(kind.value_type)
            )
        else:
            column = plain.cast(kind)
        stored = with_column(name, column, stored)
    assert rows(decode(written(stored))) == rows(SAMPLES)


def test_batches_with_dictionaries_of_their_own_are_one_frame() -> None:
    first, second = hosts([0, 1, 1], ["h1", "h2"]), hosts([0, 1, 0], ["h2", "h3"])
    found = decode(written(with_column("host", first), with_column("host", second)))
    assert [labels["host"] for _, _, labels in rows(found)] == ["h1", "h2", "h2", "h2", "h3", "h2"]


def test_a_dictionary_that_grows_in_between_is_read_as_it_was_at_each_batch() -> None:
    first, second = hosts([0, 1, 1], ["h1", "h2"]), hosts([2, 1, 0], ["h1", "h2", "h3"])
    payload = written(with_column("host", first), with_column("host", second), emit_dictionary_deltas=True)
    assert payload.count(b"h2") == 1, "the second dictionary came whole, not as a delta"
    assert [labels["host"] for _, _, labels in rows(decode(payload))] == ["h1", "h2", "h2", "h3", "h2", "h1"]


def test_a_label_absent_from_one_batch_stays_absent() -> None:
    nothing = pa.DictionaryArray.from_arrays(pa.array([None] * 3, pa.int8()), pa.array([], pa.string()))
    found = decode(written(with_column("host", nothing), batch()))
    assert [labels.get("host") for _, _, labels in rows(found)] == [None, None, None, "h1", "h2", "h1"]


def test_a_stream_without_a_batch_has_no_samples() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch().schema):
        pass
    found = decode(sink.getvalue().to_pybytes())
    assert rows(found) == []
    assert set(found.labels) == {"metric", "colo", "host", "cohort"}


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_bodies_are_unpacked(codec: str) -> None:
    long = samples([(time, 1.0, {"metric": "cpu", "colo": "ams01", "host": "h" * 90}) for time in range(500)])
    payload = written(batch(long), compression=codec)
    assert len(payload) < len(encode(long))
    assert rows(decode(payload)) == rows(long)


def test_a_null_in_a_dictionary_is_an_absent_label() -> None:
    holes = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int32()), pa.array(["h1", None]))
    found = rows(decode(written(with_column("host", holes))))
    assert [labels.get("host") for _, _, labels in found] == ["h1", None, "h1"]


def test_nulls_in_time_and_value_are_marked() -> None:
    stored = with_column("time", pa.array([None, 7_001, 17_000], pa.timestamp("ms", tz="UTC")))
    found = decode(written(with_column("value", pa.array([1.5, None, 3.0]), stored)))
    assert found.time.tolist() == [NO_TIME, 7_001, 17_000]
    assert np.isnan(found.value).tolist() == [False, True, False]


def test_seconds_are_read_as_milliseconds() -> None:
    found = decode(written(with_column("time", pa.array([7, 8, 9], pa.timestamp("s", tz="UTC")))))
    assert found.time.tolist() == [7_000, 8_000, 9_000]


def test_seconds_beyond_what_milliseconds_can_hold_are_refused() -> None:
    payload = written(with_column("time", pa.array([1 << 62] * 3, pa.timestamp("s", tz="UTC"))))
    assert "not a readable Arrow stream: " in refusal(payload)


def test_a_wrong_type_is_refused_as_in_a_recording() -> None:
    payload = written(with_column("value", pa.array([1, 2, 3], pa.int64())))
    assert refusal(payload) == "column `value` is int64; allowed is double (float64)"


def test_a_missing_column_is_refused_as_in_a_recording() -> None:
    payload = written(batch().drop_columns(["colo"]))
    assert refusal(payload) == "column `colo` is missing; it must be there, of type string"


@pytest.mark.parametrize("codes", [[0, 2, 0], [0, -1, 0]])
def test_codes_outside_of_their_dictionary_are_refused(codes: list[int]) -> None:
    payload = written(with_column("host", hosts(codes, ["h1", "h2"])))
    assert refusal(payload) == "column `host`: codes outside of its dictionary; allowed: 0 to 1, or null"


def test_a_negative_code_among_nulls_is_refused_too() -> None:
    indices = pa.Array.from_buffers(pa.int32(), 3, [pa.py_buffer(b"\x05"), pa.py_buffer(struct.pack("<3i", 0, 0, -5))])
    column = pa.DictionaryArray.from_arrays(indices, pa.array(["h1"]), safe=False)
    assert "codes outside of its dictionary" in refusal(written(with_column("host", column)))


def test_text_that_is_no_utf8_is_refused() -> None:
    raw = pa.array([b"h1", b"h\xff"]).view(pa.string())
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int32()), raw)
    assert "UTF8" in refusal(written(with_column("host", column)))


def test_a_plain_text_that_is_no_utf8_is_refused_too() -> None:
    assert "UTF8" in refusal(written(with_column("host", pa.array([b"h1", b"h\xff", b"h2"]).view(pa.string()))))


def test_more_labels_than_a_frame_may_have_are_refused() -> None:
    stored = {name: batch().column(place) for place, name in enumerate(batch().schema.names)}
    many = {f"label{number}": pa.array(["x"] * 3) for number in range(LABELS_MAX)}
    assert "labels in one frame; allowed: at most 256" in refusal(written(pa.record_batch(stored | many)))


def test_what_stands_behind_the_stream_is_not_passed_over() -> None:
    payload = encode(SAMPLES)
    assert refusal(payload + payload) == (
        f"{len(payload)} bytes behind the stream's end; allowed: one Arrow stream in a frame".replace(
            str(len(payload)), f"{len(payload):,}"
        )
    )


@pytest.mark.parametrize("size", [4, 11, 100, -9, -200])
def test_a_frame_that_is_cut_off_is_refused(size: int) -> None:
    assert refusal(encode(SAMPLES)[:size]).startswith("not a readable Arrow stream: ")


def test_a_body_that_claims_to_unpack_to_gigabytes_is_refused_before_it_is_unpacked() -> None:
    zeros = pa.array(np.zeros(4_000), pa.float64())
    tall = pa.record_batch({"time": zeros.cast(pa.int64()).cast(pa.timestamp("ms", tz="UTC")), "value": zeros})
    tall = with_column("metric", pa.array(["cpu"] * 4_000), tall)
    tall = with_column("colo", pa.array(["ams01"] * 4_000), tall)
    payload = written(tall, compression="zstd")
    claim = struct.pack("<q", 4_000 * 8)
    assert payload.count(claim) >= 1
    before = pa.total_allocated_bytes()
    assert refusal(payload.replace(claim, struct.pack("<q", 1 << 40))) == (
        "larger than 268,435,456 bytes once unpacked; allowed: at most so many"
    )
    assert pa.total_allocated_bytes() == before


def test_a_dictionary_that_comes_again_is_not_read_again() -> None:
    known = Dictionaries(1 << 20)
    first = known.values(pa.array(["h1", "h2"]))
    assert known.values(pa.array(["h1", "h2"])) is first


def test_dictionaries_that_differ_in_the_middle_alone_are_told_apart() -> None:
    known = Dictionaries(1 << 20)
    ends = "x" * 40
    for middle in ("a", "b", "a"):
        assert known.values(pa.array([f"{ends}{middle}{ends}"])) == [f"{ends}{middle}{ends}"]


def test_dictionaries_of_the_same_bytes_cut_elsewhere_are_told_apart() -> None:
    known = Dictionaries(1 << 20)
    assert known.values(pa.array(["ab", "c"])) == ["ab", "c"]
    assert known.values(pa.array(["a", "bc"])) == ["a", "bc"]


def test_dictionaries_are_forgotten_when_they_take_too_much_memory() -> None:
    known = Dictionaries(2_000)
    for number in range(100):
        assert known.values(pa.array([f"host-{number}"])) == [f"host-{number}"]
    assert 1 <= len(known) <= 2_000 // 64


def test_the_dictionary_wanted_longest_ago_is_forgotten_first() -> None:
    known = Dictionaries(300)
    first = known.values(pa.array(["h1"]))
    for number in range(20):
        known.values(pa.array([f"other-{number}"]))
        assert known.values(pa.array(["h1"])) is first


def test_a_slice_of_a_dictionary_has_its_own_values() -> None:
    known = Dictionaries(1 << 20)
    whole = pa.array(["h1", "h2", "h3"])
    assert known.values(whole) == ["h1", "h2", "h3"]
    assert known.values(whole.slice(1, 1)) == ["h2"]
