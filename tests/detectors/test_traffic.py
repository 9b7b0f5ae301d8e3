"""A colo that loses its traffic is found, and nothing else is taken for it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.traffic import Traffic

Array = NDArray[np.float64]
COLOS, PAST = 6, 90


def started(noise: float = 0.05, limit: float = 0.5, colos: int = COLOS, reached: int = 3) -> tuple[Traffic, Array]:
    """Return what has seen a past, and the usual totals [place]."""
    usual = np.arange(1_000.0, 1_000.0 * (colos + 1), 1_000.0)
    past = usual[:, None] * np.random.default_rng(4).normal(1.0, noise, (colos, PAST))
    is_reached = np.arange(colos) < reached
    units = np.full((colos, PAST), 8.0)
    return Traffic(np.full(colos, limit), np.zeros(colos, np.intp), is_reached, units, past), usual


def found(
    traffic: Traffic, totals: list[Array], units: list[Array] | None = None, settling: int = 0
) -> list[list[int]]:
    """Return the places that have dropped, tick by tick."""
    count = [np.full(len(totals[0]), 8.0)] * len(totals) if units is None else units
    steps = zip(count, totals, strict=True)
    return [
        np.flatnonzero(traffic.update(of, total, is_settling=tick < settling)).tolist()
        for tick, (of, total) in enumerate(steps)
    ]


def lowered(usual: Array, share: float, *places: int) -> Array:
    result = usual.copy()
    result[list(places)] *= share
    return result


def test_a_drop_is_one_in_the_third_tick() -> None:
    traffic, usual = started()
    assert found(traffic, [lowered(usual, 0.2, 1)] * 4) == [[], [], [1], [1]]


def test_a_colo_that_comes_back_in_time_has_not_dropped() -> None:
    traffic, usual = started()
    low = lowered(usual, 0.2, 1)
    assert found(traffic, [low, low, usual, low, low, usual]) == [[]] * 6


def test_a_colo_that_the_change_has_not_reached_is_not_blamed_on_it() -> None:
    traffic, usual = started()
    assert found(traffic, [lowered(usual, 0.2, 5)] * 4) == [[]] * 4


def test_what_the_whole_fleet_loses_is_no_drop() -> None:
    traffic, usual = started()
    assert found(traffic, [usual * 0.2] * 4) == [[]] * 4


def test_a_colo_that_loses_more_than_the_fleet_has_dropped() -> None:
    traffic, usual = started()
    assert found(traffic, [lowered(usual * 0.6, 0.2, 1)] * 3)[-1] == [1]


def test_all_reached_colos_may_drop_as_long_as_others_do_not() -> None:
    traffic, usual = started()
    assert found(traffic, [lowered(usual, 0.1, 0, 1, 2)] * 3)[-1] == [0, 1, 2]


def test_a_single_colo_is_held_against_its_own_past() -> None:
    traffic, usual = started(colos=1, reached=1)
    assert found(traffic, [usual * 0.4] * 3)[-1] == [0]


def test_a_colo_is_not_blamed_for_the_others_growing() -> None:
    traffic, usual = started()
    assert found(traffic, [lowered(usual * 3, 1 / 3, 1)] * 4) == [[]] * 4


def test_hosts_that_fall_silent_are_another_metrics_business() -> None:
    traffic, usual = started()
    units = np.full(COLOS, 8.0)
    units[1] = 2.0
    assert found(traffic, [lowered(usual, 0.25, 1)] * 4, [units] * 4) == [[]] * 4


def test_hosts_that_join_are_no_drop() -> None:
    traffic, usual = started()
    assert found(traffic, [usual] * 4, [np.full(COLOS, 24.0)] * 4) == [[]] * 4


def test_silence_is_neither_a_drop_nor_its_end() -> None:
    traffic, usual = started()
    low, silent = lowered(usual, 0.2, 1), lowered(usual, 0.0, 1)
    all_units, none = np.full(COLOS, 8.0), lowered(np.full(COLOS, 8.0), 0.0, 1)
    assert found(traffic, [silent] * 9, [none] * 9) == [[]] * 9
    assert found(traffic, [low, low, silent, low], [all_units, all_units, none, all_units])[-1] == [1]


def test_ticks_of_a_restart_do_not_count() -> None:
    traffic, usual = started()
    assert found(traffic, [lowered(usual, 0.2, 1)] * 6, settling=3) == [[], [], [], [], [], [1]]


@pytest.mark.parametrize(("limit", "expected"), [(0.3, [1]), (0.5, [])])
def test_the_limit_is_the_policys(limit: float, expected: list[int]) -> None:
    traffic, usual = started(limit=limit)
    assert found(traffic, [lowered(usual, 0.6, 1)] * 3)[-1] == expected


def test_a_colo_that_fell_that_far_by_itself_is_given_more() -> None:
    usual, units = np.full(COLOS, 1_000.0), np.full((COLOS, 300), 8.0)
    past = np.repeat(usual[:, None], 300, axis=1)
    for first in range(40, 300, 60):
        past[1, first : first + 5] *= 0.3
    traffic = Traffic(np.full(COLOS, 0.5), np.zeros(COLOS, np.intp), np.full(COLOS, True), units, past)
    assert found(traffic, [lowered(usual, 0.4, 1, 2)] * 3)[-1] == [2]


def test_a_slow_wave_is_no_drop() -> None:
    traffic, usual = started(colos=1, reached=1)
    assert found(traffic, [usual * (1 + 0.8 * np.cos(tick / 300)) / 1.8 for tick in range(900)]) == [[]] * 900


def test_noise_is_no_drop() -> None:
    traffic, usual = started(noise=0.15)
    noise = np.random.default_rng(8).normal(1.0, 0.15, (500, COLOS))
    assert found(traffic, list(usual * noise)) == [[]] * 500
