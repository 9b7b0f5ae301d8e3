"""Objectives: what a canary's own value must keep to, whatever the control does."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.policy import Metric
from detectors.state import Stateful

Array = NDArray[np.float64]


class Objectives(Stateful):
    """Follows for each metric in how many of its latest ticks a value was not below its limit.

    Parameters
    ----------
    metrics
        The policy's metrics; those without an objective are never missed.

    Examples
    --------
    >>> from detectors.policy import Metric, Objective
    >>> metric = Metric(name="load", gauge="load", worse="increase", breach="halt",
    ...                 objective=Objective(below=1.0, window="2 of 3"))
    >>> objectives = Objectives([metric])
    >>> [bool(objectives.missed(np.array([value]))[0]) for value in (2.0, 0.5, np.nan, 2.0, 2.0)]
    [False, False, False, False, True]
    """

    _state = ("_latest",)

    def __init__(self, metrics: Sequence[Metric]) -> None:
        windows = [metric.objective.window.split(" of ") if metric.objective else ("1", "1") for metric in metrics]
        self.limit = np.array([metric.objective.below if metric.objective else np.inf for metric in metrics])
        self._most = np.array([int(most) for most, _ in windows])
        self._ticks = np.array([int(ticks) for _, ticks in windows])
        self._latest = np.zeros((int(self._ticks.max()), len(metrics)), np.bool_)  # the newest tick first

    def missed(self, value: Array) -> NDArray[np.bool_]:
        """Add one tick's values [metric], NaN where there is none, and tell which objectives are missed."""
        self._latest = np.roll(self._latest, 1, axis=0)
        self._latest[0] = value >= self.limit
        inside = np.arange(len(self._latest))[:, None] < self._ticks
        result: NDArray[np.bool_] = (self._latest & inside).sum(axis=0) >= self._most
        return result
