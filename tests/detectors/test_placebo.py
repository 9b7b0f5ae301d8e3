"""Placebos: what a long past says of how far means stray, and what is made of it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from detectors.comparisons import Strand, arrange
from detectors.evidence import Evidence
from detectors.placebo import BASELINES, Placebo
from detectors.restarts import EVERY_TICKS
from detectors.sides import Sides
from detectors.windows import Past, between

Array = NDArray[np.float64]

PAST, HORIZON, THRESHOLD = 1_200, 120, np.log(100)
TOLERANCE = np.full(1, 0.02)


def wandering(ticks: int, tests: int = 1, *, seed: int = 1, phi: float = 0.99, step: float = 0.01) -> Array:
    """Draw series [test, tick] of which each tick resembles the one before."""
    noise = np.random.default_rng(seed).normal(0.0, step, (tests, ticks))
    return np.asarray(lfilter([1.0], [1.0, -phi], noise))


def placebo(past: Array, *, pools: int = 0) -> Placebo:
    tests = len(past)
    return Placebo(past, np.ones_like(past), np.full(tests, 0.02), np.zeros(tests, np.intp), HORIZON, pools)


def run(series: Array, *, pools: int = 0, up: bool = True) -> Array:
    """Judge all ticks after `PAST`; return the logarithms of the e-values [tick, test]."""
    judged = placebo(series[:, :PAST], pools=pools)
    tolerated = np.full(len(series), 0.02)
    values = []
    for tick in range(PAST, series.shape[1]):
        judged.update(series[:, tick], np.ones(len(series)), tolerated, tolerated)
        values.append(judged.log_e(tolerated, 1.0 if up else -1.0))
    return np.array(values)


def test_shift_of_a_wandering_level_is_called_at_the_third_tick() -> None:
    series = wandering(PAST + 5)
    series[:, PAST:] += 0.5
    assert (run(series)[:, 0] > THRESHOLD).tolist()[2:] == [True] * 3


def test_shift_downwards_counts_in_its_own_direction_alone() -> None:
    series = wandering(PAST + 5)
    series[:, PAST:] -= 0.5
    assert run(series, up=False)[-1, 0] > THRESHOLD
    assert run(series)[-1, 0] == -np.inf


def test_drift_that_the_past_is_full_of_is_no_evidence() -> None:
    """A random walk strays far from where it was; a model with short memory would call that a shift."""
    alarms = 0
    for seed in range(40):
        series = np.cumsum(np.random.default_rng(seed).normal(0.0, 0.02, (1, PAST + HORIZON)), axis=1)
        alarms += bool((run(series) > THRESHOLD).any())
    assert alarms <= 2


def test_harm_that_begins_late_is_seen_against_the_ticks_right_before_it() -> None:
    series = wandering(PAST + 70)
    series[:, PAST + 60 :] += 0.4
    late = np.flatnonzero(run(series)[:, 0] > THRESHOLD)
    assert 60 <= late[0] <= 60 + 5
    alone = np.flatnonzero(run(series, pools=1)[:, 0] > THRESHOLD)
    assert not len(alone) or alone[0] > late[0]


def test_restarts_look_at_fixed_ticks() -> None:
    """Harm that begins between two starts waits for no more than the next baseline that it has not spoilt."""
    series = wandering(PAST + 100, step=0.005)
    series[:, PAST + 2 * EVERY_TICKS :] += 0.3
    assert np.flatnonzero(run(series)[:, 0] > THRESHOLD)[0] <= 2 * EVERY_TICKS + 5


@pytest.mark.parametrize("size", [1.0, 100.0, 1e6])
def test_one_tick_never_decides(size: float) -> None:
    series = wandering(PAST + 40)
    for tick in (PAST, PAST + 2, PAST + 20):
        struck = series.copy()
        struck[:, tick] += size
        assert run(struck)[2:].max() < THRESHOLD  # of fewer than three ticks the portfolio takes no account


def test_tick_without_data_is_no_tick() -> None:
    judged = placebo(wandering(PAST))
    zero = np.zeros(1)
    for _ in range(10):
        judged.update(np.full(1, 9.0), zero, TOLERANCE, TOLERANCE)
    assert judged.log_e(TOLERANCE, 1.0)[0] == -np.inf
    assert judged.score.tolist() == [[0.0]] * len(BASELINES)


def test_missing_ticks_make_a_mean_less_certain() -> None:
    whole, half = placebo(wandering(PAST)), placebo(wandering(PAST))
    for tick in range(20):
        whole.update(np.zeros(1), np.ones(1), TOLERANCE, TOLERANCE)
        half.update(np.zeros(1), np.full(1, float(tick % 2)), TOLERANCE, TOLERANCE)
    assert half.radius(0.05)[0] > whole.radius(0.05)[0]
    assert half.radius(0.05, 20)[0] == whole.radius(0.05)[0]


def test_past_of_another_kind_in_each_half_is_erratic_and_not_judged() -> None:
    calm = wandering(PAST + 5, 6, phi=0.5)
    assert not placebo(calm[:, :PAST]).is_erratic
    wild = calm.copy()
    wild[:, 900:910] += 3.0
    wild[:, PAST:] += 5.0
    judged = placebo(wild[:, :PAST])
    assert judged.is_erratic
    assert (run(wild) == -np.inf).all()


def test_single_erratic_metric_is_judged_with_wider_bounds() -> None:
    past = wandering(PAST, 8, phi=0.5)
    past[0, 900:910] += 1.0
    strand = np.arange(8)
    judged = Placebo(past, np.ones_like(past), np.full(8, 0.02), strand, HORIZON, 8)
    for _ in range(3):
        judged.update(np.zeros(8), np.ones(8), np.full(8, 0.02), np.full(8, 0.02))
    radius = judged.radius(0.05)
    assert not judged.is_erratic
    assert radius[0] > 3 * radius[1:].max()


def test_normal_noise_surprises_nobody_however_it_depends_on_itself() -> None:
    for phi in (0.0, 0.9, 0.99):
        past = wandering(2_016, 60, phi=phi)
        surprise = np.median(Past(past, np.ones_like(past), HORIZON).surprise((15, 60), (8, 60)))
        assert 1.0 < surprise < 1.3


def test_variance_of_placebos_is_that_of_independent_means() -> None:
    past = wandering(20_000, 4, phi=0.0, step=1.0)
    found = Past(past, np.ones_like(past), 100).calibrate(15)
    expected = 1 / np.array([1, 3, 8, 20, 60, 100]) + 1 / 15
    assert np.allclose(found.variance.mean(axis=1), expected, rtol=0.1)


def test_between_spans_variance_lies_between_and_beyond_them_it_grows() -> None:
    spans = np.array([1.0, 10.0])
    variance, freedom = np.array([[[4.0], [1.0]]]), np.array([[[20.0], [8.0]]])
    values = [float(between(spans, variance, freedom, ticks)[0][0, 0]) for ticks in (1, 3, 10, 20)]
    assert values[0] == 4.0
    assert 1.0 < values[1] < 4.0
    assert values[2:] == [1.0, 2.0]
    assert float(between(spans, variance, freedom, 3)[1][0, 0]) == 8.0


def test_mirror_excludes_more_the_longer_nothing_happens() -> None:
    judged = placebo(wandering(PAST, phi=0.5, step=0.05))
    values = []
    for _ in range(60):
        judged.update(np.zeros(1), np.ones(1), TOLERANCE, TOLERANCE)
        values.append(float(judged.log_e_within(np.full(1, 0.2), 1.0, np.zeros(1, np.intp))[0]))
    assert values[59] > values[5]
    assert judged.log_e_within_after(60, np.full(1, 0.2), np.zeros(1, np.intp))[0] == pytest.approx(values[59], rel=0.2)


@pytest.mark.parametrize("is_wild", [False, True])
def test_stage_with_an_erratic_past_is_not_comparable_and_not_stopped(is_wild: bool) -> None:
    """Four metrics in two colos, of which the canary's double: called at once, unless their past foretells nothing."""
    levels = np.exp(wandering(PAST + 5, 16, phi=0.5))
    canary, control = levels[:8], levels[8:]
    if is_wild:
        canary[:, 900:910] *= 20.0
    canary[:, PAST:] *= 2.0
    strands = [Strand(metric, 0.0, False, True, True, 0.02, 0.0, "auto", 0.25) for metric in range(4)]
    tests = arrange(np.repeat(np.arange(4), 2), np.tile(np.arange(2), 4), np.full(8, -1))
    ones = np.ones((8, PAST))
    past = Sides(canary[:, :PAST], ones, control[:, :PAST], ones)
    evidence = Evidence(strands, tests, past, np.zeros(8), 30, HORIZON)
    for tick in range(PAST, PAST + 5):
        evidence.update(Sides(canary[:, tick], ones[:, 0], control[:, tick], ones[:, 0]), False, np.zeros(4, np.bool_))
    assert (evidence.is_erratic() == is_wild).all()
    assert (evidence.strand_log_e(evidence.log_e()) > THRESHOLD).all() != is_wild
    assert (evidence.log_e() == -np.inf).all() == is_wild
