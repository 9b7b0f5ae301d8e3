"""Onset: an e-detector for harm that begins late, when the average since the start has become slow to move."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.scoremix import LOG_E_MAX
from detectors.since import Since
from detectors.state import Stateful

Array = NDArray[np.float64]

SHIFTS: Final = np.array([0.25, 0.5, 1.0, 2.0])
"""Shifts that are looked for, in deviations of an innovation."""

_CLIP: Final = 3.0
_OFFSET_ERRORS: Final = 2.0


class Onset(Stateful):
    """Shiryaev-Roberts e-detectors over the innovations of residuals, updated in place tick by tick.

    For each shift the detector is the sum, over all starts so far, of the e-value of "the shift began there".
    Divided by the horizon it is an average over starts, so the chance that it ever exceeds 1/alpha within the
    horizon is at most alpha; plain detectors of change only bound how often they alarm on average.

    Parameters
    ----------
    phi
        [test] Autocorrelation of the residuals, which are prewhitened by it.
    innovation
        [test] Variance of an innovation.
    offset_error
        [test] Standard error of the baseline's offset; twice of it is forgiven.
    horizon
        Ticks over which starts are spread.

    References
    ----------
    J. Shin, A. Ramdas, A. Rinaldo, "E-detectors: a nonparametric framework for sequential change detection",
    NEJSDS 2024.

    Examples
    --------
    A shift of three deviations begins at tick 200 and is called three ticks later:

    >>> import numpy as np
    >>> rng = np.random.default_rng(7)
    >>> onset = Onset(np.zeros(1), np.ones(1), np.zeros(1), horizon=400)
    >>> alarms = []
    >>> for tick in range(210):
    ...     value = rng.normal(3.0 if tick >= 200 else 0.0, 1.0, 1)
    ...     onset.update(value, np.ones(1), np.zeros(1), np.zeros(1))
    ...     if onset.log_e(up=True)[0] > np.log(100):
    ...         alarms.append(tick)
    >>> alarms[0]
    203
    """

    _state = ("_ticks", "_before", "rise", "fall", "_risen", "_fallen")

    def __init__(self, phi: Array, innovation: Array, offset_error: Array, horizon: int) -> None:
        self._phi = phi
        self._deviation = np.sqrt(innovation)
        self._forgiven = _OFFSET_ERRORS * offset_error
        self._log_horizon = np.log(horizon)
        self._horizon = horizon
        self._ticks = 0
        self._before = np.full(len(phi), np.nan)
        self.rise = np.full((len(phi), len(SHIFTS)), -np.inf)
        self.fall = np.full((len(phi), len(SHIFTS)), -np.inf)
        self._risen, self._fallen = (Since(len(phi), len(SHIFTS)) for _ in range(2))

    def update(self, residual: Array, information: Array, up: Array, down: Array) -> None:
        """Add one tick.

        Parameters
        ----------
        residual
            [test] Effect less the baseline's offset.
        information
            [test] In average ticks; 0 where the tick says nothing.
        up, down
            [test] What is tolerated in both directions.
        """
        follows = ~np.isnan(self._before)
        phi = np.where(follows, self._phi, 0.0)
        # Without a tick before it a residual is its own innovation, of the residuals' larger variance.
        deviation = self._deviation / np.where(follows, 1.0, np.sqrt(1 - self._phi**2))
        innovation = residual - phi * np.where(follows, self._before, 0.0)
        weight = np.sqrt(np.minimum(information, 1.0))
        seen = information > 0
        sides = ((self.rise, self._risen, 1.0, up), (self.fall, self._fallen, -1.0, down))
        for state, since, sign, tolerated in sides:
            z = weight * (sign * innovation - (1 - phi) * (np.where(seen, tolerated, 0.0) + self._forgiven)) / deviation
            step = SHIFTS * np.clip(z, -_CLIP, _CLIP)[:, None] - 0.5 * SHIFTS**2
            begun = np.logaddexp(state, 0.0) if self._ticks < self._horizon else state
            state[seen] = np.minimum(begun[seen] + step[seen], LOG_E_MAX)
            since.update(step, residual, information)
        self._before = np.where(seen, residual, np.nan)
        self._ticks += 1

    def log_e(self, *, up: bool) -> Array:
        """Return the logarithms of the e-values [test] in one direction."""
        state = self.rise if up else self.fall
        top = state.max(axis=1)
        safe = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            mean: Array = safe + np.log(np.exp(state - safe[:, None]).mean(axis=1)) - self._log_horizon
        return mean

    def late(self, *, up: bool) -> tuple[Array, NDArray[np.int64]]:
        """Return what residuals came to since a shift most likely began, and for how many ticks [test]; 0 for never."""
        return (self._risen if up else self._fallen).estimate()
