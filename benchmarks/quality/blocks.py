"""Which recordings were cut out of the same data: they share samples, whatever their hosts and times are called.

Rollouts that were cut out of one data set resemble each other, and counting them as independent makes any figure look
surer than it is. Labels and times do not tell, since whoever cuts a window may rename and shift it; values do.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

Prints = NDArray[np.uint64]

_STEPS: Final = 32
_DISTINCT_MIN: Final = 8
"""Fewer distinct steps in a piece may be the same by chance, as counts of rare events are."""

_KEPT_OF: Final = 32
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)


def fingerprints(series: NDArray[np.intp], value: NDArray[np.float64]) -> Prints:
    """Return fingerprints of the pieces of some series, sorted: about one of 32, chosen by content.

    A piece is `_STEPS` consecutive differences. Differences, so that an offset that was added to a whole series hides
    nothing; chosen by content, so that two windows keep the same pieces wherever they begin.

    Parameters
    ----------
    series, value
        [sample] Which series a sample is of, and its value; in order of time.

    References
    ----------
    S. Schleimer, D. Wilkerson, A. Aiken, "Winnowing: local algorithms for document fingerprinting", SIGMOD 2003.

    Examples
    --------
    Two windows of one series that overlap, one of them shifted, share pieces:

    >>> import numpy as np
    >>> whole = np.random.default_rng(7).normal(size=4000)
    >>> one, other = (fingerprints(np.zeros(len(w), np.intp), w) for w in (whole[:3000], whole[2000:] + 5.0))
    >>> bool(len(np.intersect1d(one, other)) > 10)
    True
    """
    order = np.argsort(series, kind="stable")
    of, sorted_value = series[order], value[order]
    inside = of[1:] == of[:-1]
    step = np.diff(sorted_value).astype(np.float32)[inside] + np.float32(0.0)  # -0.0 is 0.0
    of = of[1:][inside]
    if len(step) < _STEPS:
        return np.empty(0, np.uint64)
    mixed = (step.view(np.uint32).astype(np.uint64) + np.uint64(1)) * _MIX
    mixed ^= mixed >> np.uint64(29)
    pieces = len(step) - _STEPS + 1
    print_ = np.zeros(pieces, np.uint64)
    for place in range(_STEPS):
        print_ = print_ * _FACTOR + mixed[place : place + pieces]
    print_ ^= print_ >> np.uint64(31)
    kept = np.flatnonzero((print_ % np.uint64(_KEPT_OF) == 0) & (of[:pieces] == of[_STEPS - 1 :]))
    content = np.sort(step[kept[:, None] + np.arange(_STEPS)], axis=1)
    distinct = 1 + (np.diff(content, axis=1) != 0).sum(axis=1)
    return np.unique(print_[kept[distinct >= _DISTINCT_MIN]])


def of_recording(path: Path) -> Prints:
    """Return the fingerprints of a recording folder."""
    table = pq.read_table(path / "metrics.parquet")
    series = np.zeros(table.num_rows, np.intp)
    for name in table.column_names:
        if name not in ("time", "value"):
            codes = table[name].combine_chunks()
            if not pa.types.is_dictionary(codes.type):
                codes = codes.dictionary_encode()
            number = codes.indices.fill_null(len(codes.dictionary)).to_numpy().astype(np.intp)
            _, series = np.unique(series * (len(codes.dictionary) + 1) + number, return_inverse=True)
    order = np.argsort(table["time"].to_numpy(), kind="stable")
    value = table["value"].to_numpy().astype(np.float64)
    known = np.isfinite(value[order])
    return fingerprints(series[order][known], value[order][known])


def blocks(prints: Sequence[Prints]) -> NDArray[np.intp]:
    """Put recordings that share pieces, or both share some with a third, into one block: [recording], from 0 on.

    Examples
    --------
    >>> import numpy as np
    >>> blocks([np.array([1, 2]), np.array([5]), np.array([2, 3]), np.array([3, 9])]).tolist()
    [0, 1, 0, 0]
    """
    block = np.arange(len(prints))
    first_of: dict[int, int] = {}
    for number, own in enumerate(prints):
        others = {first_of.setdefault(one, number) for one in own.tolist()}
        joined = np.isin(block, block[[number, *others]])
        block[joined] = block[joined].min()
    return np.unique(block, return_inverse=True)[1]
