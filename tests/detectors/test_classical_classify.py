"""What must hold for the classical judge whatever the samples are."""

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest

from detectors.classical import Judgement, Label, Settings, classify, prepare

EVERY_KIND = [
    Settings(),
    Settings(direction="increase", effect_size="cles", allowed_increase=0.6),
    Settings(direction="decrease", critical=True, critical_decrease=0.8),
    Settings(outliers="remove", tolerance=0.1, confidence=0.9, required=True),
    Settings(missing="replace", critical=True),
    Settings(test="mean_inequality"),
]
KINDS = np.arange(120) % len(EVERY_KIND)


def sides(seed: int, rows: int = 120) -> tuple[Any, Any]:
    """Draw comparisons of which some are shifted, some have gaps, ties, outliers, or nothing at all."""
    rng = np.random.default_rng(seed)
    canary, control = rng.normal(10, 1, (rows, 24)).round(1), rng.normal(10, 1, (rows, 30)).round(1)
    canary[::3] += rng.choice([-2.0, 1.0, 4.0], (len(canary[::3]), 1))
    canary[rng.random(canary.shape) < 0.01] *= 50
    canary[rng.random(canary.shape) < 0.2] = np.nan
    control[rng.random(control.shape) < 0.2] = np.nan
    canary[::17], control[::19] = np.nan, np.nan
    return canary, control


def same(one: Judgement, other: Judgement) -> bool:
    return (
        one.label.tobytes() == other.label.tobytes()
        and one.critical.tobytes() == other.critical.tobytes()
        and one.shift.estimate.tobytes() == other.shift.estimate.tobytes()
        and one.shift.lower.tobytes() == other.shift.lower.tobytes()
    )


def test_many_comparisons_at_once_are_judged_as_one_by_one() -> None:
    canary, control = sides(1)
    whole = classify(canary, control, EVERY_KIND, KINDS)
    assert {Label(label) for label in whole.label} >= {Label.PASS, Label.HIGH, Label.LOW, Label.NODATA}
    for row in range(len(canary)):
        one = classify(canary[row : row + 1], control[row : row + 1], EVERY_KIND[KINDS[row]])
        assert (one.label[0], one.critical[0]) == (whole.label[row], whole.critical[row])


def test_inputs_are_left_as_they_were() -> None:
    canary, control = sides(2)
    before = canary.tobytes(), control.tobytes()
    classify(canary, control, EVERY_KIND, KINDS)
    assert (canary.tobytes(), control.tobytes()) == before


def test_the_same_samples_give_the_same_bytes() -> None:
    canary, control = sides(3)
    assert same(classify(canary, control, EVERY_KIND, KINDS), classify(canary, control, EVERY_KIND, KINDS))


def test_neither_the_order_of_ticks_nor_that_of_comparisons_matters() -> None:
    canary, control = sides(4)
    rng = np.random.default_rng(5)
    whole = classify(canary, control, EVERY_KIND, KINDS)
    shuffled = classify(rng.permuted(canary, axis=1), rng.permuted(control, axis=1), EVERY_KIND, KINDS)
    assert same(whole, shuffled)
    order = rng.permutation(len(canary))
    moved = classify(canary[order], control[order], EVERY_KIND, KINDS[order])
    assert (moved.label == whole.label[order]).all()


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
def test_the_unit_of_a_metric_changes_no_label(scale: float) -> None:
    canary, control = sides(6)
    whole = classify(canary, control, EVERY_KIND, KINDS)
    scaled = classify(canary * scale, control * scale, EVERY_KIND, KINDS)
    assert (scaled.label == whole.label).all()
    assert (scaled.critical == whole.critical).all()


def test_swapped_sides_swap_high_and_low() -> None:
    canary, control = sides(7)
    settings = Settings(effect_size="cles")
    there, back = classify(canary, control, settings), classify(control, canary, settings)
    swapped = np.array([Label.PASS, Label.LOW, Label.HIGH, Label.NODATA])
    assert (swapped[there.label] == back.label).all()
    told = ~np.isnan(there.effect)
    assert np.allclose(there.effect[told] + back.effect[told], 1)


