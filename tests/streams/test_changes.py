"""What river says of a series: a level that changed lately, and not noise, however it is correlated."""

import numpy as np
import pytest

from streams.changes import changed

TICKS = 57


@pytest.mark.parametrize("lasting", [2, 3, 9, 25])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_level_that_changed_lately_is_found(lasting: int, sign: float) -> None:
    series = np.random.default_rng(lasting).normal(size=(8, TICKS)) * 0.5
    series[:, -lasting:] += sign * 5.0
    assert changed(series).all()


def test_a_level_that_stays_is_not_said_to_change() -> None:
    assert not changed(np.random.default_rng(3).normal(size=(40, TICKS)) * 0.5).any()


def test_a_change_long_ago_is_none_of_now() -> None:
    series = np.zeros((1, TICKS))
    series[:, 5:] = 5.0
    assert not changed(series).any()


def test_nothing_is_read_from_nothing() -> None:
    assert changed(np.zeros((0, TICKS))).tolist() == []


def test_the_input_is_not_changed_and_the_answer_is_the_same_again() -> None:
    series = np.random.default_rng(1).normal(size=(3, TICKS))
    kept = series.copy()
    assert changed(series).tolist() == changed(series).tolist()
    assert (series == kept).all()
