"""Every kind of metric to its end: sparse counts, overdispersed ratios, gauges about zero, traffic both ways."""

from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.test_cli import ROLLOUT, Small
from tests.test_outcomes import Judge, blamed, last, make_judge, said, why

Array = NDArray[np.float64]

HEAD: Final = "policy: kinds\nmetrics:\n"
RESTARTS: Final = HEAD + (
    "  - {name: restarts, counter: restarts, worse: increase, tolerate: {relative: 0.5}, breach: halt}\n"
)
RARE: Final = HEAD + (
    "  - {name: crashes, ratio: {bad: crashes, total: http_requests}, worse: increase,\n"
    "     tolerate: {relative: 0.5}, breach: revert}\n"
)
ERRORS: Final = HEAD + (
    "  - {name: errors, ratio: {bad: http_5xx, total: http_requests}, worse: increase,\n"
    "     tolerate: {relative: 0.1}, breach: revert}\n"
)
TRAFFIC: Final = HEAD + (
    "  - {name: requests, counter: http_requests, worse: either, tolerate: {relative: 0.25}, breach: halt}\n"
)
BALANCE: Final = HEAD + "  - {name: balance, gauge: cpu, worse: increase, tolerate: TOLERATE, breach: halt}\n"
STOPS: Final = {("halt", "evidence"), ("revert", "evidence")}


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return make_judge(tmp_path)


def rare(seed: int, name: str, per_tick: float, times: float = 1.0) -> Small:
    """Make a recording with a counter of few events, on the canaries so many times more from tick 4 on."""
    small = Small(COLOS, seed=seed, pre=180, live=180)
    rate = np.where(small.since(4, cohort="canary"), times * per_tick, per_tick)
    small.gains[name, ""] = small.rng.poisson(rate).astype(np.float64)
    return small


LONG: Final = ROLLOUT.replace("bake: 5m, deadline: 8m", "bake: 20m, deadline: 30m")
COLOS: Final = tuple(f"colo{number}" for number in range(8))
PER_HOUR: Final = 1 / 360
"""One event in an hour of ticks of 10 s."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "policy"), [("restarts", RESTARTS), ("crashes", RARE)])
@pytest.mark.parametrize("per_hour", [0.2, 3.0, 30.0])
def test_a_few_events_an_hour_are_no_harm(name: str, policy: str, per_hour: float, judge: Judge) -> None:
    outcomes = [judge(rare(seed, name, per_hour * PER_HOUR), policy, LONG) for seed in range(40)]
    stopped = sum(bool(STOPS & set(said(outcome))) for outcome in outcomes)
    # A rate of few events is taken for a level, whose noise is taken to be even-handed; that of counts is not.
    assert stopped <= (2 if policy == RESTARTS else 0)  # alpha is 1 %: 0.4, and two and a half standard errors


@pytest.mark.parametrize(("name", "policy"), [("restarts", RESTARTS), ("crashes", RARE)])
@pytest.mark.parametrize("per_hour", [3.0, 30.0])
def test_ten_times_a_few_events_an_hour_are_caught(name: str, policy: str, per_hour: float, judge: Judge) -> None:
    outcomes = [judge(rare(seed, name, per_hour * PER_HOUR, 10.0), policy, LONG) for seed in range(3)]
    for outcome in outcomes:
        assert STOPS & set(said(outcome)), (said(outcome), why(outcome))
        assert blamed(outcome) == {name}


@pytest.mark.parametrize(("name", "policy"), [("restarts", RESTARTS), ("crashes", RARE)])
@pytest.mark.parametrize("cohort", ["canary", "control"])
def test_counts_that_are_not_there_never_advance(name: str, policy: str, cohort: str, judge: Judge) -> None:
    small = rare(1, name, 3 * PER_HOUR)
    gone = small.since(0, cohort=cohort)
    small.absent[name] = gone
    small.absent["http_requests"] = gone
    outcome = judge(small, policy, LONG)
    assert "advance" not in dict(said(outcome))
    if cohort == "control":
        assert "no data" in why(outcome)[name]
    else:  # nothing else is judged, so its hosts count as silent
        assert (outcome.action, blamed(outcome)) == ("halt", {"reporting_hosts"})


@pytest.mark.parametrize("shift", [-3.0, 0.0, 0.04])
@pytest.mark.parametrize("tolerate", ["{relative: 0.5}", "{absolute: 0.5}"])
@pytest.mark.parametrize("scale", ["auto", "mean", "sd", "2.0"])
def test_a_gauge_below_or_about_zero_is_compared_as_a_difference(
    shift: float, tolerate: str, scale: str, judge: Judge
) -> None:
    small = Small(live=90)
    small.gauges["cpu"] = shift + small.rng.normal(0.0, 0.1, small.size)
    worse = Small(live=90)
    worse.gauges["cpu"] = small.gauges["cpu"] + np.where(worse.since(4, cohort="canary"), 8.0, 0.0)
    policy = BALANCE.replace("TOLERATE", tolerate).replace("halt}", f"halt, scale: {scale}}}")
    harmless, harmful = judge(small, policy), judge(worse, policy)
    assert not STOPS & set(said(harmless))
    assert (harmful.action, blamed(harmful)) == ("halt", {"balance"})
    assert {reason["scale"] for reason in harmful.reasons} == {"past"}


@pytest.mark.parametrize("factor", [0.4, 2.0])
def test_traffic_that_moves_either_way_is_halted(factor: float, judge: Judge) -> None:
    small = Small()
    small.gains["http_requests", ""][small.since(4, cohort="canary")] *= factor
    outcome = judge(small, TRAFFIC)
    assert (outcome.action, blamed(outcome)) == ("halt", {"requests"})
    assert outcome.reasons[0]["effect"] * (factor - 1) > 0
    assert "Tolerated is -25.0% to +25.0%." in outcome.reasons[0]["sentence"]


def test_traffic_that_stays_advances(judge: Judge) -> None:
    assert judge(Small(), TRAFFIC).action == "advance"


def overdispersed(seed: int, times: float = 1.0) -> Small:
    """Make a recording whose errors come in bursts: the rate of each host and tick is gamma distributed."""
    small = Small(seed=seed, pre=120, live=60)
    rate = small.rng.gamma(2.0, 3.0, small.size)  # as variable as its mean is large: variance is 9 times the mean
    rate *= np.where(small.since(4, cohort="canary"), times, 1.0)
    small.gains["http_5xx", ""] = small.rng.poisson(rate).astype(np.float64)
    return small


@pytest.mark.slow
def test_errors_in_bursts_are_rarely_ever_called_bad(judge: Judge) -> None:
    outcomes = [judge(overdispersed(seed), ERRORS) for seed in range(200)]
    stopped = sum(bool(STOPS & set(said(outcome))) for outcome in outcomes)
    assert stopped <= 6  # alpha is 1 %: 2, and three standard errors


def test_errors_in_bursts_that_become_four_times_as_many_are_reverted(judge: Judge) -> None:
    outcome = judge(overdispersed(1, 4.0), ERRORS)
    assert (outcome.action, blamed(outcome)) == ("revert", {"errors"})


def test_hosts_that_report_no_more_are_a_metric_of_their_own(judge: Judge) -> None:
    small = Small(hosts=20)
    small.missing |= small.since(4, cohort="canary", colo="ams01")
    outcome = judge(small)
    assert (outcome.action, blamed(outcome), last(outcome)["scope"]["colos"]) == (
        "halt",
        {"reporting_hosts"},
        ["ams01"],
    )
