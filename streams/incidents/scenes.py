"""The fleet that incidents happen to: what its hosts meet, and what the scrapes of them bring.

Its days are those of `streams.simulation`: load that a colo shares, bursts of errors, restarts, scrapes that fail.
Beyond that it tells kinds of traffic apart. What an incident does is a change of `Conditions`, arrays over ticks and
hosts; counts are then drawn anew where conditions differ, and nowhere else. So a recording with harm and its harmless
twin are the same fleet under the same noise.
"""

from dataclasses import dataclass, fields, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from streams.simulation import (
    EDGES,
    LATENCY_SPREAD,
    MISSING_SHARE,
    REQUESTS_PER_SECOND,
    Hosts,
    Scrapes,
    Shape,
    begun_anew,
    hosts_of,
    memory_of,
    restarts_of,
    since,
    weather_of,
)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

KINDS: Final = ("plain", "rules", "bots")
"""Kinds of traffic: what is merely proxied, what passes the firewall's managed rules, what is scored for bots."""

KIND_SHARES: Final = (0.50, 0.28, 0.22)

LIMITS: Final = (*(f"{edge:g}" for edge in EDGES), "+Inf")
SERIES: Final[tuple[tuple[str, str | None, str | None], ...]] = (
    *(("http_requests", kind, None) for kind in KINDS),
    *(("http_5xx", kind, None) for kind in KINDS),
    *(("http_seconds_bucket", None, limit) for limit in LIMITS),
    ("cpu_busy", None, None),
    ("mem_bytes", None, None),
)
"""Metric, `kind` and `le` of the series that each host has, in the order of the last axis of `Scrapes.values`."""

_REQUESTS, _ERRORS, _BUCKETS = slice(0, 3), slice(3, 6), slice(6, 6 + len(LIMITS))
_CPU, _MEMORY = len(SERIES) - 2, len(SERIES) - 1

TAIL_SHARE: Final = 0.002
TAIL_FACTOR: Final = 6.0
"""A few requests take this many times as long as they would."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What hosts meet, [tick, host].

    Attributes
    ----------
    load
        Requests, in terms of `REQUESTS_PER_SECOND`.
    plain, rules, bots
        Chance that a request of this kind fails.
    slowness
        Logarithm of the usual duration of a request, in seconds.
    tail
        Share of requests that take `TAIL_FACTOR` times as long.
    cpu
        Factor on what the processors have to do.
    leaked
        Bytes of memory that are lost.
    """

    load: Array
    plain: Array
    rules: Array
    bots: Array
    slowness: Array
    tail: Array
    cpu: Array
    leaked: Array


@dataclass(frozen=True, slots=True)
class Scene:
    """Where and when an incident happens.

    Attributes
    ----------
    shape
        Size of the fleet, and when the change starts.
    hosts
        Who there is, in which colos, who gets the change and where it hurts.
    is_second
        [host] Who gets a second rollout, that is under way at the same time.
    onset
        First tick of the harm.
    story
        Draws what is particular to the incident, apart from the fleet's noise.
    """

    shape: Shape
    hosts: Hosts
    is_second: Mask
    onset: int
    story: np.random.Generator

    @property
    def since_s(self) -> Array:
        """Seconds since the onset, at the end of each tick [tick, 1]; 0 before it."""
        ticks = np.arange(self.shape.ticks, dtype=np.float64)[:, None]
        return np.maximum(ticks - self.onset + 1, 0.0) * self.shape.tick_s

    @property
    def touched(self) -> Mask:
        """Whether the change hurts here and now [tick, host]."""
        return (self.since_s > 0) & self.hosts.is_hurt & self.hosts.is_canary


@dataclass(frozen=True, slots=True)
class Calm:
    """A fleet to which nothing happens: its conditions, and what else its scrapes are drawn from.

    `age`, `restarts`, `memory` and `missing` are [tick, host], `uptime` [host]; `own_cpu` [2, tick, host] is the size
    of what a host's processors do, and noise; `seeds` are those of the draws without harm and with it.
    """

    conditions: Conditions
    age: Array
    restarts: Mask
    uptime: NDArray[np.int64]
    memory: Array
    own_cpu: Array
    missing: Mask
    seeds: tuple[np.random.SeedSequence, np.random.SeedSequence]


def calm_of(scene: Scene, seed: np.random.SeedSequence, *, is_restarted: bool) -> Calm:
    """Draw a fleet's days; `is_restarted` tells whether the change restarts the hosts that get it."""
    lives, weathers, levels, draws, harms = seed.spawn(5)
    rng = np.random.default_rng(lives)
    shape, hosts = scene.shape, scene.hosts
    restarting = hosts if is_restarted else replace(hosts, is_canary=np.zeros_like(hosts.is_canary))
    restarts = restarts_of(shape, restarting, rng)
    uptime = rng.integers(1_000, 100_000, len(hosts.colo))
    age = since(restarts, uptime)
    missing = rng.random(age.shape) < MISSING_SHARE
    rng = np.random.default_rng(weathers)
    weather = weather_of(shape, hosts, rng)
    hosts_n = age.shape[1]
    load = weather.load * rng.lognormal(0.0, 0.15, hosts_n)
    risk = weather.errors * rng.lognormal(0.0, 0.2, hosts_n)
    kinds = [risk * rng.lognormal(0.0, 0.2, hosts_n) * rng.gamma(4.0, 1 / 4, age.shape) for _ in KINDS]
    slowness = np.log(0.06) + weather.slowness + rng.normal(0.0, 0.04, hosts_n) + rng.normal(0.0, 0.02, age.shape)
    slowness += 0.08 * np.exp(-age / 2)  # caches are cold after a restart
    tail = TAIL_SHARE * rng.lognormal(0.0, 0.2, hosts_n) * rng.gamma(25.0, 1 / 25, age.shape)
    rng = np.random.default_rng(levels)
    memory = memory_of(age, rng)
    own_cpu = np.stack(
        [np.broadcast_to(rng.lognormal(0.0, 0.08, hosts_n), age.shape), rng.normal(0.0, 0.008, age.shape)]
    )
    plain, rules, bots = kinds
    conditions = Conditions(load, plain, rules, bots, slowness, tail, np.ones(age.shape), np.zeros(age.shape))
    return Calm(conditions, age, restarts, uptime, memory, own_cpu, missing, (draws, harms))


