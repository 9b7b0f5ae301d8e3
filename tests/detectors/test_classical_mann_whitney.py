"""The classical judge's statistics, against scipy and against a slow and literal search for the interval."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from detectors.classical import common_language, hodges_lehmann, location_shift, p_value, u_statistic
from detectors.errors import BadInput


def ragged(seed: int, rows: int, ticks: int, decimals: int) -> Any:
    """Draw rows of different lengths, with more ties the fewer the decimals."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (rows, ticks)).round(decimals)
    values[rng.random((rows, ticks)) < 0.3] = np.nan
    values[:, 0] = rng.normal(0, 1, rows).round(decimals)
    return values


def known(row: Any) -> Any:
    return row[~np.isnan(row)]


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_u_and_its_p_value_are_those_of_scipy(decimals: int) -> None:
    canary, control = ragged(1, 60, 23, decimals), ragged(2, 60, 31, decimals)
    canary_count, control_count = (~np.isnan(canary)).sum(axis=1), (~np.isnan(control)).sum(axis=1)
    u, ties = u_statistic(canary, control)
    p = p_value(u, canary_count, control_count, ties)
    for row in range(len(canary)):
        expected = stats.mannwhitneyu(known(canary[row]), known(control[row]), method="asymptotic")
        assert u[row] == expected.statistic
        assert p[row] == pytest.approx(expected.pvalue, rel=1e-12)
    chance = common_language(u, canary_count, control_count)
    assert chance == pytest.approx(u / (canary_count * control_count))


def test_all_tied_samples_have_no_evidence() -> None:
    u, ties = u_statistic(np.full((1, 4), 2.0), np.full((1, 3), 2.0))
    assert u[0] == 6
    assert p_value(u, np.array([4]), np.array([3]), ties)[0] == 1


def test_no_samples_have_no_evidence() -> None:
    u, ties = u_statistic(np.empty((2, 0)), np.empty((2, 0)))
    assert p_value(u, np.zeros(2, np.intp), np.zeros(2, np.intp), ties).tolist() == [1, 1]


def standardised(canary: Any, control: Any, shift: float) -> float:
    """Compute the statistic of R's wilcox.test after taking a shift out of the canary, word for word."""
    n, m = len(canary), len(control)
    ranks = stats.rankdata(np.concatenate([canary - shift, control]))
    distance = ranks[:n].sum() - n * (n + 1) / 2 - n * m / 2
    _, times = np.unique(ranks, return_counts=True)
    sigma = np.sqrt(n * m / 12 * ((n + m + 1) - (times**3 - times).sum() / ((n + m) * (n + m - 1))))
    return float((distance - np.sign(distance) * 0.5) / sigma)


def searched(canary: Any, control: Any, confidence: float) -> tuple[float, float]:
    """Find where the statistic steps over its quantiles, trying every step between two differences."""
    differences = np.unique(canary[:, None] - control[None, :])
    between = 0.5 * (differences[1:] + differences[:-1])
    statistic = np.array([standardised(canary, control, shift) for shift in between])
    z = stats.norm.ppf(0.5 + confidence / 2)
    return float(differences[(statistic > z).sum()]), float(differences[len(between) - (statistic < -z).sum()])


@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_the_interval_is_where_the_test_stops_rejecting(decimals: int) -> None:
    # Eighths are exact in binary: two differences that should be equal are.
    canary, control = ragged(3, 12, 14, decimals) / 8, ragged(4, 12, 17, decimals) / 8
    confidence = np.tile([0.8, 0.95, 0.98], 4)
    shift = location_shift(canary, control, confidence)
    for row in range(len(canary)):
        lower, upper = searched(known(canary[row]), known(control[row]), confidence[row])
        assert shift.lower[row] == pytest.approx(lower, abs=1e-12)
        assert shift.upper[row] == pytest.approx(upper, abs=1e-12)
        differences = known(canary[row])[:, None] - known(control[row])
        assert shift.estimate[row] == pytest.approx(np.median(differences), abs=1e-12)


def test_a_textbook_example_has_its_published_estimate_and_interval() -> None:
    # Hollander and Wolfe, "Nonparametric Statistical Methods": permeability of placentas at two ages.
    term = np.array([[0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]])
    early = np.array([[1.15, 0.88, 0.90, 0.74, 1.21]])
    shift = location_shift(term, early, np.array([0.95]))
    assert shift.estimate[0] == pytest.approx(0.305)
    assert (shift.lower[0], shift.upper[0]) == (pytest.approx(-0.15), pytest.approx(0.76))


def test_swapping_sides_flips_the_shift_to_the_last_bit() -> None:
    canary, control = ragged(5, 30, 20, 2), ragged(6, 30, 25, 2)
    confidence = np.full(30, 0.9)
    there, back = location_shift(canary, control, confidence), location_shift(control, canary, confidence)
    assert (there.estimate == -back.estimate).all()
    assert (there.lower == -back.upper).all()


def test_blocks_of_any_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    canary, control = ragged(7, 50, 12, 1), ragged(8, 50, 9, 1)
    whole = location_shift(canary, control, np.full(50, 0.95))
    monkeypatch.setattr(hodges_lehmann, "BLOCK_PAIRS", 7 * 12 * 9)
    parts = location_shift(canary, control, np.full(50, 0.95))
    for name in ("estimate", "lower", "upper"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


def test_the_interval_covers_the_true_shift_as_often_as_it_says() -> None:
    rng = np.random.default_rng(9)
    control = rng.exponential(1, (2_000, 25))
    canary = rng.exponential(1, (2_000, 30)) + 0.7
    shift = location_shift(canary, control, np.full(2_000, 0.9))
    covered = ((shift.lower <= 0.7) & (shift.upper >= 0.7)).mean()
    assert 0.88 <= covered <= 0.92


def test_too_many_pairs_are_refused_with_their_number() -> None:
    with pytest.raises(BadInput, match="at most 16777216 pairs of samples, and here are 5000 x 5000"):
        location_shift(np.zeros((1, 5_000)), np.zeros((1, 5_000)), np.array([0.9]))


def test_no_comparison_at_all_is_no_error() -> None:
    assert location_shift(np.empty((0, 5)), np.empty((0, 5)), np.empty(0)).estimate.shape == (0,)
