"""Classification: one label for each comparison of a metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from detectors.classical.effect_size import common_language, mean_ratio, means
from detectors.classical.hodges_lehmann import Shift, location_shift
from detectors.classical.mann_whitney import p_value, u_statistic
from detectors.classical.preprocess import Samples, prepare
from detectors.classical.settings import Rules, Settings, rules_of

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Counts = NDArray[np.intp]


class Label(IntEnum):
    """What became of one comparison."""

    PASS = 0
    HIGH = 1
    LOW = 2
    NODATA = 3
    """A side has no sample: neither good nor bad, unless the metric is critical."""
    NODATA_FAIL = 4
    """The same, of a metric that must have data: bad."""
    ERROR = 5
    """The samples cannot be compared: infinite ones, or one against one, which no rank test can tell apart."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What `classify` found; all arrays are [comparison]."""

    label: NDArray[np.int8]
    """Values of `Label`."""
    critical: Bools
    """Whether this comparison fails the whole rollout."""
    ratio: Array
    """Mean of the canary over that of the control; NaN where one is 0 or missing."""
    effect: Array
    """The effect size that the metric's thresholds are about; NaN where it cannot be told, and is not asked."""
    shift: Shift
    """By how much the canary lies above the control, with its interval, in the metric's unit."""
    p_value: Array
    """Of the two-sided Mann-Whitney test, for people: the label does not depend on it."""
    canary_mean: Array
    control_mean: Array
    canary_count: Counts
    """Samples after preprocessing."""
    control_count: Counts


def classify(
    canary: Array,
    control: Array,
    settings: Settings | Sequence[Settings],
    metric: NDArray[np.intp] | None = None,
) -> Judgement:
    """Label each comparison by whether the canary is higher or lower than the control.

    It is high if the whole interval of the shift lies above `tolerance` times its estimate and the effect size is
    at least `allowed_increase`, and low the other way round; an effect size that cannot be told (the mean ratio
    to a control that is all zero) is not asked for. What the settings tolerate is neither.

    Parameters
    ----------
    canary, control
        [comparison, tick] Samples in the metric's unit, in any order and each side with its own number of ticks;
        NaN is a missing sample, also behind the last one of a shorter row.
    settings
        Those of all comparisons, or those of each metric.
    metric
        [comparison] Which of several settings holds; by default the first for the first comparison and so on.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.
    BadInput
        If there are too many samples, see `location_shift`.

    References
    ----------
    Kayenta, MannWhitneyClassifier and MeanInequalityClassifier (Apache-2.0). See `u_statistic`, `location_shift`
    and `common_language` for the methods' own.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(7)
    >>> control = rng.normal(100, 10, (3, 60))
    >>> canary = rng.normal(100, 10, (3, 60)) * np.array([[1.0], [1.3], [np.nan]])
    >>> judgement = classify(canary, control, Settings(direction="increase", critical=True))
    >>> [Label(label).name for label in judgement.label]
    ['PASS', 'HIGH', 'NODATA']
    >>> judgement.critical, judgement.ratio.round(2)
    (array([False,  True,  True]), array([1.01, 1.3 ,  nan]))
    """
    rules = _rules(canary, control, settings, metric)
    own = prepare(canary, rules.replace, rules.outlier_factor)
    other = prepare(control, rules.replace, rules.outlier_factor)
    present = (own.count > 0) & (other.count > 0)
    judged = present & _comparable(own, other)
    own_values = np.where(judged[:, None], own.values, np.nan)
    other_values = np.where(judged[:, None], other.values, np.nan)

    own_mean, other_mean = means(own_values), means(other_values)
    shift = location_shift(own_values, other_values, rules.confidence)
    u, ties = u_statistic(own_values, other_values)
    ratio = mean_ratio(own_mean, other_mean)
    effect = np.where(rules.common_language, common_language(u, own.count, other.count), ratio)
    effect[rules.by_means | ~judged] = np.nan

    with np.errstate(over="ignore"):
        bound = rules.tolerance * np.abs(shift.estimate)
    above = np.where(rules.by_means, own_mean > other_mean, shift.lower > bound)
    below = np.where(rules.by_means, own_mean < other_mean, shift.upper < -bound)
    beyond = _is_beyond(own_mean, other_mean, rules)
    high = above & beyond & rules.increase & _reaches(effect, rules.allowed_increase)
    low = below & beyond & rules.decrease & _reaches(-effect, -rules.allowed_decrease)

    label = np.select([high, low], [Label.HIGH, Label.LOW], Label.PASS).astype(np.int8)
    label[present & ~judged] = Label.ERROR
    # What was replaced throughout may convict, but a side that never reported is not known to be healthy.
    silent = ~present | ((label == Label.PASS) & ~(own.reported & other.reported))
    label[silent] = np.where(rules.required & ~rules.critical, Label.NODATA_FAIL, Label.NODATA)[silent]
    return Judgement(
        label=label,
        critical=_critical(label, effect, rules),
        ratio=ratio,
        effect=effect,
        shift=shift,
        p_value=np.where(judged, p_value(u, own.count, other.count, ties), np.nan),
        canary_mean=own_mean,
        control_mean=other_mean,
        canary_count=own.count,
        control_count=other.count,
    )


