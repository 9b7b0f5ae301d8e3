"""Rollouts judged by the classical judge: when it stops, when it lets pass, and that lacking data never pass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest

from holdfast.replaying import Outcome, replay_recording
from sinks.store import Store
from tests.test_cli import POLICY, ROLLOUT, Small
from tests.test_outcomes import blamed, last, make_judge, said, why

Judge = Callable[..., Outcome]

LOOKS: Final = "classical: {interval_ticks: 5, ticks_min: 10}\n"
CLASSICAL: Final = f"{POLICY}judge: classical\n{LOOKS}"


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return make_judge(tmp_path)


def policy(*, errors: str = "", cpu: str = "", looks: str = "interval_ticks: 5, ticks_min: 10") -> str:
    """Write the policy with settings of the classical judge for either metric."""
    text = POLICY
    for breach, settings in (("breach: revert", errors), ("breach: halt", cpu)):
        if settings:
            text = text.replace(breach, f"{breach}, classical: {{{settings}}}")
    return f"{text}judge: classical\nclassical: {{{looks}}}\n"


def worse(metric: str, factor: float = 3.0, since: int = 0, **where: str) -> Small:
    """Make a recording in which a metric of the canaries grows by a factor, from a live tick on."""
    small = Small()
    hurt = small.since(since, cohort="canary", **where)
    series = small.gauges["cpu"] if metric == "cpu" else small.gains["http_5xx", ""]
    series[hurt] *= factor
    return small


def tick_of(outcome: Outcome) -> int:
    """Return the live tick that the outcome's action was decided at."""
    return int(np.datetime64(outcome.time[:-1]).astype(int) - np.datetime64("2026-03-12T11:20:00").astype(int)) // 10


def test_a_harmless_rollout_advances_when_it_has_baked(judge: Judge) -> None:
    outcome = judge(Small(), CLASSICAL)
    assert said(outcome) == [("wait", "baking"), ("advance", "evidence")]
    assert tick_of(outcome) == 30
    assert blamed(outcome) == {"errors", "cpu", "reporting_hosts"}


def test_a_verdict_says_that_it_bounds_no_false_alarms(judge: Judge) -> None:
    outcome = judge(worse("errors"), CLASSICAL)
    (reason,) = outcome.reasons
    assert {verdict["data"]["judge"] for verdict in outcome.verdicts} == {"classical"}
    assert reason["e_value"] == 1
    assert reason["interval"][0] < reason["effect"] < reason["interval"][1]
    assert 1.5 < reason["effect"] < 2.5
    assert reason["samples"] == {"canary": 10, "control": 10}
    for words in ("fails, high", "mean ratio", "Hodges-Lehmann", "Score 50 at tick 10", "does not hold alpha"):
        assert words in reason["sentence"]


def test_a_policy_that_chooses_no_judge_gets_the_sequential_one(judge: Judge) -> None:
    outcome = judge(worse("errors"), POLICY)
    assert "judge" not in last(outcome)
    assert outcome.reasons[0]["e_value"] > 100


@pytest.mark.parametrize(("metric", "action"), [("errors", "revert"), ("cpu", "halt")])
def test_a_failing_look_stops_by_the_breach_of_what_failed(metric: str, action: str, judge: Judge) -> None:
    outcome = judge(worse(metric), CLASSICAL)
    assert said(outcome) == [("wait", "baking"), (action, "evidence")]
    assert (tick_of(outcome), blamed(outcome)) == (10, {metric})
    assert last(outcome)["scope"] == {"colos": ["ams01", "fra02"], "metrics": [metric]}


def test_a_halt_becomes_a_revert_and_nothing_is_taken_back(judge: Judge) -> None:
    small = worse("cpu")
    small.gains["http_5xx", ""][small.since(10, cohort="canary")] *= 20
    outcome = judge(small, CLASSICAL)
    assert said(outcome) == [("wait", "baking"), ("halt", "evidence"), ("revert", "evidence")]
    assert last(outcome)["scope"]["metrics"] == ["errors", "cpu"]


def test_only_the_colos_that_show_it_are_named(judge: Judge) -> None:
    outcome = judge(worse("cpu", 8.0, colo="fra02"), CLASSICAL)
    assert last(outcome)["scope"] == {"colos": ["fra02"], "metrics": ["cpu"]}


def test_a_metric_that_gets_better_fails_nothing(judge: Judge) -> None:
    assert judge(worse("cpu", 0.3), CLASSICAL).final_action == "advance"


def test_what_is_tolerated_is_no_failure_however_sure_the_test_is(judge: Judge) -> None:
    strict = CLASSICAL.replace("tolerate: {relative: 0.2}", "tolerate: {relative: 0}")
    assert judge(worse("cpu", 1.15), CLASSICAL).final_action == "advance"
    assert judge(worse("cpu", 1.15), strict).final_action == "halt"


# ---------------------------------------------------------------- score


