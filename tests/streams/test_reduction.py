"""Reducing gauges, histograms and who reports; and sums that are the same to the last bit."""

import math

import numpy as np
import pytest

from detectors.errors import BadInput
from detectors.policy import Metric, Ratio
from tests.samples import Row, Values, gauge, in_order, reduce, sample, series, stage

CPU = gauge("cpu")
ERRORS = Metric(name="errors", ratio=Ratio(bad="bad", total="all"), worse="increase", breach="revert")
LATENCY = Metric(name="latency", histogram="seconds", quantile=0.9, worse="increase", breach="revert")
RELABELLED = stage({"cohort": "canary"}, started=4)
NONE = None


def buckets(*edges_and_values: tuple[str, Values], host: str = "h1", first: int = 1) -> list[Row]:
    parts = [series("seconds", values, le=le, host=host, first=first) for le, values in edges_and_values]
    return in_order(*parts)


def test_gauge_is_summed_over_hosts_with_its_square() -> None:
    rows = in_order(series("cpu", [0.5, 1.0]), series("cpu", [0.25, 3.0], host="h2"))
    assert reduce(rows, CPU).of() == ([2, 2], [0.75, 4.0], [0.3125, 10.0])


def test_gauge_holds_its_last_value_for_as_long_as_the_gap() -> None:
    rows = in_order(series("cpu", [0.5, *[NONE] * 5, 0.75]), series("cpu", [1.0] * 7, host="h2"))
    units, level, _ = reduce(rows, CPU, gap=3).of()
    assert units == [2, 2, 2, 2, 1, 1, 2]
    assert level == [1.5, 1.5, 1.5, 1.5, 1, 1, 1.75]


def test_gauge_that_is_zero_is_held_as_a_value() -> None:
    assert reduce(series("cpu", [0.0, NONE, 2.0]), CPU).of()[:2] == ([1, 1, 1], [0, 0, 2])


def test_gauge_is_dropped_at_once_when_its_relabelled_twin_reports() -> None:
    rows = [*series("cpu", [0.5] * 3, cohort="control"), *series("cpu", [0.75] * 3, first=4, cohort="canary")]
    units, level, _ = reduce(rows, CPU, stages=[RELABELLED]).of()
    assert (units, level) == ([1] * 6, [0.5] * 3 + [0.75] * 3)


def test_gauge_is_held_over_a_restart_until_its_relabelled_twin_reports() -> None:
    rows = [*series("cpu", [0.5] * 3, cohort="control"), *series("cpu", [0.75] * 3, first=6, cohort="canary")]
    assert reduce(rows, CPU, stages=[RELABELLED], gap=3).of()[1] == [0.5] * 5 + [0.75] * 3


def test_relabelled_gauge_does_not_come_back_when_its_twin_misses_a_scrape() -> None:
    rows = [
        *series("cpu", [0.5] * 3, cohort="control"),
        *series("cpu", [0.75, NONE, NONE, NONE, NONE], first=4, cohort="canary"),
        *series("cpu", [1.0] * 9, host="h2", cohort="control"),
    ]
    sums = reduce(in_order(rows), CPU, stages=[RELABELLED], gap=3)
    assert sums.of(signature=1)[0] == [1, 1, 1, 1, 1, 1, 1, 0, 0]


def test_gauges_of_a_host_are_averaged_first() -> None:
    cores = [series("cpu", [1.0 + core], core=str(core)) for core in range(4)]
    rows = in_order(*cores, series("cpu", [1.5], host="h2", core="0"))
    assert reduce(rows, CPU).of() == ([2], [2.5 + 1.5], [2.5**2 + 1.5**2])


def test_core_that_stops_reporting_leaves_the_average() -> None:
    rows = in_order(series("cpu", [1.0, NONE, NONE], core="0"), series("cpu", [3.0] * 3, core="1"))
    assert reduce(rows, CPU, gap=1).of() == ([1] * 3, [2.0, 2.0, 3.0], [4.0, 4.0, 9.0])