def _rules(
    canary: Array, control: Array, settings: Settings | Sequence[Settings], metric: NDArray[np.intp] | None
) -> Rules:
    """Check what belongs together, and spread the settings over the comparisons."""
    if canary.ndim != 2 or control.ndim != 2 or len(canary) != len(control):
        message = f"both sides must be [comparison, tick], with equal comparisons: {canary.shape}, {control.shape}"
        raise ValueError(message)
    metrics = [settings] if isinstance(settings, Settings) else settings
    if metric is None:
        one_for_all = isinstance(settings, Settings)
        metric = np.zeros(len(canary), np.intp) if one_for_all else np.arange(len(metrics))
    if metric.shape != (len(canary),):
        message = f"{len(canary)} comparisons need as many settings: {metric.shape[0]} were given"
        raise ValueError(message)
    if metric.size > 0 and not 0 <= metric.min() <= metric.max() < len(metrics):
        message = f"metric must be from 0 to {len(metrics) - 1}: there are {len(metrics)} settings"
        raise ValueError(message)
    return rules_of(metrics, metric)


def _comparable(own: Samples, other: Samples) -> Bools:
    """Tell where the differences of both sides are finite, and a test has more to go by than one pair."""
    if own.values.shape[1] == 0 or other.values.shape[1] == 0:
        return np.zeros(len(own.values), np.bool_)
    rows = np.arange(len(own.values))
    own_least, own_most = own.values[:, 0], own.values[rows, np.maximum(own.count - 1, 0)]
    other_least, other_most = other.values[:, 0], other.values[rows, np.maximum(other.count - 1, 0)]
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(own_most - other_least) & np.isfinite(own_least - other_most)
    lone = (own.count == 1) & (other.count == 1) & (own_least != other_least)
    comparable: Bools = finite & ~lone
    return comparable


def _is_beyond(own_mean: Array, other_mean: Array, rules: Rules) -> Bools:
    """Tell where the means differ by more than is tolerated; all do where nothing is."""
    with np.errstate(over="ignore", invalid="ignore"):
        tolerated = np.fmax(rules.tolerated_relative * np.abs(other_mean), rules.tolerated_absolute)
        within = (tolerated > 0) & (np.abs(own_mean - other_mean) <= tolerated)
    beyond: Bools = ~within
    return beyond


def _reaches(effect: Array, threshold: Array) -> Bools:
    """Tell where an effect size is at least its threshold, or cannot be told."""
    reaches: Bools = np.isnan(effect) | (effect >= threshold)
    return reaches


def _critical(label: NDArray[np.int8], effect: Array, rules: Rules) -> Bools:
    """Tell which critical metrics fail the whole rollout: those that are bad enough, or could not be judged."""
    high = (label == Label.HIGH) & _reaches(effect, rules.critical_increase)
    low = (label == Label.LOW) & _reaches(-effect, -rules.critical_decrease)
    unknown = (label == Label.NODATA) | (label == Label.ERROR)
    critical: Bools = rules.critical & (high | low | unknown)
    return critical
