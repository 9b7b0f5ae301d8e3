"""Rows in the store, on the real engine. chdb takes one folder at a time: each test closes what it opened."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from sinks import cloudevents, staging
from sinks.engine import Engine
from sinks.schema import ROWS
from sinks.store import Store, StoreError
from streams.records import COHORT_TICKS, EVIDENCE, Sink
from tests.replays import (
    DOCUMENT,
    POLICY,
    START_MS,
    begin,
    bits,
    contents,
    count,
    evidence,
    python,
    replay,
    ticks,
    verdict,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


# ---------------------------------------------------------------- rows go in and come out


def test_the_columns_are_those_of_the_judges_records(store: Store) -> None:
    for name, records in (("cohort_ticks", COHORT_TICKS), ("evidence", EVIDENCE)):
        added = [field for field in ROWS[name].names if field not in {"source", "version"}]
        assert added == records.names
    for name, rows in ROWS.items():
        described = store.arrow(f"DESCRIBE TABLE holdfast.{name}")
        columns = zip(described["name"].to_pylist(), described["default_type"].to_pylist(), strict=True)
        assert [column for column, default in columns if default != "ALIAS"] == rows.names


def test_a_replay_sink_is_a_sink(store: Store) -> None:
    sink: Sink = begin(store)
    sink.evidence(evidence())


def test_floats_come_back_bit_for_bit(store: Store) -> None:
    awkward = [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1e308, 0.1 + 0.2, 1 / 3]
    written = evidence(len(awkward))
    for name in ("effect", "lower", "upper", "log_e", "mde", "information"):
        at = written.schema.get_field_index(name)
        written = written.set_column(at, EVIDENCE.field(name), pa.array(awkward))
    with begin(store) as sink:
        sink.evidence(written)
        sink.commit()
    read = store.arrow("SELECT * FROM evidence ORDER BY time")
    for name in ("effect", "lower", "upper", "log_e", "mde", "information"):
        assert bits(read, name) == bits(written, name)
    assert read["time"].equals(written["time"])


def test_rows_of_every_kind_come_back_as_they_went_in(store: Store) -> None:
    replay(store, count=5)
    assert store.arrow("SELECT * EXCEPT (source, version) FROM cohort_ticks").equals(
        ticks(5).cast(pa.schema([field.with_nullable(False) for field in COHORT_TICKS]))
    )
    written = evidence(5).cast(pa.schema([field.with_nullable(False) for field in EVIDENCE]))
    assert store.arrow("SELECT * EXCEPT (source, version) FROM evidence").equals(written)
    row = store.arrow("SELECT * FROM verdicts WHERE sequence = 2").to_pylist()[0]
    event = cloudevents.decode(row["body"].encode())
    assert event == cloudevents.verdict_event("bot-0312", START_MS + 20_000, verdict(2))
    assert row["id"] == event.id
    assert row["time"] == datetime(2026, 3, 12, 11, 20, 20, tzinfo=UTC)
    assert (row["colos"], row["metrics"], row["binding"]) == (["ams01", "fra02"], ["errors"], True)
    assert (row["action"], row["cause"], row["stage"]) == ("revert", "evidence", "canary")


def test_the_rollout_is_kept_with_its_policy(store: Store) -> None:
    replay(store)
    row = store.arrow("SELECT * FROM rollouts").to_pylist()[0]
    assert row["started"] == datetime(2026, 3, 12, 11, 20, tzinfo=UTC)
    assert row["recorded"] == datetime(2026, 3, 12, 11, 20, 30, tzinfo=UTC)
    assert (row["policy"], row["mode"], row["policy_digest"]) == ("edge-http", "enforce", "sha256:1")
    assert (row["document"], row["policy_document"]) == (DOCUMENT.decode(), POLICY.decode())


def test_null_becomes_nan_and_not_zero(store: Store) -> None:
    written = evidence(2)
    written = written.set_column(7, EVIDENCE.field("effect"), pa.array([None, 1.0]))
    written = written.set_column(6, EVIDENCE.field("place"), pa.array([None, "ams01"]))
    with begin(store) as sink:
        sink.evidence(written)
        sink.commit()
    assert store.query("SELECT isNaN(effect), place FROM evidence ORDER BY time", "CSV") == b'1,""\n0,"ams01"\n'


def test_names_may_hold_any_character(store: Store) -> None:
    names = ["métrique-ü", "メトリック", 'it\'s \\ \t\n"quoted" {x:y} %s', "🚀" * 50]
    with begin(store, source="replay:Größe 'x' \\ \t 🚀") as sink:
        for name in names:
            table = evidence(1)
            sink.evidence(table.set_column(3, EVIDENCE.field("metric"), pa.array([name])))
        sink.commit()
    assert sorted(store.arrow("SELECT metric FROM evidence")["metric"].to_pylist()) == sorted(names)
    replay(store, source="replay:Größe 'x' \\ \t 🚀")
    assert store.arrow("SELECT DISTINCT metric FROM evidence")["metric"].to_pylist() == ["errors"]


def test_a_folder_may_have_any_name_but_one_with_a_question_mark(tmp_path: Path) -> None:
    folder = tmp_path / "Größe #1 {a,b}* 100%20 & 'x'"
    with Store(folder) as store:
        replay(store)
        assert count(store, "evidence") == 3
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    with pytest.raises(StoreError, match=r"takes no '\?' in a path"):
        Store(tmp_path / "what?")


def test_empty_tables_and_an_empty_replay_are_fine(store: Store) -> None:
    with begin(store) as sink:
        sink.evidence(EVIDENCE.empty_table())
        sink.cohort_ticks(COHORT_TICKS.empty_table())
        sink.commit()
    assert [count(store, name) for name in ("cohort_ticks", "evidence", "verdicts", "rollouts")] == [
        0,
        0,
        0,
        1,
    ]
    answer = store.arrow("SELECT metric, effect FROM evidence")
    assert (answer.num_rows, answer.column_names) == (0, ["metric", "effect"])


def test_rows_are_cut_into_batches_and_none_is_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "BATCH_ROWS", 7)
    monkeypatch.setattr(staging, "_VERDICTS_MAX", 2)
    written = evidence(100)
    with begin(store) as sink:
        for start, end in ((0, 1), (1, 6), (6, 8), (8, 50), (50, 100)):
            sink.evidence(written.slice(start, end - start))
        for sequence in range(1, 6):
            sink.verdict("bot-0312", START_MS + sequence, verdict(sequence))
        sink.commit()
    assert bits(store.arrow("SELECT * FROM evidence ORDER BY time"), "effect") == bits(written, "effect")
    assert store.query("SELECT groupArray(sequence) FROM verdicts", "CSV") == b'"[1,2,3,4,5]"\n'


def test_rows_outlive_the_process(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        replay(store)
        before = contents(store)
    with Store(tmp_path) as store:
        assert contents(store) == before


# ---------------------------------------------------------------- whole or not at all, once and not twice


def test_the_same_replay_twice_leaves_the_same_rows(store: Store) -> None:
    replay(store)
    before = contents(store)
    replay(store)
    assert contents(store) == before
    assert count(store, "verdicts") == 3


def test_a_row_inserted_twice_is_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "BATCH_ROWS", 3)  # each batch is an insert, and so a part, of its own
    with begin(store) as sink:
        sink.evidence(pa.concat_tables([evidence(), evidence()]))
        sink.commit()
        assert count(store, "evidence") == 3
        assert store.query("SELECT count() FROM (SELECT DISTINCT time FROM evidence)", "CSV") == b"3\n"


def test_a_replay_replaces_what_its_source_had_and_nothing_else(store: Store) -> None:
    replay(store, count=5)
    replay(store, count=4, source="replay:b")
    replay(store, count=2, seed=7)
    assert count(store, "evidence") == 6
    mine = store.arrow("SELECT * FROM evidence WHERE source = 'replay:a' ORDER BY time")
    assert bits(mine, "effect") == bits(evidence(2, seed=7), "effect")
    assert store.query("SELECT source, count() FROM verdicts GROUP BY source ORDER BY source", "CSV") == (
        b'"replay:a",2\n"replay:b",4\n'
    )


def test_nothing_is_visible_before_commit(store: Store) -> None:
    with begin(store) as sink:
        sink.evidence(evidence())
        assert count(store, "evidence") == 0
        sink.commit()
        assert count(store, "evidence") == 3


def test_a_failure_half_way_leaves_what_was_there_before(store: Store, tmp_path: Path) -> None:
    replay(store)
    before = contents(store)
    with pytest.raises(ZeroDivisionError), begin(store) as sink:  # noqa: PT012 - it must fail half-way
        sink.evidence(evidence(50, seed=9))
        sink.verdict("bot-0312", START_MS, verdict())
        raise ZeroDivisionError
    assert contents(store) == before
    assert list((tmp_path / "store" / "staging").iterdir()) == []


def test_a_sink_takes_nothing_after_its_end(store: Store) -> None:
    with begin(store) as sink:
        sink.commit()
    with pytest.raises(StoreError, match="closed"):
        sink.evidence(evidence())
    sink.abort()
    assert count(store, "rollouts") == 1


def test_a_process_killed_before_commit_leaves_nothing(tmp_path: Path) -> None:
    killed = python(
        """
        import os, sys
        from pathlib import Path
        from tests import replays
        from sinks import staging
        from sinks.store import Store

        staging.BATCH_ROWS = 10
        sink = replays.begin(Store(Path(sys.argv[1])))
        sink.evidence(replays.evidence(100))
        os.kill(os.getpid(), 9)
        """,
        tmp_path,
    )
    assert killed.returncode == -9, killed.stderr
    assert any((tmp_path / "staging").iterdir())
    with Store(tmp_path) as store:
        assert [count(store, name) for name in ROWS] == [0] * len(ROWS)
    assert list((tmp_path / "staging").iterdir()) == []


def test_a_process_killed_during_commit_is_completed_by_the_next(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        replay(store, count=5)
    killed = python(
        """
        import os, sys
        from pathlib import Path
        from tests import replays
        from sinks.engine import Engine
        from sinks.store import Store

        insert = Engine.insert

        def insert_and_die(self, table, *rest):
            insert(self, table, *rest)
            if table == "evidence":
                os.kill(os.getpid(), 9)

        Engine.insert = insert_and_die
        replays.replay(Store(Path(sys.argv[1])), seed=7, count=4)
        """,
        tmp_path,
    )
    assert killed.returncode == -9, killed.stderr
    with Store(tmp_path) as store:
        assert {name: count(store, name) for name in ("cohort_ticks", "evidence", "verdicts", "rollouts")} == {
            "cohort_ticks": 4,
            "evidence": 4,
            "verdicts": 4,
            "rollouts": 1,
        }
        read = store.arrow("SELECT * FROM evidence ORDER BY time")
    assert bits(read, "effect") == bits(evidence(4, seed=7), "effect")


def test_a_commit_that_the_engine_refuses_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        message = "no space left"
        raise StoreError(message)

    with Store(tmp_path) as store, monkeypatch.context() as patch:
        patch.setattr(Engine, "insert", refuse)
        with pytest.raises(StoreError, match=r"no space left.*tried again"):
            replay(store)
    with Store(tmp_path) as store:
        assert count(store, "evidence") == 3
