"""Settings: how the classical judge treats one metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from detectors.policy import (
    ClassicalMetric,
    Direction,
    EffectSize,
    Fraction,
    Metric,
    Missing,
    NonNegative,
    Outliers,
    Positive,
)

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

Test = Literal["mann_whitney", "mean_inequality"]
Threshold = Annotated[float, Meta(ge=0)] | None

_CHOICES: Final = {
    "direction": get_args(Direction),
    "missing": get_args(Missing),
    "outliers": get_args(Outliers),
    "effect_size": get_args(EffectSize),
    "test": get_args(Test),
}
_THRESHOLDS: Final = ("allowed_increase", "allowed_decrease", "critical_increase", "critical_decrease")
_NO_EFFECT: Final = {"mean_ratio": 1.0, "cles": 0.5}


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one metric is classified; the defaults are Kayenta's, what it calls them is in brackets.

    Parameters
    ----------
    direction
        Which change is worse.
    missing
        [nanStrategy] `remove` missing samples, or `replace` them with zero, as fits counts of errors. What a side
        without any sample is replaced with may convict it, but never lets it pass.
    outliers
        `keep` them, or `remove` what lies outside the fences, see `prepare`.
    outlier_factor
        Interquartile ranges from the quartiles to the fences.
    tolerance
        What the interval must exceed, as a share of the *estimated difference itself*, not of the control's
        level: it is no practical tolerance, since the interval narrows around the estimate as samples come in.
    tolerated_relative, tolerated_absolute
        [not in Kayenta] A difference of the means is no failure up to the larger of the first times the control's
        mean, and the second, in the metric's unit. Both 0: every difference that the test finds counts.
    confidence
        Of the interval of the difference.
    effect_size
        [effectSize.measure] The mean ratio, which says little about metrics that may be negative, or the common
        language effect size.
    allowed_increase, allowed_decrease
        Effect sizes from which on a difference counts, up and down; None is no effect: 1 for the mean ratio, 0.5
        for the common language effect size.
    critical_increase, critical_decrease
        The same for what fails the whole rollout, if the metric is critical.
    critical
        Whether a failure of this metric, or its lack of data, fails the whole rollout.
    required
        [mustHaveData] Whether lacking data counts as a failure of this metric.
    test
        `mean_inequality` fails every difference of means, however small; it serves as a benchmark.

    Raises
    ------
    ValueError
        If a value is not allowed; all of them at once.

    Examples
    --------
    >>> Settings(direction="up", confidence=1.0)
    Traceback (most recent call last):
        ...
    ValueError: direction must be one of increase, decrease, either; confidence must be above 0 and below 1
    """

    direction: Direction = "either"
    missing: Missing = "remove"
    outliers: Outliers = "keep"
    outlier_factor: Positive = 3.0
    tolerance: NonNegative = 0.25
    tolerated_relative: NonNegative = 0.0
    tolerated_absolute: NonNegative = 0.0
    confidence: Fraction = 0.98
    effect_size: EffectSize = "mean_ratio"
    allowed_increase: Threshold = None
    allowed_decrease: Threshold = None
    critical_increase: Threshold = None
    critical_decrease: Threshold = None
    critical: bool = False
    required: bool = False
    test: Test = "mann_whitney"

    def __post_init__(self) -> None:
        wrong = [
            f"{name} must be one of {', '.join(choices)}"
            for name, choices in _CHOICES.items()
            if getattr(self, name) not in choices
        ]
        if not 0 < self.outlier_factor < np.inf:
            wrong.append("outlier_factor must be a number above 0")
        wrong += [
            f"{name} must be a number of at least 0"
            for name in ("tolerance", "tolerated_relative", "tolerated_absolute")
            if not 0 <= getattr(self, name) < np.inf
        ]
        if not 0 < self.confidence < 1:
            wrong.append("confidence must be above 0 and below 1")
        for name in _THRESHOLDS:
            value: float | None = getattr(self, name)
            if value is not None and not 0 <= value < np.inf:
                wrong.append(f"{name} must be a number of at least 0")
        if wrong:
            message = "; ".join(wrong)
            raise ValueError(message)

    def threshold(self, name: str) -> float:
        """Return one of the four thresholds, no effect where it is not set."""
        value: float | None = getattr(self, name)
        return _NO_EFFECT[self.effect_size] if value is None else value


