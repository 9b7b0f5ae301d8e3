"""Scores: what one tick says about one comparison, as an effect estimate and its information.

Positive effects are increases on the canary. A missing side gives information 0, so the tick says nothing.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def ratio_score(bad_canary: Array, canary: Array, bad_control: Array, control: Array) -> tuple[Array, Array]:
    """Score the share of bad events: log relative risk, from the conditional binomial.

    Given all bad events of a tick, the canary's part of them is binomial with the canary's share of the
    traffic. The score of that likelihood at "no difference", over its information, estimates the log relative
    risk, and stays well defined at zero events, where it has no information.

    Parameters
    ----------
    bad_canary, canary, bad_control, control
        Bad and all events on both sides; arrays of one shape.

    Returns
    -------
    effect, information
        Of the same shape; information is 0 where a side has no traffic or there is no bad event.

    References
    ----------
    M. Lindon, A. Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022.

    Examples
    --------
    >>> import numpy as np
    >>> effect, information = ratio_score(*map(np.array, ([4.0], [100.0], [12.0], [300.0])))
    >>> float(effect[0]), float(information[0])
    (0.0, 3.0)
    """
    both = (canary > 0) & (control > 0)
    share = np.divide(canary, canary + control, out=np.zeros_like(canary), where=both)
    bad = bad_canary + bad_control
    information = np.where(both, bad * share * (1 - share), 0.0)
    effect = np.divide(bad_canary - bad * share, information, out=np.zeros_like(bad), where=information > 0)
    return effect, information


def level_score(canary: Array, control: Array, is_log: NDArray[np.bool_], scale: Array) -> tuple[Array, Array]:
    """Score a level (the mean of a gauge or rate over units): log ratio, or difference over a scale.

    The log ratio cancels what multiplies both sides, as the daily wave does; where levels may be zero or
    negative the difference is all there is.

    Parameters
    ----------
    canary, control
        [comparison, tick] Means over units; NaN where a side has none.
    is_log
        [comparison] Whether the comparison is on the log scale.
    scale
        [comparison] What a difference of 1 means: for differences the divisor; for log ratios the level below
        a thousandth of which a value is taken for that thousandth, since zero has no logarithm.
    """
    floor = 1e-3 * scale[:, None]
    if is_log.all():
        effect = np.log(np.maximum(canary, floor) / np.maximum(control, floor))
        known = ~np.isnan(effect)
        if known.all():
            return effect, np.ones_like(effect)
        return np.where(known, effect, 0.0), known.astype(np.float64)
    known = ~(np.isnan(canary) | np.isnan(control))
    effect = np.zeros_like(canary)
    log = np.flatnonzero(is_log)
    plain = np.flatnonzero(~is_log)
    effect[log] = np.log(np.maximum(canary[log], floor[log]) / np.maximum(control[log], floor[log]))
    effect[plain] = (canary[plain] - control[plain]) / scale[plain, None]
    return np.where(known, effect, 0.0), known.astype(np.float64)
