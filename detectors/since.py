"""Since: what residuals came to since harm most likely began, to be told beside the evidence. It decides nothing."""

import numpy as np
from numpy.typing import NDArray

from detectors.state import Stateful

Array = NDArray[np.float64]


class Since(Stateful):
    """The latest run of ticks that speaks for a shift, for each test and each shift that is looked for.

    A run begins anew once the ticks since its start no longer speak for the shift, as Page's cumulative sum does; so
    its start is the likeliest one. What the residuals were since then flatters a little, as they chose the start.

    Parameters
    ----------
    tests, shifts
        How many are followed.

    References
    ----------
    E. Page, "Continuous inspection schemes", Biometrika 41, 1954.

    Examples
    --------
    >>> since = Since(1, 1)
    >>> for residual in (0.0, 0.0, 3.0, 5.0):
    ...     since.update(np.array([[residual - 0.5]]), np.array([residual]), np.ones(1))
    >>> effect, ticks = since.estimate()
    >>> effect.tolist(), ticks.tolist()
    ([4.0], [2])
    """

    _state = ("likely", "score", "information", "ticks")

    def __init__(self, tests: int, shifts: int) -> None:
        self.likely, self.score, self.information = (np.zeros((tests, shifts)) for _ in range(3))
        self.ticks = np.zeros((tests, shifts), np.int64)

    def update(self, step: Array, residual: Array, information: Array) -> None:
        """Add one tick.

        Parameters
        ----------
        step
            [test, shift] Logarithm of the likelihood ratio of the shift against nothing, by this tick.
        residual, information
            [test] Effect less the baseline's offset, and how much of it is known; 0 where the tick says nothing.
        """
        seen = (information > 0)[:, None]
        goes_on = (self.likely > 0) | ~seen
        self.likely = np.where(goes_on, self.likely, 0.0) + np.where(seen, step, 0.0)
        self.score = np.where(goes_on, self.score, 0.0) + np.where(seen, (residual * information)[:, None], 0.0)
        self.information = np.where(goes_on, self.information, 0.0) + information[:, None]
        self.ticks = np.where(goes_on, self.ticks, 0) + seen

    def estimate(self) -> tuple[Array, NDArray[np.int64]]:
        """Return the mean of the residuals and how many ticks it is of [test], by the shift that most speaks for."""
        best = np.argmax(self.likely, axis=1)[:, None]
        likely, score, information = (
            np.take_along_axis(of, best, 1)[:, 0] for of in (self.likely, self.score, self.information)
        )
        there = (likely > 0) & (information > 0)
        effect = np.divide(score, information, out=np.zeros_like(score), where=there)
        return effect, np.where(there, np.take_along_axis(self.ticks, best, 1)[:, 0], 0)
