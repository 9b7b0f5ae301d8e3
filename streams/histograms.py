"""Whole histograms, merged over hosts, colos and ticks: for people, who read quantiles.

What is judged are events beyond single edges, see `streams.strands`. Quantiles are not exact, and are worked out
only when a verdict is put into words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.policy import Policy
from detectors.state import Stateful
from streams.cohorts import RowKey
from streams.pairing import Pairing

Array = NDArray[np.float64]

_PRIOR_EVENTS: Final = 10.0
"""Events with which a persistent difference between the sides counts half; as for the offsets of ratios."""


@dataclass(frozen=True, slots=True)
class Tail:
    """A merged histogram: the share of events beyond each edge [edge], and how many events there were."""

    edge: Array
    share: Array
    total: float

    def quantile(self, beyond: float) -> float:
        """Return the value that a share `beyond` of the events lies above, about; inf past the last edge.

        Within a bucket the share falls as a power of the value (a line on logarithmic scales), as it does in
        the tails of latencies; within the first bucket it falls evenly from zero, as in Prometheus.

        Examples
        --------
        >>> tail = Tail(np.array([0.1, 0.2, 0.4]), np.array([0.4, 0.1, 0.025]), 1_000.0)
        >>> [round(tail.quantile(beyond), 4) for beyond in (0.7, 0.1, 0.05, 0.01)]
        [0.05, 0.2, 0.2828, inf]
        """
        if not self.total > 0:
            return np.nan
        if not 0 < beyond < 1:
            return np.inf if beyond <= 0 else 0.0
        after = np.flatnonzero(self.share <= beyond)
        if not len(after):
            return np.inf
        first = int(after[0])
        if first == 0:
            return float(self.edge[0] * (1 - beyond) / max(1 - self.share[0], 1e-12))
        # No event beyond an edge is less than one in all that were seen.
        low = max(float(self.share[first]), min(0.5 / self.total, beyond / 2))
        high = float(self.share[first - 1])
        part = np.log(high / beyond) / np.log(high / low)
        return float(self.edge[first - 1] * (self.edge[first] / self.edge[first - 1]) ** part)

    def change(self, other: "Tail", edge: float) -> float:
        """Return the logarithm of this share of events beyond an edge over the other's; 0 where one has none."""
        place = np.flatnonzero(self.edge == edge)
        own, its = (float(tail.share[place].sum()) for tail in (self, other))
        return float(np.log(own / its)) if own > 0 and its > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Tails:
    """The canary's histogram, the control's, and what was to be expected of the canary."""

    canary: Tail
    control: Tail
    expected: Tail


class Histograms(Stateful):
    """Histograms of a stage's metrics: sums of the past, and of the live ticks so far.

    Parameters
    ----------
    keys, past
        [row], [3, row, tick] The pre-period.
    policy, pairing
        Which metrics are histograms, and which rows stand against which.
    cohorts
        [signature], by name of the cohort. Whether units of that signature belong to it.
    """

    _state = ("_live",)

    def __init__(
        self,
        keys: Sequence[RowKey],
        policy: Policy,
        pairing: Pairing,
        past: Array,
        cohorts: dict[str, NDArray[np.bool_]],
    ) -> None:
        self._pairing = pairing
        self._cohorts = cohorts
        kinds = [bool(metric.histogram) for metric in policy.metrics] + [False]
        self._rows = np.array([row for row, key in enumerate(keys) if kinds[key.metric]], np.intp)
        self._place = {keys[row]: place for place, row in enumerate(self._rows)}
        self._keys = keys
        self._edges = {
            metric: sorted({key.edge for key in self._place if key.metric == metric and key.edge > 0})
            for metric in np.flatnonzero(kinds).tolist()
        }
        self._past = past[:, self._rows].sum(axis=2)
        self._live = np.zeros_like(self._past)

    def add(self, values: Array) -> None:
        """Add live ticks [3, row, tick]."""
        if len(self._rows) and values.shape[2]:
            # One tick after the other, so that the sums do not depend on how ticks came in blocks.
            ticks = np.concatenate([self._live[:, :, None], values[:, self._rows]], axis=2)
            self._live = np.cumsum(ticks, axis=2)[:, :, -1]

    def of(self, test: int) -> Tails:
        """Merge the histograms that stand behind a test at an edge.

        What was to be expected of the canary is the control's share beyond each edge, times what the canary's
        was to the control's in the past; the fewer events there were, the less that counts.
        """
        canary, control = (self._sums(test, is_canary) for is_canary in (True, False))
        edges = np.array(sorted(canary.keys() & control.keys()))
        now, then = (
            [np.array([side[edge][when] for edge in edges]) for side in (canary, control)]  # [edge, (beyond, all)]
            for when in (0, 1)
        )
        if not now[1].any():  # before the first live events, what there is to be said is about the past
            now = then
        beyond = np.stack([side[:, 0] for side in then])
        of = np.stack([side[:, 1] for side in then])
        known = (beyond > 0).all(axis=0) & (of > 0).all(axis=0)
        share = np.divide(beyond, of, out=np.ones_like(beyond), where=known)
        events = np.divide(beyond[0] * beyond[1], beyond.sum(axis=0), out=np.zeros(len(edges)), where=known)
        difference = np.log(share[0] / share[1]) * events / (events + _PRIOR_EVENTS)
        own, other = (_tail(edges, side[:, 0], side[:, 1]) for side in now)
        expected = np.minimum(np.minimum.accumulate(other.share * np.exp(difference)), 1.0)
        return Tails(own, other, Tail(edges, expected, other.total))

    def _sums(self, test: int, is_canary: bool) -> dict[float, tuple[Array, Array]]:
        """Return beyond and all [2], live and past, at each finite edge that all rows of a side have."""
        pairing = self._pairing
        pool, side = pairing.tests.pool, pairing.canary if is_canary else pairing.control
        members = pool.indices[pool.indptr[test] : pool.indptr[test + 1]]
        rows = sorted({int(row) for i in members for row in side.indices[side.indptr[i] : side.indptr[i + 1]]})
        result: dict[float, tuple[Array, Array]] = {}
        for edge in self._edges[self._keys[rows[0]].metric] if rows else []:
            places = [self._place.get(self._keys[row]._replace(edge=edge)) for row in rows]
            there = [place for place in places if place is not None]
            if np.isfinite(edge) and len(there) == len(places):
                result[edge] = self._live[1:, there].sum(axis=1), self._past[1:, there].sum(axis=1)
        return result

    def set_aside(self, metric: int) -> dict[str, float]:
        """Return the share of each cohort's histograms that were set aside as incomplete, in the past and so far."""
        seen = self._past + self._live
        result = {}
        for name, is_member in self._cohorts.items():
            last = [
                place
                for key, place in self._place.items()
                if key.metric == metric and np.isinf(key.edge) and is_member[key.signature]
            ]
            whole, aside = float(seen[0, last].sum()), float(seen[1, last].sum())
            result[name] = aside / (whole + aside) if aside > 0 else 0.0
        return result


def _tail(edges: Array, beyond: Array, total: Array) -> Tail:
    share = np.divide(beyond, total, out=np.zeros_like(beyond), where=total > 0)
    return Tail(edges, np.minimum.accumulate(share), float(total.max(initial=0.0)))
