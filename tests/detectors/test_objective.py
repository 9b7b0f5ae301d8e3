"""Objectives: what a canary's own value must keep to."""

import numpy as np

from detectors.objective import Objectives
from detectors.policy import Metric, Objective


def metric(window: str | None, below: float = 1.0) -> Metric:
    objective = Objective(below=below, window=window) if window else None
    return Metric(name="load", gauge="load", worse="increase", breach="halt", objective=objective)


def missed(window: str | None, *values: float) -> list[bool]:
    objectives = Objectives([metric(window)])
    return [bool(objectives.missed(np.array([value]))[0]) for value in values]


def test_a_single_bad_tick_does_not_miss_an_objective_that_asks_for_more():
    assert missed("3 of 5", 2, 0, 0, 2, 0, 0) == [False] * 6


def test_an_objective_is_missed_at_the_tick_that_fills_its_number():
    assert missed("3 of 5", 2, 2, 0, 0, 2, 0) == [False, False, False, False, True, False]


def test_a_value_at_the_limit_misses_it():
    assert missed("1 of 1", 0.999, 1.0) == [False, True]


def test_a_tick_without_a_value_is_not_bad():
    assert missed("2 of 2", 2, np.nan, 2, 2) == [False, False, False, True]


def test_a_metric_without_an_objective_is_never_missed():
    assert not any(missed(None, 1e9, 0.0, np.nan))


def test_each_metric_has_its_own_window_and_limit():
    objectives = Objectives([metric("1 of 1"), metric("2 of 9", below=5.0), metric(None)])
    values = np.array([[2.0, 6.0, 9.0], [0.0, 2.0, 9.0], [0.0, 6.0, 9.0]])
    seen = [objectives.missed(row).tolist() for row in values]
    assert seen == [[True, False, False], [False, False, False], [False, True, False]]
