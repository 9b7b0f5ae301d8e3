"""Rows for the store, as messages: small, in pieces, and complete whoever died."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from holdfast.live.clients import MESSAGE_BYTES_MAX
from holdfast.live.rows import Rows
from holdfast.live.settings import Settings, load_settings
from holdfast.recording.folder import load_setting
from holdfast.recording.samples import samples_of
from streams.records import EVIDENCE
from streams.replay import replay
from tests.live.engine import JOURNAL_PARTITIONS, Engine, announced, feed, make_engine, make_recording
from tests.replays import evidence

KEYS = ("time", "stage", "metric", "edge", "colo", "cohort", "level", "place")
Kept = dict[tuple[object, ...], str]


class Memory:
    """A sink that keeps the rows of a replay."""

    def __init__(self) -> None:
        self.tables: dict[str, list[pa.Table]] = {"cohort_ticks": [], "evidence": []}

    def cohort_ticks(self, table: pa.Table) -> None:
        self.tables["cohort_ticks"].append(table)

    def evidence(self, table: pa.Table) -> None:
        self.tables["evidence"].append(table)

    def ticks(self, _table: pa.Table) -> None:
        pass

    def verdict(self, *_: object) -> None:
        pass


def by_key(tables: list[pa.Table]) -> Kept:
    """Return rows by what the store knows them by; the last one of a key counts. NaN are one text, and so are alike."""
    rows: list[dict[str, Any]] = [row for table in tables for row in table.to_pylist()]
    return {tuple(row[name] for name in KEYS if name in row): repr(row) for row in rows}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory):
    return make_recording(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def expected(recording) -> dict[str, Kept]:
    memory = Memory()
    replay(samples_of(recording), load_setting(recording), sink=memory)
    return {table: by_key(tables) for table, tables in memory.tables.items()}


def settings(checkpoint_ticks: int = 7) -> Settings:
    return load_settings(None, {"HOLDFAST_CHECKPOINT_TICKS": str(checkpoint_ticks), "HOLDFAST_WORKER": "test"})


def sent(engine: Engine, partition: int, since: int = 0) -> list[tuple[str, pa.Table]]:
    """Return the messages of rows in a partition, each with the name of its table, from the `since`th record on."""
    records = engine.broker.logs[engine.settings.topics.evidence, partition][since:]
    named = [(dict(record.headers)["table"].decode(), record.value) for record in records]
    return [(name, pa.ipc.open_stream(value).read_all()) for name, value in named if name != "ticks"]


def kept(engine: Engine) -> dict[str, Kept]:
    """Return the rows that a store would have by now, by table."""
    found = [message for number in range(JOURNAL_PARTITIONS) for message in sent(engine, number)]
    return {
        wanted: by_key([table for name, table in found if name == wanted]) for wanted in ("cohort_ticks", "evidence")
    }


def is_all_of(expected: dict[str, Kept], found: dict[str, Kept]) -> bool:
    """Tell whether all rows of a replay are there; a live engine goes on by some ticks when its samples end."""
    return all(rows and {key: found[name].get(key) for key in rows} == rows for name, rows in expected.items())


@pytest.mark.parametrize(("seed", "kills"), [(1, 0), (2, 12), (3, 12), (4, 12)])
def test_rows_are_those_of_a_replay_whoever_died(recording, expected, seed, kills):
    engine = make_engine(settings(), [announced(recording)])
    feed(engine, recording)
    engine.run(np.random.default_rng(seed), kills)
    engine.judge.leave()
    assert is_all_of(expected, kept(engine))


def test_a_judge_that_gives_its_partitions_up_in_between_sends_all_rows_before(recording, expected):
    engine = make_engine(settings(), [announced(recording)])
    feed(engine, recording)
    rng = np.random.default_rng(5)
    for _ in range(60):
        engine.now += 0.1
        engine.aggregate.poll(rng, engine.now)
        engine.judge.poll(rng, engine.now, most=3)
        if rng.random() < 0.3:
            engine.judge.leave()
            engine.judge.kill()
    engine.run(rng)
    engine.judge.leave()
    assert is_all_of(expected, kept(engine))


def test_rows_of_the_last_ticks_go_too_if_no_more_ticks_come(recording, expected):
    engine = make_engine(settings(checkpoint_ticks=1_000), [announced(recording)])
    feed(engine, recording)
    rng = np.random.default_rng(7)
    engine.run(rng)
    assert not is_all_of(expected, kept(engine))
    for _ in range(3):
        engine.now += engine.settings.heartbeat_seconds
        engine.judge.poll(rng, engine.now)
    assert is_all_of(expected, kept(engine))


def test_a_large_number_of_rows_goes_in_pieces_between_which_the_judge_looks_at_what_has_come(recording, monkeypatch):
    monkeypatch.setattr("holdfast.live.judging._ROWS_AT_ONCE", 400)
    monkeypatch.setattr("holdfast.live.judging._PIECE_ROWS", 0)
    monkeypatch.setattr("holdfast.live.rows._ROWS_MAX", 100)
    engine = make_engine(settings(checkpoint_ticks=1_000), [announced(recording)])
    feed(engine, recording)
    rng, number = np.random.default_rng(6), sum(announced(recording).rollout.rollout.encode()) % JOURNAL_PARTITIONS
    for _ in range(60):  # the judge comes to nothing yet
        engine.now += 0.1
        engine.aggregate.poll(rng, engine.now)
    evidence_log, checkpoint_log = (
        (engine.settings.topics.evidence, number),
        (engine.settings.topics.checkpoints, number),
    )
    sizes, logs = [], engine.broker.logs
    for _ in range(300):
        engine.now += 0.1
        since, written = len(logs[evidence_log]), len(logs[checkpoint_log])
        engine.judge.poll(rng, engine.now, most=2)
        if len(logs[checkpoint_log]) == written:  # the first one does not wait for a quiet moment
            sizes.append(sum(table.num_rows for _, table in sent(engine, number, since)))
    assert sum(size > 0 for size in sizes) > 5
    assert max(sizes) <= 400 + 100


def test_rows_are_cut_into_messages_that_a_broker_takes_and_none_is_lost():
    rows = Rows()
    table = pa.concat_tables([evidence(ticks=500, seed=seed) for seed in range(100)]).select(EVIDENCE.names)
    rows.evidence(table)
    assert rows.count == table.num_rows
    found = list(rows.taken())
    assert len(found) > 1
    assert all(kind == "evidence" and len(value) < MESSAGE_BYTES_MAX // 2 for kind, value in found)
    assert pa.concat_tables([pa.ipc.open_stream(value).read_all() for _, value in found]).equals(table)
    assert list(rows.taken()) == []
    assert rows.count == 0


def test_small_tables_go_together_and_what_was_not_taken_is_still_there():
    rows = Rows()
    tables = [evidence(ticks=30, seed=seed).select(EVIDENCE.names) for seed in range(3)]
    for table in tables:
        rows.evidence(table)
        rows.cohort_ticks(table)
    (kind, value) = next(rows.taken())
    assert kind == "cohort_ticks"
    assert pa.ipc.open_stream(value).read_all().equals(pa.concat_tables(tables))
    assert rows.count == sum(table.num_rows for table in tables)
    assert [kind for kind, _ in rows.taken()] == ["evidence"]
