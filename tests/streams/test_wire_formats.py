"""All wire formats: what is written is read again, the right reader is chosen, and damage is only ever a bad frame."""

import json
import re
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.recording import Samples
from streams.wire.decoding import decode, reader_of
from streams.wire.encoding import FORMS, Form, encode
from streams.wire.frame import BadFrame
from tests.wire_frames import any_samples, rows, samples

PAGE = Path(__file__).resolve().parents[2] / "docs" / "wire.md"
OURS: tuple[Form, ...] = ("arrow", "json", "json-grouped")
SAMPLES = samples(
    [
        (7_000, 1.0, {"metric": "http_requests", "colo": "ams01", "host": "h1"}),
        (7_000, 2.0, {"metric": "cpu", "colo": "ams01", "host": "h1"}),
        (7_000, 3.0, {"metric": "http_requests", "colo": "ams01", "host": "h2"}),
    ]
)


def in_any_order(found: Samples) -> list[tuple[int, str, dict[str, str]]]:
    return sorted(rows(found), key=repr)


@given(any_samples, st.sampled_from(OURS))
def test_what_is_encoded_is_decoded_in_the_same_order(given_samples: Samples, form: Form) -> None:
    payload, content_type = encode(given_samples, form)
    assert rows(decode(payload, content_type)) == rows(given_samples)


@pytest.mark.parametrize("form", FORMS)
def test_the_content_type_that_is_written_is_read(form: Form) -> None:
    assert in_any_order(decode(*encode(SAMPLES, form))) == in_any_order(SAMPLES)


@pytest.mark.parametrize("form", FORMS)
def test_a_reader_names_the_format_of_its_frames(form: Form) -> None:
    payload, content_type = encode(SAMPLES, form)
    assert reader_of(payload, content_type).format == form.removesuffix("-grouped")
    assert reader_of(payload, None).format == form.removesuffix("-grouped")


@pytest.mark.parametrize("form", FORMS)
def test_without_a_content_type_the_first_bytes_tell(form: Form) -> None:
    assert in_any_order(decode(encode(SAMPLES, form)[0], None)) == in_any_order(SAMPLES)


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        ("arrow", "Application/VND.apache.arrow.stream"),
        ("json", "application/json; charset=utf-8"),
        ("json", "application/x-ndjson"),
        ("otlp", "application/x-protobuf"),
        ("otlp", "application/x-protobuf; proto=opentelemetry.proto.metrics.v1.MetricsData"),
        ("prometheus", "application/x-protobuf"),
        ("prometheus", "application/vnd.google.protobuf;proto=prometheus.WriteRequest"),
        ("prometheus", 'application/x-protobuf ; Proto = "prometheus.WriteRequest"'),
    ],
)
def test_a_content_type_is_read_in_any_spelling(form: Form, content_type: str) -> None:
    assert in_any_order(decode(encode(SAMPLES, form)[0], content_type)) == in_any_order(SAMPLES)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "", "application/x-protobuf;proto=prometheus.Query", "application/vnd.apache.arrow.file"],
)
def test_an_unknown_content_type_is_refused_with_those_that_are_known(content_type: str) -> None:
    with pytest.raises(BadFrame) as caught:
        decode(encode(SAMPLES, "arrow")[0], content_type)
    assert str(caught.value).startswith(
        f"content type {content_type!r}; allowed: application/vnd.apache.arrow.stream, "
    )


def test_the_content_type_counts_more_than_the_first_bytes() -> None:
    with pytest.raises(BadFrame, match="not a readable Arrow stream"):
        decode(encode(SAMPLES, "json")[0], "application/vnd.apache.arrow.stream")


@pytest.mark.parametrize("content_type", [None, "application/json"])
def test_an_empty_frame_is_refused(content_type: str | None) -> None:
    with pytest.raises(BadFrame, match="an empty frame; allowed: "):
        decode(b"", content_type)


def test_bytes_of_no_known_format_are_refused_and_shown() -> None:
    with pytest.raises(BadFrame, match="its first bytes, 74 69 6d 65 2c 6d 65 74, are those of no known format"):
        decode(b"time,metric,value\n", None)


DAMAGE = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=4)


@given(any_samples, st.sampled_from(OURS), st.integers(0, 1 << 20), st.booleans(), DAMAGE, st.booleans())
def test_a_damaged_frame_is_read_or_refused_and_nothing_else(
    given_samples: Samples, form: Form, size: int, is_cut: bool, damage: list[tuple[int, int]], is_named: bool
) -> None:
    payload, content_type = encode(given_samples, form)
    changed = bytearray(payload[: size % len(payload)] if is_cut else payload)
    for place, byte in damage if changed else []:
        changed[place % len(changed)] = byte
    with suppress(BadFrame):
        rows(decode(bytes(changed), content_type if is_named else None))


@given(any_samples, DAMAGE, st.sampled_from(["lz4", "zstd"]))
def test_a_damaged_compressed_frame_is_read_or_refused_and_takes_no_gigabytes(
    given_samples: Samples, damage: list[tuple[int, int]], codec: str
) -> None:
    with pa.ipc.open_stream(encode(given_samples, "arrow")[0]) as reader:
        table = reader.read_all()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)
    changed = bytearray(sink.getvalue().to_pybytes())
    for place, byte in damage:
        changed[place % len(changed)] = byte
    with suppress(BadFrame):
        rows(decode(bytes(changed), "application/vnd.apache.arrow.stream"))
    assert pa.default_memory_pool().max_memory() < 1 << 30


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_page_has_an_example_of_each_spelling() -> None:
    assert (len(blocks("json")), len(blocks("jsonl")), len(blocks("python"))) == (3, 1, 1)


@pytest.mark.parametrize("text", [*blocks("json"), *blocks("jsonl")])
def test_every_example_of_the_page_is_the_same_scrape(text: str) -> None:
    assert rows(decode(text.encode(), None)) == rows(decode(blocks("json")[0].encode(), "application/json"))
    assert json.loads(blocks("json")[0])


def test_the_arrow_example_of_the_page_makes_the_same_scrape() -> None:
    made: dict[str, bytes] = {}
    exec(blocks("python")[0], made)
    assert rows(decode(made["frame"], None)) == rows(decode(blocks("json")[0].encode(), "application/json"))
