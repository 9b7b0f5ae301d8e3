"""The detectors of single series, each with data for the checks."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from detectors.baseline import Baseline, fit
from detectors.cases import Array, Arrays, DetectorCase
from detectors.checks import ALARM
from detectors.countmix import CountMix
from detectors.objective import Objectives
from detectors.onset import Onset
from detectors.placebo import Placebo
from detectors.policy import Metric, Objective
from detectors.portfolio import Portfolio
from detectors.restarts import Restarts
from detectors.scoremix import ScoreMix
from detectors.windows import TICKS_MIN, Past

LIVE = 32
LONG_PAST = 500
ROWS, POOLS = 6, 4  # the first four are comparisons, the others pool them
NOISE = 0.02


def at(alarms: Any) -> Array:
    """Say as evidence what is known only as yes or no."""
    return np.where(alarms, 2 * ALARM, -np.inf)


# ---------------------------------------------------------------- residuals


@dataclass(frozen=True)
class OfResiduals(DetectorCase):
    """Detectors of residuals and weights [row, tick]; `given` is their past, the strand of each row first."""

    def swapped(self) -> Self:
        (strand, residual, weight), (live, known) = self.given, self.live
        return replace(self, given=(strand, -residual, weight), live=(-live, known), sign=-self.sign)

    def silent(self) -> list[Self]:
        return [replace(self, live=(np.full_like(self.calm[0], e), np.zeros_like(self.calm[1]))) for e in (0.0, 0.3)]

    def burst(self, at: int, size: float) -> list[Self]:
        bursts = []
        for weight in (1.0, 4.0):
            residual, known = (array.copy() for array in self.calm)
            residual[:, at], known[:, at] = self.sign * size, weight
            bursts.append(replace(self, live=(residual, known)))
        return bursts

    def baseline(self) -> Baseline:
        _, residual, weight = self.given
        return fit(residual, weight, np.zeros(len(weight)), np.zeros(len(weight), np.bool_))

    def tolerated(self) -> Array:
        return np.full(len(self.given[0]), self.tolerance)


class OfScoreMix(OfResiduals):
    def begin(self) -> ScoreMix:
        own = self.baseline()
        return ScoreMix(own.ticks, own.variance, own.freedom, self.tolerated(), own.reach())

    def step(self, detector: ScoreMix, tick: Arrays, age: int) -> tuple[Array, Array]:
        detector.update(*tick)
        # As `Portfolio.is_early` has it: by itself the mixture does not wait.
        early = (detector.observed < TICKS_MIN) | (detector.information < TICKS_MIN * detector.largest)
        against = detector.log_e(self.tolerated(), np.full(len(early), self.sign))
        within = detector.log_e_within(self.tolerated(), self.sign, np.arange(len(early)))
        return np.where(early, -np.inf, against), within

    def told(self, detector: ScoreMix) -> Arrays:
        return *detector.estimate(), detector.radius(0.01), detector.observed, detector.cut, detector.largest


class OfOnset(OfResiduals):
    def begin(self) -> Onset:
        own = self.baseline()
        return Onset(own.phi, own.innovation, np.sqrt(own.variance / own.ticks), LIVE - 10)

    def step(self, detector: Onset, tick: Arrays, age: int) -> tuple[Array, Array]:
        residual, weight = tick
        detector.update(residual, weight, self.tolerated(), self.tolerated())
        against = detector.log_e(up=self.sign > 0)
        return against, np.full_like(against, -np.inf)

    def told(self, detector: Onset) -> Arrays:
        return *detector.late(up=True), *detector.late(up=False)


class OfRestarts(OfResiduals):
    def begin(self) -> Restarts:
        _, residual, weight = self.given
        return Restarts(Past(residual, weight, LIVE), self.tolerated(), LIVE, 0, np.ones(len(weight)))

    def step(self, detector: Restarts, tick: Arrays, age: int) -> tuple[Array, Array]:
        residual, weight = tick
        detector.update(residual, weight, self.tolerated(), self.tolerated())
        against = detector.log_e(up=self.sign > 0)
        return against, np.full_like(against, -np.inf)

    def told(self, detector: Restarts) -> Arrays:
        return *detector.late(up=True), *detector.late(up=False)


@dataclass(frozen=True)
class OfPools(OfResiduals):
    """Those that tell comparisons from their pools, which stay where they are."""

    def order(self) -> Any:
        return np.array([2, 0, 3, 1, 4, 5])


class OfPlacebo(OfPools):
    def is_early(self, age: int) -> Any:
        """Tell what `Portfolio.is_early` would: by itself the detector does not wait."""
        seen = self.live[1][:, :age]
        return ((seen > 0).sum(axis=1) < TICKS_MIN) | (seen.sum(axis=1) < TICKS_MIN * seen.max(axis=1))

    def begin(self) -> Placebo:
        strand, residual, weight = self.given
        return Placebo(residual, weight, self.tolerated(), strand, LIVE, POOLS)

    def step(self, detector: Placebo, tick: Arrays, age: int) -> tuple[Array, Array]:
        residual, weight = tick
        detector.update(residual, weight, self.tolerated(), self.tolerated())
        against = detector.log_e(self.tolerated(), self.sign)
        within = detector.log_e_within(self.tolerated(), self.sign, np.arange(ROWS))
        return np.where(self.is_early(age), -np.inf, against), within

    def told(self, detector: Placebo) -> Arrays:
        return *detector.estimate(), detector.radius(0.01), detector.cut


class OfPortfolio(OfPools):
    def begin(self) -> Portfolio:
        strand, residual, weight = self.given
        none = np.zeros(len(weight), np.bool_)
        own, whole = (
            fit(residual[rows], weight[rows], np.zeros(len(weight[rows])), none[rows])
            for rows in (slice(POOLS), slice(POOLS, None))
        )
        return Portfolio(residual, weight, strand, own, whole, self.tolerated(), LIVE)

    def step(self, detector: Portfolio, tick: Arrays, age: int) -> tuple[Array, Array]:
        residual, weight = tick
        detector.update(residual, weight, self.tolerated(), self.tolerated())
        against = detector.log_e(self.tolerated(), self.sign)
        within = detector.log_e_within(self.tolerated(), self.sign, np.arange(ROWS))
        return np.where(detector.is_early(), -np.inf, against), within

    def told(self, detector: Portfolio) -> Arrays:
        return *detector.estimate(), detector.radius(0.01), detector.cut(), detector.is_early()


def residuals(seed: int, past: int) -> dict[str, Any]:
    """Draw a past, a calm live time, and one in which rows are hurt, get better, or fall silent."""
    rng = np.random.default_rng(seed)
    before, calm = (rng.normal(0.0, NOISE, (ROWS, ticks)) for ticks in (past, LIVE))
    strand = np.array([0, 0, 1, 1, 0, 1])
    live, weight = calm.copy(), rng.uniform(0.5, 1.5, calm.shape)
    live[[0, 4], 10:] += 0.4
    live[1] -= 0.2
    live[2, 5], weight[2, 5] = 3.0, 4.0
    weight[3, 8:14] = 0.0
    ones = np.ones_like(calm)
    given = (strand, before, rng.uniform(0.5, 1.5, before.shape))
    return {"given": given, "live": (live, weight), "calm": (calm, ones)}


# ---------------------------------------------------------------- counts and objectives


class OfCounts(DetectorCase):
    """Bad events of the canary, and as many as are expected, [row, tick]."""

    def begin(self) -> CountMix:
        return CountMix(len(self.given[0]), LIVE - 10)

    def step(self, detector: CountMix, tick: Arrays, age: int) -> tuple[Array, Array]:
        bad, expected = tick
        detector.update(bad, (1 + self.tolerance) * expected)
        return detector.log_e(), detector.log_e_within()

    def told(self, detector: CountMix) -> Arrays:
        return detector.ticks_worse, detector.observed

    def silent(self) -> list[Self]:
        bad, expected = self.calm
        return [replace(self, live=(bad, np.full_like(expected, nothing))) for nothing in (0.0, np.inf)]

    def burst(self, at: int, size: float) -> list[Self]:
        bad = self.calm[0].copy()
        bad[:, at] = np.ceil(size)
        return [replace(self, live=(bad, self.calm[1]))]


class OfObjectives(DetectorCase):
    """Values [metric, tick] that are to stay below 1 and what is tolerated, in all but two of five ticks."""

    def begin(self) -> Objectives:
        objective = Objective(below=1 + self.tolerance, window="3 of 5")
        one = Metric(name="load", gauge="load", worse="increase", breach="halt", objective=objective)
        return Objectives([one] * len(self.given[0]))

    def step(self, detector: Objectives, tick: Arrays, age: int) -> tuple[Array, Array]:
        missed = detector.missed(*tick)
        return at(missed), np.full(len(missed), -np.inf)

    def burst(self, at: int, size: float) -> list[Self]:
        value = self.calm[0].copy()
        value[:, at] = 1 + size
        return [replace(self, live=(value,))]


def events(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    expected = np.array([[0.2], [1.0], [5.0], [50.0]]) * np.ones(LIVE)
    calm = rng.poisson(0.3 * expected).astype(float)
    bad, known = calm.copy(), expected.copy()
    bad[1, 10:] += 8
    known[2, 5:9], known[3, :5] = 0.0, np.inf
    return {"given": (np.arange(4),), "live": (bad, known), "calm": (calm, expected)}


def values(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    calm = rng.uniform(0.5, 0.9, (3, LIVE))
    live = calm.copy()
    live[0, 12:] += 0.6
    live[1, 3::7], live[2, 9:15] = 2.0, np.nan
    return {"given": (np.arange(3),), "live": (live,), "calm": (calm,)}
