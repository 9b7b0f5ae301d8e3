"""The past of a rollout that is announced late is read again, and its judge cannot tell that it was late."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pytest
from confluent_kafka import TopicPartition

from holdfast.live.settings import Settings, load_settings
from rollouts.announced import Announcement, replaced, with_event
from streams.live.frames import keys_of, values_of
from tests.live.engine import (
    Engine,
    announced,
    end_of,
    feed,
    later,
    make_engine,
    make_recording,
    replayed,
    with_policy,
)
from tests.live.late import PARTITIONS, Late, accounts, aggregating, another, behind, journal, offsets, short_past

PRE, LIVE = 40, 30
TICKS = PRE + LIVE
VERDICTS = "holdfast.verdicts"


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_recording(
        tmp_path_factory.mktemp("late"), colos=3, hosts=4, pre_ticks=PRE, live_ticks=LIVE, scenario="errors", size=5.0
    )


@pytest.fixture
def settings() -> Settings:
    return load_settings(
        None, {"HOLDFAST_PATIENCE": "30s", "HOLDFAST_CHECKPOINT_TICKS": "10", "HOLDFAST_WORKER": "test"}
    )


@pytest.mark.parametrize("part", [0.6, 1.0])
@pytest.mark.parametrize("kills", [0, 25])
def test_a_late_announcement_gives_the_verdicts_of_a_replay_bit_for_bit(settings, bad, part, kills):
    late = Late(settings, bad, part)
    name = announced(bad).rollout.rollout
    late.engine.told.announce(announced(bad))
    late.poll(3)
    late.grow(1.0)
    engine = late.run(kills)
    expected = replayed(bad)
    assert expected[-1].data.action == "revert"
    assert engine.verdicts(name)[: len(expected)] == expected
    assert engine.judged_again(name) == engine.verdicts(name)
    assert len(journal(engine, name)) == 3 * TICKS
    assert accounts(engine, name) == late.samples
    assert behind(engine) == set()


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_worker_that_dies_after_any_step_of_it_writes_the_same_frames(settings, bad, is_lost):
    def frames(dying: int | None) -> dict[tuple[int, int], bytes]:
        is_over.clear()
        late = Late(settings, bad, 0.5)
        late.engine.told.announce(announcement)
        for step in range(12):
            late.grow(0.5 + step / 30)
            late.engine.now += 0.1
            late.engine.aggregate.poll(late.rng, late.engine.now, is_lost=is_lost and step == dying)
            if step == dying and not is_lost:
                late.engine.aggregate.kill()
            is_over.append(not behind(late.engine))
        late.poll(20, is_judging=False)
        return journal(late.engine, announcement.rollout.rollout)

    announcement = announced(bad)
    is_over: list[bool] = []
    expected = frames(None)
    assert (is_over[0], is_over[-2]) == (False, True)
    assert len(expected) > 90
    for dying in range(12):
        found = frames(dying)
        assert found == {place: expected[place] for place in found}
        assert len(found) > 90


@pytest.mark.parametrize("is_alone", [True, False])
def test_hosts_that_fell_silent_before_it_was_announced_are_missed(settings, tmp_path, is_alone):
    recording = make_recording(tmp_path, colos=3, hosts=4, pre_ticks=PRE, live_ticks=LIVE, scenario="silent")
    mine = announced(recording)
    others = () if is_alone else (another(mine),)
    in_time = Late(settings, recording, 1.0, (*others, mine))
    in_time.wait(250)
    late = Late(settings, recording, 0.8, others)
    late.engine.told.announce(mine)
    late.grow_slowly(0.8)
    late.wait(250)
    found = late.engine.verdicts(mine.rollout.rollout)
    assert found == in_time.engine.verdicts(mine.rollout.rollout)
    assert found[-1].data.action == "halt"


@pytest.mark.parametrize("alpha", [None, 0.02])
def test_beside_another_rollout_it_is_judged_as_if_it_had_been_announced_in_time(settings, bad, alpha, caplog):
    mine = short_past(announced(bad), 30)
    other = another(mine, alpha=alpha)
    in_time = Late(settings, bad, 1.0, (other, mine)).run()
    late = Late(settings, bad, 0.6, (other,))
    late.engine.told.announce(mine)
    late.grow_slowly(0.6)
    engine = late.run(10)
    name = mine.rollout.rollout
    assert engine.verdicts(name) == in_time.verdicts(name)
    assert "does not fit" not in caplog.text  # though frames of partitions that are out of step are read again
    assert engine.judged_again(name) == engine.verdicts(name)
    assert behind(engine) == set()
    assert accounts(engine, name) == late.samples


def test_what_runs_already_has_the_same_sums_at_the_same_time(settings, bad):
    def sums(engine: Engine) -> dict[tuple[int, int], dict[tuple[object, ...], float]]:
        found = {}
        for place, frame in journal(engine, "another").items():
            units: dict[tuple[object, ...], float] = {}
            for key, count in zip(keys_of(frame), values_of(frame)[0].tolist(), strict=True):
                units[key[:3]] = units.get(key[:3], 0.0) + count
            found[place] = units
        return found

    mine = announced(bad)
    other = another(mine)
    alone = Late(settings, bad, 0.6, (other,))
    alone.grow_slowly(0.6)
    late = Late(settings, bad, 0.6, (other,))
    late.engine.told.announce(mine)
    late.grow_slowly(0.6)
    assert late.engine.accounted("another") == alone.engine.accounted("another")
    assert sums(late.engine) == sums(alone.engine)


@pytest.mark.parametrize("is_alone", [True, False])
def test_samples_that_come_late_are_counted_as_if_it_had_been_announced_in_time(settings, bad, is_alone):
    mine = announced(bad)
    others = () if is_alone else (another(mine),)

    def accounted(running: tuple[Announcement, ...], *, is_late: bool) -> tuple[int, Counter[str]]:
        late = Late(settings, bad, 0.0, running)
        late.delay(every=9, by=8)
        late.grow(0.5)
        late.poll(30)
        if is_late:
            late.engine.told.announce(mine)
        late.grow_slowly(0.5)
        return late.run().accounted(mine.rollout.rollout)

    found = accounted(others, is_late=True)
    assert found[1]["late"] > 0
    assert found == accounted((*others, mine), is_late=False)


def test_no_more_is_read_than_the_past_takes(settings, bad, monkeypatch):
    monkeypatch.setattr("streams.live.search._NEAR", 4)
    late = Late(settings, bad)
    mine = short_past(announced(bad), 8)
    name = mine.rollout.rollout
    late.engine.told.announce(mine)
    begun: set[int] = set()
    for _ in range(60):
        late.poll(1)
        begun |= offsets(late.engine)
    engine = late.run()
    in_time = make_engine(settings, [mine])
    feed(in_time, bad)
    in_time.run(np.random.default_rng(2))
    assert min(begun) > 0
    started = min(tick for _, tick in journal(in_time, name)) + PRE
    first = started - 8 - mine.policy.gap_ticks_max
    assert min(tick for _, tick in journal(engine, name)) == first
    assert engine.verdicts(name) == in_time.verdicts(name)
    values = {place: values_of(frame).tolist() for place, frame in journal(in_time, name).items()}
    again = {place: values_of(frame).tolist() for place, frame in journal(engine, name).items()}
    shared = [place for place in values if place[1] >= first]
    assert [again[place] for place in shared] == [values[place] for place in shared]


def test_what_retention_has_deleted_is_not_there_and_the_verdict_stands_on_the_rest(settings, bad):
    late = Late(settings, bad)
    topic = settings.metrics[0].topic
    for number in PARTITIONS:
        late.engine.broker.first[topic, number] = len(late.engine.broker.logs[topic, number]) // 4
    late.engine.told.announce(announced(bad))
    engine = late.run()
    name = announced(bad).rollout.rollout
    assert len(journal(engine, name)) < 3 * (TICKS - 10)
    assert engine.verdicts(name)[-1].data.action in ("halt", "revert")
    assert engine.judged_again(name) == engine.verdicts(name)


def test_a_rollout_that_finishes_while_its_past_is_read_is_judged_to_its_end(settings, bad):
    late = Late(settings, bad)
    mine = announced(bad)
    name = mine.rollout.rollout
    late.engine.told.announce(mine)
    late.read_into(name)
    late.engine.told.announce(with_event(mine, "finished", None, later(end_of(bad).isoformat(), -50)))
    engine = late.run(5)
    assert engine.verdicts(name)[: len(replayed(bad))] == replayed(bad)
    ticks = {tick for _, tick in journal(engine, name)}
    assert len(ticks) == TICKS - 5 == max(ticks) - min(ticks) + 1
    assert name not in aggregating(engine)._framing.open
    said = [record.value or b"" for number in range(2) for record in engine.broker.logs[VERDICTS, number]]
    assert b'"finished":true' in said[-1]


def test_an_announcement_that_changes_while_the_past_is_read_counts_from_then_on(settings, bad):
    late = Late(settings, bad)
    mine = announced(bad)
    stages = [msgspec.structs.replace(stage, started=None) for stage in mine.rollout.stages]
    rollout = msgspec.structs.replace(mine.rollout, stages=stages)
    first = msgspec.structs.replace(mine, rollout=rollout)
    name = rollout.rollout
    late.engine.told.announce(first)
    late.read_into(name)
    late.engine.told.announce(with_event(first, "started", stages[0].name, rollout.started))
    engine = late.run(10)
    expected = replayed(bad)
    assert engine.verdicts(name)[: len(expected)] == expected
    assert {msgspec.json.decode(header.announcement)["version"] for header, *_ in engine.headers()} == {1, 2}


def test_a_rollout_that_gets_another_policy_while_its_past_is_read_has_no_tick_twice(settings, bad):
    late = Late(settings, bad)
    mine = announced(bad)
    late.engine.told.announce(mine)
    late.read_into(mine.rollout.rollout)
    before = journal(late.engine, mine.rollout.rollout)
    policy = msgspec.structs.replace(mine.policy, alpha=0.02)
    late.engine.told.announce(msgspec.structs.replace(with_policy(mine, policy), version=2))
    late.poll(60, is_judging=False)
    after = journal(late.engine, mine.rollout.rollout)
    assert {place: after[place] for place in before} == before
    assert len(after) > 3 * (TICKS - 10)
    assert behind(late.engine) == set()


def test_a_rollout_that_is_withdrawn_is_read_no_further(settings, bad):
    late = Late(settings, bad)
    name = announced(bad).rollout.rollout
    late.engine.told.announce(announced(bad))
    late.read_into(name)
    written = len(journal(late.engine, name))
    late.engine.told.withdraw(name)
    late.poll(20)
    assert len(journal(late.engine, name)) == written
    assert behind(late.engine) == set()


def test_rollouts_that_are_announced_while_a_past_is_read_have_theirs_read_next(settings, bad, monkeypatch):
    monkeypatch.setattr("holdfast.live.past._FRAMES_MAX", 2)
    late = Late(settings, bad)
    mine, other = announced(bad), another(announced(bad), alpha=0.02)
    late.engine.told.announce(mine)
    late.read_into(mine.rollout.rollout)
    late.engine.told.announce(other)
    engine = late.run(10)
    for header, *_ in engine.headers():
        width = sum(1 + len(rollout.stages) for rollout in header.planned)
        assert {len(signature) for signature in header.signatures} <= {width}
    for each in (mine, other):
        assert len(journal(engine, each.rollout.rollout)) >= 3 * (TICKS - 2)
        assert engine.verdicts(each.rollout.rollout)[-1].data.action in ("revert", "halt")


def test_one_that_is_announced_in_time_joins_at_once(settings, bad):
    late = Late(settings, bad, 0.1, (another(announced(bad)),))
    mine = short_past(announced(bad), 15)
    late.engine.told.announce(mine)
    late.poll(1)
    assert behind(late.engine) == set()


def test_after_an_upgrade_what_was_under_way_goes_on_without_its_past_being_read(settings, bad):
    late = Late(settings, bad, 0.6, (announced(bad),))
    committed = late.engine.broker.committed
    for known, place in committed.items():
        if place.topic == settings.metrics[0].topic:
            metadata = msgspec.json.decode(place.metadata or "")
            del metadata["joining"]
            text = msgspec.json.encode(metadata).decode()
            committed[known] = TopicPartition(place.topic, place.partition, place.offset, metadata=text)
    late.engine.aggregate.kill()
    assert behind(late.engine) == set()
    late.grow(1.0)
    engine = late.run()
    name = announced(bad).rollout.rollout
    assert engine.verdicts(name)[: len(replayed(bad))] == replayed(bad)
    assert len(journal(engine, name)) == 3 * TICKS


def test_marks_of_a_past_that_are_too_long_for_an_offset_are_found_in_the_catalogue(settings, bad, monkeypatch):
    monkeypatch.setattr("holdfast.live.catalogue._METADATA_BYTES_MAX", 0)
    late = Late(settings, bad)
    late.engine.told.announce(announced(bad))
    engine = late.run(20)
    name = announced(bad).rollout.rollout
    assert engine.verdicts(name)[: len(replayed(bad))] == replayed(bad)
    assert accounts(engine, name) == late.samples


@pytest.mark.parametrize("kills", [0, 25])
def test_a_policy_that_is_replaced_before_the_start_has_the_rollout_judged_anew(settings, bad, kills):
    first = announced(bad)
    late = Late(settings, bad, 0.4, (first,))
    name = first.rollout.rollout
    assert journal(late.engine, name)
    metrics = list(reversed(first.policy.metrics))  # so that rows are numbered otherwise
    policy = msgspec.structs.replace(first.policy, alpha=0.02, metrics=metrics)
    late.engine.told.announce(replaced(first, first.rollout, policy, datetime(2000, 1, 1, tzinfo=UTC)))
    late.grow_slowly(0.4)
    engine = late.run(kills)
    found = engine.verdicts(name)
    assert found[-1].data.action == "revert"
    assert engine.judged_again(name) == found
    assert len({event.data.policy for event in found}) == 1
    assert accounts(engine, name) == late.samples
