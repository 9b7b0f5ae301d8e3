"""What comes up while a stage is judged: rows, signatures and rollouts that were not known when it began."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.checks import same_bits
from detectors.errors import StateMismatch
from detectors.verdict import Verdict
from streams.cohorts import CohortTicks, RowKey
from streams.journal import Journal
from streams.judge import Judge, Judged
from streams.membership import NOT_REACHED, Announced, Stage
from streams.methods import begin
from streams.plan import Plan
from tests.samples import TICK_MS
from tests.streams.judging import (
    COLOS,
    JUDGES,
    LONG_PAST,
    PAST,
    STAGES,
    START,
    TABLE,
    Harm,
    Signature,
    cut,
    keys_of,
    later,
    plan_of,
    pushed,
    ticks_of,
    told,
)

FIRST, GROWS, STOP = START - PAST, START + 6, START + 34
OLD, ALL = keys_of(COLOS[:3]), keys_of(COLOS)
HARM = Harm(START + 3, factor=2.5, colos=(COLOS[0], COLOS[3]))


def with_rows(ticks: CohortTicks, keys: tuple[RowKey, ...]) -> CohortTicks:
    """Return ticks with more rows, which are empty."""
    values = np.zeros((3, len(keys), ticks.ticks))
    values[:, [keys.index(key) for key in ticks.keys]] = ticks.values
    return CohortTicks(ticks.first, keys, values)


def before_and_after(harm: Harm | None = None, keys: tuple[RowKey, ...] = ALL) -> tuple[CohortTicks, CohortTicks]:
    """Return the ticks until a colo joins, and those from then on."""
    return ticks_of(FIRST, GROWS, OLD, harm=harm), ticks_of(GROWS, STOP, keys, harm=harm)


def verdicts(judged: list[Judged]) -> list[tuple[int, bytes]]:
    return [(tick, body) for tick, _, body in told(judged, numbered=False) if body is not None]


def evidence(judged: list[Judged]) -> list[tuple[int, str]]:
    return [(tick, log_e) for tick, log_e, _ in told(judged)]


def stage_of(judge: Judge) -> Any:
    return judge.snapshot()["stage"]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the stages that are begun, those that are begun anew once more."""
    found: list[int] = []

    def noting(plan: Plan, index: int, *rest: Any) -> Any:
        found.append(index)
        return begin(plan, index, *rest)

    monkeypatch.setattr("streams.judge.begin", noting)
    return found


@pytest.mark.parametrize("harm", [Harm(), HARM, Harm(GROWS + 3, colos=(COLOS[3],))], ids=["calm", "early", "new colo"])
@pytest.mark.parametrize("kind", JUDGES)
def test_a_stage_that_has_grown_is_as_if_all_had_been_known_from_the_start(kind: str, harm: Harm) -> None:
    early, late = before_and_after(harm)
    grown, known = Judge(plan_of(judge=kind)), Judge(plan_of(judge=kind))
    pushed(grown, early)
    pushed(known, with_rows(early, ALL))
    after, expected = pushed(grown, late), pushed(known, late)
    assert evidence(after) == evidence(expected)
    assert verdicts(after)[-1] == verdicts(expected)[-1]
    assert same_bits(stage_of(grown), stage_of(known))


def test_rows_that_come_one_after_the_other_end_as_if_all_had_been_known() -> None:
    early, late = before_and_after()
    names = [keys_of(COLOS[:3]), tuple(sorted((*OLD, *keys_of(COLOS[3:], [1])))), ALL]
    grown, known = Judge(plan_of()), Judge(plan_of())
    pushed(known, with_rows(early, ALL))
    pushed(grown, early)
    for tick, keys in zip(range(GROWS, GROWS + 3), names, strict=True):
        here = ticks_of(tick, tick + 1, keys)
        pushed(grown, here)
        pushed(known, with_rows(here, ALL))
    rest = late.between(GROWS + 3, STOP)
    assert evidence(pushed(grown, rest)) == evidence(pushed(known, rest))
    assert same_bits(stage_of(grown), stage_of(known))


