"""Small stages for the tests of the detectors: strands, the two sides of comparisons, and following them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import Strand, Tests, arrange
from detectors.evidence import Evidence
from detectors.sides import Sides

Array = NDArray[np.float64]

LEVEL = Strand(
    metric=0,
    edge=0.0,
    is_ratio=False,
    up=True,
    down=False,
    relative=0.02,
    absolute=0.0,
    scale="auto",
    weight=1.0,
)
RATIO = replace(LEVEL, metric=1, is_ratio=True, relative=0.1)
PAST = 120
HORIZON = 120
DEVIATION = 0.05
"""Standard deviation of the units' values, whose mean is about 1."""

ALARM = float(np.log(100))


def arranged(strands: int, colos: int, regions: int = 0) -> Tests:
    """Arrange every strand in every colo; colos take turns in the regions, if there are any."""
    strand, colo = np.divmod(np.arange(strands * colos), colos)
    return arrange(strand, colo, colo % regions if regions else np.full(len(colo), -1))


def levels(seed: int, comparisons: int, ticks: int, noise: float = 0.02) -> Sides:
    """Draw means over 2 canary and 8 control units, about 1, with shared swings: [comparison, tick]."""
    rng = np.random.default_rng(seed)
    shape = (comparisons, ticks)
    shared = np.exp(rng.normal(0.0, 0.1, shape))
    ones = np.ones(shape)
    return Sides(2 * shared * np.exp(rng.normal(0.0, noise, shape)), 2 * ones, 8 * shared, 8 * ones)


def counts(seed: int, comparisons: int, ticks: int, share: float = 0.01, traffic: float = 2_000.0) -> Sides:
    """Draw bad and all events; the control has four times the canary's traffic: [comparison, tick]."""
    rng = np.random.default_rng(seed)
    shape = (comparisons, ticks)
    canary, control = (rng.poisson(size, shape).astype(float) for size in (traffic, 4 * traffic))
    bad = [rng.binomial(all_.astype(int), share).astype(float) for all_ in (canary, control)]
    return Sides(bad[0], canary, bad[1], control)


def stacked(*parts: Sides) -> Sides:
    """Put the comparisons of several strands below each other."""
    return Sides(*(np.concatenate(arrays) for arrays in zip(*(part.arrays() for part in parts), strict=True)))


def cut(sides: Sides, start: int, stop: int) -> Sides:
    return Sides(*(array[:, start:stop].copy() for array in sides.arrays()))


def begin(strands: Sequence[Strand], sides: Sides, *, regions: int = 0, past: int = PAST) -> Evidence:
    """Begin a stage on the first ticks of `sides` [comparison, tick]."""
    rows = len(sides.canary)
    tests = arranged(len(strands), rows // len(strands), regions)
    return Evidence(strands, tests, cut(sides, 0, past), np.full(rows, DEVIATION), 30, HORIZON)


def step(evidence: Evidence, tick: Sides) -> Array:
    """Add one tick [comparison], and return the e-values' logarithms [test]."""
    evidence.update(tick, False, np.ones(len(evidence.strands), np.bool_))
    return evidence.log_e()


def follow(evidence: Evidence, live: Sides) -> Array:
    """Add all ticks, looking at each: [tick, test]."""
    return np.array([step(evidence, live.at(tick)) for tick in range(live.canary.shape[1])])


def judged(strands: Sequence[Strand], sides: Sides, *, regions: int = 0, past: int = PAST) -> Array:
    """Begin on the past and follow what comes after it: [tick, test]."""
    return follow(begin(strands, sides, regions=regions, past=past), cut(sides, past, sides.canary.shape[1]))


def first_alarm(log_e: Array, threshold: float = ALARM) -> Array:
    """Return for each test the number of its first tick at or above the threshold, inf if there is none."""
    over = log_e >= threshold
    alarms: Array = np.where(over.any(axis=0), over.argmax(axis=0) + 1.0, np.inf)
    return alarms
