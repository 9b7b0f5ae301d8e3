"""Comparisons: the tests of a stage at all levels, and how alpha is split over them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import comparisons
from detectors.comparisons import COLO, FLEET, REGION, arrange, balanced
from tests.detectors.stages import arranged


@pytest.mark.parametrize("regions", [0, 1, 2, 5])
@pytest.mark.parametrize("colos", [1, 2, 5, 40])
@pytest.mark.parametrize("strands", [1, 3])
def test_alpha_is_split_over_levels_and_places_to_its_whole(strands, colos, regions):
    tests = arranged(strands, colos, regions)
    np.testing.assert_allclose(np.bincount(tests.strand, tests.share), np.ones(strands))


def test_alpha_is_split_to_its_whole_where_strands_have_unlike_places():
    strand = np.array([0, 0, 0, 1, 2, 2])
    colo = np.array([0, 1, 2, 1, 0, 2])
    region = np.array([0, 1, -1, 1, -1, -1])
    tests = arrange(strand, colo, region)
    np.testing.assert_allclose(np.bincount(tests.strand, tests.share), np.ones(3))
    assert (tests.share >= 0).all()


def test_half_of_the_evidence_is_the_fleets():
    tests = arranged(2, 6, 3)
    by_level = np.bincount(tests.level, tests.share)
    np.testing.assert_allclose(by_level[[FLEET, REGION, COLO]], [1.0, 0.5, 0.5])


def test_without_regions_their_part_goes_to_the_other_levels():
    tests = arranged(1, 6)
    np.testing.assert_allclose(np.bincount(tests.level, tests.share, 3)[[FLEET, REGION, COLO]], [2 / 3, 0, 1 / 3])


def test_one_colo_is_the_fleet_and_tested_once():
    tests = arranged(1, 1, 1)
    assert tests.share[tests.level == FLEET] == 1.0
    assert tests.share[tests.level != FLEET].sum() == 0.0


def test_the_first_tests_are_the_comparisons_themselves():
    tests = arranged(3, 4, 2)
    assert tests.comparisons == 12
    assert (tests.level[:12] == COLO).all()
    np.testing.assert_array_equal(tests.pool.toarray()[:12], np.eye(12))


def test_pools_add_what_belongs_to_them():
    tests = arranged(2, 4, 2)
    pooled = tests.pool @ np.arange(8.0)
    fleet = tests.fleet()
    assert tests.strand[fleet].tolist() == [0, 1]
    assert pooled[fleet].tolist() == [0 + 1 + 2 + 3, 4 + 5 + 6 + 7]
    region = (tests.level == REGION) & (tests.strand == 1)
    assert tests.place[region].tolist() == [0, 1]
    assert pooled[region].tolist() == [4 + 6, 5 + 7]


def test_a_colo_without_a_region_counts_for_the_fleet():
    tests = arrange(np.zeros(3, np.intp), np.arange(3), np.array([0, 0, -1]))
    sizes = tests.pool.sum(axis=1)
    assert sizes[tests.level == REGION].tolist() == [2.0]
    assert sizes[tests.fleet()].tolist() == [3.0]


def test_nothing_to_compare_can_be_arranged():
    none = np.empty(0, np.intp)
    tests = arrange(none, none, none)
    assert len(tests) == 0
    assert len(tests.fleet()) == 0


def control_weights(tests: comparisons.Tests) -> NDArray[np.float64]:
    """Return the weights [test, comparison] of the control's sums."""
    assert tests.pool_control is not None
    return tests.pool_control.toarray()


def test_balanced_pools_have_the_same_part_of_each_comparison_on_both_sides():
    canary, control = np.array([10.0, 30.0, 5.0]), np.array([90.0, 10.0, 40.0])
    tests = balanced(arrange(np.zeros(3, np.intp), np.arange(3), np.full(3, -1)), canary, control)
    fleet = tests.fleet()[0]
    parts = control_weights(tests)[fleet] * control
    np.testing.assert_allclose(parts / parts.sum(), canary / canary.sum())
    np.testing.assert_allclose(control_weights(tests)[:3], np.eye(3))


def test_balanced_counts_vary_no_more_than_counts_of_their_size():
    canary, control = np.array([10.0, 30.0, 5.0]), np.array([90.0, 10.0, 40.0])
    tests = balanced(arrange(np.zeros(3, np.intp), np.arange(3), np.full(3, -1)), canary, control)
    weights = control_weights(tests)[tests.fleet()[0]]
    np.testing.assert_allclose((weights**2 * control).sum(), (weights * control).sum())


def test_where_both_sides_are_alike_balancing_changes_nothing():
    tests = arranged(2, 4, 2)
    even = balanced(tests, np.full(8, 10.0), np.full(8, 40.0))
    np.testing.assert_allclose(control_weights(even), tests.pool.toarray())


def test_comparison_without_a_past_keeps_its_weight():
    tests = balanced(arrange(np.zeros(2, np.intp), np.arange(2), np.full(2, -1)), np.zeros(2), np.array([0.0, 4.0]))
    np.testing.assert_array_equal(control_weights(tests), tests.pool.toarray())
