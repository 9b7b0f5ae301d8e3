"""What of a policy is free, and the policies that values of it make. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, cast, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from detectors.policy import Policy, duration_ms
from holdfast.calibration.suggesting import two_digits
from streams.membership import Stage

Part = Literal["tolerances", "weights", "tick", "advance", "bake"]
PARTS: Final = cast("tuple[Part, ...]", get_args(Part))
DEFAULT: Final[tuple[Part, ...]] = ("tolerances", "weights", "tick")

FACTOR: Final = 4.0
"""How much larger or smaller than in the policy a tolerance and a weight can get."""

TICKS: Final = (1, 2, 3)
"""Multiples of the policy's tick that are tried; a shorter one than hosts are scraped at would hold no samples."""

BAKE: Final = 2.0
"""How much longer or shorter than the rollout says the bake time can get."""

MODES: Final = ("strict", "evidence", "exposure")

Point = tuple[float, ...]
"""A value from 0 to 1 for each dimension."""

Path_ = tuple[str | int, ...]
"""Where a value stands in a document, as in `("metrics", 2, "tolerate", "relative")`."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One free value: a factor from 1/`most` to `most`, evenly on the logarithmic scale, or one of some `choices`.

    `index` is the metric's position, for tolerances and weights.
    """

    part: Part
    name: str
    index: int = -1
    most: float = 1.0
    choices: tuple[Any, ...] = ()

    def factor(self, at: float) -> float:
        """Return the factor that a value from 0 to 1 stands for."""
        return float(self.most ** (2 * at - 1))

    def choice(self, at: float) -> Any:
        """Return the choice that a value from 0 to 1 stands for."""
        return self.choices[min(len(self.choices) - 1, int(at * len(self.choices)))]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy to try: it, what it changes in the one that is tuned (by path), and the factor of the bake time."""

    policy: Policy
    changes: Mapping[Path_, float | str]
    bake: float = 1.0

    def stages(self, stages: Sequence[Stage]) -> list[Stage]:
        """Return a rollout's stages with this bake time; a deadline moves by as many ticks."""
        if self.bake == 1.0:
            return list(stages)
        result: list[Stage] = []
        for stage in stages:
            bake = max(1, round(stage.bake * self.bake))
            deadline = None if stage.deadline is None else max(bake, stage.deadline + bake - stage.bake)
            result.append(replace(stage, bake=bake, deadline=deadline))
        return result


class Space:
    """The free values of a policy.

    Parameters
    ----------
    policy
        The policy that is tuned, whose values are the middle of what is tried.
    parts
        What of it is free.
    """

    def __init__(self, policy: Policy, parts: Sequence[Part] = DEFAULT) -> None:
        self.policy = policy
        self.dimensions: list[Dimension] = []
        for index, metric in enumerate(policy.metrics):
            is_tolerant = metric.tolerate.relative > 0 or metric.tolerate.absolute > 0
            if "tolerances" in parts and is_tolerant:
                self.dimensions.append(Dimension("tolerances", f"{metric.name}: tolerate", index, FACTOR))
            if "weights" in parts and len(policy.metrics) > 1:
                self.dimensions.append(Dimension("weights", f"{metric.name}: weight", index, FACTOR))
        if "tick" in parts:
            self.dimensions.append(Dimension("tick", "tick", choices=TICKS))
        if "advance" in parts:
            self.dimensions.append(Dimension("advance", "advance", choices=MODES))
        if "bake" in parts:
            self.dimensions.append(Dimension("bake", "bake", most=BAKE))

    @property
    def middle(self) -> Point:
        """The policy as it is."""
        now = {"tick": 1, "advance": self.policy.advance}
        return tuple(
            (each.choices.index(now[each.part]) + 0.5) / len(each.choices) if each.choices else 0.5
            for each in self.dimensions
        )

    def candidate(self, point: Point) -> Candidate:
        """Return the policy that a point stands for: two digits of each number, and untouched in the middle."""
        changes: dict[Path_, float | str] = {}
        bake = 1.0
        middle = self.middle
        for each, at, before in zip(self.dimensions, point, middle, strict=True):
            if at == before:
                continue
            if each.part == "bake":
                bake = two_digits(each.factor(at))
            else:
                changes |= self._changes(each, at)
        return Candidate(with_changes(self.policy, changes), changes, bake)

    def _changes(self, each: Dimension, at: float) -> dict[Path_, float | str]:
        if each.part == "tick":
            tick = in_words(duration_ms(self.policy.tick) * int(each.choice(at)))
            is_same = duration_ms(tick) == duration_ms(self.policy.tick)
            return {} if is_same else {("tick",): tick}
        if each.part == "advance":
            mode = str(each.choice(at))
            return {} if mode == self.policy.advance else {("advance",): mode}
        metric = self.policy.metrics[each.index]
        if each.part == "weights":
            return _if_other(("metrics", each.index, "weight"), metric.weight, each.factor(at))
        found: dict[Path_, float | str] = {}
        for key, value in (("relative", metric.tolerate.relative), ("absolute", metric.tolerate.absolute)):
            found |= _if_other(("metrics", each.index, "tolerate", key), value, each.factor(at))
        return found

    def distance(self, point: Point) -> float:
        """Return how far a point is from the policy as it is."""
        return float(sum(abs(at - before) for at, before in zip(point, self.middle, strict=True)))

    def spread(self, count: int, seed: int) -> list[Point]:
        """Return points that are evenly spread in each dimension: a Latin hypercube.

        References
        ----------
        M. McKay, R. Beckman, W. Conover, "A comparison of three methods for selecting values of input variables",
        Technometrics 21, 1979.
        """
        if count < 1 or not self.dimensions:
            return []
        drawn = qmc.LatinHypercube(len(self.dimensions), rng=np.random.default_rng([seed, 2])).random(count)
        rounded: NDArray[np.float64] = np.round(drawn, 6)
        return [tuple(float(at) for at in row) for row in rounded]

    def beside(self, point: Point, dimension: int, step: float) -> list[Point]:
        """Return the points a step to both sides in one dimension: of a choice the ones before and after."""
        each, at = self.dimensions[dimension], point[dimension]
        if each.choices:
            size = len(each.choices)
            place = min(size - 1, int(at * size))
            values = [(other + 0.5) / size for other in (place - 1, place + 1) if 0 <= other < size]
        else:
            values = [round(value, 6) for value in (max(0.0, at - step), min(1.0, at + step)) if value != at]
        return [(*point[:dimension], value, *point[dimension + 1 :]) for value in values]


def _if_other(path: Path_, value: float, factor: float) -> dict[Path_, float | str]:
    changed = two_digits(value * factor)
    return {} if changed == value else {path: changed}


def with_changes(policy: Policy, changes: Mapping[Path_, float | str]) -> Policy:
    """Return a policy with other values by path."""
    if not changes:
        return policy
    plain = cast("dict[str, Any]", msgspec.to_builtins(policy))
    for path, value in changes.items():
        at: Any = plain
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value
    return msgspec.convert(plain, Policy)


def in_words(milliseconds: int) -> str:
    """Write a duration as policies have it.

    Examples
    --------
    >>> in_words(20_000), in_words(1_500), in_words(120_000)
    ('20s', '1500ms', '2m')
    """
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def trials_to_spread(trials: int) -> int:
    """Return how many of the trials are spread over the whole space; the rest refines the best of them."""
    return max(1, math.ceil(0.6 * trials))
