"""A store from whatever version to the newest one, on the real engine."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sinks import schema
from sinks.engine import Engine
from sinks.errors import StoreError
from sinks.live_rows import complete
from sinks.migrations import migrate, pending, versions
from sinks.retention import keep, ttls
from sinks.schema import DATABASE, FOUNDATION, STEPS, Place, Step, checksums
from sinks.store import Store
from tests.replays import contents, count, evidence, replay, views

NEWEST = max(checksums())


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = Engine(tmp_path / "clickhouse")
    yield opened
    opened.close()


def made_with_version_1(engine: Engine) -> None:
    """Make a store as the first release made it, with its statements."""
    for statement in (*FOUNDATION, *(step.statement for step in STEPS if step.version == 1)):
        engine.run(statement)
    engine.run(f"INSERT INTO holdfast.schema_version VALUES (1, '{checksums()[1]}')")


def objects(engine: Engine) -> list[tuple[object, ...]]:
    return engine.select(
        f"SELECT name, create_table_query FROM system.tables WHERE database = '{DATABASE}' ORDER BY name"
    )


class BrokenOff:
    """Runs so many statements, and ends the process at the next."""

    def __init__(self, run: Callable[[str], None], left: int) -> None:
        self._run, self._left = run, left

    def __call__(self, statement: str) -> None:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        self._run(statement)


# ---------------------------------------------------------------- to the newest version


def test_the_first_versions_are_what_was_released() -> None:
    assert (checksums()[1], checksums()[2]) == ("630d1e5da2f7b4ea", "6b0761aaec096b2a")


def test_a_new_store_gets_every_version(engine: Engine) -> None:
    assert versions(engine) == {}
    assert migrate(engine) == list(checksums())
    assert versions(engine) == checksums()
    assert {name for name, _ in objects(engine)} >= {*schema.ROWS, *schema.DERIVED, "health", "heat", "current"}


def test_a_store_of_the_newest_version_is_left_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(engine)
    ran: list[str] = []
    monkeypatch.setattr(engine, "run", ran.append)
    assert (migrate(engine), pending(engine), ran) == ([], [], [])


def test_a_store_of_the_first_version_keeps_its_rows_and_the_views_show_them(tmp_path: Path) -> None:
    with Store(tmp_path / "new") as store:
        replay(store, count=12)
        wanted, shown = contents(store), views(store)
    folder = tmp_path / "old"
    folder.mkdir()
    old = Engine(folder / "clickhouse")
    made_with_version_1(old)
    first = ("cohort_ticks", "evidence", "verdicts", "rollouts")
    for name in first:
        old.insert(name, wanted[name])
    old.close()
    with Store(folder) as store:
        assert {name: contents(store)[name] for name in first} == {name: wanted[name] for name in first}
        assert count(store, "ticks") == 0
        assert views(store) == shown
        assert shown["health"].num_rows


def test_what_would_be_run_is_told_and_nothing_is_done(engine: Engine) -> None:
    made_with_version_1(engine)
    before = objects(engine)
    assert len(pending(engine)) == sum(step.version > 1 for step in STEPS)
    assert (objects(engine), versions(engine)) == (before, {1: checksums()[1]})


def breaks() -> Iterator[int]:
    """Name the statements that a migration may end before: the first, a middle one, and the row of each version."""
    yield 0
    at = len(FOUNDATION)
    for version in checksums():
        row = at + sum(step.version == version for step in STEPS)
        yield from sorted({at, (at + row) // 2, row})
        at = row + 1


ALL_BREAKS = range(len(FOUNDATION) + len(STEPS) + len(checksums()))


@pytest.mark.parametrize(
    "points", [pytest.param(list(breaks()), id="some"), pytest.param(ALL_BREAKS, id="all", marks=pytest.mark.slow)]
)
def test_a_migration_that_is_broken_off_between_any_two_statements_is_completed(
    points: Sequence[int], tmp_path: Path
) -> None:
    whole = Engine(tmp_path / "whole")
    migrate(whole)
    wanted = objects(whole)
    whole.close()
    engine = Engine(tmp_path / "broken")
    for last in points:
        engine.run(f"DROP DATABASE IF EXISTS {DATABASE}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "run", BrokenOff(engine.run, last))
            with pytest.raises(KeyboardInterrupt):
                migrate(engine)
        migrate(engine)
        assert (objects(engine), versions(engine)) == (wanted, checksums())
    engine.close()


def test_several_workers_at_a_time_come_to_the_same_end(engine: Engine) -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            migrate(engine)
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert versions(engine) == checksums()
    engine.insert("evidence", complete("evidence", evidence(3), "replay:a"))
    assert engine.select("SELECT count() FROM holdfast.health") == [(1,)]


def test_several_processes_on_one_folder_come_to_the_same_end(tmp_path: Path) -> None:
    code = "import pathlib, sys; from sinks.store import Store; Store(pathlib.Path(sys.argv[1])).close()"
    started = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(2)]
    for process in started:
        _, said = process.communicate()
        assert process.returncode == 0 or b"in use by another holdfast" in said, said
    with Store(tmp_path) as store:
        assert versions(store.backend) == checksums()


# ---------------------------------------------------------------- what is refused


def test_a_store_of_a_newer_version_is_refused_by_both_names(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.backend.run(f"INSERT INTO holdfast.schema_version VALUES ({NEWEST + 1}, 'fedcba9876543210')")
    with pytest.raises(StoreError) as raised:
        Store(tmp_path)
    assert str(tmp_path) in str(raised.value)
    assert f"has schema version {NEWEST + 1} (fedcba9876543210)" in str(raised.value)
    assert f"this holdfast has schema version {NEWEST} ({checksums()[NEWEST]})" in str(raised.value)


def test_a_changed_statement_of_the_same_version_is_another_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path).close()
    monkeypatch.setattr(schema, "STEPS", STEPS[1:])
    with pytest.raises(StoreError, match=r"schema version 1 \(.*schema version 1 \("):
        Store(tmp_path)


def test_a_store_of_an_older_version_is_brought_to_the_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store(tmp_path) as store:
        replay(store)
    added = Step(NEWEST + 1, "ALTER TABLE holdfast.evidence ADD COLUMN IF NOT EXISTS x Int8")
    for module in (schema, sys.modules["sinks.migrations"]):
        monkeypatch.setattr(module, "STEPS", (*STEPS, added))
    with Store(tmp_path) as store:
        assert store.query("SELECT sum(x), count() FROM evidence", "CSV") == b"0,3\n"
        assert max(versions(store.backend)) == NEWEST + 1


# ---------------------------------------------------------------- how long rows are kept


def test_without_a_setting_rows_are_kept_for_ever(engine: Engine) -> None:
    migrate(engine)
    assert set(ttls(engine).values()) == {""}


def test_a_setting_is_applied_once_and_taken_back_when_it_is_gone(engine: Engine) -> None:
    migrate(engine)
    assert len(keep(engine, {"evidence": 86_400, "health_minutes": 60})) == 2
    assert ttls(engine)["evidence"] == "toDateTime(time) + toIntervalSecond(86400)"
    assert keep(engine, {"evidence": 86_400, "health_minutes": 60}) == []
    assert len(keep(engine, {"evidence": 3_600, "health_minutes": 60})) == 1
    assert versions(engine) == checksums()
    assert migrate(engine) == []
    assert len(keep(engine, {})) == 2
    assert set(ttls(engine).values()) == {""}


def test_rows_that_are_too_old_are_gone(engine: Engine) -> None:
    migrate(engine)
    engine.insert("evidence", complete("evidence", evidence(3), "replay:a"))
    keep(engine, {"evidence": 3_600})
    engine.run("OPTIMIZE TABLE holdfast.evidence FINAL")
    assert engine.select("SELECT count() FROM holdfast.evidence") == [(0,)]
    assert engine.select("SELECT count() FROM holdfast.health") == [(1,)]


def test_what_does_not_grow_old_cannot_be_kept_for_a_time(engine: Engine) -> None:
    migrate(engine)
    with pytest.raises(StoreError, match=r"found rollouts, scores; allowed: cohort_ticks, evidence, verdicts"):
        keep(engine, {"rollouts": 1, "scores": 1})


# ---------------------------------------------------------------- on a cluster, and in another database

ALL = (*FOUNDATION, *(step.statement for step in STEPS))


@pytest.mark.parametrize("place", [Place(), Place("other"), Place("other", "it's one")])
def test_the_engine_can_parse_every_statement_as_it_is_run(engine: Engine, place: Place) -> None:
    placed = [statement for each in ALL if (statement := place.statement(each)) is not None]
    for statement in placed:
        # What is inserted is a select, which is all that can be explained of it.
        engine.run(f"EXPLAIN AST {statement[statement.index('SELECT') :] if 'INSERT' in statement[:7] else statement}")
    assert all(f"{place.database}." in each or "DATABASE" in each for each in placed)


def test_on_a_cluster_every_replica_gets_every_table() -> None:
    place = Place(cluster="prod")
    placed = [statement for each in ALL if (statement := place.statement(each)) is not None]
    for statement in placed:
        assert "ON CLUSTER 'prod'" in statement or statement.startswith("INSERT INTO"), statement
        assert "ENGINE = Replacing" not in statement
        assert "ENGINE = Aggregating" not in statement
    tables = [statement for statement in placed if "CREATE TABLE" in statement]
    assert all("/clickhouse/tables/{shard}/{database}/{table}', '{replica}'" in each for each in tables)
    assert any(
        "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', version)" in each
        for each in tables
    )
    assert not any("non_replicated_deduplication_window" in each for each in placed)
