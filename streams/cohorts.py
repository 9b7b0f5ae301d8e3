"""Cohort ticks: the mergeable sums that are left of a tick, and all that the judge ever sees."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class RowKey(NamedTuple):
    """What a row of sums is about: a metric of the policy (by position), a place, and who was summed.

    `edge` is the bucket edge of a histogram and 0 for every other kind. `signature` is the units' position in
    the rollout's plan, see `streams.membership.Membership`.
    """

    metric: int
    edge: float
    colo: str
    region: str
    signature: int


def row_keys(
    metric: Iterable[int], edge: Iterable[float], colo: Iterable[str], region: Iterable[str], signature: Iterable[int]
) -> tuple[RowKey, ...]:
    """Return rows from columns [row], of which there may be very many: in a fraction of what `RowKey(...)` takes."""
    columns = zip(metric, edge, colo, region, signature, strict=True)
    return tuple(map(partial(tuple.__new__, RowKey), columns))


@dataclass(frozen=True, slots=True)
class CohortTicks:
    """Sums over the units of a row, for consecutive ticks.

    Attributes
    ----------
    first
        The first tick; tick k ends at k times the tick length.
    keys
        [row] In sorted order.
    values
        [3, row, tick] Units with a value; then, for gauges and rates, the sum and the sum of squares over
        units; for ratios and histograms the bad events (slower than the edge) and all events. As nothing lies
        beyond the edge +Inf, its row has in that place the histograms that were set aside as incomplete.
    """

    first: int
    keys: tuple[RowKey, ...]
    values: NDArray[np.float64]

    @property
    def ticks(self) -> int:
        """Number of ticks."""
        return int(self.values.shape[2])

    def between(self, start: int, stop: int) -> "CohortTicks":
        """Return the ticks from `start` on and before `stop`, all of which must be there."""
        return CohortTicks(start, self.keys, self.values[:, :, start - self.first : stop - self.first])


def merge(parts: Sequence[CohortTicks]) -> CohortTicks:
    """Add sums over disjoint units, as partitions or files hold them, whatever the order of the parts.

    Parameters
    ----------
    parts
        At least one; ticks that a part lacks count as empty.
    """
    first = min(part.first for part in parts)
    ticks = max(part.first + part.ticks for part in parts) - first
    keys = tuple(sorted({key for part in parts for key in part.keys}))
    row = {key: index for index, key in enumerate(keys)}
    values = np.zeros((3, len(keys), ticks))
    # Float addition does not commute to the last bit, so the parts are added in an order of their own.
    for part in sorted(parts, key=lambda part: (part.keys, part.first, part.values.tobytes())):
        rows = np.array([row[key] for key in part.keys], np.intp)
        start = part.first - first
        values[:, rows, start : start + part.ticks] += part.values
    return CohortTicks(first, keys, values)