def test_more_tolerance_never_fails_more() -> None:
    canary, control = sides(8)
    failed = [
        np.isin(classify(canary, control, Settings(tolerance=tolerance)).label, [Label.HIGH, Label.LOW])
        for tolerance in (0.0, 0.1, 0.25, 0.5, 0.9)
    ]
    for strict, lax in pairwise(failed):
        assert not (lax & ~strict).any()


@pytest.mark.parametrize("settings", EVERY_KIND)
def test_a_side_without_data_never_passes(settings: Settings) -> None:
    rng = np.random.default_rng(9)
    values, nothing = rng.poisson(1, (20, 30)).astype(float), np.full((20, 30), np.nan)
    for canary, control in ((values, nothing), (nothing, values), (nothing, nothing), (nothing[:, :0], values)):
        assert not (classify(canary, control, settings).label == Label.PASS).any()


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1.7e308])
def test_what_has_no_finite_differences_is_an_error(value: float) -> None:
    canary, control = np.array([[1.0, value, 2.0]]), np.array([[1.0, 3.0, -value]])
    for settings in (Settings(critical=True), Settings(critical=True, outliers="remove")):
        judgement = classify(canary, control, settings)
        assert (judgement.label[0], judgement.critical[0]) == (Label.ERROR, True)
        assert np.isnan(judgement.shift.estimate[0])


def test_harmless_samples_that_are_independent_fail_about_as_often_as_the_confidence_says() -> None:
    rng = np.random.default_rng(10)
    judgement = classify(
        rng.normal(50, 5, (2_000, 30)), rng.normal(50, 5, (2_000, 30)), Settings(effect_size="cles", tolerance=0.0)
    )
    assert 0.01 <= (judgement.label != Label.PASS).mean() <= 0.03


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="with equal comparisons"):
        classify(np.zeros((2, 3)), np.zeros((3, 3)), Settings())
    with pytest.raises(ValueError, match="2 comparisons need as many settings: 1 were given"):
        classify(np.zeros((2, 3)), np.zeros((2, 3)), [Settings()])
    with pytest.raises(ValueError, match="metric must be from 0 to 1"):
        classify(np.zeros((2, 3)), np.zeros((2, 3)), [Settings(), Settings()], np.array([0, 2]))


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"outlier_factor must be.*tolerance must be.*allowed_decrease must be"):
        Settings(outlier_factor=0.0, tolerance=-1.0, allowed_decrease=-0.1)
    with pytest.raises(msgspec.ValidationError, match="direction"):
        msgspec.convert({"direction": "up"}, Settings)
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.convert({"nanStrategy": "remove"}, Settings)


def test_fences_are_at_the_quartiles_and_never_inside_the_percentiles() -> None:
    rng = np.random.default_rng(11)
    values = rng.standard_t(2, (40, 300))
    first, third = np.percentile(values, [25, 75], axis=1)
    low = np.minimum(np.percentile(values, 1, axis=1), first - 1.5 * (third - first))
    high = np.maximum(np.percentile(values, 99, axis=1), third + 1.5 * (third - first))
    kept = (values >= low[:, None]) & (values <= high[:, None])
    samples = prepare(values, np.zeros(40, np.bool_), np.full(40, 1.5))
    assert (samples.count == kept.sum(axis=1)).all()
    assert 0 < kept.sum() < kept.size
    for row in range(40):
        assert np.array_equal(samples.values[row, : samples.count[row]], np.sort(values[row][kept[row]]))


def test_a_metric_that_hardly_moves_keeps_its_one_percent() -> None:
    values = np.zeros((1, 200))
    values[0, :3] = 1.0  # more than one in a hundred: the 99th percentile is 1, and the quartiles are 0
    assert prepare(values, np.zeros(1, np.bool_), np.array([3.0])).count[0] == 200
    values[0, 1:3] = 0.0
    assert prepare(values, np.zeros(1, np.bool_), np.array([3.0])).count[0] == 199
