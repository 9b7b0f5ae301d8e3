"""CountMix: evidence where the past has no bad events to learn from."""

import copy

import numpy as np
import pytest
from scipy.stats import poisson

from detectors.countmix import EVENTS_MAX, MULTIPLES, CountMix, rate_bound

HORIZON = 100


def fed(mix: CountMix, bad, expected) -> CountMix:
    for seen, allowed in zip(bad, expected, strict=True):
        mix.update(seen, allowed)
    return mix


def drawn(size: int = 40, ticks: int = 60, seed: int = 1):
    rng = np.random.default_rng(seed)
    expected = np.tile(rng.uniform(0.05, 20.0, size), (ticks, 1))
    expected[rng.random((ticks, size)) < 0.1] = 0.0
    return rng.poisson(expected * np.linspace(0.2, 4, size)).astype(float), expected


def both(mix: CountMix):
    return np.stack([mix.log_e(), mix.log_e_within()])


def alarms_at(rate: float, allowed: float, onset: int = 0, seed: int = 2) -> float:
    """Return the tick, counted from the onset, at which errors that then appear from zero alarm."""
    rng = np.random.default_rng(seed)
    mix = CountMix(1, HORIZON)
    for tick in range(HORIZON):
        mix.update(rng.poisson([rate if tick >= onset else 0.0]).astype(float), np.array([allowed]))
        if mix.log_e()[0] >= np.log(100):
            return tick - onset + 1
    return np.inf


@pytest.mark.parametrize("multiple", MULTIPLES)
def test_no_rate_that_is_tolerated_raises_the_evidence_of_a_tick_on_average(multiple):
    seen = np.arange(3_000)
    power = np.minimum(1.0, EVENTS_MAX / np.maximum(seen, EVENTS_MAX))
    for allowed in np.geomspace(0.01, 300, 60):
        factor = np.exp(power * (seen * np.log(multiple) - allowed * (multiple - 1)))
        assert np.sum(poisson.pmf(seen, allowed) * factor) <= 1 + 1e-9


def test_what_is_tolerated_rarely_ever_alarms():
    rng = np.random.default_rng(3)
    runs, alpha = 4_000, 0.05
    mix, top = CountMix(runs, HORIZON), np.zeros(runs)
    for _ in range(HORIZON):
        mix.update(rng.poisson(1.5, runs).astype(float), np.full(runs, 1.5))
        top = np.maximum(top, mix.log_e())
    ever = (top >= np.log(1 / alpha)).mean()
    assert ever <= alpha + 3 * np.sqrt(alpha * (1 - alpha) / runs)


def test_many_errors_where_few_are_tolerated_alarm_soon():
    assert alarms_at(rate=10.0, allowed=0.05) <= 2


def test_a_late_onset_alarms_soon_too():
    assert alarms_at(rate=10.0, allowed=0.5, onset=80) <= 4


def test_one_burst_counts_as_a_few_events():
    mix = fed(CountMix(1, HORIZON), np.full((1, 1), 1e9), np.full((1, 1), 1.0))
    assert mix.log_e()[0] <= EVENTS_MAX * np.log(MULTIPLES[-1])


def test_ticks_without_traffic_or_control_bring_no_evidence():
    mix = CountMix(2, HORIZON)
    for _ in range(2 * HORIZON):
        mix.update(np.full(2, 1e6), np.array([0.0, np.inf]))
    assert (both(mix) <= 1e-9).all()
    assert not mix.observed.any()
    assert not mix.ticks_worse.any()


def test_a_restart_from_a_copy_continues_bit_for_bit():
    bad, expected = drawn()
    half = copy.deepcopy(fed(CountMix(40, HORIZON), bad[:25], expected[:25]))
    resumed, whole = fed(half, bad[25:], expected[25:]), fed(CountMix(40, HORIZON), bad, expected)
    np.testing.assert_array_equal(both(resumed).view(np.uint64), both(whole).view(np.uint64))


def test_permuting_comparisons_permutes_the_result_bit_for_bit():
    bad, expected = drawn()
    order = np.random.default_rng(4).permutation(40)
    straight = both(fed(CountMix(40, HORIZON), bad, expected))
    permuted = both(fed(CountMix(40, HORIZON), bad[:, order], expected[:, order]))
    np.testing.assert_array_equal(permuted.view(np.uint64), straight[:, order].view(np.uint64))


def test_evidence_stays_finite():
    mix = CountMix(2, HORIZON)
    for _ in range(2_000):
        mix.update(np.array([1e9, 0.0]), np.array([1e-3, 1e9]))
    assert np.isfinite(both(mix)).all()


def test_more_bad_events_are_never_less_evidence():
    bad, expected = drawn()
    fewer, more = (fed(CountMix(40, HORIZON), bad + extra, expected).log_e() for extra in (0.0, 1.0))
    assert (more >= fewer - 1e-9).all()


def test_the_bound_holds_nearly_always():
    rng = np.random.default_rng(5)
    for mean in (0.1, 1.0, 5.0, 50.0):
        seen = rng.poisson(mean, 20_000).astype(float)
        missed = (rate_bound(seen, np.full(20_000, 1_000.0)) * 1_000 < mean).mean()
        assert missed <= 0.001 + 3 * np.sqrt(0.001 / 20_000)


def test_nothing_is_known_of_a_control_without_traffic():
    assert rate_bound(np.zeros(1), np.zeros(1))[0] == np.inf
