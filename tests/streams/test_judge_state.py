"""A judge that is interrupted goes on bit for bit, or refuses to."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.checks import same_bits
from detectors.errors import StateMismatch
from detectors.state import State
from streams.cohorts import CohortTicks
from streams.judge import Judge, Judged
from streams.live.checkpoint import decode, encode
from streams.plan import Plan
from tests.streams.judging import (
    COLOS,
    JUDGES,
    LONG_PAST,
    PAST,
    STAGES,
    START,
    TABLE,
    Harm,
    cut,
    keys_of,
    later,
    plan_of,
    pushed,
    ticks_of,
    told,
)

FIRST, STOP = START - PAST, START + 56
KEYS = keys_of(COLOS[:3])
SECOND = START + 40
CALM, EARLY, LATE = Harm(), Harm(START + 4), Harm(SECOND + 2, stage=1)
TROUBLE = {START + 10: "clocks disagree", START + 3: "clocks disagree", FIRST + 20: "a colo comes from two partitions"}


def whole(harm: Harm = CALM, past: int = PAST) -> CohortTicks:
    return ticks_of(START - past, STOP, KEYS, harm=harm)


@cache
def undisturbed(judge: str, harm: Harm, past: int) -> tuple[list[Judged], State]:
    one = Judge(plan_of(judge=judge, past=past))
    return pushed(one, whole(harm, past), trouble=TROUBLE), one.snapshot()


def resumed(plan: Plan, judge: Judge, ticks: CohortTicks, **more: Any) -> Judge:
    """Send a judge's state through messages, and go on with another judge."""
    assert judge.next_tick is not None
    blocks = encode(judge.snapshot(), judge.next_tick - 1)
    needed = ticks.between(max(judge.needs_from, ticks.first), judge.next_tick)
    return Judge.resumed(plan, decode(blocks[::-1]), cut(needed, needed.first + 7), **more)


AT = {
    "before the first stage": START - 9,
    "at its start": START,
    "after one tick": START + 1,
    "amid it": START + 9,
    "after a stop": START + 20,
    "at the start of the second": SECOND,
    "amid the second": SECOND + 6,
}


@pytest.mark.parametrize("at", AT.values(), ids=AT)
@pytest.mark.parametrize("harm", [CALM, EARLY, LATE], ids=["calm", "harm in the first stage", "harm in the second"])
@pytest.mark.parametrize("kind", JUDGES)
def test_a_judge_that_is_resumed_goes_on_bit_for_bit(kind: str, harm: Harm, at: int) -> None:
    expected, end = undisturbed(kind, harm, PAST)
    first, second = cut(whole(harm), at)
    one = Judge(plan_of(judge=kind))
    before = pushed(one, first, trouble=TROUBLE)
    other = resumed(plan_of(judge=kind), one, first)
    assert same_bits(other.snapshot(), one.snapshot())
    after = pushed(other, second, trouble=TROUBLE)
    assert told(before + after) == told(expected)
    assert same_bits(other.snapshot(), end)


@pytest.mark.parametrize("at", [START, START + 5, SECOND + 3])
def test_a_judge_with_a_long_past_goes_on_bit_for_bit(at: int) -> None:
    expected, end = undisturbed("sequential", LATE, LONG_PAST)
    first, second = cut(whole(LATE, LONG_PAST), at)
    plan = plan_of(past=LONG_PAST)
    one = Judge(plan)
    before = pushed(one, first, trouble=TROUBLE)
    other = resumed(plan, one, first)
    assert told(before + pushed(other, second, trouble=TROUBLE)) == told(expected)
    assert same_bits(other.snapshot(), end)


def test_the_runs_that_are_interrupted_say_different_things() -> None:
    said = [told(undisturbed(kind, harm, PAST)[0]) for kind in JUDGES for harm in (CALM, EARLY, LATE)]
    assert len({repr([body for _, _, body in one if body]) for one in said}) == len(said)


def test_a_judge_can_be_resumed_at_every_tick_one_after_the_other() -> None:
    expected, end = undisturbed("sequential", EARLY, PAST)
    plan, ticks = plan_of(), whole(EARLY)
    one, judged = Judge(plan), []
    for at in range(START - 2, STOP, 3):
        (block,) = cut(ticks.between(at if one.next_tick else FIRST, min(at + 3, STOP)))
        judged += pushed(one, block, trouble=TROUBLE)
        one = resumed(plan, one, ticks)
    assert told(judged) == told(expected)
    assert same_bits(one.snapshot(), end)


def test_a_judge_that_has_seen_nothing_is_resumed_as_such() -> None:
    one = Judge(plan_of())
    other = Judge.resumed(plan_of(), one.snapshot(), [])
    assert told(pushed(other, whole(), trouble=TROUBLE)) == told(undisturbed("sequential", CALM, PAST)[0])


def test_a_stage_without_a_past_is_resumed() -> None:
    ticks = ticks_of(START, STOP, KEYS)
    expected = pushed(Judge(plan_of()), ticks)
    first, second = cut(ticks, START + 9)
    one = Judge(plan_of())
    before = pushed(one, first)
    assert told(before + pushed(resumed(plan_of(), one, first), second)) == told(expected)


