"""What watches a stage beside its evidence: controls that move, and colos that lose their traffic."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.cases import Array, Arrays, DetectorCase
from detectors.departure import Levels
from detectors.drift import Drift
from detectors.sides import Sides
from detectors.traffic import Traffic
from streams.changes import changed
from tests.detectors.conforming_series import at
from tests.detectors.conforming_stages import stage
from tests.detectors.stages import LEVEL, arranged

COLOS, PAST, LIVE = 4, 120, 32


@dataclass(frozen=True)
class OfLevels(DetectorCase):
    """Both sides [comparison, tick] of a level in four colos."""

    def begin(self) -> Levels:
        ones = np.ones(COLOS)
        return Levels(arranged(1, COLOS), ones < 0, ones > 0, ones, Sides(*self.given))

    def step(self, detector: Any, tick: Arrays, age: int) -> tuple[Array, Array]:
        detector.add(Sides(*tick))
        seen = detector.departures(np.full(COLOS, np.nan))
        return seen.control.T, seen.canary.T

    def told(self, detector: Levels) -> Arrays:
        seen, every = detector.departures(np.full(COLOS, 0.1)), np.arange(COLOS)
        series = detector.series(every, np.full(COLOS, np.nan), every % 2)
        return seen.control_spread, seen.canary_spread, seen.gap_spread, series

    def order(self) -> Any:
        return np.array([2, 0, 3, 1])


class OfDrift(OfLevels):
    """The same; what is held back is what it says."""

    def begin(self) -> Any:
        return Drift([LEVEL], arranged(1, COLOS), super().begin(), changed, np.zeros(1, np.bool_))

    def step(self, detector: Drift, tick: Arrays, age: int) -> tuple[Array, Array]:
        tolerated = np.full(COLOS + 1, self.tolerance)
        detector.update(Sides(*tick), tolerated, tolerated, is_asked=age % 3 == 0)
        return at(detector.held), at(detector.set_aside)

    def told(self, detector: Any) -> Arrays:
        return detector.moved, detector.wide()


def moving() -> dict[str, Any]:
    """Draw a stage whose controls, not its canaries, go up in one colo and down in another."""
    drawn = stage((LEVEL,), PAST)
    past, live, calm = ((c, d, a, b) for a, b, c, d in (drawn["given"][:4], drawn["live"], drawn["calm"]))
    return {"given": past, "live": live, "calm": calm}


@dataclass(frozen=True)
class OfTraffic(DetectorCase):
    """Units and totals [place, tick] of two metrics in three colos; `given` begins with what is told of the places."""

    def begin(self) -> Traffic:
        limit, metric, is_reached, units, total = self.given
        return Traffic(limit, metric, is_reached, units, total)

    def step(self, detector: Traffic, tick: Arrays, age: int) -> tuple[Array, Array]:
        dropped = detector.update(*tick, is_settling=age <= 2)
        return at(dropped), detector.share / detector.elsewhere


def totals() -> dict[str, Any]:
    """Draw totals of which one falls and stays low, one is low for two ticks, and one is not heard of for a while."""
    rng, places = np.random.default_rng(8), 6
    usual = 1_000.0 * np.arange(1.0, places + 1.0)[:, None]
    past, live = (usual * rng.normal(1.0, 0.05, (places, ticks)) for ticks in (90, LIVE))
    calm = np.full(live.shape, 8.0), live.copy()
    units = calm[0].copy()
    live[0, 12:] *= 0.2
    live[4, 6:8] *= 0.2
    units[2, 9:15] = live[2, 9:15] = 0.0
    told = np.full(places, 0.5), np.array([0, 0, 0, 1, 1, 1]), np.array([True, True, False] * 2)
    return {"given": (*told, np.full(past.shape, 8.0), past), "live": (units, live), "calm": calm}
