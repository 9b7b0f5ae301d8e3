"""Strands: what a policy's metrics are compared by, a histogram at several bucket edges."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import Strand
from detectors.policy import Metric, Policy, Tolerance
from streams.cohorts import RowKey

Array = NDArray[np.float64]

_EVENTS_MIN = 50.0
"""A bucket edge that fewer events of the past lie beyond is no use."""


def strands_of(
    keys: Sequence[RowKey], past: Array, policy: Policy, is_control: NDArray[np.bool_], stages: int
) -> list[Strand]:
    """List what is compared, and split alpha over stages, metrics and edges.

    Parameters
    ----------
    keys, past
        [row], [3, row, tick] The pre-period, from which the bucket edges of histograms are chosen.
    is_control
        [signature] Whether units of that signature are controls.
    stages
        Number of stages of the plan.
    """
    total = (sum(metric.weight for metric in policy.metrics) + 1.0) * stages
    strands: list[Strand] = []
    for number, metric in enumerate(policy.metrics):
        weight = metric.weight / total
        if metric.histogram:
            edges = _edges(keys, past, number, metric, is_control)
            strands += [
                _strand(number, metric, Tolerance(relative=relative), weight / len(edges), edge)
                for edge, relative in edges
            ]
        else:
            strands.append(_strand(number, metric, metric.tolerate, weight))
    reporting = policy.reporting_tolerance
    number = len(policy.metrics)
    strands.append(Strand(number, 0.0, True, True, False, reporting.relative, reporting.absolute, "auto", 1.0 / total))
    return strands


def _strand(number: int, metric: Metric, tolerance: Tolerance, weight: float, edge: float = 0.0) -> Strand:
    is_ratio = metric.ratio is not None or metric.histogram is not None
    up, down = metric.worse in ("increase", "either"), metric.worse in ("decrease", "either")
    return Strand(number, edge, is_ratio, up, down, tolerance.relative, tolerance.absolute, metric.scale, weight)


def _edges(
    keys: Sequence[RowKey], past: Array, number: int, metric: Metric, is_control: NDArray[np.bool_]
) -> list[tuple[float, float]]:
    """Choose the bucket edges on both sides of the control's quantile, each with the tolerance there.

    "At most 10 % slower" is a statement about time; at a fixed edge it becomes one about the share of
    events beyond it: at most as many as lay beyond an edge 10 % lower before.
    """
    assert metric.quantile is not None
    edges = sorted({key.edge for key in keys if key.metric == number and np.isfinite(key.edge) and key.edge > 0})
    beyond = np.zeros(len(edges))
    total = np.zeros(len(edges))
    place = {edge: position for position, edge in enumerate(edges)}
    for row, key in enumerate(keys):
        if key.metric == number and key.edge in place and is_control[key.signature]:
            beyond[place[key.edge]] += past[1, row].sum()
            total[place[key.edge]] += past[2, row].sum()
    share = np.divide(beyond, total, out=np.zeros_like(beyond), where=total > 0)
    wanted = 1.0 - metric.quantile
    above = np.flatnonzero((share < wanted) & (beyond >= _EVENTS_MIN))
    below = np.flatnonzero(share >= wanted)
    chosen = [*below[-1:], *above[:1]] or [len(edges) - 1]
    tolerated = metric.tolerate.relative
    if metric.tolerate.absolute > 0:
        tolerated = max(tolerated, metric.tolerate.absolute / edges[int(chosen[-1])])
    logs, shares = np.log(edges), np.log(np.maximum(share, 1e-12))
    lower = np.exp(np.interp(np.log(np.array(edges)[chosen] / (1 + tolerated)), logs, shares))
    relative = lower / np.maximum(share[chosen], 1e-12) - 1
    return [(edges[int(i)], max(float(r), tolerated)) for i, r in zip(chosen, relative, strict=True)]
