"""The baseline: what the pre-period teaches about offset and noise."""

import numpy as np
import pytest
from scipy.signal import lfilter

from detectors.baseline import Baseline, fit

TICKS = 240


def noise(comparisons: int = 20, ticks: int = TICKS, phi: float = 0.0, seed: int = 1):
    shocks = np.random.default_rng(seed).standard_normal((comparisons, ticks + 200))
    drawn = lfilter([1.0], [1.0, -phi], 0.05 * np.sqrt(1 - phi**2) * shocks, axis=1)
    return np.asarray(drawn)[:, 200:]


def fitted(effect, information=None, floor: float = 0.0) -> Baseline:
    weight = np.ones_like(effect) if information is None else information
    return fit(effect, weight, np.full(len(effect), floor), np.zeros(len(effect), np.bool_))


def arrays(baseline: Baseline):
    return np.stack([baseline.offset, baseline.unit, baseline.ticks, baseline.variance, baseline.freedom])


def test_the_offset_is_found():
    found = fitted(noise() + 0.3)
    np.testing.assert_allclose(found.offset, 0.3, atol=0.02)


def test_the_variance_of_independent_noise_is_not_believed_to_be_smaller():
    found = fitted(noise(500))
    assert np.median(found.variance) > 0.05**2
    assert np.median(found.variance) < 2 * 0.05**2


@pytest.mark.parametrize("phi", [0.3, 0.6, 0.9])
def test_the_long_run_variance_of_correlated_noise_is_found(phi):
    found = np.median(fitted(noise(500, phi=phi)).variance) / (0.05**2 * (1 + phi) / (1 - phi))
    assert 0.9 < found < 2.0


def test_outliers_move_the_baseline_little():
    effect = noise()
    clean = fitted(effect)
    effect[:, [10, 100, 101, 200]] = [1e6, -1e6, 1e6, 1e6]
    dirty = fitted(effect)
    assert (np.abs(dirty.offset - clean.offset) < 0.02).all()
    assert (dirty.variance < 10 * clean.variance).all()


def test_a_walk_that_never_returns_has_a_finite_variance_and_little_freedom():
    walk = np.cumsum(noise(), axis=1)
    found = fitted(walk)
    assert np.isfinite(found.variance).all()
    assert np.median(found.freedom) == 3.0
    # The autocorrelation is held at 0.97, so the autoregression's factor is at most 1.97 / 0.03.
    steady = fitted(np.repeat([[-1.0, 1.0]], TICKS // 2, axis=1))
    assert steady.variance[0] <= 1.01 * max(1.97 / 0.03, 30.0)


def test_permuting_ticks_changes_nothing_but_the_noise_model():
    effect = noise(phi=0.8)
    information = np.random.default_rng(2).uniform(0.5, 1.5, effect.shape)
    order = np.random.default_rng(3).permutation(TICKS)
    straight, permuted = fitted(effect, information), fitted(effect[:, order], information[:, order])
    for name in ("offset", "unit", "ticks"):
        np.testing.assert_allclose(getattr(permuted, name), getattr(straight, name), rtol=1e-9, atol=1e-12)
    assert (permuted.variance < straight.variance).all()
    assert (permuted.freedom > straight.freedom).all()


def test_permuting_comparisons_permutes_the_baseline_bit_for_bit():
    effect = noise(phi=0.5)
    order = np.random.default_rng(3).permutation(len(effect))
    straight, permuted = arrays(fitted(effect)), arrays(fitted(effect[order]))
    np.testing.assert_array_equal(permuted.view(np.uint64), straight[:, order].view(np.uint64))


def test_ticks_without_information_do_not_count():
    effect = noise()
    information = np.ones_like(effect)
    information[:, ::7] = 0.0
    garbage = effect.copy()
    garbage[:, ::7] = 1e12
    np.testing.assert_array_equal(arrays(fitted(garbage, information)), arrays(fitted(effect, information)))
    assert (fitted(effect, information).ticks < TICKS).all()


def test_scaling_the_effect_scales_offset_and_variance():
    effect = noise(phi=0.5) + 0.1
    straight, scaled = fitted(effect), fitted(8 * effect)
    np.testing.assert_allclose(scaled.offset, 8 * straight.offset)
    np.testing.assert_allclose(scaled.variance, 64 * straight.variance)
    np.testing.assert_allclose(scaled.freedom, straight.freedom)


def test_the_unit_of_information_is_its_average():
    effect = noise()
    straight, richer = fitted(effect), fitted(effect, np.full_like(effect, 50.0))
    np.testing.assert_allclose(richer.unit, 50.0)
    np.testing.assert_allclose(richer.ticks, straight.ticks)
    np.testing.assert_allclose(richer.variance, straight.variance)


def test_one_burst_of_information_does_not_decide_the_offset():
    effect, information = noise(), np.ones((20, TICKS))
    effect[:, 50], information[:, 50] = 0.2, 1e9
    # The unit is an average, so a burst makes every other tick small; but the burst is four units at most.
    assert (fitted(effect, information).ticks <= 4.0 + 1e-6 * TICKS).all()


@pytest.mark.parametrize("ticks", [1, 2, 3, 29, 61])
def test_a_short_past_can_be_learned_from(ticks):
    found = arrays(fitted(noise(ticks=ticks)))
    assert np.isfinite(found).all()
    assert (found[3] > 0).all()
    assert (found[4] >= 3).all()


def test_a_past_of_zeros_has_the_smallest_variance_that_is_believed():
    found = fitted(np.zeros((3, TICKS)), floor=0.25)
    assert (found.offset == 0).all()
    np.testing.assert_array_equal(found.variance, 0.25)
    assert (fitted(np.zeros((3, TICKS))).variance > 0).all()


def test_a_past_without_any_information_can_be_learned_from():
    found = arrays(fitted(np.zeros((3, TICKS)), np.zeros((3, TICKS)), floor=1.0))
    assert np.isfinite(found).all()


def test_the_input_is_not_changed():
    effect, information = noise(), np.ones((20, TICKS))
    before = effect.copy()
    fitted(effect, information)
    np.testing.assert_array_equal(effect, before)
    assert (information == 1).all()
