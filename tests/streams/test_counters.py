"""Reducing counters: ratios take whole increases, rates divide by elapsed time, and nothing is made up."""

from collections.abc import Sequence

import pytest

from detectors.policy import Metric, Ratio
from tests.samples import Row, Values, gauge, in_order, reduce, sample, series, stage

ERRORS = Metric(name="errors", ratio=Ratio(bad="bad", total="all"), worse="increase", breach="revert")
RATE = Metric(name="rate", counter="all", worse="increase", breach="halt")
LOST = Metric(name="lost", counter="lost", worse="increase", breach="halt", temporality="delta")
RELABELLED = stage({"cohort": "canary"}, started=4)
NONE = None


def total(values: Values, *, gap: int = 3) -> list[float]:
    """Return by how much a counter of events grows, tick by tick."""
    return reduce(series("all", values), ERRORS, gap=gap).of()[2]


def bad(values: Values, all_values: Values, *, gap: int = 3) -> list[float]:
    rows = in_order(series("all", all_values), series("bad", values))
    return reduce(rows, ERRORS, gap=gap).of()[1]


def rate(values: Values, *, gap: int = 3) -> list[float]:
    return reduce(series("all", values), RATE, gap=gap).of()[1]


def relabelled(before: Values, after: Values, metric: str = "all") -> list[Row]:
    """Make a counter that goes on under another cohort."""
    own = series(metric, before, cohort="control")
    return [*own, *series(metric, after, first=1 + len(before), cohort="canary")]


def test_increase_is_the_difference() -> None:
    assert total([100, 130, 130, 175]) == [0, 30, 0, 45]


def test_first_sample_of_a_new_host_has_no_increase() -> None:
    units, _, whole = reduce(series("all", [100, 130]), ERRORS).of()
    assert (units, whole) == ([0, 1], [0, 30])


def test_reset_counts_the_new_value() -> None:
    assert total([100, 130, 20, 25]) == [0, 30, 20, 5]


def test_reset_to_zero_counts_nothing() -> None:
    assert total([100, 130, 0, 5]) == [0, 30, 0, 5]


def test_increase_over_a_gap_comes_whole_when_it_is_seen() -> None:
    assert total([100, NONE, NONE, 190, 200]) == [0, 0, 0, 90, 10]


def test_reset_within_a_gap_counts_the_new_value() -> None:
    assert total([100, NONE, 20]) == [0, 0, 20]


@pytest.mark.parametrize(("missed", "expected"), [(0, 60), (1, 60), (2, 60), (3, 0), (4, 0)])
def test_counter_is_remembered_for_as_many_ticks_as_the_gap(missed: int, expected: int) -> None:
    assert total([100, 110, *[NONE] * missed, 170, 175], gap=3)[-2:] == [expected, 5]


def test_after_a_longer_gap_no_increase_is_invented() -> None:
    assert total([100, 110, *[NONE] * 9, 5_000, 5_010], gap=3)[-2:] == [0, 10]


@pytest.mark.parametrize("gap", [1, 127, 128, 400])
def test_gap_may_be_as_long_as_a_policy_allows(gap: int) -> None:
    grown = total([100, *[NONE] * (gap - 1), 107, *[NONE] * gap, 500], gap=gap)
    assert (grown[gap], sum(grown)) == (7, 7)


def test_rate_is_the_increase_per_second() -> None:
    assert rate([100, 130, 130, 175]) == [0, 3, 0, 4.5]


def test_rate_over_a_gap_is_the_increase_over_elapsed_time() -> None:
    assert rate([100, 130, NONE, NONE, 220]) == [0, 3, 3, 3, 3]


def test_rate_goes_by_the_times_of_the_samples() -> None:
    rows = [sample(1, "all", 100), sample(2, "all", 130, early_ms=8_000)]
    assert reduce(rows, RATE).of()[1] == [0, 30 / 5]


