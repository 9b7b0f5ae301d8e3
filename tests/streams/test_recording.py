"""Reading metrics.parquet: every fault by its name, in exact words, and every spelling of strings alike."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detectors.errors import BadInput
from streams.recording import NO_TIME, MetricsFile, Samples
from tests.samples import in_order, series, table, write

ROWS = in_order(series("cpu", [1.0, 2.0, 3.0]), series("cpu", [4.0, 5.0, 6.0], host="h2", cohort="canary"))
TABLE = table(ROWS)
TIME = [7_000, 7_000, 17_000, 17_000, 27_000, 27_000]


def written(folder: Path, metrics: pa.Table, rows_per_group: int = 1 << 20) -> Path:
    path = folder / "metrics.parquet"
    pq.write_table(metrics, path, row_group_size=rows_per_group)
    return path


def replaced(name: str, kind: pa.DataType) -> pa.Table:
    """Return the table with one column cast to another type."""
    place = TABLE.schema.get_field_index(name)
    values = TABLE.column(name)
    if not pa.types.is_timestamp(kind) and name == "time":
        values = values.cast(pa.int64())
    elif pa.types.is_integer(kind) and name != "value":
        values = pa.array(range(len(TABLE)))
    return TABLE.set_column(place, name, values.cast(kind))


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        MetricsFile(path)
    return str(caught.value).replace(str(path), "FILE")


def texts(samples: Samples, label: str) -> list[str | None]:
    column = samples.labels[label]
    return [None if code < 0 else column.values[code] for code in column.codes.tolist()]


def test_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "metrics.parquet") == (
        "FILE: no such file; a recording is a folder with metrics.parquet, rollout.yaml and policy.yaml"
    )


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith("FILE: no such file; ")


def test_garbage_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "metrics.parquet"
    path.write_bytes(b"time,metric,value\n" * 20)
    assert refusal(path).startswith("FILE: not a readable Parquet file: Parquet magic bytes not found")


def test_file_without_a_byte_is_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "metrics.parquet"
    path.touch()
    assert refusal(path).startswith("FILE: not a readable Parquet file: Parquet file size is 0 bytes")


def test_truncated_file_is_no_parquet(tmp_path: Path) -> None:
    path = written(tmp_path, TABLE)
    path.write_bytes(path.read_bytes()[:-40])
    assert refusal(path).startswith("FILE: not a readable Parquet file: ")


def test_damage_behind_a_whole_footer_is_found_in_reading(tmp_path: Path) -> None:
    path = written(tmp_path, TABLE)
    raw = bytearray(path.read_bytes())
    raw[4:200] = b"\xff" * 196
    path.write_bytes(raw)
    file = MetricsFile(path)
    with pytest.raises(BadInput) as caught:
        list(file.read())
    assert str(caught.value).startswith(f"{path}: cannot be read to its end: ")


def test_label_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    raw = pa.array([b"ams\xff"] * len(TABLE))
    place = TABLE.schema.get_field_index("colo")
    path = written(tmp_path, TABLE.set_column(place, "colo", raw.view(pa.string())))
    file = MetricsFile(path)
    with pytest.raises(BadInput) as caught:
        list(file.read())
    assert str(caught.value).startswith(f"{path}: cannot be read to its end: ")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("time", "timestamp[ms, tz=UTC]"),
        ("metric", "string"),
        ("colo", "string"),
        ("value", "double"),
    ],
)
def test_missing_column_is_named_with_its_type(name: str, kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, TABLE.drop_columns([name]))
    assert refusal(path) == f"FILE: column `{name}` is missing; it must be there, of type {kind}"


TIMES = "allowed is timestamp[ms, tz=UTC]"
LABELS = "every column but `time` and `value` is a label, and labels are strings"
DOUBLE = "allowed is double (float64)"


@pytest.mark.parametrize(
    ("name", "kind", "allowed"),
    [
        ("time", pa.int64(), TIMES),
        ("time", pa.timestamp("ms"), TIMES),
        ("time", pa.timestamp("us", tz="UTC"), TIMES),
        ("time", pa.timestamp("ms", tz="Europe/Amsterdam"), TIMES),
        ("value", pa.float32(), DOUBLE),
        ("value", pa.int64(), DOUBLE),
        ("metric", pa.int64(), LABELS),
        ("metric", pa.binary(), LABELS),
        ("colo", pa.int32(), LABELS),
        ("host", pa.int64(), LABELS),
        ("cohort", pa.binary(), LABELS),
    ],
    ids=lambda value: str(value) if isinstance(value, pa.DataType) else None,
)
def test_wrong_type_is_named_with_what_is_allowed(name: str, kind: pa.DataType, allowed: str, tmp_path: Path) -> None:
    path = written(tmp_path, replaced(name, kind))
    assert refusal(path) == f"FILE: column `{name}` is {kind}; {allowed}"


def test_naive_timestamp_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, replaced("time", pa.timestamp("ms")))
    assert refusal(path) == "FILE: column `time` is timestamp[ms]; allowed is timestamp[ms, tz=UTC]"


def test_column_of_numbers_beside_the_labels_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, TABLE.append_column("cpu", pa.array([1.0] * len(TABLE))))
    assert refusal(path) == f"FILE: column `cpu` is double; {LABELS}"


def test_column_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, TABLE.append_column("host", TABLE.column("host")))
    assert refusal(path) == "FILE: column `host` occurs more than once"


def test_all_faults_of_a_file_are_named_at_once(tmp_path: Path) -> None:
    faulty = replaced("value", pa.float32()).drop_columns(["colo", "time"])
    assert refusal(written(tmp_path, faulty)).split("\n") == [
        "FILE: column `time` is missing; it must be there, of type timestamp[ms, tz=UTC]",
        "FILE: column `colo` is missing; it must be there, of type string",
        "FILE: column `value` is float; allowed is double (float64)",
    ]


def test_file_without_rows_is_refused(tmp_path: Path) -> None:
    assert refusal(written(tmp_path, TABLE.slice(0, 0))) == "FILE: no samples in it"


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ],
    ids=str,
)
def test_strings_are_the_same_however_they_are_stored(kind: pa.DataType, tmp_path: Path) -> None:
    stored = TABLE
    for place, name in enumerate(TABLE.schema.names):
        if name not in ("time", "value"):
            stored = stored.set_column(place, name, stored.column(name).combine_chunks().cast(kind))
    (samples,) = MetricsFile(written(tmp_path, stored)).read()
    assert texts(samples, "host") == ["h1", "h2"] * 3
    assert texts(samples, "cohort") == [None, "canary"] * 3


@pytest.mark.parametrize("zone", ["UTC", "Etc/UTC", "+00:00"])
def test_every_name_of_utc_is_allowed(zone: str, tmp_path: Path) -> None:
    (samples,) = MetricsFile(written(tmp_path, replaced("time", pa.timestamp("ms", tz=zone)))).read()
    assert samples.time.tolist() == TIME


def test_seconds_are_read_as_milliseconds(tmp_path: Path) -> None:
    (samples,) = MetricsFile(written(tmp_path, replaced("time", pa.timestamp("s", tz="UTC")))).read()
    assert samples.time.tolist() == TIME


def test_null_time_and_null_value_are_marked(tmp_path: Path) -> None:
    holes = TABLE
    for name in ("time", "value"):
        kind = TABLE.schema.field(name).type
        filled = pa.array([None, *TABLE.column(name).to_pylist()[1:]], kind)
        holes = holes.set_column(holes.schema.get_field_index(name), name, filled)
    (samples,) = MetricsFile(written(tmp_path, holes)).read()
    assert samples.time.tolist() == [NO_TIME, *TIME[1:]]
    assert np.isnan(samples.value).tolist() == [True, *[False] * 5]


def test_label_without_any_value_is_absent_everywhere(tmp_path: Path) -> None:
    empty = TABLE.append_column("le", pa.nulls(len(TABLE), pa.string()))
    (samples,) = MetricsFile(written(tmp_path, empty)).read()
    assert texts(samples, "le") == [None] * 6


@pytest.mark.parametrize("rows", [1, 2, 4, 5, 100])
@pytest.mark.parametrize("rows_per_group", [1, 3, 100])
def test_samples_are_the_same_however_they_are_cut(rows: int, rows_per_group: int, tmp_path: Path) -> None:
    parts = list(MetricsFile(write(tmp_path, ROWS, rows_per_group)).read(rows))
    assert max(len(part.time) for part in parts) <= rows
    assert [time for part in parts for time in part.time.tolist()] == TIME
    assert [text for part in parts for text in texts(part, "host")] == ["h1", "h2"] * 3
    assert [text for part in parts for text in texts(part, "cohort")] == [None, "canary"] * 3
