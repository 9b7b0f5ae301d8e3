"""Strands: what a policy's metrics are compared by, a histogram at several bucket edges."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import Strand
from detectors.policy import Metric, Policy, Tolerance
from streams.cohorts import RowKey

Array = NDArray[np.float64]

_EVENTS_MIN: Final = 50.0
"""A bucket edge that fewer events of the past lie beyond, or within, is no use."""

_BODY: Final = (0.5, 0.9, 0.99)
"""Quantiles that a histogram is judged at beside the policy's own: a change may slow the bulk and spare the tail."""

_OWN_SHARE: Final = 0.5
"""The part of a histogram's alpha that the edges at the policy's own quantile get."""

_ODDS_MAX: Final = 10.0
"""An edge stands for a quantile if its odds of being exceeded are at most so many times off."""


def strands_of(
    keys: Sequence[RowKey],
    past: Array,
    policy: Policy,
    sides: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    stages: int,
) -> list[Strand]:
    """List what is compared, and split alpha over stages, metrics and edges.

    Parameters
    ----------
    keys, past
        [row], [3, row, tick] The pre-period, from which the bucket edges of histograms are chosen.
    sides
        [signature], [signature] Whether units of that signature are canaries, and whether they are controls.
    stages
        Number of stages of the plan.
    """
    total = (sum(metric.weight for metric in policy.metrics) + 1.0) * stages
    strands: list[Strand] = []
    for number, metric in enumerate(policy.metrics):
        weight = metric.weight / total
        if metric.histogram:
            strands += [
                _strand(number, metric, Tolerance(relative=relative), weight * part, edge, quantile)
                for edge, quantile, relative, part in _chosen(_shares(keys, past, number, sides), metric)
            ]
        else:
            strands.append(_strand(number, metric, metric.tolerate, weight))
    reporting = policy.reporting_tolerance
    number = len(policy.metrics)
    strands.append(Strand(number, 0.0, True, True, False, reporting.relative, reporting.absolute, "auto", 1.0 / total))
    return strands


def _strand(
    number: int, metric: Metric, tolerance: Tolerance, weight: float, edge: float = 0.0, quantile: float = 0.0
) -> Strand:
    is_ratio = metric.ratio is not None or metric.histogram is not None
    up, down = metric.worse in ("increase", "either"), metric.worse in ("decrease", "either")
    # "Half as much again" of a rate is about the rate: that of rare events spreads many times its mean.
    scale = "mean" if metric.counter else metric.scale
    return Strand(number, edge, is_ratio, up, down, tolerance.relative, tolerance.absolute, scale, weight, quantile)


@dataclass(frozen=True, slots=True)
class _Shares:
    """A histogram of the control's past: events beyond each of the edges that both sides have, of all events."""

    edge: Array
    beyond: Array
    total: Array

    @property
    def share(self) -> Array:
        return np.divide(self.beyond, self.total, out=np.zeros_like(self.beyond), where=self.total > 0)


def _shares(
    keys: Sequence[RowKey], past: Array, number: int, sides: tuple[NDArray[np.bool_], NDArray[np.bool_]]
) -> _Shares:
    """Add the control's past up at each edge above zero, over all colos."""
    own = [(row, key) for row, key in enumerate(keys) if key.metric == number and 0 < key.edge < np.inf]
    canary, control = ({key.edge for _, key in own if side[key.signature]} for side in sides)
    # An edge that one side lacks compares nothing; if there is no other the metric is named as not compared.
    edges = sorted(canary & control or {key.edge for _, key in own})
    place = {edge: position for position, edge in enumerate(edges)}
    beyond, total = np.zeros(len(edges)), np.zeros(len(edges))
    for row, key in own:
        if key.edge in place and sides[1][key.signature]:
            beyond[place[key.edge]] += past[1, row].sum()
            total[place[key.edge]] += past[2, row].sum()
    return _Shares(np.array(edges), beyond, total)


def _chosen(past: _Shares, metric: Metric) -> list[tuple[float, float, float, float]]:
    """Choose bucket edges: each with the quantile it stands for, the tolerance there, and its part of alpha.

    The policy's own quantile has the edges on both of its sides and at least half of alpha; each of `_BODY` has
    the edge that is nearest, unless that is taken, or no edge is near that enough events lie around.
    """
    assert metric.quantile is not None
    if not len(past.edge):  # nothing of it has been seen so far: a strand without an edge, that no row is at
        return [(np.nan, metric.quantile, metric.tolerate.relative, 1.0)]
    share, wanted = past.share, 1.0 - metric.quantile
    above = np.flatnonzero((share < wanted) & (past.beyond >= _EVENTS_MIN))
    below = np.flatnonzero(share >= wanted)
    usable = np.flatnonzero(np.minimum(past.beyond, past.total - past.beyond) >= _EVENTS_MIN)
    around = *below[np.isin(below, usable)][-1:], *above[:1]
    own = [int(i) for i in around or below[-1:]] or [len(share) - 1]
    quantiles = dict.fromkeys(own, metric.quantile)
    for quantile in _BODY:
        off = np.abs(_log_odds(share[usable]) - _log_odds(np.array([1.0 - quantile])))
        if len(usable) and off.min() <= np.log(_ODDS_MAX) and quantile != metric.quantile:
            quantiles.setdefault(int(usable[off.argmin()]), quantile)
    others = len(quantiles) - len(own)
    own_part = (_OWN_SHARE if others else 1.0) / len(own)
    return [
        (
            float(past.edge[i]),
            quantile,
            _tolerated(past, i, metric.tolerate),
            own_part if i in own else (1.0 - _OWN_SHARE) / others,
        )
        for i, quantile in sorted(quantiles.items())
    ]


def _log_odds(share: Array) -> Array:
    odds: Array = np.log(share / (1.0 - share))
    return odds


def _tolerated(past: _Shares, place: int, tolerance: Tolerance) -> float:
    """Turn a tolerance in time into one in events beyond an edge.

    "At most 10 % slower" is a statement about time; at a fixed edge it becomes one about the share of
    events beyond it: at most as many as lay beyond an edge 10 % lower before.
    """
    relative = max(tolerance.relative, tolerance.absolute / float(past.edge[place]))
    share = np.maximum(past.share, 1e-12)
    lower = np.exp(np.interp(np.log(past.edge[place] / (1 + relative)), np.log(past.edge), np.log(share)))
    return max(float(lower / share[place]) - 1, relative)