def test_rate_holds_its_last_value_for_as_long_as_the_gap() -> None:
    values = [100, 130, *[NONE] * 6, 500, 510]
    assert rate(values, gap=3) == [0, 3, 3, 3, 3, 0, 0, 0, 0, 1]


def test_rate_after_a_reset_is_the_new_value_over_elapsed_time() -> None:
    assert rate([100, 130, 20]) == [0, 3, 2]


def test_rates_of_a_host_add_up() -> None:
    rows = in_order(series("all", [0, 10], code="200"), series("all", [5, 25], code="500"))
    units, level, squares = reduce(rows, RATE).of()
    assert (units, level, squares) == ([0, 1], [0, 3], [0, 9])


def test_bad_series_that_first_appears_counts_from_zero_if_the_total_was_there() -> None:
    assert bad([NONE, NONE, 4, 6], [100, 200, 300, 400]) == [0, 0, 4, 2]


def test_bad_series_of_a_host_that_is_new_itself_has_no_increase_yet() -> None:
    rows = in_order(
        series("all", [100, 200, 300, 400]),
        series("all", [900, 950], first=3, host="h2"),
        series("bad", [70, 72], first=3, host="h2"),
    )
    assert reduce(rows, ERRORS).of()[1] == [0, 0, 0, 2]


def test_bad_series_counts_from_zero_only_if_the_total_was_there_within_the_gap() -> None:
    assert bad([*[NONE] * 5, 40, 41], [100, *[NONE] * 4, 900, 910], gap=3) == [0, 0, 0, 0, 0, 0, 1]


def test_bad_series_that_comes_back_after_a_longer_gap_does_not_count_from_zero() -> None:
    everything = [100.0 * tick for tick in range(1, 9)]
    assert bad([50, *[NONE] * 5, 60, 61], everything, gap=3) == [0, 0, 0, 0, 0, 0, 0, 1]


def test_code_that_first_appears_counts_from_zero_if_its_siblings_were_there() -> None:
    rows = in_order(series("all", [10, 20, 30, 40], code="200"), series("all", [7, 8], first=3, code="503"))
    assert reduce(rows, ERRORS).of()[2] == [0, 10, 17, 11]


def test_bad_events_of_a_host_without_a_total_count_for_nothing() -> None:
    rows = in_order(series("all", [100, 200]), series("bad", [1, 9], host="h2"))
    assert reduce(rows, ERRORS).of() == ([0, 1], [0, 0], [0, 100])


def test_relabelled_counter_goes_on_without_a_jump() -> None:
    rows = relabelled([100, 110, 120], [130, 145])
    assert reduce(rows, ERRORS, stages=[RELABELLED]).of()[2] == [0, 10, 10, 10, 15]


def test_relabelled_counter_that_is_reset_counts_the_new_value() -> None:
    rows = relabelled([100, 110, 120], [4, 9])
    assert reduce(rows, ERRORS, stages=[RELABELLED]).of()[2] == [0, 10, 10, 4, 5]


def test_relabelled_counter_goes_on_over_a_gap() -> None:
    rows = relabelled([100, 110, NONE, NONE], [140, 145])
    assert reduce(rows, ERRORS, stages=[RELABELLED], gap=3).of()[2] == [0, 10, 0, 0, 30, 5]


def test_relabelled_counter_does_not_jump_after_a_longer_gap() -> None:
    rows = relabelled([100, 110, NONE, NONE, NONE], [140, 145])
    assert reduce(rows, ERRORS, stages=[RELABELLED], gap=3).of()[2] == [0, 10, 0, 0, 0, 0, 5]


def test_counter_relabelled_within_a_tick_does_not_jump() -> None:
    last = sample(3, "all", 118, early_ms=8_000, cohort="control")
    rows = [*series("all", [100, 110], cohort="control"), last, *series("all", [120, 130], first=3, cohort="canary")]
    assert reduce(rows, ERRORS, stages=[RELABELLED]).of()[2] == [0, 10, 8, 10]


