"""Intervals of a share: Wilson's, and one for rollouts that were cut out of the same data."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_Z: Final = 1.96
_RESAMPLES: Final = 2_000
_BLOCKS_MIN: Final = 10
"""With fewer blocks a bootstrap is far too sure of itself."""


def wilson(count: float, total: float) -> tuple[float, float]:
    """Return the 95 % interval of a share, as if its trials were independent.

    References
    ----------
    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    Examples
    --------
    >>> [round(end, 4) for end in wilson(0, 300)]
    [0.0, 0.0126]
    """
    share = count / total
    centre = (share + _Z * _Z / (2 * total)) / (1 + _Z * _Z / total)
    half = _Z * np.sqrt(share * (1 - share) / total + _Z * _Z / (4 * total**2)) / (1 + _Z * _Z / total)
    # At the ends rounding would leave a trace of what is exactly 0 or 1.
    return (0.0 if count <= 0 else float(centre - half)), (1.0 if count >= total else float(centre + half))


def of_blocks(happened: Sequence[bool], block: NDArray[np.intp], seed: int) -> tuple[float, float]:
    """Return the 95 % interval of a share whose trials depend on each other inside blocks.

    Whole blocks are drawn with replacement (percentile bootstrap). Where that says nothing, since there are few blocks
    or all of them agree, it is Wilson's interval with blocks for trials: a block is then worth one trial, however
    many rollouts it holds.

    Parameters
    ----------
    happened
        [trial] Whether the thing that is counted happened.
    block
        [trial] The block of each, from 0 on without gaps.
    seed
        Of the bootstrap; the same seed gives the same interval.

    References
    ----------
    A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8.

    Examples
    --------
    Forty rollouts without an alarm, of two blocks, are worth two:

    >>> import numpy as np
    >>> [round(end, 2) for end in of_blocks([False] * 40, np.repeat([0, 1], 20), 1)]
    [0.0, 0.66]
    """
    blocks = int(block.max()) + 1
    count = np.bincount(block, np.asarray(happened, np.float64), blocks)
    size = np.bincount(block, minlength=blocks).astype(np.float64)
    share = count / size
    if blocks < _BLOCKS_MIN or np.ptp(share) == 0:
        return wilson(float(count.sum() / size.sum()) * blocks, blocks)
    drawn = np.random.default_rng(seed).integers(0, blocks, (_RESAMPLES, blocks))
    shares = count[drawn].sum(axis=1) / size[drawn].sum(axis=1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)