def test_what_is_judged_anew_is_not_said_again() -> None:
    early, late = before_and_after()
    grown = Judge(plan_of())
    first, second = pushed(grown, early), pushed(grown, late)
    said = [one.verdict for one in first + second if one.verdict]
    assert [one.tick for one in first + second] == [*range(START, STOP)]
    assert [verdict.sequence for verdict in said] == [*range(1, len(said) + 1)]
    assert [verdict.cause for verdict in said].count("baking") == 1


def test_a_row_that_is_missing_for_a_while_is_empty() -> None:
    ticks = ticks_of(FIRST, STOP, ALL)
    early, gap, late = cut(ticks, GROWS, GROWS + 2)
    few = [row for row, key in enumerate(ALL) if key in set(OLD)]
    short = CohortTicks(gap.first, OLD, gap.values[:, few])
    one, other = Judge(plan_of()), Judge(plan_of())
    expected = pushed(other, early, with_rows(short, ALL), late)
    assert told(pushed(one, early, short, late)) == told(expected)


def test_rows_that_come_before_the_start_are_part_of_the_stage(begun: list[int]) -> None:
    early, late = ticks_of(FIRST, START - 5, OLD), ticks_of(START - 5, STOP, ALL)
    expected = pushed(Judge(plan_of()), with_rows(early, ALL), late)
    begun.clear()
    assert told(pushed(Judge(plan_of()), early, late)) == told(expected)
    assert begun == [0]


def test_rows_that_the_stage_does_not_look_at_change_nothing(begun: list[int]) -> None:
    table: tuple[Signature, ...] = (*TABLE, (NOT_REACHED, (False, True), ()))
    plan = plan_of(table)
    early, late = before_and_after()
    more = tuple(sorted((*ALL, *(key for key in keys_of(COLOS[:1], [3]) if key.metric != 3))))
    expected = pushed(Judge(plan), with_rows(early, ALL), late)
    begun.clear()
    got = pushed(Judge(plan), with_rows(early, ALL), ticks_of(GROWS, STOP, more, table))
    assert told(got) == told(expected)
    assert begun == [0]


def test_a_stage_that_was_stopped_is_not_judged_anew(begun: list[int]) -> None:
    early, late = before_and_after(Harm(START + 2, factor=40.0, colos=COLOS[:3]))
    judge = Judge(plan_of())
    assert [one.verdict.action for one in pushed(judge, early) if one.verdict][-1] == "revert"
    begun.clear()
    assert not [one.verdict for one in pushed(judge, late) if one.verdict]
    assert begun == []


KNOWN = {
    "nothing": (),
    "controls": keys_of(COLOS, [0]),
    "canaries": keys_of(COLOS, [1]),
    "who reports": tuple(key for key in ALL if key.metric == 4),
    "all but a histogram": tuple(key for key in ALL if key.metric != 2),
    "a histogram without an edge": tuple(key for key in ALL if key.metric != 2 or key.edge == np.inf),
}


@pytest.mark.parametrize("past", [PAST, LONG_PAST])
@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("kind", JUDGES)
def test_a_stage_may_begin_before_there_is_anything_to_compare(kind: str, known: tuple[RowKey, ...], past: int) -> None:
    plan = plan_of(judge=kind, past=past)
    whole, late = ticks_of(START - past, GROWS, ALL), ticks_of(GROWS, STOP, ALL)
    early = CohortTicks(whole.first, known, whole.values[:, [ALL.index(key) for key in known]])
    grown, full = Judge(plan), Judge(plan)
    first = pushed(grown, early)
    assert {one.verdict.action for one in first if one.verdict} == {"wait"}
    assert [one.verdict.cause for one in first if one.verdict][-1] == "data"
    resumed = Judge.resumed(plan, grown.snapshot(), [early])
    pushed(full, with_rows(early, ALL))
    expected = evidence(pushed(full, late))
    assert evidence(pushed(grown, late)) == expected
    assert evidence(pushed(resumed, late)) == expected


class Rows:
    """A sink that counts: rows of evidence by tick, and ticks of cohorts."""

    def __init__(self) -> None:
        self.evidence_rows: Counter[int] = Counter()
        self.cohort_rows: Counter[int] = Counter()

    def evidence(self, table: pa.Table) -> None:
        self.evidence_rows.update(ticks_in(table))

    def ticks(self, table: pa.Table) -> None:
        pass

    def cohort_ticks(self, table: pa.Table) -> None:
        self.cohort_rows.update(ticks_in(table))

    def verdict(self, rollout: str, time_ms: int, verdict: Verdict) -> None:
        raise AssertionError((rollout, time_ms, verdict))


