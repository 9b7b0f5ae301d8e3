import numpy as np
import pytest

from benchmarks import quality
from benchmarks.simulator import COLOS, HARMLESS, LIVE, PAST, Scenario, simulate

ERRORS = Scenario("errors x2", "ratio", 2.0)


def test_a_simulated_rollout_is_the_same_for_the_same_seed() -> None:
    one, other = (simulate(ERRORS, (3, 1)) for _ in range(2))
    for a, b in zip(one.sides.arrays(), other.sides.arrays(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.hurt == other.hurt


def test_harm_begins_at_the_onset() -> None:
    late = simulate(Scenario("", "ratio", 50.0, onset=60), (3, 1))
    assert late.hurt is not None
    canary = late.sides.canary[late.hurt * COLOS : (late.hurt + 1) * COLOS].sum(axis=0)
    before, after = canary[PAST : PAST + 60], canary[PAST + 60 : PAST + LIVE]
    assert after.mean() > 20 * before.mean()


@pytest.mark.parametrize("method", [name for name in quality.METHODS if name != "classical judge, one look"])
def test_every_method_that_looks_often_catches_doubled_errors_within_fifteen_ticks(method: str) -> None:
    stop = quality.METHODS[method](simulate(ERRORS, (3, 1)))
    assert stop is not None
    assert stop < 15


def test_holdfast_lets_a_harmless_rollout_be() -> None:
    assert quality.holdfast(simulate(HARMLESS, (3, 1))) is None


def test_an_alarm_before_the_onset_is_no_detection() -> None:
    cell = quality._cell([5, None, 70], 60)
    assert (cell.rollouts, cell.early, cell.delays) == (3, 1, [11])


def test_the_interval_of_no_alarm_at_all_is_not_empty() -> None:
    low, high = quality.wilson(0, 300)
    assert low == 0
    assert 0.01 < high < 0.02
