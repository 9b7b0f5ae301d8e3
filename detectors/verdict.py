"""The verdict: what a rollout may do next, and why. The body of the CloudEvent that rollout systems get."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Action = Literal["advance", "wait", "halt", "revert"]
Cause = Literal[
    "evidence", "objective", "traffic", "baking", "insufficient", "data", "deadline", "not-comparable", "uncertified"
]


class Scope(Struct, frozen=True, kw_only=True):
    """Where the verdict holds: the colos that are hurt and the metrics that show it."""

    colos: list[str]
    metrics: list[str]


class Samples(Struct, frozen=True, kw_only=True):
    """How much data stands behind a reason: unit-ticks (gauges, rates) or events (ratios, histograms)."""

    canary: float
    control: float


class Reason(Struct, frozen=True, kw_only=True):
    """One piece of evidence.

    `effect` and `interval` are relative changes (0.1 is +10 %), where `scale` says so. `interval` holds at
    every tick at once (anytime-valid); an end of null is unbounded. `colo` is null for the whole fleet.
    `e_value` is the evidence against "no degradation beyond the tolerance", capped at 1e300.
    """

    metric: str
    colo: str | None
    effect: float | None
    interval: tuple[float | None, float | None]
    e_value: float
    samples: Samples
    sentence: str
    scale: Literal["relative", "past"] = "relative"


class Abstained(Struct, frozen=True, kw_only=True):
    """A comparison that could not be judged, the smallest effect that could be seen by now, and why."""

    metric: str
    colo: str | None
    minimum_detectable_effect: float | None
    why: str


class Verdict(Struct, frozen=True, kw_only=True):
    """What a rollout may do at the end of a tick, decided on everything up to it.

    `judge` is there if the policy chose the classical judge. That one bounds no false alarms, has no e-values (each
    `e_value` is 1) and no smallest visible effect, and its intervals hold for one look.
    """

    sequence: Annotated[int, Meta(ge=1)]
    action: Action
    cause: Cause
    stage: str
    binding: bool
    scope: Scope
    reasons: list[Reason]
    abstained: list[Abstained]
    policy: str
    engine: str
    judge: Literal["classical"] | UnsetType = UNSET
