"""By how much the canary is shifted: the Hodges-Lehmann estimate, and the interval that Mann-Whitney's test gives."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from detectors.classical.mann_whitney import deviation, tie_term
from detectors.errors import BadInput

Array = NDArray[np.float64]

BLOCK_PAIRS: Final = 1 << 17
"""Pairwise differences that are sorted together (1 MiB), so that a block stays near the processor."""

PAIRS_MAX: Final = 1 << 24
"""Most pairs of one comparison (128 MiB of differences)."""


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the canary lies above the control [comparison], in the metric's unit; NaN where a side is empty."""

    estimate: Array
    lower: Array
    upper: Array


def location_shift(canary: Array, control: Array, confidence: Array) -> Shift:
    """Estimate the shift between both sides, and its interval, by the ranks of all pairwise differences.

    The estimate is the median of the differences. The interval holds the shifts that a two-sided Mann-Whitney
    test (normal approximation, continuity correction, variance lessened by ties within a side) would not reject.
    Both are what R's wilcox.test finds as roots of a step function, to within an absolute tolerance; here they
    are the steps themselves. With too few samples for the confidence, the interval spans all differences.

    Parameters
    ----------
    canary, control
        [comparison, tick] Finite samples in the metric's unit, in any order and each side with its own number of
        ticks; NaN is no sample.
    confidence
        [comparison] Above 0 and below 1.

    Raises
    ------
    BadInput
        If a comparison has more than 2^24 pairs of samples.

    References
    ----------
    J. Hodges, E. Lehmann, "Estimates of location based on rank tests", Ann. Math. Stat. 1963. D. Bauer,
    "Constructing confidence sets using rank statistics", JASA 1972.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(3)
    >>> shift = location_shift(rng.normal(11, 1, (1, 60)), rng.normal(10, 1, (1, 60)), np.array([0.98]))
    >>> [round(float(value[0]), 2) for value in (shift.lower, shift.estimate, shift.upper)]
    [0.53, 1.03, 1.5]
    """
    own, other = _packed(canary), _packed(control)
    pairs_widest = own.shape[1] * other.shape[1]
    if pairs_widest == 0:
        nothing = np.full(len(canary), np.nan)
        return Shift(nothing, nothing.copy(), nothing.copy())
    if pairs_widest > PAIRS_MAX:
        message = (
            f"the classical judge compares at most {PAIRS_MAX} pairs of samples, and here are"
            f" {own.shape[1]} x {other.shape[1]}: judge fewer ticks, or longer ones"
        )
        raise BadInput(message)
    picked = _picked(own, other, _places(own, other, confidence))
    return Shift(0.5 * picked[:, 1] + 0.5 * picked[:, 2], picked[:, 0], picked[:, 3])


def _packed(values: Array) -> Array:
    """Sort each row, and cut off the columns that are NaN in all of them."""
    ordered = np.sort(values, axis=1)
    return ordered[:, : int((~np.isnan(ordered)).sum(axis=1).max(initial=0))]


def _places(own: Array, other: Array, confidence: Array) -> NDArray[np.intp]:
    """Find at which places among its sorted differences a comparison's lower, middle two and upper ones are."""
    own_count = (~np.isnan(own)).sum(axis=1)
    other_count = (~np.isnan(other)).sum(axis=1)
    pairs = own_count * other_count
    spread = deviation(own_count.astype(np.float64), other_count.astype(np.float64), tie_term(own) + tie_term(other))
    # A shift between two differences is rejected as too low while more than this many differences lie above it.
    rejected = np.ceil(pairs / 2 - 0.5 - ndtri(0.5 + confidence / 2) * spread)
    lower = np.maximum(rejected.astype(np.intp) - 1, 0)
    last = np.maximum(pairs - 1, 0)
    return np.stack([lower, last // 2, last - last // 2, last - lower], axis=1)


def _picked(own: Array, other: Array, places: NDArray[np.intp]) -> Array:
    """Sort all differences in bounded blocks of comparisons, and pick [comparison, 4] by their places."""
    pairs = own.shape[1] * other.shape[1]
    rows = max(1, BLOCK_PAIRS // pairs)
    picked = np.empty(places.shape)
    buffer = np.empty((min(rows, len(own)), own.shape[1], other.shape[1]))
    for start in range(0, len(own), rows):
        block = slice(start, start + rows)
        differences = buffer[: len(own[block])]
        np.subtract(own[block, :, None], other[block, None, :], out=differences)
        flat = differences.reshape(len(differences), pairs)
        flat.sort(axis=1)
        picked[block] = np.take_along_axis(flat, places[block], axis=1)
    return picked
