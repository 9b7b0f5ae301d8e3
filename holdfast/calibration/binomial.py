"""Shares and their exact intervals, and how many trials of a history are really independent. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log, log1p

from scipy.stats import beta


@dataclass(frozen=True, slots=True)
class Span:
    """What a trial looks at: a stretch of time of one fleet, from `first` on and before `stop`."""

    first: int
    stop: int


def clopper_pearson(count: float, total: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share.

    Neither number need be whole: an effective number of trials is not, and the interval then is that of C. Korn and
    B. Graubard, "Confidence intervals for proportions with small expected number of positive counts estimated from
    survey data", Survey Methodology 24, 1998.

    Parameters
    ----------
    count, total
        How often it happened, in how many independent trials; without any trial nothing is known.
    confidence
        Chance that the interval holds the share, at least.

    References
    ----------
    C. Clopper, E. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    Biometrika 26, 1934.

    Examples
    --------
    >>> [round(end, 4) for end in clopper_pearson(0, 299)]
    [0.0, 0.0123]
    >>> [round(end, 4) for end in clopper_pearson(2, 20)]
    [0.0123, 0.317]
    """
    if not 0 <= count <= total:
        msg = f"{count} of {total} is no share"
        raise ValueError(msg)
    if total <= 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if count <= 0 else float(beta.ppf(tail, count, total - count + 1))
    high = 1.0 if count >= total else float(beta.ppf(1 - tail, count + 1, total - count))
    return low, high


def independent(spans: Sequence[Span]) -> int:
    """Return how many of the spans can be chosen so that no two of them share any time.

    Trials whose data overlap depend on each other, so no more than these count as trials of their own. Earliest end
    first, which is the most that can be chosen.

    References
    ----------
    J. Kleinberg, E. Tardos, "Algorithm design", 2005, section 4.1 (interval scheduling).

    Examples
    --------
    >>> independent([Span(0, 10), Span(5, 15), Span(10, 20), Span(12, 30)])
    2
    """
    chosen, free = 0, None
    for span in sorted(spans, key=lambda span: (span.stop, span.first)):
        if free is None or span.first >= free:
            chosen, free = chosen + 1, span.stop
    return chosen


def of_dependent(count: int, spans: Sequence[Span], confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a share whose trials look at the spans: as many trials as are independent.

    The share is that of all trials, and the number of trials the independent ones: as if those that share data always
    agreed, which is the worst that they can do.

    Examples
    --------
    Forty trials on the same stretch of time are worth one:

    >>> [round(end, 3) for end in of_dependent(0, [Span(0, 10)] * 40)]
    [0.0, 0.975]
    """
    if not spans:
        return clopper_pearson(0, 0, confidence)
    worth = independent(spans)
    return clopper_pearson(count / len(spans) * worth, worth, confidence)


def quiet_trials_needed(share: float, confidence: float = 0.95) -> int:
    """Return how many independent trials without a hit show that it happens in at most that share of them.

    It is the number at which the upper end of the two-sided interval has come down to the share.

    Examples
    --------
    >>> quiet_trials_needed(0.01)
    368
    >>> clopper_pearson(0, 368)[1] <= 0.01 < clopper_pearson(0, 367)[1]
    True
    """
    return ceil(log((1 - confidence) / 2) / log1p(-share))