def test_histogram_is_events_beyond_each_edge_of_all_events() -> None:
    sums = reduce(buckets(("0.1", [5, 8]), ("1", [7, 17]), ("+Inf", [10, 30])), LATENCY)
    assert sums.of(edge=0.1) == ([1, 1], [0, 17], [0, 20])
    assert sums.of(edge=1.0) == ([1, 1], [0, 10], [0, 20])
    assert sums.of(edge=math.inf) == ([1, 1], [0, 0], [0, 20])


def test_edges_are_compared_as_numbers() -> None:
    rows = in_order(buckets(("1", [0, 1]), ("+Inf", [0, 4])), buckets(("1.0", [0, 2]), ("Inf", [0, 4]), host="h2"))
    assert reduce(rows, LATENCY).of(edge=1.0)[1:] == ([0, 5], [0, 8])


def test_histogram_without_one_of_its_buckets_is_set_aside() -> None:
    sums = reduce(buckets(("0.1", [5, NONE, 20]), ("+Inf", [10, 30, 60])), LATENCY)
    assert sums.of(edge=0.1) == ([1, 0, 1], [0, 0, 35], [0, 0, 50])
    assert sums.dropped == {"incomplete_histogram": 1}


def test_what_an_incomplete_histogram_counted_comes_with_the_next_complete_one() -> None:
    complete = buckets(("0.1", [5, 8, 9, 14]), ("1", [7, 17, 18, 24]), ("+Inf", [10, 30, 34, 60]))
    holed = [row for row in complete if (row.time // 10_000, row.labels["le"]) not in {(1, "0.1"), (2, "+Inf")}]
    assert len(holed) == len(complete) - 2
    for edge in (0.1, 1.0):
        found, expected = (np.array(reduce(rows, LATENCY).of(edge=edge)[1:]) for rows in (holed, complete))
        np.testing.assert_array_equal(found.sum(axis=1), expected.sum(axis=1))
        assert (found[:, 1:3] == 0).all()
    assert reduce(holed, LATENCY).of(edge=math.inf)[1] == [0, 1, 1, 0]  # set aside, once a tick


def test_host_that_sends_incomplete_histograms_alone_does_report() -> None:
    assert reduce(buckets(("1", [1, NONE, 3]), ("+Inf", [1, 2, 4])), LATENCY).of(1)[:2] == ([1, 1, 1], [0, 0, 0])


def test_at_an_edge_that_some_hosts_lack_only_those_that_have_it_count() -> None:
    rows = in_order(
        buckets(("1", [0, 6]), ("+Inf", [0, 10])),
        buckets(("1", [0, 20]), ("2", [0, 25]), ("+Inf", [0, 40]), host="h2"),
    )
    sums = reduce(rows, LATENCY)
    assert sums.of(edge=1.0)[1:] == ([0, 24], [0, 50])
    assert sums.of(edge=2.0)[1:] == ([0, 15], [0, 40])


def test_every_bucket_of_a_process_that_began_anew_is_reset() -> None:
    sums = reduce(buckets(("0.1", [2, 9]), ("+Inf", [100, 12])), LATENCY)
    assert sums.of(edge=0.1) == ([1, 1], [0, 3], [0, 12])


def test_histogram_that_first_appears_beside_another_host_has_no_increase() -> None:
    rows = in_order(
        buckets(("1", [1, 2]), ("+Inf", [1, 2])), buckets(("1", [700]), ("+Inf", [900]), host="h2", first=2)
    )
    assert reduce(rows, LATENCY).of(edge=math.inf)[2] == [0, 1]


def test_bucket_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        reduce(buckets(("fast", [1]), ("+Inf", [1])), LATENCY)
    assert str(caught.value) == "metrics.parquet: `seconds` has a series with le='fast'; allowed is a number or +Inf"


def test_histogram_without_the_bucket_of_all_events_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        reduce(in_order(buckets(("1", [1]), ("+Inf", [1])), buckets(("1", [1]), host="h2")), LATENCY)
    assert str(caught.value) == ("metrics.parquet: `seconds` of h2 has no bucket le=+Inf, which holds all events")


def test_hosts_that_report_are_counted_on_what_really_came() -> None:
    rows = in_order(series("cpu", [1.0] * 4), series("cpu", [1.0, NONE, NONE, 1.0], host="h2"))
    sums = reduce(rows, CPU)
    assert sums.of(0)[0] == [2, 2, 2, 2]
    assert sums.of(1) == ([2, 1, 1, 2], [0, 1, 1, 0], [2, 2, 2, 2])


def test_host_is_expected_from_its_first_report_on() -> None:
    rows = in_order(series("cpu", [1.0] * 4), series("cpu", [1.0], first=3, host="h2"))
    assert reduce(rows, CPU).of(1) == ([1, 1, 2, 1], [0, 0, 0, 1], [1, 1, 2, 2])


def test_host_that_sends_one_of_its_metrics_reports() -> None:
    rows = in_order(series("cpu", [1.0] * 2), series("mem", [1.0, NONE]), series("cpu", [1.0, NONE], host="h2"))
    assert reduce(rows, CPU, gauge("mem")).of(2)[0] == [2, 1]


def test_metric_that_is_not_judged_does_not_make_a_host_report() -> None:
    rows = in_order(series("cpu", [1.0, NONE, 1.0]), series("fan", [9.0] * 3))
    sums = reduce(rows, CPU)
    assert (sums.of(1)[0], sums.dropped) == ([1, 0, 1], {"not_judged": 3})


def test_colos_and_cohorts_are_summed_apart() -> None:
    rows = in_order(
        series("cpu", [1.0] * 5, cohort="canary"),
        series("cpu", [2.0] * 5, host="h2", cohort="control"),
        series("cpu", [4.0] * 5, host="h3", cohort="control"),
        series("cpu", [8.0] * 5, colo="fra02", cohort="control"),
    )
    sums = reduce(rows, CPU, stages=[RELABELLED])
    assert [sums.of(signature=signature)[1][0] for signature in (1, 0)] == [1.0, 6.0]
    assert sums.of(colo="fra02")[1] == [8.0] * 5


def test_sums_are_those_of_adding_one_after_the_other_in_order_of_the_names() -> None:
    rng = np.random.default_rng(20)
    level = rng.lognormal(0, 9, (40, 6))
    level[rng.random(level.shape) < 0.2] = np.nan
    names = [f"h{number:02d}" for number in range(40)]
    rows = [
        sample(tick + 1, "cpu", level[host, tick], host=names[host])
        for tick in range(6)
        for host in rng.permutation(40)
        if not np.isnan(level[host, tick])
    ]
    expected = np.zeros((2, 6))
    for tick in range(6):
        for host in range(40):
            held = [value for value in level[host, max(0, tick - 2) : tick + 1] if not np.isnan(value)]
            if held:
                expected[0, tick] += held[-1]
                expected[1, tick] += held[-1] * held[-1]
    sums = reduce(rows, CPU, gap=2)
    assert np.array(sums.of()[1:]).tobytes() == expected.tobytes()


def test_sums_of_ratios_are_those_of_adding_one_after_the_other() -> None:
    rng = np.random.default_rng(21)
    whole = rng.lognormal(0, 9, (30, 5)).cumsum(axis=1)
    rows = [sample(tick + 1, "all", whole[host, tick], host=f"h{host:02d}") for tick in range(5) for host in range(30)]
    expected = np.zeros(5)
    for tick in range(1, 5):
        for host in range(30):
            expected[tick] += whole[host, tick] - whole[host, tick - 1]
    assert np.array(reduce(rows, ERRORS).of()[2]).tobytes() == expected.tobytes()


def test_host_that_is_absent_changes_no_bit_of_the_others_sum() -> None:
    rng = np.random.default_rng(22)
    some = [series("cpu", [value], host=f"h{host:03d}") for host, value in enumerate(rng.lognormal(0, 9, 99))]
    absent = [series("cpu", [1.0], host=f"h{host:03d}x", first=2) for host in range(99)]
    assert reduce(in_order(*some), CPU).of()[1][0] == reduce(in_order(*some, *absent), CPU).of()[1][0]