def ticks_in(table: pa.Table) -> list[int]:
    return [time // TICK_MS for time in table["time"].cast(pa.int64()).to_pylist()]


def test_what_is_judged_anew_is_not_recorded_again() -> None:
    early, late = before_and_after()
    plan, sinks = plan_of(), (Rows(), Rows())
    for sink, blocks in zip(sinks, ([early, late], [early]), strict=True):
        journal = Journal(sink, plan)
        pushed(Judge(plan, journal), *blocks)
        journal.flush()
    grown, before = sinks
    live = [*range(START, STOP)]
    assert sorted(grown.evidence_rows) == sorted(grown.cohort_rows) == live
    assert {tick: rows for tick, rows in grown.evidence_rows.items() if tick < GROWS} == before.evidence_rows
    assert grown.evidence_rows[GROWS] > before.evidence_rows[GROWS - 1]


# ---------------------------------------------------------------- plans that know more


def test_signatures_may_be_renumbered(begun: list[int]) -> None:
    more: tuple[Signature, ...] = ((NOT_REACHED, (False, False), ()), *TABLE)
    early, late = ticks_of(FIRST, GROWS, ALL), ticks_of(GROWS, STOP, ALL)
    moved = tuple(sorted(key._replace(signature=key.signature + 1) for key in ALL))
    expected = pushed(Judge(plan_of()), early, late)
    begun.clear()
    judge = Judge(plan_of())
    got = pushed(judge, early)
    judge.extend(plan_of(more), {one: one + 1 for one in range(len(TABLE))})
    got += pushed(judge, ticks_of(GROWS, STOP, moved, more))
    assert told(got) == told(expected)
    assert begun == [0]


def test_signatures_that_change_places_are_refused() -> None:
    judge = Judge(plan_of())
    pushed(judge, ticks_of(FIRST, GROWS, ALL))
    with pytest.raises(ValueError, match="keep their order"):
        judge.extend(plan_of(), {0: 1, 1: 0})


@pytest.mark.parametrize(
    "other",
    [
        replace(plan_of(), policy_digest="sha256:other"),
        replace(plan_of(), rollout="another"),
        plan_of(stages=STAGES[:1]),
        plan_of(stages=(later(STAGES[0], START + 1), STAGES[1])),
        plan_of(stages=(replace(STAGES[0], bake=9), STAGES[1])),
    ],
    ids=["policy", "rollout", "stages", "start of a stage that has begun", "bake time"],
)
def test_another_plan_does_not_extend_this_one(other: Plan) -> None:
    judge = Judge(plan_of())
    pushed(judge, ticks_of(FIRST, GROWS, ALL))
    with pytest.raises(ValueError, match="has the same policy, and the same stages begun"):
        judge.extend(other)


def test_a_start_that_becomes_known_later_is_as_if_it_had_been_known(begun: list[int]) -> None:
    stop = START + 50
    ticks = ticks_of(FIRST, stop, ALL)
    expected = pushed(Judge(plan_of()), ticks)
    begun.clear()
    judge = Judge(plan_of(stages=[later(stage, None) for stage in STAGES]))
    first, second, third = cut(ticks, START, START + 30)
    got = pushed(judge, first)
    judge.extend(plan_of(stages=(STAGES[0], later(STAGES[1], None))))
    got += pushed(judge, second)
    judge.extend(plan_of())
    got += pushed(judge, third)
    assert told(got) == told(expected)
    assert begun == [0, 1]


OTHER = Stage("all", {"with": "it"}, None, GROWS + 2, bake=8, deadline=None, settle=0)
SHARED: tuple[Signature, ...] = tuple(
    (stage, (True, True), (other,)) for stage in (NOT_REACHED, 0, 1) for other in (NOT_REACHED, 0)
)


def test_another_rollout_that_is_announced_later_is_as_if_it_had_been_known(begun: list[int]) -> None:
    plain = tuple((stage, allowed, (NOT_REACHED,)) for stage, allowed, _ in TABLE)
    rival = Announced("rival", (OTHER,), "rival.yaml")
    keys = keys_of(COLOS, range(6))
    apart = tuple(key._replace(signature=2 * key.signature) for key in ALL)
    early, late = ticks_of(FIRST, GROWS, ALL, plain), ticks_of(GROWS, STOP, keys, SHARED)
    known = Judge(plan_of(SHARED, others=[rival]))
    pushed(known, with_rows(CohortTicks(early.first, apart, early.values), keys))
    expected = pushed(known, late)
    begun.clear()
    grown = Judge(plan_of())
    pushed(grown, early)
    grown.extend(plan_of(SHARED, others=[rival]), {one: 2 * one for one in range(3)})
    assert evidence(pushed(grown, late)) == evidence(expected)
    assert same_bits(stage_of(grown), stage_of(known))
    assert begun == [0, 0, 0]


# ---------------------------------------------------------------- too late


@pytest.mark.parametrize("kind", JUDGES)
def test_rows_that_come_too_late_are_named_and_not_judged(kind: str) -> None:
    early, late = before_and_after()
    few = [row for row, key in enumerate(ALL) if key in set(OLD)]
    expected = pushed(Judge(plan_of(judge=kind)), early, CohortTicks(late.first, OLD, late.values[:, few]))
    judge = Judge(plan_of(judge=kind), live_ticks_max=GROWS - START - 1)
    pushed(judge, early)
    got = pushed(judge, late)
    assert evidence(got) == evidence(expected)[GROWS - START :]
    said = got[0].verdict
    assert said is not None
    words = "new in sin04 since, too late for the stage: not judged there"
    assert [one.metric for one in said.abstained if one.why.endswith(words)] == judge.metrics


def test_what_is_remembered_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch, begun: list[int]) -> None:
    early, late = before_and_after()
    for values, times in ((3 * len(OLD) * early.ticks, 2), (3 * len(OLD) * 2, 1)):
        monkeypatch.setattr("streams.judge.LIVE_VALUES_MAX", values)
        begun.clear()
        pushed(Judge(plan_of()), early, late)
        assert begun == [0] * times


