"""Effect sizes: how large a difference is, in numbers that a policy can set thresholds for."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def means(values: Array) -> Array:
    """Mean of each row [comparison, tick] without its NaN; NaN where nothing is left.

    The second pass corrects the rounding of the first, so that equal samples have exactly their own mean.

    References
    ----------
    P. Neely, "Comparison of several algorithms for computation of means, standard deviations and correlation
    coefficients", CACM 1966 (the corrected mean).

    Examples
    --------
    >>> import numpy as np
    >>> means(np.array([[0.1, 0.1, 0.1, np.nan], [1.0, 2.0, 6.0, np.nan], [np.nan] * 4]))
    array([0.1, 3. , nan])
    """
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    rough = np.full(len(values), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):  # a sum beyond float64 has no mean that could be told
        np.divide(np.where(known, values, 0.0).sum(axis=1), count, out=rough, where=count > 0)
        rest = np.where(known, values - rough[:, None], 0.0).sum(axis=1)
        mean: Array = rough + rest / np.maximum(count, 1)
    return mean


def mean_ratio(canary_mean: Array, control_mean: Array) -> Array:
    """Ratio of the means, 1 being no effect; NaN where a mean is 0 or missing, for then it says nothing.

    Parameters
    ----------
    canary_mean, control_mean
        [comparison] In one unit.

    References
    ----------
    Kayenta, EffectSizes (Apache-2.0).

    Examples
    --------
    >>> import numpy as np
    >>> mean_ratio(np.array([3.0, 3.0]), np.array([2.0, 0.0]))
    array([1.5, nan])
    """
    says = (canary_mean != 0) & (control_mean != 0)
    ratio = np.full(len(canary_mean), np.nan)
    with np.errstate(over="ignore"):
        np.divide(canary_mean, control_mean, out=ratio, where=says)
    return ratio


def common_language(u: Array, canary_count: NDArray[np.intp], control_count: NDArray[np.intp]) -> Array:
    """Chance that a sample of the canary is larger than one of the control (CLES); 0.5 is no effect.

    Parameters
    ----------
    u
        [comparison] The canary's U, see `u_statistic`.
    canary_count, control_count
        [comparison] Samples on both sides; NaN comes out where one has none.

    References
    ----------
    K. McGraw, S. Wong, "A common language effect size statistic", Psychological Bulletin 1992. A. Vargha,
    H. Delaney, "A critique and improvement of the CL common language effect size statistics of McGraw and Wong",
    J. Educ. Behav. Stat. 2000 (no assumption of normality, ties count half).

    Examples
    --------
    >>> import numpy as np
    >>> from detectors.classical.mann_whitney import u_statistic
    >>> rng = np.random.default_rng(2)
    >>> u, _ = u_statistic(rng.normal(1, 1, (1, 500)), rng.normal(0, 1, (1, 500)))
    >>> float(common_language(u, np.array([500]), np.array([500]))[0].round(2))
    0.74
    """
    pairs = (canary_count * control_count).astype(np.float64)
    chance = np.full(len(u), np.nan)
    np.divide(u, pairs, out=chance, where=pairs > 0)
    return chance