def test_relabelled_code_does_not_jump_though_its_siblings_go_on() -> None:
    seldom = relabelled([50, NONE, NONE, NONE, NONE], [50, 51], "bad")
    often = relabelled([100, 110, 120, 130, 140], [150, 160])
    assert reduce(in_order(seldom, often), ERRORS, stages=[RELABELLED], gap=3).of()[1] == [0, 0, 0, 0, 0, 0, 1]


def test_label_that_no_selector_looks_at_makes_another_counter() -> None:
    rows = [*series("all", [100, 110], version="1"), *series("all", [5, 9], first=3, version="2")]
    assert reduce(rows, ERRORS, stages=[stage({"host": "h1"})]).of()[2] == [0, 10, 5, 4]


def test_relabelled_rate_goes_on_without_a_jump() -> None:
    rows = relabelled([100, 110, 120], [130, 140, 150])
    units, level, _ = reduce(rows, RATE, stages=[RELABELLED]).of()
    assert (units, level) == ([0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1])


def test_of_several_samples_in_a_tick_the_last_wins() -> None:
    rows = [sample(1, "all", 100), sample(2, "all", 130, early_ms=9_000), sample(2, "all", 150, early_ms=1_000)]
    for order in (rows, rows[::-1]):
        assert reduce(order, ERRORS).of()[2] == [0, 50]


def test_reset_between_two_samples_of_a_tick_counts_the_new_value() -> None:
    rows = [sample(1, "all", 100), sample(2, "all", 130, early_ms=9_000), sample(2, "all", 5, early_ms=1_000)]
    assert reduce(rows, ERRORS).of()[2] == [0, 5]


def test_of_duplicates_the_larger_value_counts_whatever_came_first() -> None:
    rows = [sample(1, "all", 100), sample(2, "all", 130), sample(2, "all", 150), sample(2, "all", 140)]
    for order in (rows, rows[::-1]):
        sums = reduce(order, ERRORS)
        assert sums.of()[2] == [0, 50]
        assert sums.dropped == {"duplicate": 2}


def test_deltas_of_a_tick_add_up() -> None:
    rows = [
        sample(1, "lost", 3, early_ms=9_000),
        sample(1, "lost", 4, early_ms=5_000),
        sample(1, "lost", 1, early_ms=0),
        sample(2, "lost", 2),
    ]
    for order in (rows, rows[::-1]):
        assert reduce(order, LOST).of()[1] == [8, 2]


def test_duplicate_delta_counts_once() -> None:
    sums = reduce([sample(1, "lost", 3), sample(1, "lost", 4), sample(1, "lost", 2, early_ms=0)], LOST)
    assert (sums.of()[1], sums.dropped) == ([6], {"duplicate": 1})


def test_delta_that_falls_is_no_reset() -> None:
    assert reduce(series("lost", [9, 2, 5]), LOST).of()[1] == [9, 2, 5]


def test_gauge_beside_counters_is_left_alone() -> None:
    rows = in_order(series("all", [100, 90]), series("cpu", [0.5, 0.25]), series("lost", [1, 2]))
    sums = reduce(rows, gauge("cpu"), ERRORS, LOST)
    assert [sums.of(metric)[1 if metric != 1 else 2] for metric in range(3)] == [[0.5, 0.25], [0, 90], [1, 2]]


@pytest.mark.parametrize("early", [[0, 0], [9_999, 9_999], [0, 9_999]], ids=str)
def test_sample_belongs_to_the_tick_that_ends_at_or_next_after_it(early: Sequence[int]) -> None:
    rows = [sample(1, "all", 1, early_ms=early[0]), sample(2, "all", 4, early_ms=early[1])]
    sums = reduce(rows, ERRORS)
    assert (sums.ticks.first, sums.of()[2]) == (1, [0, 3])
