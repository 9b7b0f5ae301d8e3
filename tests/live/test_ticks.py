"""What came for each tick, as rows on the evidence topic: once, whoever died, and without the rest of the evidence."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from holdfast.live.settings import Settings, load_settings
from holdfast.recording.folder import load_setting
from holdfast.recording.samples import samples_of
from streams.records import TICKS
from streams.replay import replay
from tests.live.engine import Engine, announced, feed, make_engine, make_recording


class Kept:
    """A sink that keeps the ticks of a replay."""

    def __init__(self) -> None:
        self.table = TICKS.empty_table()

    def ticks(self, table: pa.Table) -> None:
        self.table = table

    def cohort_ticks(self, table: pa.Table) -> None:
        pass

    def evidence(self, table: pa.Table) -> None:
        pass

    def verdict(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory):
    return make_recording(tmp_path_factory.mktemp("ticks"))


def settings(**variables: str) -> Settings:
    return load_settings(None, {"HOLDFAST_CHECKPOINT_TICKS": "10", "HOLDFAST_WORKER": "test", **variables})


def run(settings: Settings, recording, kills: int = 0) -> Engine:
    engine = make_engine(settings, [announced(recording)])
    feed(engine, recording)
    engine.run(np.random.default_rng(4), kills)
    return engine


def ticks(engine: Engine):
    topic = engine.settings.topics.evidence
    records = [record for number in range(2) for record in engine.broker.logs[topic, number]]
    found = [
        pa.ipc.open_stream(record.value).read_all() for record in records if dict(record.headers)["table"] == b"ticks"
    ]
    assert all(table.schema == TICKS for table in found)
    return pa.concat_tables(found).to_pylist()


def test_every_tick_is_told_of_once_whoever_died(recording):
    engine = run(settings(), recording, kills=20)
    rows = ticks(engine)
    assert set(Counter(row["time"] for row in rows).values()) == {1}
    dropped: Counter[str] = Counter()
    for row in rows:
        dropped.update(dict(zip(row["reasons"], row["dropped"], strict=True)))
    assert (sum(row["samples"] for row in rows), dropped) == engine.accounted(announced(recording).rollout.rollout)


def test_they_come_without_evidence_too(recording):
    engine = run(settings(HOLDFAST_EVIDENCE="false"), recording)
    assert len([row for row in ticks(engine) if row["is_live"]]) >= 60
    topic = engine.settings.topics.evidence
    tables = {dict(record.headers)["table"] for number in range(2) for record in engine.broker.logs[topic, number]}
    assert tables == {b"ticks"}


def test_a_replay_tells_of_the_same_samples(recording):
    kept = Kept()
    result = replay(samples_of(recording), load_setting(recording), sink=kept)
    live = {row["time"]: row["samples"] for row in ticks(run(settings(), recording)) if row["is_live"]}
    told = {row["time"]: row["samples"] for row in kept.table.to_pylist()}
    assert len(told) == result.ticks
    assert {time: live[time] for time in told} == told
    assert all(kept.table["is_live"].to_pylist())
