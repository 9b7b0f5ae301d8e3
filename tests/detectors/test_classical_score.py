"""Scores of the classical judge: groups, weights, critical failures, and the outcome."""

from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.classical import Label, Outcome, Score, Thresholds, score

P, H, L, N, F, E = Label.PASS, Label.HIGH, Label.LOW, Label.NODATA, Label.NODATA_FAIL, Label.ERROR


def scored(groups: dict[str, list[Label]], weights: list[float] | None = None, **options: Any) -> Score:
    """Score disjoint groups of metrics."""
    labels = np.array([label for members in groups.values() for label in members], np.int8)
    of_group = np.repeat(np.arange(len(groups)), [len(members) for members in groups.values()])
    members = np.arange(len(groups))[:, None] == of_group
    given = np.full(len(groups), np.nan) if weights is None else np.array(weights)
    critical = np.array(options.pop("critical", np.zeros(len(labels), np.bool_)))
    return score(labels, members, given, critical, **options)


@pytest.mark.parametrize(
    ("groups", "weights", "total"),
    [
        ({"errors": [P]}, None, 100),
        ({"errors": [L]}, None, 0),
        ({"errors": [P, P, P, H]}, None, 75),
        ({"errors": [P, P, H]}, None, 66.67),
        ({"errors": [P, P, P, F]}, None, 75),  # required data that is missing is a failure
        ({"errors": [P, H], "latency": [P, P]}, None, 75),
        ({"errors": [P, H], "latency": [P, P]}, [80, 20], 60),
        ({"errors": [P, H], "latency": [P, P], "load": [L]}, [60, np.nan, np.nan], 50),  # 30 + 20 + 0
        ({"errors": [P, H], "latency": [P]}, [100, np.nan], 50),  # nothing is left for the open one
    ],
)
def test_the_total_is_the_weighted_mean_of_the_groups(
    groups: dict[str, list[Label]], weights: list[float] | None, total: float
) -> None:
    result = scored(groups, weights)
    assert result.total == total
    assert not result.critical
    assert not result.nodata


def test_what_has_no_data_counts_neither_way_within_a_group() -> None:
    result = scored({"errors": [P, P, H, H, N, E]})
    assert result.total == 50


def test_a_group_without_data_takes_no_part() -> None:
    result = scored({"errors": [P, H, H, H], "latency": [N]}, [50, 50])
    assert np.isnan(result.groups[1])
    assert result.total == 25  # and not (25 + 100) / 2


@pytest.mark.parametrize("labels", [[P, N], [P, P, N, E], [N], []])
def test_half_of_the_metrics_without_judgement_fail_the_whole(labels: list[Label]) -> None:
    result = scored({"errors": labels}, thresholds=Thresholds(passing=0, marginal=0))
    assert result.nodata
    assert (float(result.total), int(result.outcome)) == (0, Outcome.FAIL)


def test_a_critical_failure_fails_the_whole_whatever_the_thresholds() -> None:
    critical = [False, True, False]
    result = scored({"errors": [P, H, P]}, critical=critical, thresholds=Thresholds(passing=0, marginal=0))
    assert result.critical
    assert (float(result.total), int(result.outcome)) == (0, Outcome.FAIL)
    assert result.groups[0] == pytest.approx(200 / 3)  # the group's own score still tells how the others did


@pytest.mark.parametrize(
    ("failures", "outcome"), [(0, "PASS"), (1, "PASS"), (2, "MARGINAL"), (5, "MARGINAL"), (6, "FAIL"), (20, "FAIL")]
)
def test_the_outcome_changes_at_its_thresholds(failures: int, outcome: str) -> None:
    result = scored({"errors": [H] * failures + [P] * (20 - failures)})  # 5 % for each
    assert Outcome(int(result.outcome)).name == outcome


def test_a_metric_may_be_in_several_groups() -> None:
    groups = np.array([[True, True, False], [False, True, True]])
    result = score(np.array([H, P, P], np.int8), groups, np.array([50.0, 50.0]), np.zeros(3, np.bool_))
    assert result.groups.tolist() == [50, 100]
    assert result.total == 75


def test_thirds_that_all_pass_make_a_hundred() -> None:
    result = scored({"a": [P], "b": [P], "c": [P]})
    assert (float(result.total), int(result.outcome)) == (100, Outcome.PASS)
    assert scored({"a": [P], "b": [P], "c": [P]}, [33.33, 33.33, 33.34]).total == 100


def test_many_rollouts_at_once_are_scored_as_one_by_one() -> None:
    rng = np.random.default_rng(1)
    labels = rng.choice([P, P, P, P, H, N], (4, 25, 12)).astype(np.int8)
    critical = (labels == H) & (rng.random(labels.shape) < 0.2)
    groups, weights = rng.random((3, 12)) < 0.5, np.array([20.0, np.nan, np.nan])
    whole = score(labels, groups, weights, critical)
    assert set(whole.outcome.reshape(-1)) == {Outcome.PASS, Outcome.MARGINAL, Outcome.FAIL}
    for place in np.ndindex(4, 25):
        one = score(labels[place], groups, weights, critical[place])
        assert one.total == whole.total[place]
        assert one.outcome == whole.outcome[place]
        assert np.array_equal(one.groups, whole.groups[place], equal_nan=True)


@pytest.mark.parametrize("weights", [[60, 50], [50, 40], [-10, np.nan], [101, np.nan], [100]])
def test_weights_that_do_not_make_a_hundred_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        scored({"errors": [P], "latency": [P]}, weights)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="comparison"):
        score(np.zeros(3, np.int8), np.ones((1, 4), np.bool_), np.array([100.0]), np.zeros(3, np.bool_))


def test_thresholds_are_read_and_checked() -> None:
    assert msgspec.convert({"pass": 90, "marginal": 50}, Thresholds) == Thresholds(passing=90, marginal=50)
    with pytest.raises(ValueError, match="marginal is 75"):
        Thresholds(passing=70)
