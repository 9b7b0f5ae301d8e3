"""Scales: whether a level is compared as a log ratio or as a difference, and what a difference refers to."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import Strand
from detectors.sides import Sides, means, row_mean, run_of

Array = NDArray[np.float64]

_LEVEL_FLOOR: Final = 0.1
"""A level is compared on the log scale if its past never fell below this part of its mean."""


def scales(
    strands: Sequence[Strand], of: NDArray[np.intp], past: Sides, deviation: Array
) -> tuple[NDArray[np.bool_], Array]:
    """Choose for each level between log ratio and difference, and what a difference refers to.

    Parameters
    ----------
    strands, of
        What is compared, and the strand of each comparison [comparison].
    past
        [comparison, tick] The pre-period.
    deviation
        [comparison] Standard deviation of the canary's unit values in the pre-period.

    Returns
    -------
    is_log, scale
        [comparison] The scale is the level itself for log ratios, and the divisor of differences.
    """
    count = len(past.canary)
    is_log = np.ones(count, np.bool_)
    scale = np.ones(count)
    for index, strand in enumerate(strands):
        rows = np.flatnonzero(of == index)
        if strand.is_ratio or not len(rows):
            continue
        canary, control = means(past, run_of(rows))
        with np.errstate(invalid="ignore"):
            mean = np.abs(np.nan_to_num(row_mean(canary)))
            other = np.abs(np.nan_to_num(row_mean(control)))
            low = min(
                float(np.fmin.reduce(np.fmin.reduce(side, axis=1, initial=np.inf) / usual, initial=np.inf))
                for side, usual in ((canary, mean), (control, other))
            )
        spread = deviation[rows]
        logs = strand.scale in ("auto", "mean") and low > _LEVEL_FLOOR and bool((spread <= mean).all())
        chosen = {"auto": np.maximum(mean, spread), "mean": mean, "sd": spread}
        divisor = chosen[strand.scale] if isinstance(strand.scale, str) else np.full(len(rows), strand.scale)
        is_log[rows] = logs
        own = np.where(logs, mean, divisor)
        # A canary that was at zero all along has no scale of its own: then the control's serves, or the other colos'.
        own = np.where(own > 0, own, other)
        typical = own[own > 0].mean() if (own > 0).any() else 1e-12
        scale[rows] = np.where(own > 0, own, typical)
    return is_log, scale
