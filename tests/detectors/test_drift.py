"""Controls that move suddenly and alone are found and let go again; what is no such thing is left alone."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import comparisons
from detectors.comparisons import Strand, arrange
from detectors.departure import Departures, Levels
from detectors.drift import SERIES_MAX, Drift
from detectors.sides import Sides
from streams.changes import changed

Array = NDArray[np.float64]
COLOS, PAST = 6, 200
FLEET = COLOS  # the pool's test stands after the comparisons


class Thorough(Levels):
    """Looks at every test, whatever is asked."""

    def departures(self, kept: Array, among: tuple[NDArray[np.bool_], float] | None = None) -> Departures:
        del among
        return super().departures(kept)


@dataclass
class World:
    """A fleet of one strand: what its cohorts do, and a `Drift` that watches."""

    is_ratio: bool = False
    up: bool = True
    down: bool = False
    correlation: float = 0.0
    colos: int = COLOS
    past: int = PAST
    seed: int = 1
    kind: type[Levels] = Levels
    asked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.common = np.zeros(self.colos)
        strand = Strand(0, 0.0, self.is_ratio, self.up, self.down, 0.1, 0.0, "auto", 1.0)
        zeros = np.zeros(self.colos, np.intp)
        self.tests: comparisons.Tests = arrange(zeros, np.arange(self.colos), zeros - 1)
        past = [self.tick() for _ in range(self.past)]
        sides = Sides(*(np.stack(column, axis=1) for column in zip(*(one.arrays() for one in past), strict=True)))
        ones = np.ones(self.colos)
        levels = self.kind(self.tests, ones > 2 * (not self.is_ratio), ones > 0, ones, sides)
        self.drift = Drift([strand], self.tests, levels, self.ask, np.zeros(1, np.bool_))

    def ask(self, series: Array) -> NDArray[np.bool_]:
        self.asked.append(len(series))
        return changed(series)

    def tick(self, canary: Array | float = 1.0, control: Array | float = 1.0) -> Sides:
        """Return a tick of it, both sides' levels multiplied."""
        r, size = self.correlation, self.colos
        self.common = r * self.common + np.sqrt(1 - r * r) * self.rng.normal(0, 0.1 * (r > 0), size)
        if self.is_ratio:
            rates = [2e-3 * np.exp(self.common) * side for side in (canary, control)]
            return Sides(
                self.rng.poisson(rates[0] * 6_000).astype(float),
                np.full(size, 6_000.0),
                self.rng.poisson(rates[1] * 24_000).astype(float),
                np.full(size, 24_000.0),
            )
        levels = [side * np.exp(self.common + self.rng.normal(0, 0.02, size)) for side in (canary, control)]
        return Sides(2 * levels[0], np.full(size, 2.0), 8 * levels[1], np.full(size, 8.0))

    def run(self, ticks: int, canary: Array | float = 1.0, control: Array | float = 1.0) -> list[list[int]]:
        """Add ticks, and return the tests that are held after each."""
        tolerated, held = np.full(len(self.tests), 0.1), []
        for _ in range(ticks):
            self.drift.update(self.tick(canary, control), tolerated, tolerated)
            held.append(np.flatnonzero(self.drift.held).tolist())
        return held


def at(colo: int, factor: float) -> Array:
    return np.where(np.arange(COLOS) == colo, factor, 1.0)


KINDS = [False, True]
ALL = [*range(COLOS), FLEET]


@pytest.mark.parametrize("is_ratio", KINDS)
@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_a_control_that_moves_alone_is_set_aside(is_ratio: bool, factor: float) -> None:
    world = World(is_ratio)
    assert world.run(20) == [[]] * 20
    held = world.run(40, control=at(2, factor))
    assert all(2 in tests for tests in held[5:])
    others = [test for tests in held for test in tests if test not in (2, FLEET)]
    assert len(others) < 0.4 * 40 * (COLOS - 1)  # those that happen to lean that way while their pool has moved
    assert world.drift.set_aside.tolist() == [colo == 2 for colo in range(COLOS)]


@pytest.mark.parametrize("is_ratio", KINDS)
def test_controls_that_move_everywhere_make_the_strand_not_comparable(is_ratio: bool) -> None:
    world = World(is_ratio)
    world.run(20)
    held = world.run(30, control=0.5)
    assert all(FLEET in tests for tests in held[3:])
    assert sum(map(len, held[3:])) > 0.95 * 27 * len(ALL)
    assert world.drift.wide().tolist() == [True]


def test_a_small_move_everywhere_shows_in_the_pool() -> None:
    world = World(is_ratio=True)
    world.run(20)
    assert FLEET in world.run(8, control=0.75)[-1]


@pytest.mark.parametrize("is_ratio", KINDS)
def test_a_control_that_comes_back_is_let_go(is_ratio: bool) -> None:
    world = World(is_ratio)
    world.run(20)
    assert world.run(15, control=0.4)[-1] == ALL
    world.run(20 + 14)
    assert not world.drift.moved.any()
    assert not world.drift.set_aside.any()
    assert world.run(60)[-20:] == [[]] * 20  # what was bet on before has faded


