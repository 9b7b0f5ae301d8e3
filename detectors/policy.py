"""The policy: which metrics are judged, what degradation is tolerated, and what a breach does.

These are plain values. Reading them from YAML, with every error of a file at once, is done in
`holdfast.documents`; here stands what is allowed and what it means.
"""

import re
from fractions import Fraction as ExactNumber
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

DURATION_MS_MAX: Final = 366 * 86_400_000
"""The longest duration, in milliseconds: far beyond any rollout, and far within 64 bits."""

_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)


def duration_ms(text: str) -> int:
    """Read a duration as whole milliseconds, exactly.

    Raises
    ------
    ValueError
        If the text is no duration, is longer than 366 days, or is no whole number of milliseconds.

    Examples
    --------
    >>> duration_ms("1.5h")
    5400000
    """
    match = _DURATION.fullmatch(text)
    if match is None or len(text) > 32:
        message = "a duration is a number and its unit (ms, s, m, h or d), as in 10s or 1.5h"
        raise ValueError(message)
    exact = ExactNumber(match[1]) * _UNIT_MS[match[2]]
    if exact.denominator != 1:
        message = "a duration must be whole milliseconds"
        raise ValueError(message)
    if exact > DURATION_MS_MAX:
        message = "a duration must be at most 366d"
        raise ValueError(message)
    return int(exact)


Fraction = Annotated[float, Meta(gt=0, lt=1)]
NonNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Name = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        extra={"allowed": "text of 1 to 200 characters, without control characters"},
    ),
]
Duration = Annotated[
    str,
    Meta(
        max_length=32,
        pattern=r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$",
        description="A number and its unit: ms, s, m, h or d, as in 10s or 1.5h; whole milliseconds.",
        extra={
            "allowed": "a number and its unit (ms, s, m, h or d), as in 10s or 1.5h",
            "parse": duration_ms,
        },
    ),
]
LabelName = Annotated[str, Meta(min_length=1, extra={"allowed": "the name of a label"})]
Selector = dict[LabelName, str | Annotated[list[str], Meta(min_length=1)]]
"""Label name to a value, a glob, or a list of them; every label must match."""

Direction = Literal["increase", "decrease", "either"]
Breach = Literal["halt", "revert"]
Missing = Literal["remove", "replace"]
Outliers = Literal["keep", "remove"]
EffectSize = Literal["mean_ratio", "cles"]
Percent = Annotated[float, Meta(ge=0, le=100)]


class Tolerance(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Degradation that is accepted: the larger of `relative` x what the control predicts, and `absolute`."""

    relative: NonNegative = 0.0
    absolute: NonNegative = 0.0


class Ratio(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Two counters: the share of `total` that is `bad`."""

    bad: Name
    total: Name


class Objective(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the canary's own value must keep to, whatever the control does.

    It is missed once the value was not below `below` in as many of the latest ticks as `for` says.
    """

    below: Positive
    window: Annotated[
        str,
        Meta(
            max_length=16,
            pattern=r"^[1-9][0-9]* of [1-9][0-9]*$",
            extra={"allowed": "a number of ticks out of the latest ticks, as in 3 of 5"},
        ),
    ] = field(name="for", default="3 of 5")


class ClassicalMetric(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the classical judge treats one metric; see `detectors.classical.Settings`."""

    group: Name = "all"
    critical: bool = False
    must_have_data: bool = False
    effect_size: EffectSize = "mean_ratio"
    allowed_increase: NonNegative | None = None
    allowed_decrease: NonNegative | None = None
    critical_increase: NonNegative | None = None
    critical_decrease: NonNegative | None = None
    outliers: Outliers = "keep"
    outlier_factor: Positive = 3.0
    missing: Missing = "remove"


class Classical(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When the classical judge looks, on how much, and which scores (in percent) pass or are marginal."""

    passing: Percent = field(name="pass", default=95.0)
    marginal: Percent = 75.0
    interval_ticks: Annotated[int, Meta(ge=1, le=100_000)] = 30
    ticks_min: Annotated[int, Meta(ge=8, le=4_096)] = 30
    ticks_max: Annotated[int, Meta(ge=8, le=4_096)] = 360
    confidence: Fraction = 0.98
    groups: dict[Name, Percent] = {}


class PrePeriod(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The ticks before a stage starts, from which persistent differences and the noise are learned."""

    ticks_min: Annotated[int, Meta(ge=8)] = 30
    ticks_max: Annotated[int, Meta(ge=8, le=20_000)] = 2_880
    required: bool = True


class Metric(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One judged metric: exactly one of `ratio`, `gauge`, `counter`, `histogram`.

    `counter` is judged as a rate per unit; `histogram` names the cumulative `le` buckets and needs
    `quantile`. `select` keeps only the series whose labels match (another service, say). `colo_drop` is the part of
    a colo's total whose loss halts the rollout: without it a half for counters whose decrease is worse, 0 for never.
    """

    name: Name
    worse: Direction
    breach: Breach
    ratio: Ratio | None = None
    gauge: Name | None = None
    counter: Name | None = None
    histogram: Name | None = None
    quantile: Fraction | None = None
    tolerate: Tolerance = Tolerance(relative=0.02)
    select: Selector = {}
    required: bool = False
    weight: Positive = 1.0
    scale: Literal["auto", "mean", "sd"] | Positive = "auto"
    temporality: Literal["cumulative", "delta"] = "cumulative"
    objective: Objective | None = None
    classical: ClassicalMetric | None = None
    colo_drop: Annotated[float, Meta(ge=0, lt=1)] | None = None


class Policy(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A policy document.

    `alpha` is the chance that a harmless rollout is ever stopped on comparative evidence; `judge: classical` does
    not hold it.
    """

    policy: Name
    metrics: Annotated[list[Metric], Meta(min_length=1, max_length=1_000)]
    tick: Duration = "10s"
    alpha: Fraction = 0.01
    unit: Name = "host"
    region: Name = "region"
    lateness_ticks: Annotated[int, Meta(ge=0, le=1_000)] = 3
    gap_ticks_max: Annotated[int, Meta(ge=1, le=1_000)] = 5
    ahead_ticks_max: Annotated[int, Meta(ge=1, le=100_000)] = 60
    pre_period: PrePeriod = PrePeriod()
    advance: Literal["strict", "evidence", "exposure"] = "evidence"
    reporting_tolerance: Tolerance = Tolerance(relative=0.25, absolute=0.10)
    judge: Literal["sequential", "classical"] = "sequential"
    classical: Classical | None = None
