"""When the control moves, or a colo loses its traffic: no false stop, no harm hidden, no good news out of nothing."""

from pathlib import Path

import numpy as np
import pytest

from holdfast.replaying import Outcome
from tests.test_cli import POLICY, Small
from tests.test_outcomes import Judge, blamed, last, make_judge, said, why

COLOS = ("ams01", "fra02", "lhr03", "mad04")
REQUESTS = POLICY + "  - {name: requests, counter: http_requests, worse: either, breach: revert}\n"
PATIENT = "rollout: r\nstarted: 2026-03-12T11:20:01Z\nstages:\n  - {name: canary, canary: {cohort: canary}, bake: 5m}\n"


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return make_judge(tmp_path)


def fleet(live: int = 60, seed: int = 1) -> Small:
    return Small(colos=COLOS, live=live, pre=120, hosts=6, seed=seed)


def scaled(small: Small, metric: str, factor: float, first: int, ticks: int = 10_000, **labels: str) -> None:
    """Multiply a metric for some ticks, on the hosts that bear the labels."""
    values = small.gauges[metric] if metric in small.gauges else small.gains[metric, ""]
    where = small.since(first, **labels) & ~small.since(first + ticks, **labels)
    values[where] = np.round(values[where] * factor) if metric not in small.gauges else values[where] * factor


def stopped(outcome: Outcome) -> bool:
    return any(action in ("halt", "revert") and cause != "deadline" for action, cause in said(outcome))


CHANGES = [("cpu", 0.6), ("http_5xx", 0.2)]


@pytest.mark.parametrize(("metric", "factor"), CHANGES)
def test_a_control_that_gets_better_alone_for_good_stops_nothing_and_lets_nothing_advance(
    metric: str, factor: float, judge: Judge
) -> None:
    small = fleet()
    scaled(small, metric, factor, 20, cohort="control")
    outcome = judge(small)
    assert said(outcome)[0] == ("wait", "baking")
    assert ("wait", "not-comparable") in said(outcome)
    assert said(outcome)[-1] == ("halt", "deadline")
    assert not stopped(outcome)
    name = "cpu" if metric == "cpu" else "errors"
    assert "the control moved suddenly and alone in ams01, fra02, lhr03 and 1 more" in why(outcome)[name]


@pytest.mark.parametrize(("metric", "factor"), CHANGES)
def test_a_control_that_gets_better_alone_in_one_colo_stops_nothing(metric: str, factor: float, judge: Judge) -> None:
    small = fleet()
    scaled(small, metric, factor, 20, cohort="control", colo="fra02")
    outcome = judge(small)
    assert not stopped(outcome)
    apart = [entry for entry in last(outcome)["abstained"] if "moved suddenly and alone" in entry["why"]]
    assert all(entry["colo"] in ("fra02", None) for entry in apart)
    assert apart


@pytest.mark.parametrize(("metric", "factor"), CHANGES)
def test_a_control_that_comes_back_is_comparable_again(metric: str, factor: float, judge: Judge) -> None:
    small = fleet(live=160)
    scaled(small, metric, factor, 20, 12, cohort="control")
    outcome = judge(small, rollout=PATIENT)
    assert ("wait", "not-comparable") in said(outcome)
    assert said(outcome)[-1] == ("advance", "evidence")
    assert not stopped(outcome)


@pytest.mark.parametrize("factor", [0.3, 4.0])
def test_a_shock_that_hits_both_is_no_breach_and_sets_nothing_aside(factor: float, judge: Judge) -> None:
    small = fleet()
    scaled(small, "http_5xx", factor, 20, 15)
    outcome = judge(small)
    assert said(outcome) == [("wait", "baking"), ("advance", "evidence")]


@pytest.mark.parametrize("control", [0.7, 1.4], ids=["the control gets better", "the harm spills over to the control"])
def test_harm_on_the_canary_is_found_whatever_the_control_does(control: float, judge: Judge) -> None:
    alone, both = fleet(), fleet()
    for small in (alone, both):
        scaled(small, "http_5xx", 4.0, 20, cohort="canary")
    scaled(both, "http_5xx", control, 22, cohort="control")
    before, after = judge(alone), judge(both)
    assert (before.action, after.action) == ("revert", "revert")
    assert blamed(after) == {"errors"}
    assert "not-comparable" not in dict(said(after)).values()
    assert (after.time or "") <= max(before.time or "", "2026-03-12T11:24:30Z")


def test_harm_that_begins_while_the_control_is_set_aside_is_found(judge: Judge) -> None:
    small = fleet(live=80)
    scaled(small, "http_5xx", 0.4, 10, cohort="control")
    scaled(small, "http_5xx", 6.0, 40, cohort="canary")
    outcome = judge(small, rollout=PATIENT)
    assert outcome.action == "revert"
    assert blamed(outcome) == {"errors"}
    assert "2026-03-12T11:26:50" < (outcome.time or "") < "2026-03-12T11:28:50"


def test_a_colo_that_loses_its_traffic_in_both_cohorts_halts(judge: Judge) -> None:
    small = fleet()
    scaled(small, "http_requests", 0.1, 20, colo="lhr03")
    scaled(small, "http_5xx", 0.1, 20, colo="lhr03")
    outcome = judge(small, REQUESTS)
    assert said(outcome)[1] == ("halt", "traffic")
    stop = next(verdict for verdict in outcome.verdicts if verdict["data"]["action"] == "halt")
    assert stop["time"] == "2026-03-12T11:23:50Z"  # the third tick of it
    assert stop["data"]["scope"] == {"colos": ["lhr03"], "metrics": ["requests"]}
    (reason,) = outcome.reasons
    assert (reason["colo"], reason["interval"]) == ("lhr03", (None, None))
    assert reason["effect"] == pytest.approx(-0.9, abs=0.02)
    assert reason["sentence"].startswith("requests in lhr03, canary and control together: -9")


@pytest.mark.parametrize("ticks", [1, 2])
def test_one_or_two_ticks_of_lost_traffic_decide_nothing(ticks: int, judge: Judge) -> None:
    small = fleet()
    scaled(small, "http_requests", 0.1, 20, ticks, colo="lhr03")
    assert not stopped(judge(small, REQUESTS))


def test_traffic_that_the_whole_fleet_loses_is_no_breach(judge: Judge) -> None:
    small = fleet()
    scaled(small, "http_requests", 0.2, 20)
    assert not stopped(judge(small, REQUESTS))


@pytest.mark.parametrize(("drop", "is_halted"), [("0.2", True), ("0", False), ("0.6", False)])
def test_the_policy_says_how_much_may_be_lost(drop: str, is_halted: bool, judge: Judge) -> None:
    small = fleet()
    scaled(small, "http_requests", 0.5, 20, colo="lhr03")
    outcome = judge(small, REQUESTS.replace("worse: either", f"worse: either, colo_drop: {drop}"))
    assert ("traffic" in [cause for _, cause in said(outcome)]) == is_halted


def test_a_colo_in_which_nobody_reports_any_more_is_waited_for_and_halts_at_the_deadline(judge: Judge) -> None:
    small = fleet()
    small.missing[small.since(20, colo="lhr03")] = True
    outcome = judge(small, REQUESTS)
    assert said(outcome)[-2:] == [("wait", "data"), ("halt", "deadline")]
    assert why(outcome)["reporting_hosts"] == "no host of lhr03 reports any more, canary or control"