def test_a_rollout_that_comes_too_late_is_told_and_not_judged() -> None:
    judge = Judge(plan_of(SHARED, others=[Announced("rival", (later(OTHER, None),), "")]), live_ticks_max=3)
    keys = keys_of(COLOS, range(6))
    early, late = cut(ticks_of(FIRST, STOP, keys, SHARED), GROWS)
    pushed(judge, early)
    plan = plan_of(SHARED, others=[Announced("rival", (OTHER,), "")])
    judge.extend(plan)
    said = pushed(judge, late)[0].verdict
    assert said is not None
    assert {one.why.split("; ")[-1] for one in said.abstained} == {
        "which hosts have which change is no longer as it was when the stage began: judged as it was then"
    }
    needed = ticks_of(judge.needs_from, STOP, keys, SHARED)
    with pytest.raises(StateMismatch):
        Judge.resumed(plan, judge.snapshot(), [needed])


def test_what_came_too_late_is_still_named_once_the_judge_is_resumed() -> None:
    early, late = before_and_after()
    one = Judge(plan_of(), live_ticks_max=3)
    pushed(one, early, late.between(GROWS, GROWS + 1))
    blocks = [early.between(one.needs_from, GROWS), late.between(GROWS, GROWS + 1)]
    other = Judge.resumed(plan_of(), one.snapshot(), blocks, live_ticks_max=3)
    rest = late.between(GROWS + 1, STOP)
    assert told(pushed(other, rest)) == told(pushed(one, rest))
    assert same_bits(other.snapshot(), one.snapshot())


def test_a_judge_that_is_resumed_grows_as_the_one_before_would_have() -> None:
    early, late = before_and_after(HARM)
    one = Judge(plan_of())
    pushed(one, early)
    other = Judge.resumed(plan_of(), one.snapshot(), cut(early, START - 3, START + 4))
    assert told(pushed(other, late)) == told(pushed(one, late))
    assert same_bits(other.snapshot(), one.snapshot())
