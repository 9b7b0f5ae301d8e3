"""The live engine over a simulated broker, held against a replay of the same samples."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from holdfast.live.settings import Settings, load_settings
from tests.live.engine import Engine, announced, feed, make_engine, make_recording, replayed


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(tmp_path_factory.mktemp("bad"), scenario="errors", size=3.0, onset_ticks=10)


@pytest.fixture
def settings() -> Settings:
    return load_settings(
        None, {"HOLDFAST_PATIENCE": "30s", "HOLDFAST_CHECKPOINT_TICKS": "10", "HOLDFAST_WORKER": "test"}
    )


def run(settings: Settings, recording: Path, seed: int, kills: int = 0) -> tuple[Engine, int]:
    engine = make_engine(settings, [announced(recording)])
    samples = feed(engine, recording)
    engine.run(np.random.default_rng(seed), kills)
    return engine, samples


@pytest.mark.parametrize("seed", [1, 2])
def test_live_verdicts_are_those_of_a_replay_bit_for_bit(settings, bad, seed):
    engine, _ = run(settings, bad, seed)
    name = announced(bad).rollout.rollout
    expected = replayed(bad)
    assert expected[-1].data.action == "revert"
    assert engine.verdicts(name)[: len(expected)] == expected


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_workers_that_die_at_random_change_nothing(settings, bad, seed):
    engine, _ = run(settings, bad, seed, kills=20)
    name = announced(bad).rollout.rollout
    expected = replayed(bad)
    assert engine.verdicts(name)[: len(expected)] == expected
    assert engine.judged_again(name) == engine.verdicts(name)


def test_every_cohort_tick_is_there_once_and_every_sample_is_accounted_for(settings, bad):
    engine, samples = run(settings, bad, 1, kills=20)
    name = announced(bad).rollout.rollout
    ticks: Counter[tuple[int, int]] = Counter(
        (header.partition, header.tick) for header, *_ in engine.headers() if header.kind == "tick"
    )
    assert set(ticks.values()) == {1}
    in_ticks, dropped = engine.accounted(name)
    assert in_ticks + sum(dropped.values()) == samples


def test_marks_that_are_too_long_for_an_offset_are_found_in_the_catalogue(settings, bad, monkeypatch):
    monkeypatch.setattr("holdfast.live.catalogue._METADATA_BYTES_MAX", 0)
    engine, samples = run(settings, bad, 2, kills=10)
    name = announced(bad).rollout.rollout
    expected = replayed(bad)
    assert engine.verdicts(name)[: len(expected)] == expected
    in_ticks, dropped = engine.accounted(name)
    assert in_ticks + sum(dropped.values()) == samples


def test_after_an_upgrade_the_journal_is_judged_again_and_verdicts_are_numbered_on(settings, bad, monkeypatch):
    engine = make_engine(settings, [announced(bad)])
    feed(engine, bad)
    rng = np.random.default_rng(3)
    name = announced(bad).rollout.rollout
    now = 0.0
    while not engine.verdicts(name):
        now += 0.1
        engine.aggregate.poll(rng, now)
        engine.judge.poll(rng, now)
    monkeypatch.setattr("holdfast.live.judging.ENGINE", "holdfast/9.9.9")
    engine.judge.kill()
    engine.run(rng)
    found = [event.data for event in engine.verdicts(name)]
    assert [each.sequence for each in found] == list(range(1, len(found) + 1))
    assert (found[0].engine, found[-1].engine) == (replayed(bad)[0].data.engine, "holdfast/9.9.9")
    assert found[-1].action == "revert"
