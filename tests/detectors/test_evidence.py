"""Evidence: what a stage knows of its comparisons and their pools, whatever the data."""

from dataclasses import replace

import numpy as np
import pytest

from detectors.comparisons import COLO, FLEET, REGION, arrange
from detectors.evidence import Evidence
from detectors.sides import Sides
from tests.detectors.stages import (
    LEVEL,
    PAST,
    RATIO,
    arranged,
    begin,
    counts,
    cut,
    follow,
    judged,
    levels,
    stacked,
    step,
)

STRANDS = [LEVEL, RATIO]
COLOS = 4
TICKS = PAST + 40


def fleet(seed: int = 1) -> Sides:
    """Draw a level and a ratio in every colo, of which the first is hurt in both."""
    drawn = stacked(levels(seed, COLOS, TICKS), counts(seed, COLOS, TICKS))
    drawn.canary[[0, COLOS], PAST + 10 :] *= 1.5
    return drawn


def swapped(sides: Sides) -> Sides:
    return Sides(sides.control, sides.control_of, sides.canary, sides.canary_of)


def assert_same_bits(one, other):
    np.testing.assert_array_equal(one.view(np.uint64), other.view(np.uint64))


def healthy(evidence: Evidence):
    return np.stack([evidence.log_e_within(), evidence.log_e_within(np.log(2.0))])


def test_swapping_the_arms_flips_the_sign_of_every_score():
    drawn = fleet()
    evidence = begin(STRANDS, drawn)
    effect, information = evidence.scores(drawn)
    mirrored, same = evidence.scores(swapped(drawn))
    np.testing.assert_allclose(mirrored, -effect, atol=1e-12)
    np.testing.assert_allclose(same, information)


@pytest.mark.parametrize("both", [LEVEL, RATIO], ids=["level", "ratio"])
def test_a_difference_between_the_arms_that_was_always_there_is_no_evidence(both):
    draw = counts if both.is_ratio else levels
    drawn = draw(1, 3, TICKS)
    drawn.canary[:] = np.round(drawn.canary * 3) if both.is_ratio else drawn.canary * 3
    assert judged([both], drawn).max() < 1


def test_a_level_that_was_never_near_zero_is_compared_as_a_ratio():
    drawn = levels(1, 2, TICKS)
    assert begin([LEVEL], drawn).is_log.all()
    drawn.canary[0, 5] = -1.0
    assert not begin([LEVEL], drawn).is_log.any()


def test_a_block_of_ticks_gives_the_bits_of_single_ticks():
    drawn = fleet()
    block = follow(begin(STRANDS, drawn), cut(drawn, PAST, TICKS))
    evidence = begin(STRANDS, drawn)
    singly = [step(evidence, cut(drawn, tick, tick + 1).at(0)) for tick in range(PAST, TICKS)]
    assert_same_bits(np.array(singly), block)


def test_permuting_the_colos_permutes_their_evidence_bit_for_bit():
    drawn = levels(1, COLOS, TICKS)
    drawn.canary[0, PAST + 10 :] *= 1.5
    order = np.array([2, 0, 3, 1])
    permuted = Sides(*(array[order] for array in drawn.arrays()))
    straight, other = judged([LEVEL], drawn), judged([LEVEL], permuted)
    assert_same_bits(other[:, :COLOS].copy(), straight[:, order].copy())
    np.testing.assert_allclose(other[:, COLOS:], straight[:, COLOS:])  # pools add in another order


def test_ticks_without_information_are_no_ops():
    drawn = fleet()
    evidence = begin(STRANDS, drawn)
    before = follow(evidence, cut(drawn, PAST, TICKS))[-1]
    nothing = np.zeros(2 * COLOS)
    for _ in range(5):
        assert_same_bits(step(evidence, Sides(nothing, nothing, nothing, nothing)), before)


