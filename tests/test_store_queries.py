"""Who may open the store, what may be asked of it, and which schema it has; on the real engine."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sinks import schema
from sinks.engine import readable
from sinks.schema import STEPS, Step, checksums
from sinks.store import Store, StoreBusy, StoreError
from streams.records import EVIDENCE
from tests.replays import begin, bits, contents, count, evidence, python, replay


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


# ---------------------------------------------------------------- one owner


def test_a_second_process_is_told_that_the_store_is_busy(store: Store, tmp_path: Path) -> None:
    second = python(
        """
        import sys
        from pathlib import Path
        from sinks.store import Store, StoreBusy
        try:
            Store(Path(sys.argv[1]))
        except StoreBusy as error:
            print(error)
        """,
        tmp_path / "store",
    )
    assert second.returncode == 0, second.stderr
    assert str(tmp_path / "store") in second.stdout
    assert f"process {os.getpid()}" in second.stdout
    assert count(store, "evidence") == 0


def test_a_closed_store_can_be_opened_by_another_process(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        replay(store)
    store.close()
    other = python(
        """
        import sys
        from pathlib import Path
        from sinks.store import Store
        with Store(Path(sys.argv[1])) as store:
            print(store.query("SELECT count() FROM evidence", "CSV").decode())
        """,
        tmp_path,
    )
    assert other.stdout.strip() == "3", other.stderr
    with pytest.raises(StoreError, match="closed"):
        store.query("SELECT 1")


def test_the_same_folder_twice_in_one_process_is_busy(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreBusy, match=str(os.getpid())):
        Store(tmp_path / "store")
    assert count(store, "evidence") == 0


def test_a_second_folder_in_one_process_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="another store open"):
        Store(tmp_path / "other")
    assert count(store, "evidence") == 0


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    for folder in (occupied, occupied / "below", Path("/proc/holdfast")):
        with pytest.raises(StoreError, match="cannot be written") as raised:
            Store(folder)
        assert str(folder) in str(raised.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_a_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written: Permission denied"):
        Store(tmp_path)


# ---------------------------------------------------------------- queries


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO verdicts (rollout) VALUES ('x')",
        "INSERT INTO evidence SELECT * FROM evidence",
        "INSERT INTO FUNCTION file('{folder}/written.csv', 'CSV') SELECT 1",
        "DROP TABLE holdfast.evidence",
        "TRUNCATE TABLE evidence",
        "DELETE FROM evidence WHERE 1",
        "ALTER TABLE evidence DELETE WHERE 1",
        "CREATE TABLE holdfast.other (a Int8) ENGINE = Memory",
        "OPTIMIZE TABLE evidence",
        "SET readonly = 0",
        "SELECT 1; DROP TABLE holdfast.evidence",
        "SELECT count() FROM evidence SETTINGS final = 0",
    ],
)
def test_a_query_may_only_read(store: Store, tmp_path: Path, sql: str) -> None:
    replay(store)
    with pytest.raises(StoreError, match=r"^only reading is allowed: "):
        store.query(sql.replace("{folder}", str(tmp_path)))
    assert count(store, "evidence") == 3
    assert not (tmp_path / "written.csv").exists()


def test_an_error_in_sql_is_told_without_the_engines_wrapping(store: Store) -> None:
    with pytest.raises(StoreError) as raised:
        store.query("SELECT * FROM nope")
    assert str(raised.value).startswith("Unknown table expression identifier 'nope'")
    with pytest.raises(StoreError) as raised:
        store.query("SELECT action FROM verdicts GROUP action")
    assert str(raised.value) == "Syntax error: failed at position 35 (action): action"
    with pytest.raises(StoreError, match=r"^Unknown format Nope\b"):
        store.query("SELECT 1", "Nope")


def test_wrapping_is_removed_however_deep() -> None:
    text = "Code: 73. DB::Exception: Code: 73. DB::Exception: Bad (NO_1) (version 26.9.2.1). (NO_1)"
    assert readable(text) == "Bad"
    assert readable("Streaming insert finish failed: Code: 1. DB::Exception: It (here) broke. (X_Y)") == (
        "It (here) broke"
    )


def test_one_query_leaves_nothing_behind_for_the_next(store: Store) -> None:
    store.query("USE system")
    assert store.query("SELECT currentDatabase()", "CSV") == b'"holdfast"\n'


def test_the_default_format_is_for_people(store: Store) -> None:
    replay(store)
    text = store.query("SELECT action, count() FROM verdicts GROUP BY action").decode()
    assert "│ revert │       3 │" in text
    assert "\x1b" not in text


def test_other_formats_pass_through(store: Store, tmp_path: Path) -> None:
    replay(store)
    sql = "SELECT time, log_e FROM evidence ORDER BY time"
    assert len(json.loads(store.query(sql, "JSON"))["data"]) == 3
    assert store.query(f"{sql} LIMIT 1", "CSVWithNames").startswith(b'"time","log_e"\n"2026-03-12 11:20:00.000",')
    parquet = pq.read_table(pa.BufferReader(store.query(sql, "Parquet")))
    assert bits(parquet, "log_e") == bits(evidence(), "log_e")


def test_nan_is_null_in_json(store: Store) -> None:
    with begin(store) as sink:
        sink.evidence(evidence(1).set_column(7, EVIDENCE.field("effect"), pa.array([float("nan")])))
        sink.commit()
    assert json.loads(store.query("SELECT effect FROM evidence", "JSON"))["data"] == [{"effect": None}]


def test_charts_find_their_rows_by_the_primary_key(store: Store) -> None:
    replay(store)
    plan = store.query(
        "EXPLAIN indexes = 1 SELECT time, effect FROM evidence "
        "WHERE rollout = 'bot-0312' AND source = 'replay:a' AND metric = 'errors'",
        "TSVRaw",
    ).decode()
    assert all(f"\n          {key}" in plan for key in ("  rollout", "  source", "  metric")), plan


# ---------------------------------------------------------------- the schema


def test_the_checksum_ignores_how_a_statement_is_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    before = checksums()
    monkeypatch.setattr(schema, "STEPS", tuple(Step(step.version, " ".join(step.statement.split())) for step in STEPS))
    assert checksums() == before


def test_a_rollout_document_as_holdfast_encodes_it_is_understood(store: Store) -> None:
    document = msgspec.json.encode(
        {"rollout": "ü", "started": datetime(2026, 1, 1, tzinfo=UTC), "mode": "shadow", "stages": []}
    )
    with begin(store, document=document) as sink:
        sink.commit()
    row = store.arrow("SELECT rollout, mode, started, recorded FROM rollouts").to_pylist()[0]
    assert (row["rollout"], row["mode"]) == ("ü", "shadow")
    assert row["recorded"] == row["started"] == datetime(2026, 1, 1, tzinfo=UTC)


def test_nothing_that_is_read_is_null(store: Store) -> None:
    replay(store)
    for table in contents(store).values():
        assert all(column.null_count == 0 for column in table.columns)