@pytest.mark.parametrize(
    ("groups", "end"),
    [
        ("", ("halt", "evidence")),  # one group, 50
        (", groups: {load: 30}", ("halt", "evidence")),  # 70
        (", groups: {load: 10}", ("halt", "deadline")),  # 90, marginal
        (", groups: {load: 3}", ("advance", "evidence")),  # 97
        (", groups: {load: 3}, pass: 98", ("halt", "deadline")),
        (", groups: {load: 10}, marginal: 91", ("halt", "evidence")),
    ],
)
def test_groups_weights_and_thresholds_decide(groups: str, end: tuple[str, str], judge: Judge) -> None:
    cpu = "group: load" if "groups" in groups else ""
    looks = f"interval_ticks: 5, ticks_min: 10{groups}"
    assert said(judge(worse("cpu"), policy(cpu=cpu, looks=looks)))[-1] == end


def test_what_failed_though_the_score_passes_is_named(judge: Judge) -> None:
    looks = "interval_ticks: 5, ticks_min: 10, groups: {load: 3}"
    outcome = judge(worse("cpu"), policy(cpu="group: load", looks=looks))
    assert why(outcome) == {"cpu": "fails, high at tick 30; the score is 97, passing from 95"}


@pytest.mark.parametrize(
    ("more", "action"),
    [
        ("", "advance"),
        (", critical: true", "halt"),
        (", critical: true, critical_increase: 2.5", "halt"),
        (", critical: true, critical_increase: 4", "advance"),  # it tripled
        (", critical: true, effect_size: cles, critical_increase: 0.9", "halt"),
    ],
)
def test_a_critical_metric_fails_the_rollout_whatever_the_score(more: str, action: str, judge: Judge) -> None:
    looks = "interval_ticks: 5, ticks_min: 10, groups: {load: 3}"
    assert judge(worse("cpu"), policy(cpu=f"group: load{more}", looks=looks)).final_action == action


def test_an_effect_below_the_allowed_one_passes(judge: Judge) -> None:
    assert judge(worse("cpu"), policy(cpu="allowed_increase: 3.5")).final_action == "advance"
    assert judge(worse("cpu"), policy(cpu="allowed_increase: 2.5")).final_action == "halt"


def test_outliers_are_removed_where_the_policy_says_so(judge: Judge) -> None:
    """A third more is allowed; one absurd tick makes it look like thousands."""
    small = worse("cpu", 1.3)
    small.gauges["cpu"][small.pre + 5, 0] = 1e6
    assert judge(small, policy(cpu="allowed_increase: 2.0")).final_action == "halt"
    assert judge(small, policy(cpu="allowed_increase: 2.0, outliers: remove")).final_action == "advance"


# ---------------------------------------------------------------- when it looks


def test_only_the_latest_ticks_are_compared(judge: Judge) -> None:
    """Of 30 ticks the last 8 are bad: too few to see among all, plain where only they are held."""
    looks = "interval_ticks: 100, ticks_min: 8, ticks_max: {}"
    small = worse("cpu", since=22)
    far, near = (judge(small, policy(looks=looks.format(ticks))) for ticks in (360, 8))
    assert said(far)[1] == ("advance", "evidence")
    assert said(near)[1] == ("halt", "evidence")
    assert tick_of(near) == 30


def test_harm_that_begins_after_the_advance_still_stops(judge: Judge) -> None:
    outcome = judge(worse("cpu", since=31), policy(looks="interval_ticks: 5, ticks_min: 10, ticks_max: 12"))
    assert said(outcome) == [("wait", "baking"), ("advance", "evidence"), ("halt", "evidence")]


def test_settling_is_not_looked_at(judge: Judge) -> None:
    small = Small()
    small.gauges["cpu"][small.since(0, cohort="canary") & ~small.since(12)] *= 3
    settling = ROLLOUT.replace("deadline: 8m", "deadline: 8m, settle: 2m")
    assert judge(small, CLASSICAL).final_action == "halt"
    assert judge(small, CLASSICAL, settling).final_action == "advance"


def test_without_enough_ticks_for_a_look_nothing_advances(judge: Judge) -> None:
    outcome = judge(Small(), policy(looks="ticks_min: 200"))
    assert said(outcome) == [("wait", "baking"), ("wait", "insufficient"), ("halt", "deadline")]
    assert why(outcome)["cpu"] == "not looked at yet: a look takes 200 ticks, and there are 49"


@pytest.mark.parametrize(
    ("small", "ends"),
    [(Small(), [("canary", "advance"), ("rest", "advance")]), (worse("cpu"), [("canary", "halt")])],
    ids=["harmless", "bad"],
)
def test_a_later_stage_is_looked_at_by_itself_and_not_begun_after_a_stop(
    small: Small, ends: list[tuple[str, str]], judge: Judge
) -> None:
    rest = '  - {name: rest, canary: {host: "*-h1"}, bake: 2m, started: 2026-03-12T11:26:00Z}\n'
    verdicts = [verdict["data"] for verdict in judge(small, CLASSICAL, ROLLOUT + rest).verdicts]
    assert list({verdict["stage"]: (verdict["stage"], verdict["action"]) for verdict in verdicts}.values()) == ends


