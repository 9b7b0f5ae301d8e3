"""Strands: the bucket edges that a histogram is judged at, and how they share its part of alpha."""

from typing import Final

import numpy as np
import pytest

from detectors.comparisons import Strand
from detectors.policy import Metric, Tolerance
from streams.pairing import pair
from tests.samples import Row, find, in_order, policy, reduce, series, stage

BY_COHORT = stage({"cohort": "canary"})

WIDE: Final = {"0.1": 3_000, "0.2": 5_500, "0.5": 9_200, "1": 9_870, "2": 9_930, "5": 9_999, "+Inf": 10_000}
"""A cumulative histogram, of which the edge 5 has hardly an event beyond."""


def latency(quantile: float, **more: float) -> Metric:
    tolerate = Tolerance(**(more or {"relative": 0.1}))
    return Metric(
        name="latency", histogram="seconds", quantile=quantile, worse="increase", breach="revert", tolerate=tolerate
    )


def recorded(**counts: dict[str, int]) -> list[Row]:
    """Make a canary and a control that count their histograms in the last tick of two."""
    return in_order(
        *(
            series("seconds", [0.0, count], host=cohort, cohort=cohort, le=le)
            for cohort, buckets in counts.items()
            for le, count in buckets.items()
        )
    )


def strands(metric: Metric, control: dict[str, int], canary: dict[str, int] | None = None) -> list[Strand]:
    rows = recorded(control=control, canary=canary or control)
    wanted = policy(metric)
    sums = reduce(rows, metric, stages=(BY_COHORT,)).ticks
    found = pair(sums.keys, sums.values, wanted, find(rows).membership(BY_COHORT), 0, 1)
    return [strand for strand in found.strands if strand.metric == 0]


def parts(found: list[Strand]) -> dict[float, tuple[float, float]]:
    """Return of each edge the quantile that it stands for and its part of the metric's alpha, which is a half."""
    return {strand.edge: (strand.quantile, round(2 * strand.weight, 6)) for strand in found}


def test_the_quantile_has_both_edges_around_it_and_half_of_alpha() -> None:
    found = parts(strands(latency(0.99), WIDE))
    assert found == {0.2: (0.5, 0.25), 0.5: (0.9, 0.25), 1.0: (0.99, 0.25), 2.0: (0.99, 0.25)}


def test_a_quantile_of_the_policy_stands_beside_the_usual_ones() -> None:
    found = parts(strands(latency(0.75), WIDE))
    # 0.2 and 0.5 lie around p75; to p50 and p90 no other edge is nearer.
    assert found == {0.2: (0.75, 0.25), 0.5: (0.75, 0.25), 1.0: (0.99, 0.5)}


def test_an_edge_is_judged_once() -> None:
    found = strands(latency(0.9), {"0.1": 9_000, "+Inf": 10_000})
    assert parts(found) == {0.1: (0.9, 1.0)}


def test_edges_beyond_which_hardly_an_event_lay_are_left_out() -> None:
    few = {"0.1": 6_000, "1": 9_960, "2": 9_990, "+Inf": 10_000}
    assert parts(strands(latency(0.99), few)) == {0.1: (0.99, 1.0)}


def test_edges_within_which_hardly_an_event_lay_stand_for_no_quantile() -> None:
    slow = {"0.1": 10, "1": 9_900, "+Inf": 10_000}
    assert parts(strands(latency(0.99), slow)) == {1.0: (0.99, 1.0)}


def test_a_histogram_without_any_past_is_judged_at_its_last_edge() -> None:
    assert parts(strands(latency(0.99), {"0.1": 0, "1": 0, "+Inf": 0})) == {1.0: (0.99, 1.0)}


def test_edges_that_a_side_lacks_are_not_chosen() -> None:
    without = {le: count for le, count in WIDE.items() if le not in {"0.2", "1"}}
    for sides in ((WIDE, without), (without, WIDE)):
        assert {0.2, 1.0}.isdisjoint(parts(strands(latency(0.99), *sides)))


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99, 0.999])
def test_at_each_edge_it_is_tolerated_that_all_events_are_so_much_slower(quantile: float) -> None:
    """Beyond an edge lie, if all events take r longer, as many as lay beyond an edge r lower before."""
    edges = np.geomspace(0.01, 10, 25)
    shape = 2.0  # of a Pareto tail: the share beyond x is x to the power of minus 2, above 0.01
    within = 1e7 * (1 - (edges / 0.01) ** -shape)
    found = strands(
        latency(quantile), {**{f"{e:g}": round(n) for e, n in zip(edges, within, strict=True)}, "+Inf": 10**7}
    )
    assert len(found) >= 4
    for strand in found:
        assert strand.relative == pytest.approx(1.1**shape - 1, rel=0.02)


def test_an_absolute_tolerance_is_one_in_the_unit_of_the_edges() -> None:
    relative, absolute = (strands(latency(0.99, **one), WIDE) for one in ({"relative": 0.4}, {"absolute": 0.4}))
    at = [[strand.relative for strand in found if strand.edge == 1.0] for found in (relative, absolute)]
    assert at[0] == at[1]
