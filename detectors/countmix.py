"""CountMix: evidence where the past has no bad events to learn from, as when errors appear from zero."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.state import Stateful

Array = NDArray[np.float64]

MULTIPLES: Final = np.array([2.0, 4.0, 8.0, 16.0, 64.0])
"""Alternatives: the canary's rate as a multiple of what is tolerated. The mirror uses their inverses."""

EVENTS_MAX: Final = 4.0
"""Most events of a tick that count in full. Events of one tick are rarely independent (one host, one bad
minute), so a burst counts as this many."""


_NORMAL_999: Final = 3.09
_TICK_MAX: Final = 4.0
"""Most evidence that one tick may bring, as a logarithm: less than any threshold, so that no tick decides alone."""

_TRIED: Final = np.geomspace(1.0, 1e6, 284)
"""Multiples of what is tolerated that are tried when looking for the smallest visible one, in steps of 5 %."""


def rate_bound(bad: Array, total: Array) -> Array:
    """Bound a rate of bad events from above by all that was seen: about the 99.9 % bound of a Poisson count.

    Wilson and Hilferty's approximation (PNAS 1931), which is a little larger than the bound where there are no events.

    Examples
    --------
    >>> import numpy as np
    >>> (1000 * rate_bound(np.array([0.0, 100.0]), np.full(2, 1000.0))).round(1).tolist()
    [7.1, 134.9]
    """
    shape = bad + 1.0
    upper = shape * (1.0 - 1.0 / (9.0 * shape) + _NORMAL_999 / (3.0 * np.sqrt(shape))) ** 3
    result: Array = np.divide(upper, total, out=np.full_like(total, np.inf), where=total > 0)
    return result


class CountMix(Stateful):
    """Poisson counts against the largest rate that is tolerated, as a mixture over multiples of it.

    Each tick's likelihood ratio is raised to a power of at most 1 when it holds many events; since the power
    depends on nothing but the count being large, evidence only shrinks by it.

    The change may begin to hurt late, so half of the evidence is spread over later starts, evenly within the
    horizon; a mixture over starts is an e-process like any other (Shin, Ramdas, Rinaldo, "E-detectors",
    NEJSDS 2024).

    Parameters
    ----------
    comparisons
        How many are followed.
    horizon
        Ticks over which late starts are spread.
    """

    _state = ("_ticks", "worse", "within", "ticks_worse", "observed")

    def __init__(self, comparisons: int, horizon: int) -> None:
        self._horizon = horizon
        self._ticks = 0
        self.worse = np.full((comparisons, len(MULTIPLES)), np.log(0.5))
        self.within = np.zeros((comparisons, len(MULTIPLES)))
        self.ticks_worse = np.zeros(comparisons, np.int64)
        self.observed = np.zeros(comparisons, np.int64)

    def update(self, bad: Array, expected: Array) -> None:
        """Add one tick.

        Parameters
        ----------
        bad
            [comparison] Bad events on the canary.
        expected
            [comparison] As many as would be tolerated of its traffic; 0 where there was none, infinite where
            nothing is known about the control.
        """
        known = (expected > 0) & np.isfinite(expected)
        allowed = np.where(known, expected, 0.0)
        seen = np.where(known, bad, 0.0)
        power = np.minimum(1.0, EVENTS_MAX / np.maximum(seen, EVENTS_MAX))[:, None]
        step = seen[:, None] * np.log(MULTIPLES) - allowed[:, None] * (MULTIPLES - 1)
        if self._ticks < self._horizon:
            self.worse = np.logaddexp(self.worse, np.log(0.5 / self._horizon))
        self._ticks += 1
        self.worse += np.minimum(power * step, _TICK_MAX)
        inverse = 1 / MULTIPLES
        self.within += seen[:, None] * np.log(inverse) + allowed[:, None] * (1 - inverse)
        self.ticks_worse += seen > allowed
        self.observed += known

    def log_e(self) -> Array:
        """Return the logarithm of the e-values [comparison] against "at most what is tolerated"."""
        return _log_mean(self.worse)

    def log_e_within(self) -> Array:
        """Return the mirrored logarithm [comparison]: evidence against "at least what is tolerated"."""
        return _log_mean(self.within)


def _log_mean(values: Array) -> Array:
    top = values.max(axis=1, keepdims=True)
    mean: Array = top[:, 0] + np.log(np.exp(values - top).mean(axis=1))
    return np.minimum(mean, 690.0)


def log_e_within_after(ticks: Array, bad: Array, allowed: Array) -> Array:
    """Return the mirrored logarithm [comparison] after ticks that are all alike.

    Parameters
    ----------
    ticks
        [comparison] How many.
    bad, allowed
        [comparison] Bad events on the canary in each, and as many as would be tolerated.

    Examples
    --------
    >>> import numpy as np
    >>> log_e_within_after(np.array([10.0, 100.0]), np.zeros(2), np.full(2, 0.1)).round(1).tolist()
    [0.8, 9.0]
    """
    inverse = 1 / MULTIPLES
    return _log_mean(ticks[:, None] * (bad[:, None] * np.log(inverse) + allowed[:, None] * (1 - inverse)))


def smallest_visible(ticks: Array, allowed: Array, needed: Array) -> Array:
    """Return the fewest bad events a tick [comparison] that are called after ticks that are all alike.

    Only the evidence that starts at once is counted on. It is infinite where no number of events suffices.

    Parameters
    ----------
    ticks, allowed
        See `log_e_within_after`; positive.
    needed
        [comparison] Logarithm of the e-value that is needed.

    Examples
    --------
    >>> import numpy as np
    >>> smallest_visible(np.array([2.0, 100.0]), np.full(2, 0.1), np.full(2, np.log(100))).round(2).tolist()
    [1.78, 0.25]
    """
    smallest = np.full(len(ticks), np.inf)
    for multiple in _TRIED[::-1]:
        bad = multiple * allowed
        power = np.minimum(1.0, EVENTS_MAX / np.maximum(bad, EVENTS_MAX))[:, None]
        step = bad[:, None] * np.log(MULTIPLES) - allowed[:, None] * (MULTIPLES - 1)
        log_e = np.log(0.5) + _log_mean(ticks[:, None] * np.minimum(power * step, _TICK_MAX))
        smallest = np.where(log_e >= needed, bad, smallest)
    return smallest
