"""Known effects, put into the canary's sums of a placebo: what scaling the canary's samples would have left of them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.policy import Metric
from holdfast.calibration.history import canary_rows
from streams.cohorts import CohortTicks
from streams.histograms import Tail
from streams.plan import Plan

LARGEST: Final = 16.0
"""The largest increase that is tried, as a fraction: what is seventeenfold and not seen will not be seen."""

LARGEST_DECREASE: Final = 0.99
"""The largest decrease."""


def largest(metric: Metric) -> float:
    """Return the largest effect that can be put into a metric, as a fraction of what is usual."""
    return LARGEST_DECREASE if metric.worse == "decrease" else LARGEST


def inject(ticks: CohortTicks, plan: Plan, metric: int, effect: float, onset: int) -> CohortTicks:
    """Make a metric of the canary worse by a fraction from a tick on.

    A gauge and a rate are multiplied, as if each sample (of a counter: each increase) was. So are the bad events of a
    ratio, up to all events: where there are none, none come. A histogram's values are multiplied, which moves events
    across the edges: the count beyond each edge grows by the factor by which the canary's merged histogram of the
    whole window says so. Of counts, noise grows by the same factor as the mean, which is a little more than that of
    events that really happened.

    Parameters
    ----------
    ticks, plan
        A placebo's window, and its rollout.
    metric, effect
        Position of the metric in the policy; 0.1 is ten per cent more, or less if the metric's decrease is worse.
    onset
        The first tick that is changed.
    """
    about = plan.policy.metrics[metric]
    rows = canary_rows(ticks.keys, plan, metric)
    values = ticks.values.copy()
    live = slice(max(0, onset - ticks.first), None)
    factor = 1 - effect if about.worse == "decrease" else 1 + effect
    if about.ratio or about.histogram:
        by = np.full(len(rows), factor)
        if about.histogram:
            by = _moved(np.array([ticks.keys[row].edge for row in rows]), values[:, rows].sum(axis=2), factor)
        values[1, rows, live] = np.minimum(values[1, rows, live] * by[:, None], values[2, rows, live])
    else:
        values[1, rows, live] *= factor
        values[2, rows, live] *= factor**2
    return CohortTicks(ticks.first, ticks.keys, values)


def _moved(edge: NDArray[np.float64], sums: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Return by which factor the events beyond each row's edge [row] grow if all values are multiplied.

    `sums` [3, row] are those of the rows: units, events beyond, and all events.
    """
    edges = np.unique(edge[np.isfinite(edge) & (edge > 0)])
    beyond, total = (np.array([sums[plane, edge == one].sum() for one in edges]) for plane in (1, 2))
    by = np.ones(len(edge))
    if not len(edges) or not total.max() > 0:
        return by
    tail = Tail(edges, beyond / np.maximum(total, 1.0), float(total.max()))
    for place, one in enumerate(edges.tolist()):
        if beyond[place] > 0:
            by[edge == one] = share_beyond(tail, one / factor) / tail.share[place]
    return by


def share_beyond(tail: Tail, value: float) -> float:
    """Return the share of a histogram's events beyond a value: the inverse of `Tail.quantile`.

    Examples
    --------
    >>> tail = Tail(np.array([0.1, 0.2, 0.4]), np.array([0.4, 0.1, 0.025]), 1_000.0)
    >>> [round(share_beyond(tail, value), 4) for value in (0.05, 0.1, 0.2828, 0.5)]
    [0.7, 0.4, 0.05, 0.025]
    """
    after = int(np.searchsorted(tail.edge, value))
    if after == len(tail.edge):
        return float(tail.share[-1])
    if after == 0:
        return float(1 - (1 - tail.share[0]) * value / tail.edge[0])
    low, high = (max(float(share), 0.5 / tail.total) for share in (tail.share[after], tail.share[after - 1]))
    part = np.log(value / tail.edge[after - 1]) / np.log(tail.edge[after] / tail.edge[after - 1])
    return float(high * (low / high) ** part)
