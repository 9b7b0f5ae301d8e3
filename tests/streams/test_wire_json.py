"""JSON frames: every spelling that is read, and every fault by the element that has it."""

import json

import pytest

from streams.recording import NO_TIME
from streams.wire.frame import BadFrame
from streams.wire.json_rows import decode, encode_grouped
from tests.wire_frames import rows, samples

ROW = {"time": 7_000, "metric": "cpu", "value": 1.5, "colo": "ams01", "host": "h1"}
LABELS = {"metric": "cpu", "colo": "ams01", "host": "h1"}
GROUP = {"time": 7_000, "labels": {"colo": "ams01"}, "metrics": {"cpu": 1, "mem": 2}}

TIMES = "a time as in RFC 3339 with its offset, milliseconds since 1970 (years 1 to 9999), or null"
KEYS = "`time`, and `value` or `labels` and `metrics`"
VALUES = 'a number, null, "NaN", "+Inf" or "-Inf"'


def refusal(content: object) -> str:
    with pytest.raises(BadFrame) as caught:
        decode(content if isinstance(content, bytes) else json.dumps(content).encode())
    return str(caught.value)


def read(content: object) -> list[tuple[int, str, dict[str, str]]]:
    return rows(decode(content if isinstance(content, bytes) else json.dumps(content).encode()))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ROW),
        json.dumps(ROW, indent=2),
        json.dumps([ROW]),
        f"\n [ {json.dumps(ROW)} ]\n",
        json.dumps(ROW) + "\n",
        json.dumps(ROW | {"cohort": None, "region": ""}),
    ],
)
def test_one_sample_is_the_same_however_it_is_written(text: str) -> None:
    assert read(text.encode()) == [(7_000, (1.5).hex(), LABELS)]


def test_lines_are_read_as_an_array_is() -> None:
    others = [ROW, ROW | {"host": "h2", "value": 2}, ROW | {"time": 8_000}]
    lines = "\n\n".join(json.dumps(row) for row in others) + "\r\n"
    assert read(lines.encode()) == read(others)


def test_lines_are_told_from_one_object_behind_any_text() -> None:
    row = ROW | {"host": "hé" * 3_000}
    assert len(read(json.dumps(row, ensure_ascii=False, indent=1).encode())) == 1
    assert len(read("\n".join([json.dumps(row, ensure_ascii=False)] * 2).encode())) == 2


def test_a_label_that_only_a_later_element_has_is_read() -> None:
    content = [ROW, ROW | {"le": "0.1"}, ROW | {"zone": "b"}]
    assert [set(labels) for _, _, labels in read(content)] == [set(LABELS), {*LABELS, "le"}, {*LABELS, "zone"}]


def test_a_frame_does_not_hang_on_frames_before_it() -> None:
    before = decode(json.dumps([ROW]).encode())
    read([ROW, ROW | {"surprise": "x"}])
    assert list(decode(json.dumps([ROW]).encode()).labels) == list(before.labels)


def test_a_row_without_metric_or_colo_is_kept() -> None:
    found = decode(b'{"time": 7000, "value": 1}')
    assert rows(found) == [(7_000, (1.0).hex(), {})]
    assert set(found.labels) == {"metric", "colo"}


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [
        (7_000, 7_000),
        (7_000.9, 7_000),
        (-0.5, -1),
        (None, NO_TIME),
        ("1970-01-01T00:00:07Z", 7_000),
        ("1970-01-01T01:00:07.0019+01:00", 7_001),
        ("1969-12-31T23:59:59.9995Z", -1),
    ],
)
def test_times_are_read_in_every_spelling(time: object, milliseconds: int) -> None:
    assert decode(json.dumps([ROW | {"time": time}, ROW]).encode()).time.tolist() == [milliseconds, 7_000]


@pytest.mark.parametrize(
    ("value", "number"), [(1, 1.0), (None, "nan"), ("NaN", "nan"), ("+Inf", "inf"), ("-Inf", "-inf"), (2**70, 2.0**70)]
)
def test_values_are_read_in_every_spelling(value: object, number: float | str) -> None:
    wanted = number if number == "nan" else float(number).hex()
    assert [found for _, found, _ in read([ROW | {"value": value}, ROW])] == [wanted, (1.5).hex()]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (ROW | {"value": "abc"}, f'[1].value: found "abc"; allowed: {VALUES}'),
        (ROW | {"value": True}, f"[1].value: found bool; allowed: {VALUES}"),
        (ROW | {"time": True}, f"[1].time: found bool; allowed: {TIMES}"),
        (ROW | {"time": "yesterday"}, f'[1].time: found "yesterday"; allowed: {TIMES}'),
        (ROW | {"time": "2026-03-12T11:20:00"}, f'[1].time: found "2026-03-12T11:20:00"; allowed: {TIMES}'),
        (ROW | {"time": 10**15}, f"[1].time: found one out of range; allowed: {TIMES}"),
        (ROW | {"host": 3}, "[1].host: found int; allowed: str | null"),
        (ROW | {"host": {"a": 1}}, "[1].host: found object; allowed: str | null"),
        (
            {"value": 1},
            f"[1]: object missing required field `time`; allowed: {KEYS}",
        ),
        (
            {"time": 1},
            f"[1]: object missing required field `value`; allowed: {KEYS}",
        ),
        (3, "[1]: found int; allowed: object"),
        (GROUP, "[1].labels: found object; allowed: str | null"),
    ],
    ids=str,
)
def test_a_fault_is_named_by_its_element(row: object, text: str) -> None:
    assert refusal([ROW, row]) == text