def test_a_stage_that_is_remembered_no_longer_is_resumed_on_its_past() -> None:
    ticks = whole(LATE)
    expected = pushed(Judge(plan_of(), live_ticks_max=4), ticks)
    for at in (START + 3, START + 20, SECOND + 2, SECOND + 6):
        first, second = cut(ticks, at)
        one = Judge(plan_of(), live_ticks_max=4)
        before = pushed(one, first)
        other = resumed(plan_of(), one, first, live_ticks_max=4)
        assert same_bits(other.snapshot(), one.snapshot())
        assert told(before + pushed(other, second)) == told(expected)


def test_a_later_stage_may_have_got_its_start_meanwhile() -> None:
    first, second = cut(whole(), SECOND - 6)
    open_end = plan_of(stages=(STAGES[0], later(STAGES[1], None)))
    one = Judge(open_end)
    before = pushed(one, first)
    expected = pushed(Judge(plan_of()), first, second)
    assert told(before + pushed(resumed(plan_of(), one, first), second)) == told(expected)


def test_what_is_needed_is_the_past_of_the_stage_and_what_came_since() -> None:
    one = Judge(plan_of())
    needed = [one.needs_from]
    for block in cut(whole(), START - 20, START + 9, SECOND, SECOND + 9):
        pushed(one, block)
        needed.append(one.needs_from)
    assert needed == [0, FIRST, FIRST, SECOND - PAST, SECOND - PAST, SECOND - PAST]
    assert one.next_tick == STOP


# ---------------------------------------------------------------- refusals


@cache
def interrupted() -> tuple[State, CohortTicks]:
    (first, _) = cut(whole(), START + 9)
    one = Judge(plan_of())
    pushed(one, first)
    return one.snapshot(), first


def another_engine(plan: Plan) -> Plan:
    return replace(plan, engine="holdfast/99")


def another_policy(plan: Plan) -> Plan:
    return replace(plan, policy_digest="sha256:another")


def more_signatures(plan: Plan) -> Plan:
    return replace(plan, membership=plan_of((*TABLE, (1, (True, False), ()))).membership)


def another_start(plan: Plan) -> Plan:
    return replace(plan, stages=(later(STAGES[0], START - 1), STAGES[1]))


@pytest.mark.parametrize("changed", [another_engine, another_policy, more_signatures, another_start])
def test_a_state_of_another_plan_is_refused(changed: Callable[[Plan], Plan]) -> None:
    state, ticks = interrupted()
    with pytest.raises(StateMismatch):
        Judge.resumed(changed(plan_of()), state, [ticks])


@pytest.mark.parametrize(
    "ticks",
    [
        lambda ticks: [],
        lambda ticks: [ticks.between(FIRST + 1, START + 9)],
        lambda ticks: [ticks.between(FIRST, START + 8)],
        lambda ticks: cut(ticks, START)[::-1],
        lambda ticks: [ticks, ticks_of(START + 9, START + 10, KEYS)],
        lambda ticks: [ticks_of(FIRST, START + 9, keys_of(COLOS))],
    ],
    ids=["none", "without the first", "without the last", "in disorder", "too many", "of other rows"],
)
def test_other_ticks_than_those_needed_are_refused(ticks: Callable[[CohortTicks], list[CohortTicks]]) -> None:
    state, own = interrupted()
    with pytest.raises(StateMismatch):
        Judge.resumed(plan_of(), state, ticks(own))


def test_a_past_without_data_is_refused_where_there_was_some() -> None:
    state, own = interrupted()
    empty = CohortTicks(own.first, own.keys, 0 * own.values)
    with pytest.raises(StateMismatch):
        Judge.resumed(plan_of(), state, [empty])


def broken(state: State) -> list[State]:
    """Return states that lack a part, or have one that is nothing of the kind."""
    found: list[State] = []
    for key, value in state.items():
        less: State = {name: part for name, part in state.items() if name != key}
        other: State = {**state, key: np.zeros((1, 1), np.int8)}
        found += [less, other]
        if isinstance(value, dict) and key not in ("figured", "seen"):  # which hold what happens to be known
            nested: list[State] = [{**state, key: inner} for inner in broken(value)]
            found += nested
    return found


@pytest.mark.parametrize("kind", JUDGES)
def test_a_state_that_lacks_something_is_refused(kind: str) -> None:
    (first, _) = cut(whole(), START + 9)
    one = Judge(plan_of(judge=kind))
    pushed(one, first)
    states = broken(one.snapshot())
    assert len(states) > 60
    for state in states:
        with pytest.raises(StateMismatch):
            Judge.resumed(plan_of(judge=kind), state, [first])


def test_a_state_of_another_form_is_refused_by_its_version() -> None:
    state, ticks = interrupted()
    judge: Any = state["judge"]
    older = msgspec.msgpack.encode({**msgspec.msgpack.decode(judge.tobytes()), "version": 0})
    with pytest.raises(StateMismatch, match="form 0 by engine; read is form 1 by engine"):
        Judge.resumed(plan_of(), {**state, "judge": np.frombuffer(older, np.uint8)}, [ticks])


def test_ticks_that_do_not_follow_are_refused() -> None:
    one = Judge(plan_of())
    pushed(one, whole().between(FIRST, FIRST + 5))
    with pytest.raises(ValueError, match=f"tick {FIRST + 5} comes next"):
        pushed(one, whole().between(FIRST + 6, FIRST + 7))