@pytest.mark.parametrize("is_ratio", KINDS)
def test_a_canary_that_follows_makes_them_comparable_again(is_ratio: bool) -> None:
    world = World(is_ratio)
    world.run(20)
    assert world.run(15, control=0.4)[-1] == ALL
    held = world.run(120, canary=0.4, control=0.4)[60:]
    assert sum(map(len, held)) < 0.02 * 60 * len(ALL)
    assert not world.drift.wide().any()


@pytest.mark.parametrize("is_ratio", KINDS)
@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_a_shock_that_hits_both_sets_nothing_aside(is_ratio: bool, factor: float) -> None:
    world = World(is_ratio)
    world.run(20)
    held = world.run(10, canary=factor, control=factor) + world.run(60)
    assert sum(map(len, held)) < 0.01 * 70 * len(ALL)


@pytest.mark.parametrize("is_ratio", KINDS)
@pytest.mark.parametrize("control", [0.7, 1.3])
def test_a_canary_that_is_worse_is_never_excused(is_ratio: bool, control: float) -> None:
    world = World(is_ratio)
    world.run(20)
    assert world.run(3, canary=2.0) == [[]] * 3
    assert world.run(40, canary=2.0, control=control) == [[]] * 40


@pytest.mark.parametrize("is_ratio", KINDS)
def test_harm_that_begins_while_the_control_is_set_aside_is_comparable(is_ratio: bool) -> None:
    world = World(is_ratio)
    world.run(20)
    assert world.run(30, control=0.5)[-1] == ALL
    held = world.run(40, canary=2.5, control=0.5)
    assert sum(map(len, held[10:])) < 0.05 * 30 * len(ALL)
    assert not any(FLEET in tests for tests in held[5:])
    assert world.drift.moved.any()  # still no ground to advance on


@pytest.mark.parametrize("is_ratio", KINDS)
def test_a_slow_wave_is_no_drift(is_ratio: bool) -> None:
    world = World(is_ratio)
    levels = [1 + 0.5 * np.sin(tick / 120) for tick in range(400)]
    held = [world.run(1, canary=level, control=level)[0] for level in levels]
    assert sum(map(len, held)) < 0.01 * 400 * len(ALL)


@pytest.mark.parametrize(("is_ratio", "correlation"), [(False, 0.95), (True, 0.95), (True, 0.0)])
def test_noise_is_hardly_ever_taken_for_drift(is_ratio: bool, correlation: float) -> None:
    held = [tests for seed in range(3) for tests in World(is_ratio, correlation=correlation, seed=seed).run(240)]
    assert sum(map(len, held)) < 0.01 * 3 * 240 * len(ALL)


def test_a_control_that_has_no_past_is_not_followed() -> None:
    assert World(past=5).run(20, control=0.1) == [[]] * 20


def test_a_side_without_data_is_no_move() -> None:
    world = World()
    world.run(20)
    nothing = np.zeros(COLOS)
    for _ in range(10):
        tick = world.tick()
        world.drift.update(Sides(tick.canary, tick.canary_of, nothing, nothing), nothing[[0] * 7], nothing[[0] * 7])
        assert not world.drift.held.any()
    assert world.run(60)[-1] == []


def test_a_loop_over_series_is_bounded() -> None:
    world = World(colos=3 * SERIES_MAX)
    world.run(5)
    held = world.run(12, control=0.3)
    assert max(world.asked) == SERIES_MAX
    assert len(held[-1]) > 2 * SERIES_MAX


def test_the_input_is_not_changed_and_a_replay_says_the_same() -> None:
    first, second = World(is_ratio=True), World(is_ratio=True)
    assert first.run(30, control=0.5) == second.run(30, control=0.5)
    tick, tolerated = first.tick(), np.full(COLOS + 1, 0.1)
    kept = [array.copy() for array in tick.arrays()]
    first.drift.update(tick, tolerated, tolerated)
    assert all((a == b).all() for a, b in zip(tick.arrays(), kept, strict=True))


@pytest.mark.parametrize("is_ratio", KINDS)
@pytest.mark.parametrize("colo", [2, slice(3, 12), slice(None)])
def test_what_is_not_looked_at_would_have_changed_nothing(is_ratio: bool, colo: int | slice) -> None:
    moved, worse = np.ones(24), np.ones(24)
    moved[colo], worse[-1] = 0.5, 1.6
    said = []
    for kind in (Levels, Thorough):
        world = World(is_ratio, colos=24, kind=kind, correlation=0.9)
        held = world.run(20) + world.run(40, control=moved) + world.run(10, worse, moved) + world.run(50)
        said.append((held, world.drift.moved.tolist(), world.drift.set_aside.tolist(), world.asked))
    assert said[0] == said[1]
    assert any(said[0][0])
