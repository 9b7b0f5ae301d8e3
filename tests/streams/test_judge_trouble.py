"""Ticks that cannot be trusted count for nothing while they last, and starts that came late are said to be so."""

import numpy as np
import pytest

from detectors.verdict import Verdict
from streams.cohorts import CohortTicks
from streams.judge import Judge, Judged
from tests.streams.judging import JUDGES, PAST, STAGES, START, Harm, cut, keys_of, plan_of, pushed, ticks_of, told

FIRST, STOP = START - PAST, START + 36
KEYS = keys_of()
WHY = "half of the clocks of ams01 disagree"


def told_of(judged: list[Judged]) -> list[tuple[int, Verdict]]:
    return [(one.tick, one.verdict) for one in judged if one.verdict]


def in_force(judged: list[Judged], tick: int) -> Verdict:
    """Return the verdict in force at the end of a tick."""
    return [verdict for at, verdict in told_of(judged) if at <= tick][-1]


def without(ticks: CohortTicks, *gone: int) -> CohortTicks:
    values = ticks.values.copy()
    values[:, :, [tick - ticks.first for tick in gone]] = 0.0
    return CohortTicks(ticks.first, ticks.keys, values)


@pytest.mark.parametrize("kind", JUDGES)
def test_a_tick_in_trouble_makes_the_stage_wait_for_data_and_says_why(kind: str) -> None:
    judged = pushed(Judge(plan_of(judge=kind)), ticks_of(FIRST, STOP, KEYS), trouble={START + 3: WHY})
    said = [verdict for tick, verdict in told_of(judged) if tick == START + 3]
    assert [(verdict.action, verdict.cause) for verdict in said] == [("wait", "data")]
    assert {one.metric: one.why for one in said[0].abstained} == dict.fromkeys(plan_of().metrics, WHY)


@pytest.mark.parametrize("kind", JUDGES)
def test_things_go_on_once_the_trouble_is_over(kind: str) -> None:
    trouble = {START + 3: WHY, START + 4: WHY}
    judged = pushed(Judge(plan_of(judge=kind)), ticks_of(FIRST, STOP, KEYS), trouble=trouble)
    said = [(tick - START, verdict.cause) for tick, verdict in told_of(judged)][:3]
    assert said == [(0, "baking"), (3, "data"), (5, "baking")]
    assert in_force(judged, STOP).action == "advance"


@pytest.mark.parametrize("kind", JUDGES)
def test_the_evidence_is_that_of_ticks_in_which_nobody_was_heard(kind: str) -> None:
    ticks = ticks_of(FIRST, STOP, KEYS)
    trouble: dict[int, str] = dict.fromkeys((FIRST + 9, START + 3, START + 7), WHY)
    one, other = Judge(plan_of(judge=kind)), Judge(plan_of(judge=kind))
    troubled, silent = pushed(one, ticks, trouble=trouble), pushed(other, without(ticks, *trouble))
    assert [log_e for _, log_e, _ in told(troubled)] == [log_e for _, log_e, _ in told(silent)]


@pytest.mark.parametrize("kind", JUDGES)
def test_harm_in_ticks_that_cannot_be_trusted_stops_nothing(kind: str) -> None:
    harmed = ticks_of(FIRST, STOP, KEYS, harm=Harm(START + 2, factor=50.0))
    calm = ticks_of(FIRST, STOP, KEYS)
    hurt = [calm.between(FIRST, START + 2), harmed.between(START + 2, START + 17), calm.between(START + 17, STOP)]
    trouble = dict.fromkeys(range(START + 2, START + 17), WHY)
    said, silenced = (
        {verdict.action for _, verdict in told_of(pushed(Judge(plan_of(judge=kind)), *hurt, trouble=known))}
        for known in ({}, trouble)
    )
    assert "revert" in said
    assert "revert" not in silenced


@pytest.mark.parametrize("kind", JUDGES)
def test_a_stage_in_trouble_never_advances_and_halts_at_its_deadline(kind: str) -> None:
    trouble = dict.fromkeys(range(START + 1, STOP), WHY)
    judged = pushed(Judge(plan_of(judge=kind)), ticks_of(FIRST, STOP, KEYS), trouble=trouble)
    said = [(tick - START + 1, verdict.action, verdict.cause) for tick, verdict in told_of(judged)]
    deadline = STAGES[0].deadline
    assert deadline is not None
    assert said == [(1, "wait", "baking"), (2, "wait", "data"), (deadline + 1, "halt", "deadline")]


