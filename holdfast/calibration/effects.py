"""The smallest effect that a policy sees: known effects in placebos, and how large each must be to be caught."""

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from holdfast.calibration.deciding import ACCUSING, decide
from holdfast.calibration.foreseeing import Foreseen
from holdfast.calibration.history import History
from holdfast.calibration.injecting import inject, largest
from holdfast.calibration.placebos import Placebo, window
from holdfast.calibration.report import Effect

SMALLEST: Final = 1e-4
"""The smallest effect that is tried, as a fraction."""

_HALVINGS: Final = 3
"""Steps of the bisection: the effect is known within 2^(1/8), which is 9 %."""


def threshold(is_caught: Callable[[float], bool], guess: float, most: float) -> float:
    """Return about the smallest effect that is caught; infinite if the largest is not.

    It doubles or halves the guess until one effect is caught and half of it is not, and then halves the distance on the
    logarithmic scale; what is returned was caught. That more is caught whenever less is, is assumed.

    Parameters
    ----------
    is_caught
        Tells whether an effect is caught.
    guess, most
        Where to begin, and the largest effect that there is.

    Examples
    --------
    >>> asked = []
    >>> 0.3 <= threshold(lambda effect: asked.append(effect) or effect >= 0.3, 0.1, 16.0) < 0.3 * 1.1
    True
    >>> len(asked)
    6
    """
    high = min(max(guess, SMALLEST), most)
    if is_caught(high):
        while high > SMALLEST and is_caught(high / 2):
            high /= 2
        low = high / 2
    else:
        low = high
        while True:
            if low >= most:
                return math.inf
            high = min(2 * low, most)
            if is_caught(high):
                break
            low = high
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        if is_caught(middle):
            high = middle
        else:
            low = middle
    return high


def smallest_caught(history: History, placebo: Placebo, metric: int, guess: float) -> float:
    """Return about the smallest effect on a metric, from the start on, that a placebo is stopped for.

    A stop counts if its cause says that something is wrong, whatever metric it names.
    """
    plan = history.planned(placebo.start, placebo.group)
    ticks = window(history, placebo)

    def is_caught(effect: float) -> bool:
        last = decide(plan, inject(ticks, plan, metric, effect, placebo.start))[-1]
        return last.is_stop and last.cause in ACCUSING

    return threshold(is_caught, guess, largest(plan.policy.metrics[metric]))


def guess_of(foreseen: Sequence[Foreseen], metric: int) -> float:
    """Return where to begin to look for the smallest effect: what was foreseen, else a tenth."""
    visible = foreseen[metric].visible if foreseen else math.inf
    return visible if math.isfinite(visible) and visible > 0 else 0.1


def chosen(quiet: Sequence[Placebo], count: int, seed: int) -> list[Placebo]:
    """Draw the placebos that effects are put into, of those that were not stopped without."""
    rng = np.random.default_rng([seed, 1])
    drawn: list[int] = rng.permutation(len(quiet))[:count].tolist()
    return [quiet[place] for place in sorted(drawn)]


def summed_up(history: History, metric: int, foreseen: Sequence[Sequence[Foreseen]], caught: Sequence[float]) -> Effect:
    """Sum up what was found of a metric.

    Parameters
    ----------
    foreseen
        [placebo][metric] What the past of every placebo leads to expect.
    caught
        [placebo] The smallest effect that each placebo was stopped for.
    """
    about = history.plan.policy.metrics[metric]
    seen = [one[metric] for one in foreseen if one]
    return Effect(
        metric=about.name,
        tolerated=next((one.tolerated for one in seen if one.tolerated), ""),
        direction="decrease" if about.worse == "decrease" else "increase",
        tried=len(caught),
        foreseen=finite(float(np.median([one.visible for one in seen]))) if seen else None,
        caught_half=reached(caught, 0.5),
        caught_most=reached(caught, 0.9),
    )


def reached(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least a share of the values does not exceed; None if it is infinite.

    Examples
    --------
    >>> reached([0.1, 0.4, 0.2, math.inf], 0.5), reached([0.1, math.inf], 0.9)
    (0.2, None)
    """
    if not values:
        return None
    ordered = sorted(values)
    return finite(ordered[max(0, math.ceil(share * len(ordered)) - 1)])


def finite(value: float) -> float | None:
    """Return a number, or None for an infinite one, which JSON cannot write."""
    return value if math.isfinite(value) else None
