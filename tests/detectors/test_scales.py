"""Scales: what a difference of levels refers to where logarithms will not do."""

from dataclasses import replace

import numpy as np
import pytest

from detectors.scales import scales
from detectors.sides import Sides
from tests.detectors.stages import LEVEL


def chosen(canary: list[float], control: list[float], kind: str) -> list[float]:
    """Return the scale of each comparison [comparison], of values that come and go about these means."""
    swing = np.array([0.0, 2.0] * 10)
    ones = np.ones((len(canary), 20))
    past = Sides(np.outer(canary, swing), ones, np.outer(control, swing), ones)
    strand = replace(LEVEL, scale=kind)
    is_log, scale = scales([strand], np.zeros(len(canary), np.intp), past, np.zeros(len(canary)))
    assert not is_log.any()
    found: list[float] = scale.tolist()
    return found


@pytest.mark.parametrize("kind", ["auto", "mean"])
def test_a_canary_that_was_at_zero_has_the_scale_of_its_control_or_of_the_other_colos(kind: str) -> None:
    assert chosen([3.0, 0.0, 0.0], [4.0, 5.0, 0.0], kind) == [3.0, 5.0, 4.0]
