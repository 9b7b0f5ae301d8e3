"""What speaks for a change having done harm, and what against it."""

import pytest

from rollouts.incidents.attribution import CANDIDATES_MAX, rank
from rollouts.incidents.opening import cause_of
from tests.rollouts.incidents.making import NOON, change, stop


def scores(causes, *changes, colos=("ams01",), onset=NOON):
    found = rank(colos, onset, [cause_of(each) for each in causes], {each.rollout: each for each in changes})
    return {each.rollout: round(each.score, 3) for each in found}


def evidence(rollout, causes, *changes, colos=("ams01",)):
    found = rank(colos, NOON, [cause_of(each) for each in causes], {each.rollout: each for each in changes})
    return next("; ".join(each.evidence) for each in found if each.rollout == rollout)


def test_where_nothing_is_known_it_is_unattributed() -> None:
    assert scores([]) == {None: 1.0}


def test_strong_evidence_of_a_comparison_is_nearly_certain() -> None:
    assert scores([stop(e_value=1e4)], change())["bot-features"] == pytest.approx(1.0, abs=1e-3)


def test_an_e_value_bounds_what_a_comparison_comes_to() -> None:
    """With a place that does not fit at all circumstance adds nothing: 1 - 1/e is left."""
    far = change(minutes=[-6000.0])
    assert scores([stop(e_value=4.0)], far)["bot-features"] == pytest.approx(0.75, abs=1e-3)


def test_circumstance_alone_comes_to_a_half_at_most() -> None:
    assert scores([], change(minutes=[0.0])) == {"bot-features": 0.5, None: 0.5}


def test_half_an_hour_halves_what_time_says() -> None:
    assert scores([], change(minutes=[-30.0]))["bot-features"] == 0.25


def test_what_began_after_the_harm_was_not_it() -> None:
    assert scores([stop()], change(minutes=[5.0])) == {None: 1.0}


def test_a_stage_that_began_before_the_harm_counts_though_another_began_after_it() -> None:
    assert scores([], change(minutes=[-30.0, 5.0]))["bot-features"] == 0.25


def test_what_was_taken_back_before_was_not_it() -> None:
    assert scores([stop()], change(minutes=[-60.0], gone=-30.0)) == {None: 1.0}


def test_colos_that_are_hurt_without_the_change_speak_against_it() -> None:
    found = scores([stop(e_value=1e9)], change(), colos=["ams01", "fra02", "sin03", "nrt04"])
    assert found["bot-features"] == 0.25
    assert "against it: hurt without it are fra02" in evidence(
        "bot-features", [stop()], change(), colos=["ams01", "fra02", "x"]
    )


def test_colos_that_have_the_change_and_are_not_hurt_speak_less_for_it() -> None:
    everywhere = change(minutes=[0.0], colos=["ams01", "a", "b", "c"])
    assert scores([], everywhere)["bot-features"] == 0.25


def test_a_change_that_is_nowhere_near_was_not_it() -> None:
    assert scores([], change(colos=["sin03"])) == {None: 1.0}


def test_where_a_change_is_may_be_unknown_and_is_told() -> None:
    unknown = change(minutes=[0.0], colos=None)
    assert scores([], unknown)["bot-features"] == 0.25
    assert "which colos it has reached is not known" in evidence("bot-features", [], unknown)


def test_a_stop_without_a_comparison_counts_a_half() -> None:
    far = change(minutes=[-6000.0])
    assert scores([stop(cause="objective")], far)["bot-features"] == 0.5


def test_a_rollout_that_was_stopped_is_a_candidate_though_nobody_announced_it() -> None:
    assert scores([stop("stranger")])["stranger"] > 0.9


def test_of_two_that_fit_as_well_the_earlier_one_comes_first() -> None:
    causes = [cause_of(stop("b", e_value=1e300)), cause_of(stop("a", e_value=1e300))]
    changes = {"a": change("a", [-10.0]), "b": change("b", [-20.0])}
    assert [each.rollout for each in rank(["ams01"], NOON, causes, changes)][:2] == ["b", "a"]


def test_unattributed_is_what_is_left_if_none_of_them_was_it() -> None:
    found = scores([], change("a", [0.0]), change("b", [0.0]))
    assert found == {"a": 0.5, "b": 0.5, None: 0.25}


def test_the_list_is_bounded() -> None:
    many = [change(f"r{number}") for number in range(50)]
    assert len(scores([], *many)) == CANDIDATES_MAX + 1
