"""Since when harm goes on, and how large it is: what a verdict tells of harm that began late."""

import numpy as np
import pytest

from detectors.onset import Onset
from detectors.placebo import Placebo
from detectors.since import Since

QUIET, HURT = 150, 12


def fed(onset: Onset | Placebo, sign: float) -> None:
    """Feed quiet ticks, and then some that are shifted by four deviations."""
    rng = np.random.default_rng(11)
    for tick in range(QUIET + HURT):
        residual = rng.normal(0.0, 1.0, 2) + sign * np.array([4.0, 0.0]) * (tick >= QUIET)
        onset.update(residual, np.ones(2), np.zeros(2), np.zeros(2))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_late_harm_is_told_with_its_size_and_its_age_on_the_side_where_it_is(sign: float) -> None:
    onset = Onset(np.zeros(2), np.ones(2), np.zeros(2), horizon=300)
    fed(onset, sign)
    effect, ticks = onset.late(up=sign > 0)
    assert sign * effect[0] == pytest.approx(4.0, abs=0.7)
    assert HURT <= ticks[0] <= HURT + 2
    other, _ = onset.late(up=sign < 0)
    assert sign * other[0] <= 0


def test_of_placebos_it_is_told_from_a_start_on_that_is_near() -> None:
    rng = np.random.default_rng(12)
    past = rng.normal(0.0, 1.0, (2, 2_000))
    placebo = Placebo(past, np.ones(past.shape), np.zeros(2), np.zeros(2, int), horizon=QUIET + 50, pools=0)
    fed(placebo, 1.0)
    effect, ticks = placebo.late(up=True)
    assert effect[0] == pytest.approx(4.0, abs=0.9)
    assert ticks[0] == HURT  # 150 is one of the ticks at which they begin


def test_ticks_that_say_nothing_neither_age_a_run_nor_end_it() -> None:
    since = Since(1, 1)
    for residual, information in ((2.0, 1.0), (np.nan, 0.0), (4.0, 1.0)):
        known = np.nan_to_num(np.array([residual]))
        since.update(known[:, None] - 0.5, known, np.array([information]))
    effect, ticks = since.estimate()
    assert (effect[0], ticks[0]) == (3.0, 2)


def test_before_anything_speaks_for_harm_there_is_nothing_to_tell() -> None:
    since = Since(2, 3)
    assert [each.tolist() for each in since.estimate()] == [[0.0, 0.0], [0, 0]]
    since.update(np.full((2, 3), -1.0), np.full(2, -1.0), np.ones(2))
    assert since.estimate()[1].tolist() == [0, 0]
