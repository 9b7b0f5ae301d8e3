"""A harmless rollout is rarely ever called bad, although it is looked at after every tick.

Each comparison is a strand of its own and so a rollout of its own: many rollouts run side by side.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter

from detectors.comparisons import arrange
from detectors.evidence import Evidence
from detectors.sides import Sides
from tests.detectors.stages import LEVEL, RATIO, stacked

Array = NDArray[np.float64]

ALPHA: Final = 0.01
PAST: Final = 360
LIVE: Final = 240
TOLERANCE: Final = 0.02


def wandering(rng: np.random.Generator, rollouts: int, phi: float, spread: float) -> Array:
    """Draw first-order autoregressions [rollout, tick] that have long forgotten where they began."""
    shocks = rng.normal(0.0, spread * np.sqrt(1 - phi * phi), (rollouts, 400 + PAST + LIVE))
    return np.asarray(lfilter([1.0], [1.0, -phi], shocks, axis=1))[:, 400:]


def gauges(phi: float) -> Callable[[int, int], Sides]:
    """Return what draws gauges that differ by 5 % of noise, and by 5 % for good, and share a daily wave."""

    def draw(rollouts: int, seed: int) -> Sides:
        rng = np.random.default_rng(seed)
        shared = np.exp(wandering(rng, rollouts, 0.95, 0.1))
        always = np.exp(rng.normal(0.0, 0.05, (rollouts, 1)))
        ones = np.ones(shared.shape)
        return Sides(2 * shared * always * np.exp(wandering(rng, rollouts, phi, 0.05)), 2 * ones, 8 * shared, 8 * ones)

    return draw


def ratios(rollouts: int, seed: int) -> Sides:
    """Draw errors whose rates wander on each side by itself, and together, and differ by 5 % for good."""
    rng = np.random.default_rng(seed)
    shape = (rollouts, PAST + LIVE)
    canary, control = rng.poisson(2_000.0, shape), rng.poisson(10_000.0, shape)
    usual = 0.005 * np.exp(rng.normal(0.0, 0.5, (rollouts, 1)) + wandering(rng, rollouts, 0.9, 0.2))
    always = rng.normal(0.0, 0.05, (rollouts, 1))
    bad = rng.poisson(canary * usual * np.exp(always + wandering(rng, rollouts, 0.8, 0.1)))
    good = rng.poisson(control * usual * np.exp(wandering(rng, rollouts, 0.8, 0.05)))
    return Sides(*(array.astype(np.float64) for array in (bad, canary, good, control)))


KINDS: Final[dict[str, Callable[[int, int], Sides]]] = {
    "independent gauges": gauges(0.0),
    "gauges with phi 0.6": gauges(0.6),
    "gauges with phi 0.9": gauges(0.9),
    "overdispersed ratios": ratios,
}


def ever_alarmed(drawn: Sides, is_ratio: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Follow rollouts [rollout, tick] to their end, and tell which ever cross 1/alpha: [2, rollout].

    The first row is the comparison in its colo, the second its pool over the fleet, which is that one colo.
    """
    rollouts = len(is_ratio)
    own = np.arange(rollouts)
    kinds = (LEVEL, RATIO)
    strands = [
        replace(kinds[int(is_)], metric=i, relative=TOLERANCE, weight=1 / rollouts) for i, is_ in enumerate(is_ratio)
    ]
    tests = arrange(own, np.zeros(rollouts, np.intp), np.full(rollouts, -1))
    past, live = (Sides(*(array[:, ticks] for array in drawn.arrays())) for ticks in (slice(PAST), slice(PAST, None)))
    evidence = Evidence(strands, tests, past, np.full(rollouts, 0.05), 30, LIVE)
    everything = np.ones(rollouts, np.bool_)
    ever = np.zeros(len(tests), np.bool_)
    for tick in range(LIVE):
        evidence.update(live.at(tick), False, everything)
        ever |= evidence.log_e() >= np.log(1 / ALPHA)
    return ever.reshape(2, rollouts)


def most(rollouts: int) -> float:
    """Return the share that is alpha and three standard errors."""
    return float(ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / rollouts))


def test_harmless_rollouts_of_all_kinds_are_rarely_ever_called_bad() -> None:
    each = 120
    drawn = stacked(*(draw(each, 41 + number) for number, draw in enumerate(KINDS.values())))
    is_ratio = np.repeat([draw is ratios for draw in KINDS.values()], each)
    share = ever_alarmed(drawn, is_ratio).mean(axis=1)
    assert (share <= most(len(is_ratio))).all(), share


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_harmless_rollout_is_rarely_ever_called_bad(kind: str) -> None:
    rollouts = 2_000
    draw = KINDS[kind]
    share = ever_alarmed(draw(rollouts, 43), np.full(rollouts, draw is ratios)).mean(axis=1)
    assert (share <= most(rollouts)).all(), share


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "overdispersed ratios"])
def test_a_degradation_that_is_just_tolerated_is_rarely_ever_called_bad(kind: str) -> None:
    rollouts = 2_000
    drawn = KINDS[kind](rollouts, 47)
    drawn.canary[:, PAST:] *= 1 + TOLERANCE
    share = ever_alarmed(drawn, np.zeros(rollouts, np.bool_)).mean(axis=1)
    assert (share <= most(rollouts)).all(), share
