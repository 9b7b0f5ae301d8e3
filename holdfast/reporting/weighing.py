"""A metric's e-value out of those of its comparisons, as far as the store tells them."""

from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.comparisons import COLO, FLEET, REGION, SHARES
from holdfast.reporting.gathered import WEIGHED, Grid

Array = NDArray[np.float64]

_LEVELS: Final = {"fleet": FLEET, "region": REGION, "colo": COLO}


def weighed(parts: pa.Table, grid: Grid) -> pa.Table:
    """Average the e-values of one metric as the judge does.

    The judge averages over levels by fixed shares and over the places of a level evenly. It also weighs the edges of a
    histogram by what they stand for; that is not stored, and they are taken for equal here, which is within a factor of
    two for each.

    Parameters
    ----------
    parts
        One row for each tick, edge and level: `metric`, `time`, `edge`, `level`, `tests` (how many comparisons) and
        `log_e_sum` (logarithm of the sum of their e-values); in order of time.
    grid
        The steps to cut the ticks into.

    Returns
    -------
    pyarrow.Table
        See `WEIGHED`.
    """
    times, time = np.unique(parts["time"].cast(pa.int64()).to_numpy(), return_inverse=True)
    edges, edge = np.unique(parts["edge"].to_numpy(), return_inverse=True)
    level = np.array([_LEVELS[name] for name in parts["level"].to_pylist()])
    sums = np.full((3, len(edges), len(times)), -np.inf)
    tests = np.zeros(sums.shape)
    sums[level, edge, time] = parts["log_e_sum"].to_numpy()
    tests[level, edge, time] = parts["tests"].to_numpy()
    share = np.array([SHARES[FLEET], SHARES[REGION], SHARES[COLO]])[:, None, None] * (tests > 0)
    # One colo is the fleet, and has no share of its own; see `detectors.comparisons`.
    share[REGION:] *= tests[COLO] != 1
    share /= np.maximum(share.sum(axis=0), np.finfo(np.float64).tiny)
    with np.errstate(divide="ignore"):
        weight = np.log(share) - np.log(np.maximum(tests, 1)) - np.log(np.maximum((tests[FLEET] > 0).sum(axis=0), 1))
    log_e: Array = np.logaddexp.reduce(np.where(np.isneginf(weight), -np.inf, sums + weight), axis=(0, 1))
    steps = grid.step_of(times)
    starts = np.flatnonzero(np.diff(steps, prepend=-1))
    columns = {
        "metric": np.repeat(parts["metric"].cast(pa.string())[0].as_py(), len(starts)),
        "step": steps[starts],
        "log_e": log_e[np.append(starts[1:], len(steps)) - 1],
        "log_e_max": np.maximum.reduceat(log_e, starts),
    }
    return pa.table(columns, schema=WEIGHED)
