"""The numbers of a simulated HTTP fleet: what every host would have answered to each scrape.

Whole columns at a time: arrays are [tick, host] or [tick, colo], and no loop runs over series or samples.
What makes judging hard is in here: load that a colo shares, unequal hosts, errors that come in bursts,
restarts that reset counters and leave caches cold, scrapes that fail, and series that do not exist yet.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from streams.choices import Scenario

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

EDGES: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper edges of the latency buckets, in seconds; the last bucket, +Inf, has none."""

SERIES: Final[tuple[tuple[str, str | None], ...]] = (
    ("http_requests", None),
    ("http_5xx", None),
    ("cpu_busy", None),
    ("mem_bytes", None),
    *(("http_seconds_bucket", le) for le in (*(f"{edge:g}" for edge in EDGES), "+Inf")),
)
"""Metric and `le` of the series that each host has, in the order of the last axis of `Scrapes.values`."""

REQUESTS_PER_SECOND: Final = 300.0
MISSING_SHARE: Final = 0.05
LATENCY_SPREAD: Final = 0.9
"""Standard deviation of the logarithm of a request's duration."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a simulated fleet is, and what the change does to it; `hurt` counts colos, 0 for none."""

    colos: int
    hosts: int
    canary_hosts: int
    regions: int
    ticks: int
    tick_s: int
    start: int
    onset: int
    scenario: Scenario | None
    size: float
    hurt: int


@dataclass(frozen=True, slots=True)
class Hosts:
    """Who there is [host], in the order in which they are scraped within a tick.

    `number` counts the hosts of a colo, `phase_ms` is how long before the end of a tick a host is scraped.
    """

    colo: NDArray[np.intp]
    number: NDArray[np.intp]
    is_canary: Mask
    is_hurt: Mask
    phase_ms: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scrapes:
    """What the scrapes bring: `values` [tick, host, series], NaN where there is no sample."""

    hosts: Hosts
    values: Array


@dataclass(frozen=True, slots=True)
class Weather:
    """What the hosts of a colo have in common [tick, host]: load, share of errors, slowness."""

    load: Array
    errors: Array
    slowness: Array


def simulate(shape: Shape, seed: int) -> Scrapes:
    """Simulate a fleet; the same shape and seed give the same bytes.

    Examples
    --------
    >>> shape = Shape(2, 3, 1, 1, ticks=50, tick_s=10, start=30, onset=35, scenario=None, size=1.0, hurt=0)
    >>> scrapes = simulate(shape, seed=7)
    >>> scrapes.values.shape
    (50, 6, 16)
    """
    rng = np.random.default_rng(seed)
    hosts = hosts_of(shape, rng)
    touched = (np.arange(shape.ticks)[:, None] >= shape.onset) & hosts.is_hurt & hosts.is_canary
    restarts = restarts_of(shape, hosts, rng)
    uptime = rng.integers(1_000, 100_000, len(hosts.colo))
    age = since(restarts, uptime)
    weather = weather_of(shape, hosts, rng)
    load, counters = _counters(shape, weather, touched, age, uptime, rng)
    since_restart = begun_anew(np.cumsum(counters, axis=0), restarts)
    values = np.empty((*age.shape, len(SERIES)))
    values[:, :, 0] = since_restart[:, :, -1]  # the bucket +Inf holds every request
    values[:, :, 1] = np.where(since_restart[:, :, 0] > 0, since_restart[:, :, 0], np.nan)
    values[:, :, 2] = _cpu(shape, load, touched, age, rng)
    values[:, :, 3] = memory_of(age, rng)
    values[:, :, 4:] = since_restart[:, :, 1:]
    missing = rng.random(age.shape) < MISSING_SHARE
    if shape.scenario == "silent":
        missing |= touched
    values[missing] = np.nan
    return Scrapes(hosts, values)


def hosts_of(shape: Shape, rng: np.random.Generator) -> Hosts:
    """Choose canaries and hurt colos, and spread the scrapes over the tick."""
    canary = np.argsort(rng.random((shape.colos, shape.hosts)), axis=1) < shape.canary_hosts
    hurt = np.zeros(shape.colos, np.bool_)
    hurt[rng.permutation(shape.colos)[: shape.hurt]] = True
    colo, number = np.divmod(rng.permutation(shape.colos * shape.hosts), shape.hosts)
    phase_ms = np.sort(rng.integers(0, (shape.tick_s - 1) * 1_000 + 1, len(colo)))[::-1].astype(np.int64)
    return Hosts(colo, number, canary[colo, number], hurt[colo], phase_ms)


def restarts_of(shape: Shape, hosts: Hosts, rng: np.random.Generator) -> Mask:
    """Restart a host of each colo at some time, and every canary when the change reaches it [tick, host]."""
    restarts = np.zeros((shape.ticks, len(hosts.colo)), np.bool_)
    restarts[shape.start, hosts.is_canary] = True
    unlucky = rng.integers(0, shape.hosts, shape.colos)
    when = rng.integers(1, shape.ticks, shape.colos)
    rows = np.flatnonzero(hosts.number == unlucky[hosts.colo])
    restarts[when[hosts.colo[rows]], rows] = True
    return restarts


def _last_restart(restarts: Mask) -> NDArray[np.intp]:
    """Return the tick of each host's latest restart [tick, host], 0 where there was none."""
    tick = np.arange(len(restarts))[:, None]
    return np.asarray(np.maximum.accumulate(np.where(restarts, tick, 0), axis=0), np.intp)