# ---------------------------------------------------------------- data


def without_cpu(since: int = 0) -> Small:
    small = Small()
    small.absent["cpu"] = small.since(since, cohort="canary")
    return small


@pytest.mark.parametrize("cpu", ["", "missing: replace", "group: load"])
def test_a_metric_without_data_never_passes(cpu: str, judge: Judge) -> None:
    outcome = judge(without_cpu(), policy(cpu=cpu))
    assert said(outcome) == [("wait", "baking"), ("wait", "data"), ("halt", "deadline")]
    assert "no data on canary or control" in why(outcome)["cpu"]


@pytest.mark.parametrize("cpu", ["must_have_data: true", "critical: true", "critical: true, must_have_data: true"])
def test_data_that_must_be_there_and_are_not_halt(cpu: str, judge: Judge) -> None:
    outcome = judge(without_cpu(-10), policy(cpu=cpu))
    assert said(outcome)[-1] == ("halt", "data")
    assert last(outcome)["scope"]["metrics"] == ["cpu"]
    assert "a side has" in outcome.reasons[0]["sentence"]
    assert (tick_of(outcome), outcome.reasons[0]["effect"]) == (10, None)


def test_canaries_that_fall_silent_are_halted(judge: Judge) -> None:
    small = Small()
    small.missing |= small.since(3, cohort="canary")
    outcome = judge(small, CLASSICAL)
    assert said(outcome)[-1] == ("halt", "evidence")
    assert blamed(outcome) == {"reporting_hosts"}
    assert outcome.time < "2026-03-12T11:25:00Z"


def test_a_required_metric_that_is_missing_in_one_colo_keeps_a_stage_waiting(judge: Judge) -> None:
    small = Small()
    small.absent["cpu"] = small.since(0, cohort="canary", colo="fra02")
    outcome = judge(small, CLASSICAL.replace("breach: halt}", "breach: halt, required: true}"))
    assert said(outcome)[-1] == ("halt", "deadline")
    assert why(outcome)["cpu"] == "required, and missing from fra02, whose canaries do report"


def test_too_few_ticks_with_data_keep_a_stage_waiting(judge: Judge) -> None:
    small = Small()
    small.absent["cpu"] = small.since(0) & ~small.since(20)
    outcome = judge(small, CLASSICAL)
    assert ("wait", "data") in said(outcome)
    assert said(outcome)[-1] == ("halt", "deadline")
    assert "of the ticks had data on both sides" in why(outcome)["cpu"]


@pytest.mark.parametrize("below", [0.0005, 0.003])
def test_objectives_hold(below: float, judge: Judge) -> None:
    objective = CLASSICAL.replace("breach: revert}", f"breach: revert, objective: {{below: {below}, for: 2 of 3}}}}")
    outcome = judge(worse("errors", 1.8), objective.replace("relative: 0.5", "relative: 2"))
    # The control has 0.2 %: the first limit it misses too.
    assert said(outcome)[-1] == ("halt" if below < 0.002 else "revert", "objective")
    assert tick_of(outcome) < 10
    assert f"below {below:g}, is missed in 2 of 3 ticks" in outcome.reasons[0]["sentence"]


# ---------------------------------------------------------------- the same bytes, and the store


def test_the_same_recording_gives_the_same_bytes_however_it_is_shuffled_and_read(tmp_path: Path) -> None:
    def shuffled(table: pa.Table) -> pa.Table:
        return table.take(pa.array(np.random.default_rng(2).permutation(len(table))))

    small = worse("errors", 1.7, since=12)
    written = [
        small.write(tmp_path / name / "recording", CLASSICAL, change=change)
        for name, change in (("a", None), ("b", shuffled))
    ]
    outcomes = [replay_recording(path, rows=rows) for path in written for rows in (1_000, 1 << 20)]
    first: Any = outcomes[0].verdicts
    assert len(first) > 1
    assert all(outcome.verdicts == first for outcome in outcomes)


def test_looks_are_kept_in_the_store(tmp_path: Path) -> None:
    path = Small().write(tmp_path / "recording", CLASSICAL)
    with Store(tmp_path / "data") as store:
        replay_recording(path, store=store)
        rows = store.query(
            "SELECT count(), uniq(time), countIf(isNaN(log_e)), countIf(lower <= effect AND effect <= upper) "
            "FROM evidence WHERE level = 'fleet'",
            "CSV",
        )
    looks = 12  # ticks 10, 15, …, 60, and 48, where the deadline ends
    assert [int(cell) for cell in rows.decode().strip().split(",")] == [3 * looks, looks, 3 * looks, 3 * looks]