def scrape(scene: Scene, calm: Calm, around: Conditions, met: Conditions) -> Scrapes:
    """Draw what the scrapes bring.

    Parameters
    ----------
    around
        What hosts would meet without the change.
    met
        What they meet. Where that is the same, so are the samples.
    """
    draws, harms = calm.seeds
    gains = _gains(around, scene.shape.tick_s, np.random.default_rng(draws))
    changed = np.zeros(calm.age.shape, np.bool_)
    for field in fields(Conditions):
        changed |= getattr(around, field.name) != getattr(met, field.name)
    if changed.any():
        there = Conditions(**{field.name: getattr(met, field.name)[changed] for field in fields(Conditions)})
        gains[changed] = _gains(there, scene.shape.tick_s, np.random.default_rng(harms))
    gains[0] += _earlier(around, scene.shape.tick_s, calm.uptime)
    counters = begun_anew(np.cumsum(gains, axis=0), calm.restarts)
    values = np.empty((*calm.age.shape, len(SERIES)))
    values[:, :, : counters.shape[2]] = counters
    # A series of errors comes into being with the first error.
    values[:, :, _ERRORS] = np.where(counters[:, :, _ERRORS] > 0, counters[:, :, _ERRORS], np.nan)
    size, noise = calm.own_cpu
    busy = (0.04 + 0.18 * size * met.load) * (1 + 0.1 * np.exp(-calm.age / 2)) * met.cpu
    values[:, :, _CPU] = np.clip(busy + noise, 0.001, 1.0)
    values[:, :, _MEMORY] = calm.memory + np.round(met.leaked)
    values[calm.missing] = np.nan
    return Scrapes(scene.hosts, values)


def _shares(conditions: Conditions) -> Array:
    """Return the share of requests that are done by each edge [..., edge]."""
    at = np.log(EDGES) - conditions.slowness[..., None]
    tail = conditions.tail[..., None]
    usual, late = ndtr(at / LATENCY_SPREAD), ndtr((at - np.log(TAIL_FACTOR)) / LATENCY_SPREAD)
    result: Array = (1 - tail) * usual + tail * late
    return result


def _gains(conditions: Conditions, tick_s: int, rng: np.random.Generator) -> Array:
    """Draw what the counters of cells gain in a tick [..., series]."""
    size = conditions.load.shape
    rate = REQUESTS_PER_SECOND * tick_s * conditions.load * rng.gamma(100.0, 1 / 100, size)
    requests = rng.poisson(rate[..., None] * np.array(KIND_SHARES))
    risk = np.stack([conditions.plain, conditions.rules, conditions.bots], axis=-1)
    gains = np.empty((*size, _BUCKETS.stop))
    gains[..., _REQUESTS] = requests
    gains[..., _ERRORS] = rng.binomial(requests, np.clip(risk, 0.0, 1.0))
    shares = np.diff(_shares(conditions), axis=-1, prepend=0.0, append=1.0)
    gains[..., _BUCKETS] = np.cumsum(rng.multinomial(requests.sum(axis=-1), shares), axis=-1)
    return gains


def _earlier(conditions: Conditions, tick_s: int, uptime: NDArray[np.int64]) -> Array:
    """Return what counters had counted before the first tick [host, series]."""
    rate = REQUESTS_PER_SECOND * tick_s * conditions.load[0]
    requests = np.floor((rate * uptime)[:, None] * np.array(KIND_SHARES))
    risk = np.stack([conditions.plain[0], conditions.rules[0], conditions.bots[0]], axis=-1)
    total = requests.sum(axis=1, keepdims=True)
    buckets = np.floor(total * _shares(conditions)[0])
    return np.concatenate([requests, np.floor(requests * np.minimum(risk, 1.0)), buckets, total], axis=1)


def scene_of(shape: Shape, seed: np.random.SeedSequence, *, pilots: int, region: int | None, onset: int) -> Scene:
    """Choose who gets the change and where it hurts.

    Parameters
    ----------
    shape
        As `streams.simulation` has it; `hurt` counts the colos in which the change hurts.
    seed
        What to draw from.
    pilots
        If not 0, the change reaches all hosts of so many colos, and none elsewhere.
    region
        The region that is hurt, if it is one.
    onset
        First tick of the harm.
    """
    places, story = seed.spawn(2)
    rng = np.random.default_rng(places)
    hosts = hosts_of(shape, rng)
    if region is not None:
        hosts = replace(hosts, is_hurt=hosts.colo % shape.regions == region)
    if pilots:
        chosen = np.isin(hosts.colo, rng.permutation(shape.colos)[:pilots])
        hosts = replace(hosts, is_canary=chosen, is_hurt=chosen)
    # The second rollout takes every other canary of a colo, and every other of its other hosts.
    is_second = np.zeros(len(hosts.colo), np.bool_)
    is_second[np.lexsort((hosts.number, hosts.is_canary, hosts.colo))[::2]] = True
    return Scene(shape, hosts, is_second, onset, np.random.default_rng(story))