def settings_of(metric: Metric, confidence: float, relative: float, absolute: float) -> Settings:
    """Say what a policy's metric means to the classical judge.

    Parameters
    ----------
    metric
        Gives the direction that is worse, and under `classical` the rest.
    confidence
        Of the interval of the difference.
    relative, absolute
        What is tolerated, on the scale of the samples.

    Examples
    --------
    >>> metric = Metric(name="cpu", gauge="cpu", worse="increase", breach="halt")
    >>> settings = settings_of(metric, 0.95, 0.1, 0.0)
    >>> settings.direction, settings.confidence, settings.tolerated_relative, settings.critical
    ('increase', 0.95, 0.1, False)
    """
    given = metric.classical or ClassicalMetric()
    return Settings(
        direction=metric.worse,
        missing=given.missing,
        outliers=given.outliers,
        outlier_factor=given.outlier_factor,
        tolerated_relative=relative,
        tolerated_absolute=absolute,
        confidence=confidence,
        effect_size=given.effect_size,
        allowed_increase=given.allowed_increase,
        allowed_decrease=given.allowed_decrease,
        critical_increase=given.critical_increase,
        critical_decrease=given.critical_decrease,
        critical=given.critical,
        required=given.must_have_data,
    )


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of many comparisons as arrays [comparison]; see `Settings`."""

    increase: Bools
    decrease: Bools
    replace: Bools
    outlier_factor: Array
    """NaN where outliers are kept."""
    tolerance: Array
    tolerated_relative: Array
    tolerated_absolute: Array
    confidence: Array
    common_language: Bools
    allowed_increase: Array
    allowed_decrease: Array
    critical_increase: Array
    critical_decrease: Array
    critical: Bools
    required: Bools
    by_means: Bools


def rules_of(metrics: Sequence[Settings], metric: NDArray[np.intp]) -> Rules:
    """Spread the settings of a few metrics over many comparisons.

    Parameters
    ----------
    metrics
        The settings of each metric.
    metric
        [comparison] Which of them holds.
    """

    def flags(values: list[bool]) -> Bools:
        return np.array(values, np.bool_)[metric]

    def numbers(values: list[float]) -> Array:
        return np.array(values, np.float64)[metric]

    return Rules(
        increase=flags([one.direction != "decrease" for one in metrics]),
        decrease=flags([one.direction != "increase" for one in metrics]),
        replace=flags([one.missing == "replace" for one in metrics]),
        outlier_factor=numbers([one.outlier_factor if one.outliers == "remove" else np.nan for one in metrics]),
        tolerance=numbers([one.tolerance for one in metrics]),
        tolerated_relative=numbers([one.tolerated_relative for one in metrics]),
        tolerated_absolute=numbers([one.tolerated_absolute for one in metrics]),
        confidence=numbers([one.confidence for one in metrics]),
        common_language=flags([one.effect_size == "cles" for one in metrics]),
        allowed_increase=numbers([one.threshold("allowed_increase") for one in metrics]),
        allowed_decrease=numbers([one.threshold("allowed_decrease") for one in metrics]),
        critical_increase=numbers([one.threshold("critical_increase") for one in metrics]),
        critical_decrease=numbers([one.threshold("critical_decrease") for one in metrics]),
        critical=flags([one.critical for one in metrics]),
        required=flags([one.required for one in metrics]),
        by_means=flags([one.test == "mean_inequality" for one in metrics]),
    )
