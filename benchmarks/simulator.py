"""Simulated cohorts with the faults of real ones: autocorrelation, heavy tails, overdispersion, lasting offsets, gaps.

One simulated rollout is 20 colos x 20 metrics (4 ratios, 16 levels), with a pre-period and live ticks. It is made of
cohort values rather than samples, so that thousands of rollouts can be judged.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from detectors.sides import Sides

Array = NDArray[np.float64]

COLOS: Final = 20
RATIOS: Final = 4
LEVELS: Final = 16
METRICS: Final = RATIOS + LEVELS
PAST: Final = 240
LIVE: Final = 240

_DAY_TICKS: Final = 8_640
_MISSING: Final = 0.05


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the change does: `factor` on one metric, in `colos` colos, from live tick `onset` on, over `ramp` ticks.

    `kind`: ratio or level; `phi` fixes the autocorrelation of the level that is hurt (None: drawn like all).
    """

    name: str
    kind: str = "none"
    factor: float = 1.0
    onset: int = 0
    ramp: int = 0
    colos: int = COLOS
    phi: float | None = None


HARMLESS: Final = Scenario("harmless")


@dataclass(frozen=True, slots=True)
class Simulated:
    """One rollout: both sides [comparison, tick], comparisons being metric-major, and which metric is hurt."""

    sides: Sides
    hurt: int | None


def simulate(scenario: Scenario, seed: tuple[int, ...]) -> Simulated:
    """Simulate one rollout; the same seed gives the same rollout."""
    rng = np.random.default_rng(seed)
    ticks = PAST + LIVE
    hurt = None
    if scenario.kind == "ratio":
        hurt = int(rng.integers(RATIOS))
    elif scenario.kind == "level":
        hurt = RATIOS + int(rng.integers(LEVELS))
    factor = np.ones((METRICS, COLOS, ticks))
    if hurt is not None:
        since = np.arange(ticks) - PAST - scenario.onset
        shape = np.clip(since / scenario.ramp, 0, 1) if scenario.ramp else (since >= 0) * 1.0
        where = rng.permutation(COLOS)[: scenario.colos]
        factor[hurt, where] = 1 + (scenario.factor - 1) * shape
    ratio = _ratios(rng, factor[:RATIOS])
    level = _levels(rng, factor[RATIOS:], None if hurt is None or hurt < RATIOS else hurt - RATIOS, scenario.phi)
    present = rng.random((METRICS, COLOS, ticks)) >= _MISSING
    arrays = [
        (np.concatenate([a, b]) * present).reshape(METRICS * COLOS, ticks) for a, b in zip(ratio, level, strict=True)
    ]
    return Simulated(Sides(*arrays), hurt)


def _ratios(rng: np.random.Generator, factor: Array) -> list[Array]:
    """Draw overdispersed errors of requests: canary errors, canary requests, control errors, control requests."""
    shape = factor.shape
    requests = rng.uniform(1e3, 2e4, (*shape[:2], 1))
    rate = 0.005 * np.exp(rng.normal(0, 0.5, (*shape[:2], 1)))
    shared = _autoregression(rng, shape, 0.95, 0.1)
    canary_of = rng.poisson(np.broadcast_to(requests, shape)).astype(np.float64)
    control_of = rng.poisson(np.broadcast_to(5 * requests, shape)).astype(np.float64)
    canary = rng.poisson(canary_of * rate * factor * np.exp(shared + _autoregression(rng, shape, 0.8, 0.1)))
    control = rng.poisson(control_of * rate * np.exp(shared + _autoregression(rng, shape, 0.8, 0.05)))
    return [canary.astype(np.float64), canary_of, control.astype(np.float64), control_of]


def _levels(rng: np.random.Generator, factor: Array, hurt: int | None, phi: float | None) -> list[Array]:
    """Gauges: a daily wave and shared noise on both sides, each side's own heavy-tailed noise, a lasting offset."""
    shape = factor.shape
    phis = rng.choice([0.3, 0.6, 0.8, 0.9], shape[0])
    if hurt is not None and phi is not None:
        phis[hurt] = phi
    phase, amplitude = rng.uniform(0, 2 * np.pi, (*shape[:2], 1)), rng.uniform(0, 0.3, (*shape[:2], 1))
    shared = amplitude * np.sin(2 * np.pi * np.arange(shape[2]) / _DAY_TICKS + phase)
    shared += _autoregression(rng, shape, 0.95, 0.1)
    offset = rng.normal(0, 0.05, (*shape[:2], 1))
    canary = np.empty(shape)
    control = np.empty(shape)
    for value in np.unique(phis):
        rows = phis == value
        part = (int(rows.sum()), *shape[1:])
        canary[rows] = _autoregression(rng, part, value, 0.06, heavy=True)
        control[rows] = _autoregression(rng, part, value, 0.03, heavy=True)
    ones = np.ones(shape)
    return [np.exp(shared + offset + canary) * factor, ones, np.exp(shared + control), ones]


def _autoregression(
    rng: np.random.Generator, shape: tuple[int, ...], phi: float, deviation: float, *, heavy: bool = False
) -> Array:
    """Draw a stationary first-order autoregression along the last axis, of the given standard deviation."""
    noise = rng.standard_t(4, shape) / np.sqrt(2.0) if heavy else rng.standard_normal(shape)
    noise[..., 1:] *= np.sqrt(1 - phi**2)
    series: Array = deviation * lfilter([1.0], [1.0, -phi], noise, axis=-1)
    return series