def since(restarts: Mask, uptime: NDArray[np.int64]) -> Array:
    """Return the ticks since each host started [tick, host]; `uptime` [host] is that of the first tick."""
    last = _last_restart(restarts)
    tick = np.arange(len(restarts))[:, None]
    return np.where(last > 0, tick - last, tick + uptime).astype(np.float64)


def begun_anew(total: Array, restarts: Mask) -> Array:
    """Let counters [tick, host, series] begin anew at each restart, in which tick they already count."""
    last = _last_restart(restarts)
    before = np.take_along_axis(total, np.maximum(last - 1, 0)[:, :, None], axis=0)
    return np.where(last[:, :, None] > 0, total - before, total)


def _decaying(shocks: Array, decay: float) -> Array:
    """Sum shocks [tick, ...] that fade by `decay` a tick, by a convolution over time."""
    ticks = len(shocks)
    kernel = np.power(decay, np.arange(ticks, dtype=np.float64)).reshape(-1, *[1] * (shocks.ndim - 1))
    spectrum = np.fft.rfft(shocks, 2 * ticks, axis=0) * np.fft.rfft(kernel, 2 * ticks, axis=0)
    return np.asarray(np.fft.irfft(spectrum, 2 * ticks, axis=0)[:ticks], np.float64)


def wandering(rng: np.random.Generator, size: tuple[int, int], spread: float, decay: float) -> Array:
    """Draw series [tick, ...] that wander around 0 with a standard deviation of `spread` from their start."""
    shocks = rng.normal(0.0, spread * np.sqrt(1 - decay * decay), size)
    shocks[0] = rng.normal(0.0, spread, size[1:])
    return _decaying(shocks, decay)


def weather_of(shape: Shape, hosts: Hosts, rng: np.random.Generator) -> Weather:
    """Draw what the hosts of a colo share: the time of day, surges, bursts of errors, slow spells."""
    size = (shape.ticks, shape.colos)
    tick = np.arange(shape.ticks)[:, None]
    longitude = np.arange(shape.colos) % shape.regions / shape.regions + rng.normal(0.0, 0.03, shape.colos)
    day = 1 + 0.45 * np.sin(2 * np.pi * (tick * shape.tick_s / 86_400 + longitude))
    when = rng.integers(0, 2 * shape.ticks, shape.colos)
    surge = np.where(tick >= when, rng.uniform(1.0, 1.3, shape.colos), 1.0)
    wander = wandering(rng, size, 0.10, 0.95)
    usual = np.exp(rng.uniform(np.log(4e-4), np.log(3e-3), shape.colos))
    bursts = np.where(rng.random(size) < 0.005, rng.uniform(1.0, 5.0, size), 0.0)
    errors = usual * (1 + np.maximum(_decaying(bursts, 0.6), 0.0))
    slowness = 0.1 * wander + wandering(rng, size, 0.03, 0.9)
    return Weather((day * surge * np.exp(wander))[:, hosts.colo], errors[:, hosts.colo], slowness[:, hosts.colo])


def _counters(
    shape: Shape,
    weather: Weather,
    touched: Mask,
    age: Array,
    uptime: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Draw each host's load [tick, host], and what its counters gain [tick, host, errors and buckets]."""
    size = age.shape
    load = weather.load * rng.lognormal(0.0, 0.15, size[1])
    rate = REQUESTS_PER_SECOND * shape.tick_s * load
    requests = rng.poisson(rate * rng.gamma(100.0, 1 / 100, size))
    risk = weather.errors * rng.lognormal(0.0, 0.2, size[1]) * rng.gamma(4.0, 1 / 4, size)
    slow = np.log(0.06) + weather.slowness + rng.normal(0.0, 0.04, size[1]) + rng.normal(0.0, 0.02, size)
    slow += 0.08 * np.exp(-age / 2)  # caches are cold after a restart
    if shape.scenario == "errors":
        risk = np.where(touched, risk * shape.size, risk)
    if shape.scenario == "latency":
        slow = np.where(touched, slow + np.log(shape.size), slow)
    faster = ndtr((np.log(EDGES) - slow[:, :, None]) / LATENCY_SPREAD)
    shares = np.diff(faster, axis=2, prepend=0.0, append=1.0)
    gains = np.empty((*size, 2 + len(EDGES)))
    gains[:, :, 0] = rng.binomial(requests, np.minimum(risk, 1.0))
    gains[:, :, 1:] = np.cumsum(rng.multinomial(requests, shares), axis=2)
    earlier = np.floor(rate[0] * uptime)
    gains[0, :, 0] += np.floor(earlier * risk[0])
    gains[0, :, 1:-1] += np.floor(earlier[:, None] * faster[0])
    gains[0, :, -1] += earlier
    return load, gains


def _cpu(shape: Shape, load: Array, touched: Mask, age: Array, rng: np.random.Generator) -> Array:
    """Return the share of time that the processors are busy [tick, host]."""
    busy = (0.04 + 0.18 * rng.lognormal(0.0, 0.08, age.shape[1]) * load) * (1 + 0.1 * np.exp(-age / 2))
    busy += rng.normal(0.0, 0.008, age.shape)
    if shape.scenario == "cpu":
        busy = np.where(touched, busy * shape.size, busy)
    return np.clip(busy, 0.001, 1.0)


def memory_of(age: Array, rng: np.random.Generator) -> Array:
    """Return the bytes in use [tick, host], which fill up again after a restart."""
    usual = 8e9 * rng.lognormal(0.0, 0.1, age.shape[1])
    filled = 1 - 0.06 * np.exp(-age / 60)
    return np.round(usual * filled * (1 + wandering(rng, (age.shape[0], age.shape[1]), 0.004, 0.95)))
