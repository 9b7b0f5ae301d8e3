"""Quantiles for people: read off merged buckets, within what the buckets can tell."""

import numpy as np
import pytest
from numpy.typing import NDArray

from streams.histograms import Tail, Tails
from streams.quantiles import quantile_change, visible_change

Array = NDArray[np.float64]

EDGES = np.array([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10])
EVENTS = 200_000


def drawn(seed: int, median: float = 0.08, events: int = EVENTS) -> Array:
    return np.random.default_rng(seed).lognormal(np.log(median), 0.9, events)


def tail(values: Array) -> Tail:
    share = (values[:, None] > EDGES).mean(axis=0)
    return Tail(EDGES, share, float(len(values)))


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("median", [0.006, 0.08, 0.7])
def test_a_quantile_is_near_that_of_the_events_themselves(quantile: float, median: float) -> None:
    values = drawn(1, median)
    found, true = tail(values).quantile(1 - quantile), float(np.quantile(values, quantile))
    place = np.searchsorted(EDGES, true)
    assert (EDGES[place - 1] if place else 0) <= found <= (EDGES[place] if place < len(EDGES) else np.inf)
    if true < EDGES[-1]:
        assert found == pytest.approx(true, rel=0.15)


def test_a_quantile_that_lies_on_an_edge_is_exact() -> None:
    assert Tail(EDGES, np.linspace(0.5, 0.0, len(EDGES)), 1e6).quantile(0.25) == pytest.approx(EDGES[5])


def test_a_quantile_beyond_the_last_edge_is_only_known_to_be_more() -> None:
    assert tail(np.full(100, 60.0)).quantile(0.01) == np.inf
    assert np.isnan(Tail(EDGES, np.zeros(len(EDGES)), 0.0).quantile(0.01))


def between(canary: Array, expected: Array, radius: float = 0.1, *, is_cut: bool = False) -> Tails:
    return Tails(tail(canary), tail(expected), tail(expected))


def changed(tails: Tails, edge: float = 0.5, effect: float | None = None, radius: float = 0.1, **more: bool):
    own = tails.canary.change(tails.expected, edge) if effect is None else effect
    return quantile_change(tails, edge, 0.99, (own, radius), is_cut=more.get("is_cut", False), unit=" s")


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.1, 1.37, 2.0])
def test_the_change_is_how_much_slower_everything_became(factor: float) -> None:
    change = changed(Tails(tail(drawn(2) * factor), tail(drawn(3)), tail(drawn(4))))
    assert change.effect == pytest.approx(factor - 1, abs=0.06)
    low, high = change.interval
    assert low is not None
    assert high is not None
    assert low < change.effect < high


def test_bounds_hold_what_the_test_estimates_too() -> None:
    tails = Tails(tail(drawn(2) * 1.3), tail(drawn(3)), tail(drawn(3)))
    plain = tails.canary.change(tails.expected, 0.5)
    wide, narrow = (changed(tails, effect=effect).interval for effect in (plain - 0.5, plain))
    assert wide[0] < narrow[0]
    assert wide[1] == pytest.approx(narrow[1])
    assert changed(tails, effect=plain - 0.5, is_cut=True).interval == (wide[0], None)
    assert changed(tails, radius=np.inf).interval == (None, None)


def test_a_change_past_the_last_edge_is_said_to_be_more() -> None:
    change = changed(Tails(tail(np.full(1_000, 60.0)), tail(drawn(3)), tail(drawn(3))))
    assert change.levels[0] == "more than 10 s"
    assert change.effect is None
    assert change.levels[1].startswith("about 0.6")


def test_what_is_visible_is_the_slowdown_that_brings_so_many_more_events() -> None:
    tails = Tails(tail(drawn(5)), tail(drawn(5)), tail(drawn(5)))
    more = np.log((drawn(6) * 1.25 > np.quantile(drawn(6), 0.99)).mean() / 0.01)
    assert visible_change(tails, 0.99, more) == pytest.approx(0.25, abs=0.05)
    assert visible_change(tails, 0.99, np.inf) is None
