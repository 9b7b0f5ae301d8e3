"""What is compared: strands (a metric, or one bucket edge of it) x places, and the levels they pool into."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

Array = NDArray[np.float64]

FLEET: Final = 0
REGION: Final = 1
COLO: Final = 2

SHARES: Final = {FLEET: 0.5, REGION: 0.25, COLO: 0.25}
"""How evidence is split: an effect everywhere shows in the fleet first, a local one in its colo."""


@dataclass(frozen=True, slots=True)
class Strand:
    """One thing that is compared: a metric, or one bucket edge of a histogram metric.

    `is_ratio` tells events over events from a mean over units. `up` and `down` say which directions are
    worse; the tolerances are fractions, and absolute values on the metric's own scale. `scale`: auto, mean,
    sd, or the number that a relative tolerance refers to. `weight` is the strand's share of alpha. `quantile`
    is what a bucket edge stands for, and 0 for every other kind.
    """

    metric: int
    edge: float
    is_ratio: bool
    up: bool
    down: bool
    relative: float
    absolute: float
    scale: str | float
    weight: float
    quantile: float = 0.0


@dataclass(frozen=True, slots=True)
class Tests:
    """All tests of a stage: every comparison (strand x colo), and its pools by region and over the fleet.

    The first `comparisons` tests are the comparisons themselves.

    Attributes
    ----------
    strand, level, place
        [test] Strand; level; colo, region or 0.
    pool, pools
        [test, comparison] Adds comparisons to tests; and to those alone that are no comparisons themselves.
    share
        [test] Part of the strand's evidence that is this test's; sums to 1 per strand.
    pool_control
        [test, comparison] The same for the control's sums, where comparisons of unlike units are balanced; see
        `balanced`.
    """

    comparisons: int
    strand: NDArray[np.intp]
    level: NDArray[np.intp]
    place: NDArray[np.intp]
    pool: csr_array
    pools: csr_array
    share: Array
    pool_control: csr_array | None = None

    def __len__(self) -> int:
        """Return the number of tests."""
        return len(self.strand)

    def added(self, array: Array) -> Array:
        """Add comparisons to tests: [comparison, …] to [test, …]."""
        return np.concatenate([array, self.pools @ array])

    def fleet(self) -> NDArray[np.intp]:
        """Return the tests of whole strands, in order of strand."""
        return np.flatnonzero(self.level == FLEET)


def arrange(strand: NDArray[np.intp], colo: NDArray[np.intp], region: NDArray[np.intp]) -> Tests:
    """Arrange comparisons [comparison] into tests at three levels.

    Parameters
    ----------
    strand, colo, region
        [comparison] Positions; region -1 is "none". Comparisons must stand in canonical order.
    """
    count = len(strand)
    own = np.arange(count)
    labels = [np.stack([strand, np.full(count, COLO), colo])]
    members = [own]
    inside = np.flatnonzero(region >= 0)
    labels.append(np.stack([strand[inside], np.full(len(inside), REGION), region[inside]]))
    members.append(inside)
    labels.append(np.stack([strand, np.full(count, FLEET), np.zeros(count, np.intp)]))
    members.append(own)
    groups: list[NDArray[np.intp]] = [labels[0]]
    entries = [np.stack([own, own])]
    offset = count
    for label, member in zip(labels[1:], members[1:], strict=True):
        distinct, inverse = np.unique(label, axis=1, return_inverse=True)
        groups.append(distinct)
        entries.append(np.stack([inverse.reshape(-1) + offset, member]))
        offset += distinct.shape[1]
    table = np.concatenate(groups, axis=1)
    rows, columns = np.concatenate(entries, axis=1)
    order = np.lexsort((columns, rows))
    starts = np.searchsorted(rows[order], np.arange(offset + 1))
    pool = csr_array((np.ones(len(rows)), columns[order], starts), shape=(offset, count))
    return Tests(count, table[0], table[1], table[2], pool, csr_array(pool[count:]), _shares(table))


def balanced(tests: Tests, canary: Array, control: Array) -> Tests:
    """Weight the control's sums in pools so that every comparison has the same part of both sides.

    Sums over unlike units mislead (Simpson's paradox): if another change does harm, and more of the canary than of
    the control has it, the canary's sum is worse, whatever its own change does. So a comparison's control counts as its
    canary's share asks for, over all by the factor that leaves weighted counts as certain as counts of their size
    are (Kish's effective sample size).

    Parameters
    ----------
    canary, control
        [comparison] Events or unit-ticks of the pre-period. A comparison that lacks either keeps its weight.

    References
    ----------
    L. Kish, "Survey sampling", Wiley 1965.

    Examples
    --------
    >>> tests = arrange(np.array([0, 0]), np.array([0, 1]), np.array([-1, -1]))
    >>> even = balanced(tests, np.array([10.0, 10.0]), np.array([10.0, 90.0]))
    >>> (even.pool_control @ np.array([10.0, 90.0]))[even.fleet()].round(6).tolist()
    [36.0]
    """
    known = (canary > 0) & (control > 0)
    wanted = np.divide(canary, control, out=np.ones_like(canary), where=known)
    size = np.where(known, control, 0.0)
    total, squares = tests.pool @ (wanted * size), tests.pool @ (wanted**2 * size)
    factor = np.divide(total, squares, out=np.ones_like(total), where=squares > 0)
    return replace(tests, pool_control=csr_array(diags_array(factor) @ tests.pool @ diags_array(wanted)))


def _shares(table: NDArray[np.intp]) -> Array:
    """Split each strand's evidence over its levels, and each level's evenly over its places."""
    strand, level = table[0], table[1]
    counts = np.zeros((int(strand.max(initial=-1)) + 1, 3))
    np.add.at(counts, (strand, level), 1)
    weights = np.array([SHARES[FLEET], SHARES[REGION], SHARES[COLO]]) * (counts > 0)
    # One colo is the fleet: testing it twice would only split the evidence.
    weights[counts[:, COLO] == 1, REGION:] = 0
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)  # no tests, no share
    share: Array = weights[strand, level] / np.maximum(counts[strand, level], 1)
    return share
