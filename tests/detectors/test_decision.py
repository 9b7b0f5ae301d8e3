"""Decisions: what a stage may do at the end of a tick."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from detectors.decision import Decision, Rules, Tick, benjamini_hochberg, shown_harmless

NEVER = -np.inf
SURE = 100.0
RULES = Rules(
    alpha=0.01,
    bake=10,
    deadline=30,
    breach=["halt", "revert", "halt"],
    weight=np.full(3, 1 / 3),
    advance="evidence",
    required=np.array([False, True, False]),  # the last metric is the implicit one
)


def tick(age: int = 10, **changed: Any) -> Tick:
    """Return a tick of a healthy stage, with some things changed."""
    healthy: dict[str, Any] = {
        "log_e": np.full(3, NEVER),
        "log_e_within": np.full(3, SURE),
        "log_e_doubling": np.full(3, SURE),
        "coverage": np.ones(3),
        "has_data": np.ones(3, np.bool_),
        "is_sick": np.zeros(3, np.bool_),
        "misses": np.zeros(3, np.bool_),
        "misses_too": np.zeros(3, np.bool_),
        "drops": np.zeros(3, np.bool_),
    }
    return Tick(age=age, **(healthy | changed))


def only(metric: int, value: float, others: float = NEVER):
    return np.where(np.arange(3) == metric, value, others)


def decided(*ticks: Tick, **changed: Any) -> Decision:
    decision = Decision(replace(RULES, **changed))
    for one in ticks:
        decision.step(one)
    return decision


def said(decision: Decision) -> tuple[str, str]:
    return decision.action, decision.cause


def test_a_healthy_stage_advances_after_its_bake_time():
    assert said(decided(tick(9))) == ("wait", "baking")
    assert said(decided(tick(9), tick(10))) == ("advance", "evidence")


@pytest.mark.parametrize(("metric", "action"), [(0, "halt"), (1, "revert"), (2, "halt")])
def test_a_breach_does_what_the_policy_says(metric, action):
    decision = decided(tick(3, log_e=only(metric, SURE)))
    assert said(decision) == (action, "evidence")
    assert decision.blamed == [metric]


def test_the_average_over_metrics_must_reach_one_over_alpha():
    below, above = (np.log(3 * 100) + margin for margin in (-0.01, 0.01))
    assert decided(tick(log_e=only(0, below))).action != "halt"
    assert decided(tick(log_e=only(0, above))).action == "halt"


def test_weak_evidence_on_many_metrics_adds_up():
    decision = decided(tick(3, log_e=np.full(3, np.log(101.0))))
    assert decision.action == "revert"
    assert decision.blamed == [0, 1, 2]


def test_somebody_is_blamed_where_only_the_average_shows_it():
    # Each alone misses its own bar, and so does the set; their weighted sum does not.
    decision = decided(tick(3, log_e=np.log(np.array([99.0, 99.0, 150.0]))), weight=np.array([0.2, 0.2, 0.6]))
    assert decision.action == "halt"
    assert decision.blamed == [2]


@pytest.mark.parametrize(("metric", "action"), [(0, "halt"), (1, "revert")])
def test_what_is_stopped_stays_so(metric, action):
    decision = decided(tick(3, log_e=only(metric, SURE)), *(tick(age) for age in range(4, 40)))
    assert said(decision) == (action, "evidence")
    assert decision.blamed == [metric]


def test_a_halt_may_become_a_revert():
    decision = decided(tick(3, log_e=only(0, SURE)), tick(4, log_e=only(1, SURE, SURE)))
    assert said(decision) == ("revert", "evidence")
    assert 1 in decision.blamed


def test_a_revert_never_becomes_a_halt():
    decision = decided(tick(3, log_e=only(1, SURE)), tick(4, log_e=only(0, SURE)))
    assert said(decision) == ("revert", "evidence")
    assert decision.blamed == [1]


def test_a_halt_by_the_deadline_may_become_a_revert():
    late = tick(31, log_e_within=np.full(3, NEVER), log_e_doubling=np.full(3, NEVER))
    assert said(decided(late)) == ("halt", "deadline")
    assert said(decided(late, tick(32, log_e=only(1, SURE)))) == ("revert", "evidence")


def test_an_advance_can_still_be_stopped():
    assert decided(tick(10), tick(11, log_e=only(1, SURE))).action == "revert"


def test_an_advance_is_not_taken_back_by_silence():
    assert decided(tick(10), tick(11, has_data=np.zeros(3, np.bool_))).action == "advance"


def test_no_advance_without_the_coverage():
    assert said(decided(tick(coverage=only(1, 0.79, 1.0)))) == ("wait", "data")
    assert decided(tick(coverage=only(1, 0.8, 1.0))).action == "advance"


def test_no_advance_while_a_metric_is_silent():
    assert said(decided(tick(has_data=np.array([True, True, False])))) == ("wait", "data")


def test_no_advance_while_the_control_is_sick():
    assert said(decided(tick(is_sick=np.array([True, False, False])))) == ("wait", "not-comparable")


@pytest.mark.parametrize("metric", [0, 1, 2])
def test_no_advance_without_evidence_of_health_for_every_metric(metric):
    assert said(decided(tick(log_e_within=only(metric, 2.9, SURE)))) == ("wait", "insufficient")


def test_exposure_alone_is_enough_where_the_policy_says_so():
    unseen = tick(log_e_within=np.full(3, NEVER), log_e_doubling=np.full(3, NEVER))
    assert decided(unseen, advance="exposure").action == "advance"


@pytest.mark.parametrize("advance", ["strict", "evidence", "exposure"])
def test_suspicion_holds_an_advance_back(advance):
    suspicious = np.log(0.11 * 3 * 100)
    assert said(decided(tick(log_e=only(0, suspicious)), advance=advance)) == ("wait", "insufficient")
    assert decided(tick(log_e=only(0, suspicious - 0.2)), advance=advance).action == "advance"


def test_the_deadline_halts():
    unseen = {"log_e_within": np.full(3, NEVER), "log_e_doubling": np.full(3, NEVER)}
    assert decided(tick(30, **unseen)).action == "wait"
    assert said(decided(tick(31, **unseen))) == ("halt", "deadline")


def test_silence_past_the_deadline_halts():
    assert said(decided(tick(31, has_data=np.zeros(3, np.bool_)))) == ("halt", "deadline")


def test_without_a_deadline_nothing_is_ever_due():
    silent = tick(10_000, has_data=np.zeros(3, np.bool_))
    assert said(decided(silent, deadline=None)) == ("wait", "data")


def test_a_noisy_metric_may_show_at_the_deadline_that_it_has_not_doubled():
    noisy = only(0, 0.0, SURE)
    assert decided(tick(29, log_e_within=noisy)).action == "wait"
    assert decided(tick(30, log_e_within=noisy)).action == "advance"


def test_without_a_deadline_twice_the_bake_time_is_patience_enough():
    noisy = only(0, 0.0, SURE)
    assert decided(tick(19, log_e_within=noisy), deadline=None).action == "wait"
    assert decided(tick(20, log_e_within=noisy), deadline=None).action == "advance"


def test_a_required_metric_does_not_profit_from_the_doubling_rule():
    shown = shown_harmless(RULES, tick(30, log_e_within=np.zeros(3)))
    assert shown.tolist()[:2] == [True, False]


def test_a_strict_policy_does_not_profit_from_the_doubling_rule():
    shown = shown_harmless(replace(RULES, advance="strict"), tick(30, log_e_within=np.zeros(3)))
    assert not shown.any()


def test_a_doubling_that_is_not_excluded_holds_back():
    rules = replace(RULES, required=np.zeros(3, np.bool_))
    shown = shown_harmless(rules, tick(30, log_e_within=np.zeros(3), log_e_doubling=only(0, 2.9, SURE)))
    assert shown.tolist()[:2] == [False, True]


@pytest.mark.parametrize(("metric", "action"), [(0, "halt"), (1, "revert")])
def test_a_missed_objective_stops(metric, action):
    decision = decided(tick(3, misses=np.arange(3) == metric))
    assert said(decision) == (action, "objective")
    assert decision.blamed == [metric]


def test_an_objective_that_the_control_misses_too_only_halts():
    both = np.arange(3) == 1
    assert said(decided(tick(3, misses=both, misses_too=both))) == ("halt", "objective")


def test_the_input_is_not_changed():
    given = tick(3, log_e=only(1, SURE))
    before = given.log_e.copy()
    decided(given)
    np.testing.assert_array_equal(given.log_e, before)


def chosen(*e_values: float, alpha: float = 0.05) -> list[int]:
    with np.errstate(divide="ignore"):
        found: list[int] = benjamini_hochberg(np.log(np.array(e_values)), alpha).tolist()
    return found


def test_one_candidate_must_reach_one_over_alpha():
    assert chosen(19.9) == []
    assert chosen(20.1) == [0]


def test_the_largest_of_many_must_reach_their_number_over_alpha():
    assert chosen(79.0, 1.0, 1.0, 1.0) == []
    assert chosen(81.0, 1.0, 1.0, 1.0) == [0]


def test_several_together_need_less_each():
    assert chosen(41.0, 41.0, 1.0, 1.0) == [0, 1]
    assert chosen(20.1, 20.1, 20.1, 20.1) == [0, 1, 2, 3]


def test_a_step_up_takes_along_what_stands_before_it():
    # The first alone would need 60, but three together need 20 each.
    assert chosen(25.0, 21.0, 22.0) == [0, 1, 2]


def test_ties_are_taken_together():
    assert chosen(0.0, 50.0, 50.0, 0.0) == [1, 2]


def test_nobody_is_blamed_where_there_is_nobody():
    assert chosen() == []
    assert chosen(0.0, 0.0) == []


def test_a_colo_that_lost_its_traffic_halts_whatever_the_metrics_breach_is() -> None:
    decision = decided(tick(drops=np.array([False, True, False])))
    assert (said(decision), decision.blamed) == (("halt", "traffic"), [1])


def test_evidence_goes_before_lost_traffic_and_may_follow_it() -> None:
    lost = np.array([True, False, False])
    assert said(decided(tick(log_e=only(1, SURE * 9), drops=lost)))[1] == "evidence"
    assert said(decided(tick(drops=lost), tick(log_e=only(1, SURE * 9)))) == ("revert", "evidence")


def test_a_policy_that_may_let_nothing_advance_waits_and_is_halted_at_the_deadline():
    assert said(decided(tick(9, is_certified=False))) == ("wait", "uncertified")
    assert said(decided(tick(30, is_certified=False))) == ("wait", "uncertified")
    assert said(decided(tick(30, is_certified=False), tick(31, is_certified=False))) == ("halt", "deadline")


def test_a_policy_that_may_let_nothing_advance_stops_all_the_same():
    assert said(decided(tick(2, is_certified=False, log_e=only(1, SURE)))) == ("revert", "evidence")


def test_once_it_may_the_stage_advances():
    assert said(decided(tick(10, is_certified=False), tick(11))) == ("advance", "evidence")
