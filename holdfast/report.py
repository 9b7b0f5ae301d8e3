"""The report of a check: what `holdfast check --json` prints, and what its text is made of."""

from typing import Literal

import msgspec

Kind = Literal["untried", "not-comparable", "short-past", "no-control", "no-past", "no-data", "counted", "noisy"]
"""What a finding is about."""


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """The ticks before the start: end of the first and of the last, how many, and how many the policy requires."""

    first: str
    last: str
    ticks: int
    ticks_min: int


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """The placebo: the last `ticks` of the past judged by those before; blamed metrics and colos, if any."""

    ticks: int
    ticks_before: int
    metrics: list[str]
    colos: list[str]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest degradation that is called in one colo; null if none is."""

    colo: str
    smallest: float | None


class MetricCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be expected of one metric; `docs/check.md` explains each field."""

    metric: str
    judged: str
    tolerated: str
    scale: str
    smallest_visible_after_bake: float | None
    smallest_visible: float | None
    best_colo: Seen | None
    worst_colo: Seen | None
    ticks_to_exclude: int | None
    ticks_to_advance: int | None
    excludable: float | None
    is_noisy: bool
    is_required: bool
    coverage: float
    colos_without_past: list[str]
    colos_without_control: list[str]
    colos_not_compared: list[str]


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What the stage comes to if the change does nothing, after how many live ticks, and what holds it up."""

    action: str
    ticks: int | None
    held_by: list[str]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to know before the rollout: what kind it is, of which metric (null: of all), and in words."""

    kind: Kind
    metric: str | None
    text: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found; what `holdfast check --json` prints. `docs/check.md` explains each field."""

    recording: str
    rollout: str
    policy: str
    stage: str
    started: str | None
    tick_s: float
    bake_ticks: int
    deadline_ticks: int | None
    horizon_ticks: int
    advance: str
    past: Past
    is_comparable: bool | None
    is_erratic: bool
    placebo: Trial | None
    expected: Expected
    metrics: list[MetricCheck]
    findings: list[Finding]
