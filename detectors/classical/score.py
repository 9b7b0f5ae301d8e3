"""Scores: the labels of all metrics as one number for each group, one in total, and an outcome."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from msgspec import Struct, field
from numpy.typing import NDArray

from detectors.classical.classify import Label
from detectors.policy import Percent

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Outcome(IntEnum):
    """What became of the whole, worst first."""

    FAIL = 0
    MARGINAL = 1
    PASS = 2


class Thresholds(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From which total scores on, in percent, a rollout passes and is marginal.

    Raises
    ------
    ValueError
        Unless 0 <= marginal <= pass <= 100.
    """

    passing: Percent = field(name="pass", default=95.0)
    marginal: Percent = 75.0

    def __post_init__(self) -> None:
        if not 0 <= self.marginal <= self.passing <= 100:
            message = f"0 <= marginal <= pass <= 100 must hold: marginal is {self.marginal}, pass is {self.passing}"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Score:
    """What `score` found, in percent. `...` are the axes that its labels have before the last one."""

    groups: Array
    """[..., group] Share of a group's judged metrics that pass; NaN where none could be judged."""
    total: Array
    """[...] Weighted mean of the groups, to two decimals; 0 after a critical failure, or with too little data."""
    outcome: NDArray[np.int8]
    """[...] Values of `Outcome`."""
    critical: Bools
    """[...] Whether a critical metric failed."""
    nodata: Bools
    """[...] Whether at least half of the metrics could not be judged."""


def score(
    labels: NDArray[np.int8],
    groups: Bools,
    weights: Array,
    critical: Bools,
    thresholds: Thresholds | None = None,
) -> Score:
    """Weigh the labels of a rollout's metrics into one score and an outcome.

    A critical failure, or at least half of the metrics without a judgement, makes the score 0 and the outcome
    `FAIL`, whatever the thresholds are. A group in which nothing could be judged takes no part: the others'
    weights are scaled up. (Kayenta counts it as 100; here no data is never good news.)

    Parameters
    ----------
    labels
        [..., comparison] Values of `Label`; further axes before the last one are rollouts, or ticks.
    groups
        [group, comparison] Which comparisons a group is made of; one may be in several.
    weights
        [group] In percent; NaN shares evenly with the other NaN what is left to 100.
    critical
        [..., comparison] Which comparisons failed critically, as `Judgement` has it.
    thresholds
        Default: pass from 95, marginal from 75.

    Raises
    ------
    ValueError
        If weights are negative, do not add up to 100, or shapes do not fit each other.

    References
    ----------
    Kayenta, WeightedSumScorer and ThresholdScoreClassifier (Apache-2.0).

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([Label.PASS, Label.HIGH, Label.PASS, Label.NODATA], np.int8)
    >>> groups = np.array([[True, True, False, False], [False, False, True, True]])
    >>> result = score(labels, groups, np.array([25.0, np.nan]), np.zeros(4, np.bool_))
    >>> result.groups, float(result.total), Outcome(int(result.outcome)).name
    (array([ 50., 100.]), 87.5, 'MARGINAL')
    """
    limits = Thresholds() if thresholds is None else thresholds
    if groups.ndim != 2 or labels.shape[-1:] != groups.shape[1:] or labels.shape != critical.shape:
        message = f"labels and critical must be [..., comparison], groups [group, comparison]: {labels.shape}, "
        message += f"{critical.shape}, {groups.shape}"
        raise ValueError(message)
    weight = _weights(weights, len(groups))
    members = groups.T.astype(np.float64)
    unknown = (labels == Label.NODATA) | (labels == Label.ERROR)
    judged = (~unknown).astype(np.float64) @ members
    passed = (labels == Label.PASS).astype(np.float64) @ members
    scores = np.divide(100 * passed, judged, out=np.full(judged.shape, np.nan), where=judged > 0)

    share = np.where(judged > 0, weight, 0.0)
    sum_of_shares = share.sum(axis=-1)
    weighted = (share * np.where(judged > 0, scores, 0.0)).sum(axis=-1)
    mean = np.divide(weighted, sum_of_shares, out=np.zeros_like(weighted), where=sum_of_shares > 0)

    failed = critical.any(axis=-1)
    nodata = 2 * unknown.sum(axis=-1) >= labels.shape[-1]
    total = np.where(failed | nodata, 0.0, np.round(mean, 2))
    outcome = np.select(
        [failed | nodata, total >= limits.passing, total >= limits.marginal],
        [Outcome.FAIL, Outcome.PASS, Outcome.MARGINAL],
        Outcome.FAIL,
    )
    return Score(scores, total, outcome.astype(np.int8), np.asarray(failed), np.asarray(nodata))


def _weights(weights: Array, groups: int) -> Array:
    """Fill in the weights that are left open."""
    if weights.shape != (groups,):
        message = f"{groups} groups need as many weights: {weights.shape} were given"
        raise ValueError(message)
    is_open = np.isnan(weights)
    left = 100 - float(weights[~is_open].sum())
    if (weights < 0).any() or not -1e-6 <= left <= 100 or (groups and not is_open.any() and left > 1e-6):
        message = f"the weights of the groups must be at least 0 and add up to 100: they are {weights.tolist()}"
        raise ValueError(message)
    filled: Array = np.where(is_open, max(left, 0.0) / max(int(is_open.sum()), 1), weights)
    return filled