@pytest.mark.parametrize("arm", ["canary", "control"])
@pytest.mark.parametrize("strand", [LEVEL, RATIO], ids=["level", "ratio"])
@pytest.mark.parametrize("share", [0.01, 0.0], ids=["with errors", "without errors"])
def test_a_missing_arm_yields_no_evidence_in_either_direction(arm, strand, share):
    drawn = counts(1, 2, TICKS, share=share) if strand.is_ratio else levels(1, 2, TICKS)
    live = cut(drawn, PAST, TICKS)
    for array in (live.canary, live.canary_of) if arm == "canary" else (live.control, live.control_of):
        array[:] = 0.0
    if arm == "control":
        live.canary[:] = 0.9 * live.canary_of
    evidence = begin([strand], drawn)
    assert (follow(evidence, live) <= 0).all()
    assert (healthy(evidence) <= 0).all()


@pytest.mark.parametrize("strand", [LEVEL, RATIO], ids=["level", "ratio"])
def test_a_missing_arm_in_one_colo_does_not_move_the_fleet(strand):
    draw = counts if strand.is_ratio else levels
    drawn = draw(1, 3, TICKS)
    live = cut(drawn, PAST, TICKS)
    live.canary[0], live.canary_of[0] = 0.0, 0.0
    log_e = follow(begin([strand], drawn), live)
    assert log_e.max() < 1
    assert (log_e[:, 0] <= 0).all()


def test_more_tolerance_never_alarms_sooner():
    drawn = levels(1, COLOS, TICKS)
    drawn.canary[0, PAST : PAST + 2] *= 8.0  # a transient
    drawn.canary[1, PAST + 10 :] *= 1.2
    drawn.canary[2, PAST + 10 :] *= 3.0
    tolerances = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)
    by_tolerance = np.array([judged([replace(LEVEL, relative=t)], drawn) for t in tolerances])
    over = by_tolerance >= np.log(100)
    first = np.where(over.any(axis=1), over.argmax(axis=1), TICKS)
    assert (np.diff(first, axis=0) >= 0).all(), first[:, :COLOS].tolist()


def test_more_tolerance_for_a_ratio_never_alarms_sooner():
    drawn = counts(1, COLOS, TICKS)
    drawn.canary[0, PAST : PAST + 2] = 500.0
    drawn.canary[1, PAST + 10 :] *= 1.3
    drawn.canary[2, PAST + 10 :] *= 3.0
    tolerances = (0.0, 0.02, 0.05, 0.1, 0.2, 0.5)
    by_tolerance = np.array([judged([replace(RATIO, relative=t)], drawn) for t in tolerances])
    over = by_tolerance >= np.log(100)
    first = np.where(over.any(axis=1), over.argmax(axis=1), TICKS)
    assert (np.diff(first, axis=0) >= 0).all(), first[:, :COLOS].tolist()


def test_the_interval_holds_the_effect_that_is_there():
    drawn = levels(3, 200, PAST + 60)
    drawn.canary[:, PAST:] *= 1.1
    evidence = begin([LEVEL], drawn)
    outside = np.zeros(200, np.bool_)
    for tick in range(PAST, PAST + 60):
        step(evidence, drawn.at(tick))
        effect = evidence.portfolio.estimate()[0][:200]
        outside |= np.abs(effect - np.log(1.1)) > evidence.portfolio.radius(0.05)[:200]
    assert outside.mean() <= 0.05


def test_one_colo_pools_to_itself():
    drawn = levels(1, 1, TICKS)
    drawn.canary[0, PAST:] *= 1.05
    log_e = judged([LEVEL], drawn, regions=1)
    tests = arranged(1, 1, 1)
    assert tests.level.tolist() == [COLO, REGION, FLEET]
    # The pool measures what its own past leaves of the offset, and clips twice; else it is the same.
    np.testing.assert_allclose(log_e[-1, 2], log_e[-1, 0], rtol=0.2)
    assert log_e[-1, 0] > 10


def test_an_effect_in_one_region_shows_there_and_not_in_the_other():
    drawn = levels(1, 8, PAST + 40)
    drawn.canary[1::2, PAST:] *= 1.06
    tests = arranged(1, 8, 2)
    last = judged([LEVEL], drawn, regions=2)[-1]
    healthy_region, hurt_region = last[tests.level == REGION]
    assert hurt_region > 20
    assert healthy_region <= 0


