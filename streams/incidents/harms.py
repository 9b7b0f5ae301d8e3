"""What incidents do: each a function of where and when, and of the conditions that it changes.

Functions named `..._around` change what all hosts meet, canary and control alike, and are no fault of the change; the
others are what the change does to the hosts that have it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.incidents.scenes import Conditions, Scene

Array = NDArray[np.float64]
Change = Callable[[Scene, Conditions], Conditions]

REGENERATED_S: Final = 300
"""How often the generated file is made anew."""

LEAK_BYTES_A_MINUTE: Final = 30e6

WITHDRAWN_EVERY_S: Final = 120
WITHDRAWN_SHARE: Final = 0.05
WITHDRAWN_MOST: Final = 0.6

OUTAGE_S: Final = 1_500


def feature_file(scene: Scene, met: Conditions) -> Conditions:
    """Fail what is scored for bots as long as the file at hand is a bad one.

    The first file after the onset is bad, the next one good, and later ones are bad ever more often, until all are.
    Hosts read a new file within a few ticks. A proxy that fails spends processor time on reporting it, and gets slower.
    """
    read = scene.since_s - scene.shape.tick_s * scene.story.integers(1, 4, len(scene.hosts.colo))
    number = np.floor(read / REGENERATED_S).astype(np.intp)
    chance = np.minimum(0.4 + 0.1 * np.arange(number.max() + 1), 1.0)
    chance[:2] = 1.0, 0.0
    is_bad = scene.story.random(len(chance)) < chance
    failing = scene.touched & (number >= 0) & is_bad[np.maximum(number, 0)]
    return replace(
        met,
        bots=np.where(failing, 0.9, met.bots),
        cpu=np.where(failing, met.cpu * 1.3, met.cpu),
        slowness=np.where(failing, met.slowness + 0.2, met.slowness),
    )


def flag(scene: Scene, met: Conditions) -> Conditions:
    """Fail all that passes the managed rules, at once."""
    return replace(met, rules=np.where(scene.touched, 0.98, met.rules))


def some_rules(scene: Scene, met: Conditions) -> Conditions:
    """Fail one in a hundred of what passes the managed rules."""
    return replace(met, rules=np.where(scene.touched, met.rules + 0.01, met.rules))


def withdrawn(scene: Scene, met: Conditions) -> Conditions:
    """Take prefixes out of the routing tables, one lot after the other: what would have come does not come."""
    lots = np.ceil(scene.since_s / WITHDRAWN_EVERY_S)
    share = WITHDRAWN_SHARE * scene.story.uniform(0.5, 1.5, int(lots.max()) + 1)
    share[0] = 0.0
    gone = np.minimum(np.cumsum(share), WITHDRAWN_MOST)[lots.astype(np.intp)]
    return replace(met, load=np.where(scene.touched, met.load * (1 - gone), met.load))


def leak(scene: Scene, met: Conditions) -> Conditions:
    """Lose memory at a steady rate, that differs a little from host to host."""
    rate = LEAK_BYTES_A_MINUTE / 60 * scene.story.lognormal(0.0, 0.1, met.leaked.shape[1])
    return replace(met, leaked=np.where(scene.touched, rate * scene.since_s, met.leaked))


def tail(scene: Scene, met: Conditions) -> Conditions:
    """Let two in a hundred requests wait for something, and no other."""
    return replace(met, tail=np.where(scene.touched, met.tail + 0.02, met.tail))


def costly(scene: Scene, met: Conditions) -> Conditions:
    """Make every request cost more processor time, coming up over ten minutes."""
    more = 1 + 0.2 * np.minimum(scene.since_s / 600, 1.0)
    return replace(met, cpu=np.where(scene.touched, met.cpu * more, met.cpu))


def peak_around(scene: Scene, met: Conditions) -> Conditions:
    """Let the day's peak come: load doubles within an hour around the start, and everything gets slower with it."""
    minutes = (np.arange(scene.shape.ticks)[:, None] - scene.shape.start) * scene.shape.tick_s / 60
    rise = 1 / (1 + np.exp(-minutes / 12))
    return replace(met, load=met.load * (1 + rise), slowness=met.slowness + 0.15 * rise)


def outage_around(scene: Scene, met: Conditions) -> Conditions:
    """Let a service that all hosts depend on be away for a while, in four of five colos; clients try again meanwhile.

    No two hosts depend on it to quite the same degree.
    """
    shape, hosts = scene.shape, scene.hosts
    is_away = (scene.since_s > 0) & (scene.since_s <= OUTAGE_S)
    is_near = (scene.story.permutation(shape.colos) < 0.8 * shape.colos)[hosts.colo]
    hit = is_away & is_near
    degree = scene.story.lognormal(0.0, 0.05, len(hosts.colo))
    flicker = np.clip(1 + scene.story.normal(0.0, 0.15, (shape.ticks, shape.colos)), 0.3, None)[:, hosts.colo]
    return replace(
        met,
        load=np.where(hit, met.load * 1.25, met.load),
        plain=np.where(hit, met.plain + 0.02 * degree * flicker, met.plain),
        bots=np.where(hit, met.bots + 0.30 * degree * flicker, met.bots),
        slowness=np.where(hit, met.slowness + 0.4 * flicker, met.slowness),
    )