def test_a_fault_is_named_by_its_line() -> None:
    assert refusal(json.dumps(ROW).encode() + b'\n{"time": 1, "value": "q"}').startswith('[1].value: found "q"; ')


@pytest.mark.parametrize(
    "content",
    [
        b" ",
        b"{",
        b"nul",
        b'[{"time": 1, "value": 1}] x',
        b'{"time": 1, "value": 1} x',
        b'[{"time": 1, "value": 1, "host": "\xff"}]',
        b'{"a":' * 5_000,
        b'[{"time": 1, "value": 1e999}]',
        b'[{"time": 1, "value": 1, "a\\"b": "c"}]',
    ],
    ids=lambda content: repr(content[:30]),
)
def test_what_is_no_json_is_refused(content: bytes) -> None:
    assert refusal(content)


def test_a_group_gives_its_labels_to_all_its_metrics() -> None:
    other = GROUP | {"labels": {"colo": "fra02", "host": "h9"}, "metrics": {"cpu": None}}
    assert read([GROUP, other]) == [
        (7_000, (1.0).hex(), {"metric": "cpu", "colo": "ams01"}),
        (7_000, (2.0).hex(), {"metric": "mem", "colo": "ams01"}),
        (7_000, "nan", {"metric": "cpu", "colo": "fra02", "host": "h9"}),
    ]


def test_one_group_is_read_without_an_array_around_it() -> None:
    assert read(GROUP) == read([GROUP])


def test_groups_may_stand_on_lines() -> None:
    assert read("\n".join([json.dumps(GROUP)] * 2).encode()) == read([GROUP, GROUP])


def test_a_metric_may_be_split_by_a_label() -> None:
    group = GROUP | {"metrics": {"cpu": 1, "http_seconds_bucket": {"le": {"0.1": 3, "+Inf": 9}}, "mem": 2}}
    assert [(labels["metric"], labels.get("le"), float.fromhex(value)) for _, value, labels in read(group)] == [
        ("cpu", None, 1.0),
        ("http_seconds_bucket", "0.1", 3.0),
        ("http_seconds_bucket", "+Inf", 9.0),
        ("mem", None, 2.0),
    ]


def test_one_group_may_split_by_what_is_a_label_of_another() -> None:
    split = GROUP | {"metrics": {"cpu": {"le": {"1": 1}}}}
    labelled = GROUP | {"labels": {"colo": "ams01", "le": "7"}, "metrics": {"cpu": 1}}
    assert [labels["le"] for _, _, labels in read([split, labelled])] == ["1", "7"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"metrics": {"a": "q"}}, f'[0].metrics.a: found "q"; allowed: {VALUES}'),
        ({"metrics": {"a": {"le": {"1": "q"}}}}, f'[0].metrics.a.le.1: found "q"; allowed: {VALUES}'),
        ({"metrics": {"a": {}}}, "[0].metrics.a: split by nothing; allowed: one label that is not among the group's"),
        (
            {"metrics": {"a": {"colo": {"x": 1}}}},
            "[0].metrics.a: split by colo; allowed: one label that is not among the group's",
        ),
        (
            {"metrics": {"a": {"le": {"1": 1}, "code": {"200": 1}}}},
            "[0].metrics.a: split by le, code; allowed: one label that is not among the group's",
        ),
        ({"metrics": {"a": [1]}}, f"[0].metrics[...]: found array; allowed: {VALUES}"),
        ({"labels": {"time": "x"}}, "[0].labels: found `time`; allowed: labels other than time, value, metric"),
        ({"labels": {"x": 1}}, "[0].labels[...]: found int; allowed: str | null"),
        ({"time": "noon"}, f'[0].time: found "noon"; allowed: {TIMES}'),
        (
            {"host": "h1"},
            f"[0]: object contains unknown field `host`; allowed: {KEYS}",
        ),
    ],
    ids=str,
)
def test_a_fault_of_a_group_is_named_by_its_element(change: dict[str, object], text: str) -> None:
    assert refusal(GROUP | change) == text


def test_too_many_labels_are_refused() -> None:
    content = ROW | {f"label{number}": "x" for number in range(256)}
    assert refusal(content) == "259 labels in one frame; allowed: at most 256, metric and colo among them"


def test_the_samples_of_a_scrape_are_written_as_one_group() -> None:
    labels = {"colo": "ams01", "host": "h1"}
    scrape = samples(
        [
            (7_000, 1.0, {"metric": "cpu", **labels}),
            (7_000, 3.0, {"metric": "http_seconds_bucket", "le": "0.1", **labels}),
            (7_000, 9.0, {"metric": "http_seconds_bucket", "le": "+Inf", **labels}),
        ]
    )
    assert json.loads(encode_grouped(scrape)) == [
        {
            "time": 7_000,
            "labels": labels,
            "metrics": {"cpu": 1.0, "http_seconds_bucket": {"le": {"0.1": 3.0, "+Inf": 9.0}}},
        }
    ]
