"""Scores: what one tick says about one comparison."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detectors.scores import level_score, ratio_score

COUNTS = st.integers(0, 10**9).map(float)


def drawn(seed: int = 1, size: int = 1_000):
    rng = np.random.default_rng(seed)
    traffic = [rng.poisson(2_000, size).astype(float), rng.poisson(9_000, size).astype(float)]
    bad = [rng.binomial(of.astype(int), 0.01).astype(float) for of in traffic]
    return bad[0], traffic[0], bad[1], traffic[1]


def test_swapping_the_arms_flips_the_sign_of_a_ratio():
    bad_canary, canary, bad_control, control = drawn()
    effect, information = ratio_score(bad_canary, canary, bad_control, control)
    mirrored, same = ratio_score(bad_control, control, bad_canary, canary)
    np.testing.assert_allclose(mirrored, -effect, atol=1e-12)
    np.testing.assert_allclose(same, information)


def test_swapping_the_arms_flips_the_sign_of_a_level():
    rng = np.random.default_rng(2)
    canary, control = rng.lognormal(0, 1, (2, 6, 50))
    is_log, ones = np.arange(6) < 3, np.ones(6)
    effect, _ = level_score(canary, control, is_log, ones)
    mirrored, _ = level_score(control, canary, is_log, ones)
    np.testing.assert_allclose(mirrored, -effect, atol=1e-14)


def test_scaling_the_traffic_leaves_a_ratio_as_it_is():
    bad_canary, canary, bad_control, control = drawn()
    effect, information = ratio_score(bad_canary, canary, bad_control, control)
    larger = ratio_score(bad_canary, 1_024 * canary, bad_control, 1_024 * control)
    np.testing.assert_array_equal(larger[0], effect)
    np.testing.assert_array_equal(larger[1], information)


def test_scaling_a_ratio_altogether_leaves_its_effect_and_scales_its_information():
    sides = drawn()
    effect, information = ratio_score(*sides)
    larger = ratio_score(*(8 * side for side in sides))
    np.testing.assert_allclose(larger[0], effect)
    np.testing.assert_allclose(larger[1], 8 * information)


def test_scaling_a_level_changes_nothing_on_the_log_scale():
    rng = np.random.default_rng(3)
    canary, control = rng.lognormal(0, 1, (2, 4, 50))
    is_log = np.ones(4, np.bool_)
    effect, _ = level_score(canary, control, is_log, np.ones(4))
    scaled, _ = level_score(1_000 * canary, 1_000 * control, is_log, np.full(4, 1_000.0))
    np.testing.assert_allclose(scaled, effect, atol=1e-12)


def test_a_difference_is_measured_in_units_of_its_scale():
    effect, _ = level_score(np.array([[5.0]]), np.array([[-1.0]]), np.array([False]), np.array([3.0]))
    assert effect[0, 0] == 2.0


def test_a_level_of_zero_counts_as_a_thousandth_of_the_usual_one():
    effect, information = level_score(np.array([[0.0]]), np.array([[2.0]]), np.array([True]), np.array([2.0]))
    np.testing.assert_allclose(effect, np.log(1e-3))
    assert information[0, 0] == 1.0


def test_a_missing_side_has_no_information():
    nan = np.nan
    canary, control = np.array([[nan, 1.0, nan]]), np.array([[1.0, nan, nan]])
    for is_log in (True, False):
        effect, information = level_score(canary, control, np.array([is_log]), np.ones(1))
        assert not effect.any()
        assert not information.any()


def test_a_ratio_without_traffic_on_a_side_has_no_information():
    canary, control = np.array([0.0, 100.0, 0.0]), np.array([100.0, 0.0, 0.0])
    effect, information = ratio_score(np.zeros(3), canary, np.array([5.0, 0.0, 0.0]), control)
    assert not effect.any()
    assert not information.any()


def test_a_ratio_without_bad_events_has_no_information():
    effect, information = ratio_score(np.zeros(1), np.full(1, 1e6), np.zeros(1), np.full(1, 1e6))
    assert effect[0] == information[0] == 0.0


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_ratio_of_any_counts_is_finite(canary, good_canary, control, good_control):
    sides = (canary, canary + good_canary, control, control + good_control)
    effect, information = ratio_score(*(np.array([side]) for side in sides))
    assert np.isfinite(effect).all()
    assert (information >= 0).all()
    more = canary * (control + good_control) > control * (canary + good_canary)
    assert effect[0] > 0 if more and information[0] > 0 else effect[0] < 1e-6
