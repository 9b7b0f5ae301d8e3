"""When the harm began, as far as the evidence of a comparison tells: a change point, and an estimate.

A verdict comes when the evidence suffices, not when the harm begins. The judge keeps, for each comparison and tick, the
mean effect so far and its information. Their differences are what each tick alone has shown, and in these the tick is
looked for from which on they differ from before: suddenly (a step), or more and more (a ramp). Of all ticks and both
shapes the one counts that leaves the smallest sum of squares, weighted by information. If that is no clear change, the
harm was there from early on: then what was before counts as no harm at all, and the tick is looked for from which on
there was some.

References
----------
D. V. Hinkley, "Inference about the change-point in a sequence of random variables", Biometrika 57 (1970), 1-17.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TICKS_MAX: Final = 10_000
"""Most ticks that are looked at, the newest: a day of 10 s has 8,640."""

CLEAR: Final = 16.0
"""How many times the variance that is left a change has to explain (F) to be clear: some, as all ticks were tried."""

_FEW: Final = 4
"""So few ticks tell no level before from one after."""

_NEGLIGIBLE: Final = 1e-9


def begun(effect: Array, information: Array) -> int | None:
    """Return the tick in which the harm began, counted from 0; None if the evidence shows none.

    Parameters
    ----------
    effect
        [tick] Mean effect of all ticks up to each, in whatever unit; NaN while there is no information.
    information
        [tick] Information of all ticks up to each, in whatever unit: it never falls.

    Returns
    -------
    int | None
        A tick of those given. The first one if the harm was there from the start.

    Raises
    ------
    ValueError
        If there are not as many effects as information, or information falls.

    Examples
    --------
    Five quiet ticks, and then five with an effect of 2:

    >>> shown = np.array([0.1, -0.1, 0.0, 0.1, -0.1, 2.0, 2.1, 1.9, 2.0, 2.0])
    >>> ticks = np.arange(1.0, 11.0)
    >>> begun(np.cumsum(shown) / ticks, ticks)
    5
    """
    if effect.shape != information.shape or effect.ndim != 1:
        message = f"found {effect.shape} effects and {information.shape} information; allowed: one of each per tick"
        raise ValueError(message)
    weight = np.diff(information, prepend=0.0)
    if (weight < 0.0).any():
        message = "found information that falls; allowed: what has been seen is never unseen"
        raise ValueError(message)
    total = np.where(information > 0.0, np.nan_to_num(effect) * information, 0.0)
    shown = np.diff(total, prepend=0.0)
    seen = np.flatnonzero(weight > 0.0)[-TICKS_MAX:]
    if not len(seen) or total[seen[-1]] == 0.0:
        return None
    harm = shown[seen] * np.sign(total[seen[-1]])
    return int(seen[_change(harm, weight[seen])])


def _change(shown: Array, weight: Array) -> int:
    """Return from which place on a rise explains most of what was shown.

    Both arrays are [tick]; `shown` is the effect of a tick times its weight. All sums from a tick on are taken at once,
    so that it takes as long as there are ticks.
    """
    count = len(shown)
    place = np.arange(count, dtype=np.float64)
    ones, first, second = (_from(weight * place**power) for power in range(3))
    risen, sloped = _from(shown), _from(shown * place)
    start = place - 1.0  # a ramp is at 1 in its first tick
    step = (ones, ones, risen)
    ramp = (first - start * ones, second - 2.0 * start * first + start**2 * ones, sloped - start * risen)
    gains = [_gain(*shape, weight=float(ones[0]), shown=float(risen[0])) for shape in (step, ramp)]
    best = max(gains, key=lambda gain: float(gain.max()))
    left = float((shown**2 / weight).sum() - risen[0] ** 2 / ones[0] - best.max())
    if count > _FEW and best.max() * (count - 3) > CLEAR * left:
        return int(np.argmax(best))
    return int(np.argmax(np.maximum(risen, 0.0) ** 2 / ones))


def _gain(mean: Array, square: Array, product: Array, *, weight: float, shown: float) -> Array:
    """Return by how much the sum of squares shrinks if a shape is added to a constant [tick]; 0 where it falls."""
    spread = square - mean**2 / weight
    common = product - mean * shown / weight
    fits = (spread > _NEGLIGIBLE * weight) & (common > 0.0)
    return np.where(fits, common**2 / np.where(fits, spread, 1.0), 0.0)


def _from(values: Array) -> Array:
    """Return the sums from each place on."""
    sums: Array = np.cumsum(values[::-1])[::-1]
    return sums
