"""ScoreMix: the mixture e-process over accumulated scores."""

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.scoremix import EFFECT_TYPICAL, ScoreMix, log_e, log_e_within, radius

POSITIVE = st.floats(1e-9, 1e6)
FREEDOM = st.floats(3.0, 1e9)


def one(value: float):
    return np.array([value])


def drawn(size: int = 100_000, seed: int = 1):
    """Draw deviations, variances and degrees of freedom far beyond what occurs."""
    rng = np.random.default_rng(seed)
    variance = 10 ** rng.uniform(-12, 4, size)
    return rng.standard_cauchy(size) * np.sqrt(variance), variance, 10 ** rng.uniform(np.log10(3), 7, size)


def mix(size: int = 50, freedom: float = 100.0) -> ScoreMix:
    ones = np.ones(size)
    return ScoreMix(120 * ones, 0.0025 * ones, freedom * ones, 0.02 * ones, 0.2 * ones)


def ticks(size: int = 50, count: int = 80, seed: int = 2):
    """Draw residuals and information [tick, comparison]; one tick in five says nothing."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(np.linspace(-0.1, 0.3, size), 0.05, (count, size))
    return effect, np.where(rng.random((count, size)) < 0.2, 0.0, rng.uniform(0.5, 2.0, (count, size)))


def fed(to: ScoreMix, effect, information) -> ScoreMix:
    for residual, weight in zip(effect, information, strict=True):
        to.update(residual, weight)
    return to


def looked(at: ScoreMix, tolerance: float = 0.02):
    size = len(at.score)
    up = at.log_e(np.full(size, tolerance), np.ones(size))
    return np.stack([up, at.log_e_within(np.full(size, tolerance), 1.0, np.arange(size)), at.radius(0.01)])


def assert_same_bits(one_, other):
    np.testing.assert_array_equal(one_.view(np.uint64), other.view(np.uint64))


def test_there_is_no_evidence_where_the_deviation_is_not_positive():
    deviation, variance, freedom = drawn()
    assert (log_e(-np.abs(deviation), variance, freedom) <= 0).all()


@given(st.floats(-1e9, 0.0), POSITIVE, FREEDOM)
def test_there_is_no_evidence_at_any_edge_where_the_deviation_is_not_positive(deviation, variance, freedom):
    assert log_e(one(deviation), one(variance), one(freedom))[0] <= 0


def test_evidence_grows_with_the_deviation():
    deviation, variance, freedom = drawn(1_000)
    steps = deviation + np.linspace(-3, 30, 200)[:, None] * np.sqrt(variance)
    assert (np.diff(log_e(steps, variance, freedom), axis=0) >= -1e-6).all()  # what log_ndtr of SciPy is off by


@given(st.floats(-1e3, 1e3), st.floats(0, 1e3), POSITIVE, FREEDOM)
def test_a_larger_deviation_is_never_less_evidence(deviation, more, variance, freedom):
    less, greater = (log_e(one(d), one(variance), one(freedom))[0] for d in (deviation, deviation + more))
    assert greater >= less - 1e-6  # what log_ndtr of SciPy is off by


def test_evidence_does_not_grow_with_the_tolerance():
    followed = fed(mix(), *ticks())
    by_tolerance = np.array([looked(followed, t)[0] for t in np.linspace(0, 0.4, 80)])
    assert (by_tolerance[1:] <= by_tolerance[:-1]).all()


def test_a_variance_learned_from_little_gives_less_evidence():
    deviation, variance = np.full(4, 0.5), np.full(4, 0.01)
    by_freedom = log_e(deviation, variance, np.array([3.0, 10.0, 100.0, 1e9]))
    assert (np.diff(by_freedom) > 0).all()


def test_evidence_stays_finite():
    assert log_e(one(1e12), one(1e-18), one(1e12))[0] < 700


def two_sided(deviation, variance, freedom):
    """Integrate the likelihood ratio over a normal prior of effects, numerically."""
    z = np.sqrt(freedom * np.log1p(deviation**2 / variance / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
    effect = np.linspace(-3, 3, 60_001)
    aim = effect / np.sqrt(variance)
    prior = np.exp(-0.5 * (effect / EFFECT_TYPICAL) ** 2) / np.sqrt(2 * np.pi) / EFFECT_TYPICAL
    return np.log(np.sum(np.exp(aim * z - 0.5 * aim**2) * prior) * (effect[1] - effect[0]))


@pytest.mark.parametrize("freedom", [5.0, 50.0, 1e6])
@pytest.mark.parametrize("variance", [1e-4, 0.01, 0.3])
@pytest.mark.parametrize("alpha", [0.2, 0.01, 1e-4])
def test_the_radius_is_where_the_two_sided_mixture_reaches_one_over_alpha(alpha, variance, freedom):
    width = float(radius(one(variance), one(freedom), alpha)[0])
    # A mixture over effects beyond 3 would need a wider grid, which such large radii do not add to.
    if width < 1.0:
        np.testing.assert_allclose(two_sided(width, variance, freedom), np.log(1 / alpha), rtol=1e-6)
    else:
        assert variance == 0.3 or freedom == 5.0


def test_the_one_sided_mixture_is_what_it_says():
    variance, z = 0.004, 3.2
    effect = np.linspace(0, 3, 60_001)
    aim = effect / np.sqrt(variance)
    prior = 2 * np.exp(-0.5 * (effect / EFFECT_TYPICAL) ** 2) / np.sqrt(2 * np.pi) / EFFECT_TYPICAL
    height = np.exp(aim * z - 0.5 * aim**2) * prior
    integral = np.trapezoid(height, effect)
    found = log_e(one(z * np.sqrt(variance)), one(variance), one(1e12))[0]
    np.testing.assert_allclose(found, np.log(integral), rtol=1e-6)


def test_the_chance_of_ever_alarming_keeps_to_alpha_under_the_ideal_noise():
    rng = np.random.default_rng(5)
    runs, length, alpha = 4_000, 300, 0.05
    offset = rng.normal(0, 1 / np.sqrt(120), runs)  # what the baseline is wrong by
    mean = np.cumsum(rng.normal(0, 1, (length, runs)), axis=0) / np.arange(1, length + 1)[:, None] - offset
    variance = 0.0025 * (1 / np.arange(1, length + 1) + 1 / 120)[:, None]
    ever = (log_e(0.05 * mean, variance, np.full(runs, 1e9)) >= np.log(1 / alpha)).any(axis=0).mean()
    assert ever <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)


def test_ticks_without_information_are_no_ops():
    effect, information = ticks()
    followed = fed(mix(), effect, information)
    before = looked(followed)
    for residual in (0.0, 1e300, -1e300):
        followed.update(np.full(50, residual), np.zeros(50))
    assert_same_bits(looked(followed), before)


def test_a_restart_from_a_copy_continues_bit_for_bit():
    effect, information = ticks()
    whole = fed(mix(), effect, information)
    half = copy.deepcopy(fed(mix(), effect[:37], information[:37]))
    assert_same_bits(looked(fed(half, effect[37:], information[37:])), looked(whole))


def test_the_two_sums_are_all_that_a_restart_needs():
    effect, information = ticks()
    half, resumed = fed(mix(), effect[:37], information[:37]), mix()
    resumed.score, resumed.information, resumed.observed = half.score, half.information, half.observed
    whole = fed(mix(), effect, information)
    assert_same_bits(looked(fed(resumed, effect[37:], information[37:])), looked(whole))


def test_the_sums_of_two_shards_add_up_to_those_of_one():
    effect, information = ticks()
    whole = fed(mix(), effect, information)
    parts = [fed(mix(), effect[rows], information[rows]) for rows in (slice(0, 30), slice(30, None))]
    np.testing.assert_allclose(parts[0].score + parts[1].score, whole.score, atol=1e-12)
    np.testing.assert_allclose(parts[0].information + parts[1].information, whole.information)


def test_permuting_comparisons_permutes_the_result_bit_for_bit():
    effect, information = ticks()
    order = np.random.default_rng(3).permutation(50)
    straight = looked(fed(mix(), effect, information))
    permuted = looked(fed(mix(), effect[:, order], information[:, order]))
    assert_same_bits(permuted, straight[:, order])


def test_the_input_is_not_changed():
    effect, information = ticks()
    before = effect.copy(), information.copy()
    fed(mix(), effect, information)
    assert_same_bits(effect, before[0])
    assert_same_bits(information, before[1])


def test_the_two_directions_mirror_each_other():
    effect, information = ticks()
    up, down = fed(mix(), effect, information), fed(mix(), -effect, information)
    tolerance, ones = np.full(50, 0.02), np.ones(50)
    assert_same_bits(up.log_e(tolerance, ones), down.log_e(tolerance, -ones))


def test_the_gate_hides_nothing_that_could_alarm():
    followed = fed(mix(), *ticks())
    effect, variance = followed.estimate()
    exact = log_e(effect - 0.02, variance, np.full(50, 100.0))
    shown = looked(followed)[0]
    assert_same_bits(shown[np.isfinite(shown)], exact[np.isfinite(shown)])
    assert (exact[~np.isfinite(shown)] < 1.5).all()


def test_there_is_no_evidence_before_the_first_tick():
    up, within, width = looked(mix())
    assert (up == -np.inf).all()
    assert (within == -np.inf).all()
    assert (width == np.inf).all()


def test_evidence_of_health_shrinks_as_the_effect_grows():
    effect = np.linspace(-0.5, 0.5, 500)
    within = log_e_within(effect, np.full(500, 0.05), np.full(500, 1e-4), np.full(500, 1e6))
    assert (np.diff(within) <= 1e-9).all()


@given(st.floats(0, 10), st.floats(0, 10), POSITIVE, FREEDOM)
def test_what_reaches_the_tolerance_is_never_shown_healthy(tolerance, more, variance, freedom):
    within = log_e_within(one(tolerance + more), one(tolerance), one(variance), one(freedom))
    assert within[0] <= 1e-12


def test_a_tolerance_of_zero_is_never_shown_to_be_kept_by_a_canary_that_is_equal():
    within = log_e_within(np.zeros(3), np.zeros(3), np.array([1e-9, 0.01, 10.0]), np.full(3, 1e6))
    assert (within <= 0).all()