def test_trouble_in_part_of_the_ticks_is_not_missing_data_for_the_bake_time() -> None:
    trouble = dict.fromkeys(range(START + 2, START + 8), WHY)
    judged = pushed(Judge(plan_of(judge="classical")), ticks_of(FIRST, STOP, KEYS), trouble=trouble)
    assert in_force(judged, START + 11).cause == "data"
    assert "of the ticks had data" in in_force(judged, START + 11).abstained[0].why


def test_another_trouble_is_said_though_data_were_missing_before() -> None:
    trouble = {START + 3: WHY, START + 4: WHY, START + 5: "a colo comes from two partitions"}
    judged = pushed(Judge(plan_of()), ticks_of(FIRST, STOP, KEYS), trouble=trouble)
    said = [(tick - START, verdict.abstained[0].why) for tick, verdict in told_of(judged) if verdict.cause == "data"]
    assert said[:2] == [(3, WHY), (5, "a colo comes from two partitions")]


def test_what_was_stopped_stays_so_whatever_trouble_comes() -> None:
    ticks = ticks_of(
        FIRST, STOP, KEYS, harm=Harm(START + 1, factor=50.0, colos=tuple(dict.fromkeys(k.colo for k in KEYS)))
    )
    plain = pushed(Judge(plan_of()), ticks)
    last, verdict = told_of(plain)[-1]
    assert verdict.action == "revert"
    trouble = {last + 2: WHY}
    assert told_of(pushed(Judge(plan_of()), ticks, trouble=trouble)) == told_of(plain)


def test_a_stage_that_was_let_go_on_is_not_told_of_trouble() -> None:
    ticks = ticks_of(FIRST, STOP, KEYS)
    plain = pushed(Judge(plan_of(judge="classical")), ticks)
    last, verdict = told_of(plain)[-1]
    assert verdict.action == "advance"
    assert told_of(pushed(Judge(plan_of(judge="classical")), ticks, trouble={last + 2: WHY})) == told_of(plain)


def test_trouble_of_ticks_that_are_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="trouble is told of"):
        list(Judge(plan_of()).push(ticks_of(FIRST, START, KEYS), {START: WHY}))


def test_a_stage_that_is_judged_anew_knows_of_its_trouble() -> None:
    few = keys_of(("ams01", "fra02"))
    trouble, early, late = {START + 2: WHY}, ticks_of(FIRST, START + 6, few), ticks_of(START + 6, STOP, KEYS)
    places = [KEYS.index(key) for key in few]
    values = np.zeros((3, len(KEYS), early.ticks))
    values[:, places] = early.values
    expected = pushed(Judge(plan_of()), CohortTicks(FIRST, KEYS, values), late, trouble=trouble)
    got = pushed(Judge(plan_of()), early, late, trouble=trouble)
    assert [log_e for _, log_e, _ in told(got)][-20:] == [log_e for _, log_e, _ in told(expected)][-20:]
    assert told_of(got)[-1][1].abstained == told_of(expected)[-1][1].abstained


# ---------------------------------------------------------------- starts that came late

LATE = "began 4 ticks (40 s) later than announced, as those ticks were closed: they count as its past"


@pytest.mark.parametrize("kind", JUDGES)
def test_the_first_verdict_of_a_stage_that_began_late_says_so_once(kind: str) -> None:
    plan = plan_of(judge=kind, announced={0: START - 4})
    judged = pushed(Judge(plan), ticks_of(FIRST, STOP, KEYS))
    said = [[LATE in one.why for one in verdict.abstained] for _, verdict in told_of(judged)]
    assert len(said) >= 3
    assert said[0] == [True] * len(plan.metrics)
    assert not any(any(one) for one in said[1:])


@pytest.mark.parametrize("kind", JUDGES)
@pytest.mark.parametrize("at", [START, START + 1])
def test_a_judge_that_is_resumed_says_it_as_often_as_the_one_before_would_have(kind: str, at: int) -> None:
    plan = plan_of(judge=kind, announced={0: START - 4})
    first, second = cut(ticks_of(FIRST, STOP, KEYS), at)
    one = Judge(plan)
    before = pushed(one, first)
    other = Judge.resumed(plan, one.snapshot(), [first])
    got = [
        (tick, LATE in verdict.abstained[0].why)
        for tick, verdict in told_of(before + pushed(other, second))
        if verdict.abstained
    ]
    assert [tick for tick, is_late in got if is_late] == [START]


def test_a_late_start_that_becomes_known_by_an_event_is_said() -> None:
    judge = Judge(plan_of())
    first, second = cut(ticks_of(FIRST, STOP + 10, KEYS), START + 30)
    pushed(judge, first)
    judge.extend(plan_of(announced={1: STAGES[1].started - 4 if STAGES[1].started else 0}))
    more = next(verdict for _, verdict in told_of(pushed(judge, second)) if verdict.stage == "more")
    assert all(LATE in one.why for one in more.abstained)