def test_a_small_effect_everywhere_shows_in_the_fleet_first():
    drawn = levels(1, 40, PAST + 12, noise=0.05)
    drawn.canary[:, PAST:] *= 1.06
    tests = arranged(1, 40)
    last = judged([LEVEL], drawn)[-1]
    assert last[tests.level == FLEET] > np.log(100)
    assert np.median(last[tests.level == COLO]) < 2


def test_the_evidence_of_a_strand_is_the_average_of_its_tests():
    drawn = fleet()
    evidence = begin(STRANDS, drawn, regions=2)
    log_e = follow(evidence, cut(drawn, PAST, TICKS))[-1]
    tests = evidence.tests
    for strand in range(2):
        own = tests.strand == strand
        average = np.log(np.sum(tests.share[own] * np.exp(log_e[own])))
        np.testing.assert_allclose(evidence.strand_log_e(log_e)[strand], average)


def test_an_untested_strand_has_no_evidence():
    evidence = begin(STRANDS, fleet())
    assert (evidence.strand_log_e(np.full(len(evidence.tests), -np.inf)) == -np.inf).all()


def test_settling_ticks_count_for_exempt_strands_alone():
    drawn = fleet()
    evidence = begin(STRANDS, drawn)
    exempt = np.array([False, True])
    evidence.update(drawn.at(PAST), True, exempt)
    seen = evidence.portfolio.mix.observed[: 2 * COLOS]
    assert seen.tolist() == [0] * COLOS + [1] * COLOS


def test_a_level_with_too_short_a_past_is_not_judged():
    drawn = levels(1, 2, TICKS)
    drawn.canary[0, : PAST - 20] = drawn.canary_of[0, : PAST - 20] = 0.0
    drawn.canary[:, PAST:] *= 3
    log_e = judged([LEVEL], drawn)
    assert (log_e[:, 0] == -np.inf).all()
    assert log_e[-1, 1] > 10


def test_a_stage_of_levels_alone_can_be_judged():
    assert judged([LEVEL], levels(1, 2, TICKS)).shape == (TICKS - PAST, 3)


def test_a_stage_of_ratios_alone_can_be_judged():
    assert judged([RATIO], counts(1, 2, TICKS)).shape == (TICKS - PAST, 3)


def test_a_stage_without_a_single_comparison_can_be_judged():
    none = np.empty(0, np.intp)
    nothing = Sides(*(np.zeros((0, PAST)) for _ in range(4)))
    evidence = Evidence(STRANDS, arrange(none, none, none), nothing, np.zeros(0), 30, 120)
    assert step(evidence, nothing.at(0)).shape == (0,)
    assert (evidence.strand_log_e(evidence.log_e()) == -np.inf).all()
    assert not evidence.is_control_sick().any()


@pytest.mark.parametrize("strand", [LEVEL, RATIO], ids=["level", "ratio"])
@pytest.mark.parametrize("past", [1, 2, 40])
def test_a_short_past_can_be_begun_on(strand, past):
    draw = counts if strand.is_ratio else levels
    assert not np.isnan(judged([strand], draw(1, 2, past + 20), past=past)).any()


@pytest.mark.parametrize("strand", [LEVEL, replace(LEVEL, scale="mean"), RATIO], ids=["auto", "mean", "ratio"])
def test_a_series_of_zeros_can_be_judged(strand):
    zeros, ones = np.zeros((2, TICKS)), np.ones((2, TICKS))
    log_e = judged([strand], Sides(zeros, 2 * ones, zeros, 8 * ones))
    assert not np.isnan(log_e).any()
    assert (log_e <= 0).all()


def test_the_smallest_visible_effect_shrinks_with_time():
    drawn = levels(1, 2, TICKS)
    evidence = begin([LEVEL], drawn)
    seen = []
    for tick in range(PAST, TICKS):
        step(evidence, drawn.at(tick))
        seen.append(evidence.smallest_visible(0.01))
    assert (np.diff(np.array(seen), axis=0) < 0).all()
    assert (seen[-1] > np.log(1.02)).all()
