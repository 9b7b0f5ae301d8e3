"""Rows out of a store into Parquet files, and back, on the real engine."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sinks import parquet
from sinks.about import info
from sinks.cloudevents import verdict_event
from sinks.engine import Engine
from sinks.errors import StoreError
from sinks.live_rows import Place, audit_rows, dead_letter_rows, event_rows, table_of, truth_row, verdict_rows
from sinks.parquet import MANIFEST, Wanted, export, import_
from sinks.schema import ROWS
from sinks.store import Store
from tests.replays import START_MS, contents, count, replay, verdict, views

STARTED = datetime(2026, 3, 12, 11, 20, tzinfo=UTC)


def fill(store: Store) -> None:
    """Put rows into every table: of two replays, and of a live engine."""
    replay(store, count=20)
    replay(store, count=8, source="replay:b", seed=5)
    live = [verdict_rows(verdict_event("bot-0312", START_MS + 1, verdict(n)), Place("v", 0, n)) for n in (1, 2)]
    live.append(event_rows(Place("r", 0, 1), "bot-0312", [("started", "canary", STARTED), ("finished", "", STARTED)]))
    live.append(
        dead_letter_rows(
            Place("d", 0, 3), written_ms=START_MS, origin=Place("m", 1, 2), worker="w", reason="no JSON", size=7
        )
    )
    live.append(
        audit_rows(
            Place("a", 0, 0),
            time=STARTED,
            written_ms=START_MS,
            sequence=0,
            hashes=("a", "b"),
            who="ada",
            kind="test.entry",
            subject="",
            body=b"{}",
        )
    )
    store.append(live)
    truth = truth_row(
        "bot-0312", bad=True, expect=["halt"], onset=STARTED, within_ticks=3, colos=["ams01"], metrics=["errors"]
    )
    store.backend.insert("truths", table_of("truths", [truth], "live", 7))


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "filled") as store:
        fill(store)
        yield store


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Path, dict[str, pa.Table], dict[str, pa.Table]]:
    """A folder, and the tables and views of the store that it comes from."""
    with Store(tmp_path / "filled") as store:
        fill(store)
        export(store.backend, tmp_path / "out", Wanted())
        return tmp_path / "out", contents(store), views(store)


def test_every_row_of_every_table_and_view_comes_back(exported, tmp_path: Path) -> None:
    folder, tables, shown = exported
    assert all(table.num_rows for table in tables.values())
    with Store(tmp_path / "other") as store:
        import_(store.backend, folder)
        assert (contents(store), views(store)) == (tables, shown)


def test_an_import_that_comes_again_changes_nothing(exported, tmp_path: Path) -> None:
    folder, tables, shown = exported
    with Store(tmp_path / "other") as store:
        import_(store.backend, folder)
        import_(store.backend, folder)
        assert (contents(store), views(store)) == (tables, shown)


def test_an_import_that_was_broken_off_is_completed_by_the_next(
    exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tables, shown = exported
    insert = Engine.insert

    def stop(engine: Engine, table: str, rows: pa.Table, token: str = "") -> None:
        if table == "rollouts":
            raise KeyboardInterrupt
        insert(engine, table, rows, token)

    with Store(tmp_path / "other") as store:
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "insert", stop)
            with pytest.raises(KeyboardInterrupt):
                import_(store.backend, folder)
        import_(store.backend, folder)
        assert (contents(store), views(store)) == (tables, shown)


def test_an_imported_replay_takes_the_place_of_the_one_that_is_there(exported, tmp_path: Path) -> None:
    folder, tables, shown = exported
    with Store(tmp_path / "other") as store:
        replay(store, count=30, seed=9)
        import_(store.backend, folder)
        assert (contents(store), views(store)) == (tables, shown)


def test_the_same_rows_are_exported_as_the_same_tables(exported, tmp_path: Path) -> None:
    folder, *_ = exported
    with Store(tmp_path / "other") as store:
        import_(store.backend, folder)
        export(store.backend, tmp_path / "again", Wanted())
    for name in ROWS:
        assert pq.read_table(tmp_path / "again" / f"{name}.parquet") == pq.read_table(folder / f"{name}.parquet")


def test_rows_are_written_in_pieces_and_none_is_lost(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = [verdict_rows(verdict_event("x", START_MS + n * 3_600_000, verdict(n)), Place("v", 1, n)) for n in range(9)]
    filled.append(later)
    monkeypatch.setattr(parquet, "_SLICE_ROWS", 3)
    export(filled.backend, tmp_path / "out", Wanted())
    with pq.ParquetFile(tmp_path / "out" / "verdicts.parquet") as file:
        assert file.num_row_groups > 2
        assert file.metadata.num_rows == count(filled, "verdicts")


# ---------------------------------------------------------------- a part of it


def test_a_rollout_and_a_time_can_be_chosen(filled: Store, tmp_path: Path) -> None:
    filled.append([verdict_rows(verdict_event("other", START_MS, verdict(1)), Place("v", 0, 9))])
    minute = START_MS + 60_000
    manifest = export(
        filled.backend, tmp_path / "out", Wanted(rollout="bot-0312", since_ms=minute, until_ms=minute * 2)
    )
    rows = pq.read_table(tmp_path / "out" / "verdicts.parquet")
    assert set(rows["rollout"].to_pylist()) == {"bot-0312"}
    assert min(rows["time"].cast(pa.int64()).to_pylist()) == minute
    assert "dead_letters" not in manifest.rows
    assert manifest.rows["rollouts"] == 2


def test_what_lies_outside_of_a_part_stays_when_it_is_put_back(filled: Store, tmp_path: Path) -> None:
    before, shown = contents(filled), views(filled)
    minute = START_MS + 60_000
    for number, wanted in enumerate([Wanted(since_ms=minute), Wanted(until_ms=minute), Wanted(rollout="bot-0312")]):
        export(filled.backend, tmp_path / f"out-{number}", wanted)
        import_(filled.backend, tmp_path / f"out-{number}")
        assert (contents(filled), views(filled)) == (before, shown)


def test_a_time_within_a_minute_or_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(StoreError, match=r"since: found 2026-03-12 11:20:01\.000; allowed: a whole minute"):
        Wanted(since_ms=START_MS + 1_000)
    with pytest.raises(StoreError, match=r"until: found .*; allowed: later than 2026-03-12"):
        Wanted(since_ms=START_MS, until_ms=START_MS)


# ---------------------------------------------------------------- what is refused


def test_a_folder_that_is_there_is_not_written_over(filled: Store, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(StoreError, match=r"out: is there already; allowed: a folder that is made"):
        export(filled.backend, tmp_path / "out", Wanted())


def test_an_export_that_fails_leaves_nothing(filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        message = "out of memory"
        raise StoreError(message)

    monkeypatch.setattr(Engine, "read", refuse)
    with pytest.raises(StoreError, match="out of memory"):
        export(filled.backend, tmp_path / "out", Wanted())
    assert [path.name for path in tmp_path.iterdir()] == ["filled"]


def refusal(store: Store, folder: Path) -> str:
    before = contents(store)
    with pytest.raises(StoreError) as caught:
        import_(store.backend, folder)
    assert contents(store) == before
    return str(caught.value)


def test_what_is_no_export_is_refused_whole(exported, tmp_path: Path) -> None:
    folder, *_ = exported
    evidence, manifest = folder / "evidence.parquet", (folder / MANIFEST).read_bytes()
    whole = pq.read_table(evidence)
    with Store(tmp_path / "other") as store:
        assert "manifest.json: cannot be read: No such file" in refusal(store, tmp_path)
        pq.write_table(whole.drop_columns(["mde"]), evidence)
        assert refusal(store, folder) == f"{evidence}: other columns than those of this holdfast: mde"
        pq.write_table(whole.slice(1), evidence)
        assert f"{evidence}: found 27 rows; the manifest says 28" in refusal(store, folder)
        evidence.write_bytes(b"PAR1")
        assert f"{evidence}: cannot be read: " in refusal(store, folder)
        evidence.unlink()
        assert f"{evidence}: cannot be read: " in refusal(store, folder)
        (folder / MANIFEST).write_bytes(b"{}")
        assert "not the manifest of an export: " in refusal(store, folder)
        other = msgspec.json.decode(manifest) | {"checksum": "0123456789abcdef"}
        (folder / MANIFEST).write_bytes(msgspec.json.encode(other))
        assert "has schema version 3 (0123456789abcdef), and this holdfast has schema version 3 (" in refusal(
            store, folder
        )
        other = msgspec.json.decode(manifest) | {"rows": {"scores": 1}}
        (folder / MANIFEST).write_bytes(msgspec.json.encode(other))
        assert "rows: found scores; allowed: cohort_ticks, evidence" in refusal(store, folder)


# ---------------------------------------------------------------- what is there


def test_a_store_is_counted_and_measured(filled: Store) -> None:
    found = info(filled.backend, "embedded")
    tables = {each.table: each for each in found.tables}
    assert {name: tables[name].rows for name in ROWS} == {name: count(filled, name) for name in ROWS}
    evidence = tables["evidence"]
    assert evidence.oldest == STARTED
    assert evidence.newest == datetime(2026, 3, 12, 11, 23, 10, tzinfo=UTC)
    assert evidence.bytes_per_row == round(evidence.bytes_on_disk / evidence.rows_on_disk, 2)
    assert (tables["rollouts"].oldest, evidence.kept) == (None, "")
    assert {each.source for each in found.sources} == {"replay:a", "replay:b", "live", "v/0", "r/0", "d/0", "a/0"}
    assert next(each.rows for each in found.sources if each.source == "v/0") == 2
