"""A rollout that has finished takes no room, and nobody reads its journal again."""

from datetime import timedelta

import msgspec
import numpy as np
import pytest

from holdfast.live.settings import load_settings
from rollouts.announced import with_event
from streams.live.resuming import Resumption
from tests.live.engine import announced, end_of, feed, make_engine, make_recording
from tests.live.late import aggregating, another


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory):
    recording = make_recording(tmp_path_factory.mktemp("finished"))
    announcement = with_event(announced(recording), "finished", None, end_of(recording))
    engine = make_engine(load_settings(None, {"HOLDFAST_WORKER": "test"}), [announcement])
    feed(engine, recording)
    engine.run(np.random.default_rng(1))
    return engine, announcement.rollout.rollout


def judged(engine, name):
    return engine.judge.step._judged[name]


def test_what_it_took_is_let_go_of(finished):
    engine, name = finished
    live = judged(engine, name).live
    assert (live.is_finished, live.judge, live.assembly.keys) == (True, None, ())


def test_after_a_restart_its_journal_is_not_read_again(finished):
    engine, name = finished
    committed = dict(engine.broker.committed)
    engine.judge.kill()
    assert isinstance(judged(engine, name).resumption, Resumption)
    assert all(
        engine.judge.at[topic, number] == place.offset
        for (group, topic, number), place in committed.items()
        if group == "judge"
    )


def test_its_last_word_says_that_it_is_the_last(finished):
    engine, name = finished
    topic = engine.settings.topics.verdicts
    said = [
        record for number in range(2) for record in engine.broker.logs[topic, number] if record.key == name.encode()
    ]
    assert b'"finished":true' in (said[-1].value or b"")


@pytest.mark.parametrize("is_killed", [False, True])
def test_it_stays_over_when_another_rollout_is_announced_after_a_time_without_any(tmp_path, is_killed):
    recording = make_recording(tmp_path / "bots", live_ticks=20)
    mine = with_event(announced(recording), "finished", None, end_of(recording))
    engine = make_engine(load_settings(None, {"HOLDFAST_WORKER": "test"}), [mine])
    feed(engine, recording)
    rng = np.random.default_rng(1)
    engine.run(rng)
    before = [header for header, *_ in engine.headers() if header.rollout == mine.rollout.rollout]
    assert aggregating(engine)._framing.open == set()
    if is_killed:
        engine.aggregate.kill()
    engine.told.announce(another(announced(recording)))
    engine.run(rng)
    after = [header for header, *_ in engine.headers()]
    assert [header for header in after if header.rollout == mine.rollout.rollout] == before
    assert any(header.rollout == "another" for header in after)


def moved(announcement, days):
    """Have a rollout be over some days before or after it would have been."""
    plan = announcement.rollout
    begun = msgspec.structs.replace(plan, started=plan.started + timedelta(days=days))
    return with_event(
        msgspec.structs.replace(announcement, rollout=begun), "finished", None, begun.started + timedelta(minutes=30)
    )


@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize("kills", [0, 6])
def test_of_what_was_over_before_anything_was_summed_up_it_is_said_that_none_was_judged(tmp_path, is_late, kills):
    recording = make_recording(tmp_path / "bots", live_ticks=20)
    mine = moved(announced(recording), -1)
    name = mine.rollout.rollout
    running = another(announced(recording))
    engine = make_engine(load_settings(None, {"HOLDFAST_WORKER": "test"}), [running] if is_late else [running, mine])
    feed(engine, recording)
    rng = np.random.default_rng(1)
    engine.run(rng, 0 if is_late else kills)
    if is_late:
        engine.told.announce(mine)
        engine.run(rng, kills)
    (verdict,) = engine.verdicts(name)
    assert (verdict.data.action, verdict.data.cause, verdict.data.sequence) == ("wait", "data", 1)
    assert [why.metric for why in verdict.data.abstained] == [metric.name for metric in mine.policy.metrics]
    assert "none of it was judged" in verdict.data.abstained[0].why
    assert engine.judged_again(name) == [verdict]
    topic = engine.settings.topics.verdicts
    said = [
        record for number in range(2) for record in engine.broker.logs[topic, number] if record.key == name.encode()
    ]
    assert b'"finished":true' in (said[-1].value or b"")
    engine.judge.kill()
    engine.run(rng)
    assert engine.verdicts(name) == [verdict]


def test_what_was_judged_to_its_end_is_not_said_to_be_unjudged(finished):
    engine, name = finished
    assert {header.kind for header, *_ in engine.headers() if header.rollout == name} == {"tick", "idle"}
    assert all(verdict.data.cause != "data" for verdict in engine.verdicts(name))
