"""Files of any columns become a recording, or one clear error."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest

from holdfast.errors import BadInput
from holdfast.recording.document import CsvSource, ParquetSource
from tests.recorded import canonical, directly, documents, made, recorded, verdicts

COLUMNS = {"time": "ts", "metric": "name", "value": "val", "colo": "dc"}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def table(recording: Path) -> pa.Table:
    """Return the samples with columns of other names."""
    found = canonical(recording / "metrics.parquet")
    return found.rename_columns({theirs: COLUMNS.get(theirs, theirs) for theirs in found.schema.names})


def shuffled(table: pa.Table, seed: int = 1) -> pa.Table:
    return table.take(np.random.default_rng(seed).permutation(table.num_rows))


def test_parquet_in_any_order_and_any_number_of_files_is_one_recording(
    table: pa.Table, recording: Path, tmp_path: Path
) -> None:
    mixed, folder = shuffled(table), tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    for number, start in enumerate(range(0, len(mixed), 5_000)):
        pq.write_table(mixed.slice(start, 5_000), folder / f"{number}.parquet", row_group_size=700)
    recorded(tmp_path / "a", ParquetSource(files=[str(tmp_path / "in")], columns=COLUMNS), recording)
    pattern = str(tmp_path / "in" / "**" / "*.parquet")
    recorded(tmp_path / "b", ParquetSource(files=[pattern], columns=COLUMNS), recording)
    assert canonical(tmp_path / "a" / "metrics.parquet").equals(canonical(recording / "metrics.parquet"))
    assert (tmp_path / "a" / "metrics.parquet").read_bytes() == (tmp_path / "b" / "metrics.parquet").read_bytes()


def test_csv_is_recorded_as_parquet_is(table: pa.Table, recording: Path, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "m.parquet")
    texts = table.set_column(0, "ts", pc.strftime(table["ts"], "%Y-%m-%dT%H:%M:%SZ"))
    csv.write_csv(texts, tmp_path / "m.csv")
    recorded(tmp_path / "a", CsvSource(files=[str(tmp_path / "m.csv")], columns=COLUMNS), recording)
    recorded(tmp_path / "b", ParquetSource(files=[str(tmp_path / "m.parquet")], columns=COLUMNS), recording)
    assert (tmp_path / "a" / "metrics.parquet").read_bytes() == (tmp_path / "b" / "metrics.parquet").read_bytes()


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_direct_replay_gives_the_verdicts_of_the_recording(
    kind: str, table: pa.Table, recording: Path, tmp_path: Path
) -> None:
    path = tmp_path / f"m.{kind}"
    mixed = shuffled(table)
    if kind == "parquet":
        pq.write_table(mixed, path)
        source: ParquetSource | CsvSource = ParquetSource(files=[str(path)], columns=COLUMNS)
    else:
        csv.write_csv(mixed, path)
        source = CsvSource(files=[str(path)], columns=COLUMNS)
    recorded(tmp_path / "out", source, recording)
    assert directly(tmp_path, source, recording) == verdicts(tmp_path / "out") == verdicts(recording)


@pytest.mark.parametrize(("unit", "factor"), [("s", 1e-3), ("ms", 1), ("us", 1_000), ("ns", 1_000_000)])
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_times_may_be_numbers(kind, unit, factor, table: pa.Table, recording: Path, tmp_path: Path) -> None:
    ms = table["ts"].cast(pa.int64()).to_numpy()
    numbers = pa.array(ms * factor) if unit == "s" else pa.array(ms * factor, pa.int64())
    changed = table.set_column(0, "ts", numbers)
    path = tmp_path / f"m.{kind}"
    options = {"files": [str(path)], "columns": COLUMNS, "time_unit": unit}
    if kind == "parquet":
        pq.write_table(changed, path)
        recorded(tmp_path / "out", ParquetSource(**options), recording)
    else:
        csv.write_csv(changed, path)
        recorded(tmp_path / "out", CsvSource(**options), recording)
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(canonical(recording / "metrics.parquet"))


def test_row_groups_of_another_time_are_not_read(table: pa.Table, recording: Path, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "m.parquet", row_group_size=500)
    start = documents(recording).rollout.started
    source = ParquetSource(files=[str(tmp_path / "m.parquet")], columns=COLUMNS, start=start)
    found = recorded(tmp_path / "out", source, recording)
    expected = canonical(recording / "metrics.parquet")
    expected = expected.filter(pc.greater_equal(expected["time"], pa.scalar(start, expected["time"].type)))
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(expected)
    assert found.left_out["outside"] < 500


def changed(**new) -> Callable[[pa.Table], pa.Table]:
    """Put other columns in the place of some."""

    def change(table: pa.Table) -> pa.Table:
        for name, make in new.items():
            place = table.schema.get_field_index(name)
            table = table.append_column(name, make(table)) if place < 0 else table.set_column(place, name, make(table))
        return table

    return change


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (
            lambda table: table.drop_columns(["name", "dc"]),
            [
                "column `name` is missing, which is to be `metric`; --column metric=NAME says what it is called there",
                "column `dc` is missing, which is to be `colo`; --column colo=NAME says what it is called there",
                "there are the columns `ts`, `val`, `cohort`, `host`, `le`, `region`; needed are time, metric,",
            ],
        ),
        (
            changed(ts=lambda table: table["ts"].cast(pa.timestamp("ms"))),
            ["column `ts` is timestamp[ms]; its times say nothing of their zone; --timezone UTC says"],
        ),
        (
            changed(
                ts=lambda table: table["ts"].cast(pa.int64()),
                val=lambda table: table["host"],
                port=lambda table: pa.array([1] * table.num_rows),
            ),
            [
                "column `ts` is int64; --time-unit s, ms, us or ns says what it counts since 1970",
                "column `val` is string; allowed is a number",
                "column `port` is int64; labels are texts; --label NAME names the columns that are labels",
            ],
        ),
        (changed(colo=lambda table: table["host"]), ["column `colo` would be a second `colo`, beside `dc`; --column"]),
    ],
)
def test_columns_that_do_not_fit_are_told_all_at_once(
    change, messages: list[str], table: pa.Table, recording: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(change(table), path)
    with pytest.raises(BadInput) as caught:
        recorded(tmp_path / "out", ParquetSource(files=[str(path)], columns=COLUMNS), recording)
    lines = str(caught.value).splitlines()
    assert [line[: len(str(path)) + 2 + len(text)] for line, text in zip(lines, messages, strict=True)] == [
        f"{path}: {text}" for text in messages
    ]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["m.parquet"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,metric,value,colo\n2026-03-12T11:20:00Z,m,many,a\n", "cannot be read to its end: .*many"),
        ("time,metric,value,colo\n2026-03-12 11:20:00,m,1,a\n", "allowed: times with their zone"),
        ("time,metric,value,colo\n2026-03-12T11:20:00Z,m,1\n", "Row #2: Expected 4 columns, got 3"),
        ("", "not a readable CSV file"),
    ],
)
def test_csv_that_cannot_be_read_is_told(text: str, message: str, recording: Path, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(BadInput, match=f"m.csv: .*{message}"):
        recorded(tmp_path / "out", CsvSource(files=[str(tmp_path / "m.csv")]), recording)
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_cut_off_is_told_and_leaves_nothing(table: pa.Table, recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(table, path)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(BadInput, match=r"m\.parquet: not a readable Parquet file"):
        recorded(tmp_path / "out", ParquetSource(files=[str(path)], columns=COLUMNS), recording)
    assert [each.name for each in tmp_path.iterdir()] == ["m.parquet"]


def test_files_that_are_not_there_are_told_all_at_once(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        recorded(tmp_path / "out", ParquetSource(files=["nope", str(tmp_path / "*.parquet")]), recording)
    assert [line.partition(": no such file; ")[0] for line in str(caught.value).splitlines()] == [
        "nope",
        str(tmp_path / "*.parquet"),
    ]


def test_nothing_in_the_stretch_of_time_is_told(table: pa.Table, recording: Path, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "m.parquet")
    source = ParquetSource(files=[str(tmp_path / "m.parquet")], columns=COLUMNS, select={"colo": "nowhere"})
    with pytest.raises(
        BadInput, match=r"no sample of what is selected, the beginning to the end; there are 12,736 not"
    ):
        recorded(tmp_path / "out", source, recording)
