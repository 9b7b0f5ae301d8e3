"""The report of a calibration: what `holdfast calibrate --json` prints, and what its text is made of."""

from typing import Literal

import msgspec

Kind = Literal["raise", "noisy", "lower", "past"]
"""Why something is suggested: false alarms, a tolerance that cannot be excluded, room to spare, length of the past."""


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """A history: its folder, ends of its first and last tick, ticks, samples, and why it ends there (null: it does)."""

    history: str
    first: str
    last: str
    ticks: int
    samples: int
    until: str | None


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A share of the placebos with two 95 % intervals: by independent placebos, and as if all of them were."""

    count: int
    total: int
    share: float
    interval: tuple[float, float]
    interval_if_independent: tuple[float, float]


class Advanced(msgspec.Struct, frozen=True, kw_only=True):
    """How many placebos were let go on, and after how many live ticks: the median, and by when nine in ten were."""

    count: int
    total: int
    ticks_median: float | None
    ticks_most: float | None


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """A placebo that was stopped: where and when it was pretended to start, and what the stop says."""

    history: str
    started: str
    group: int | None
    action: str
    cause: str
    tick: int
    metrics: list[str]
    colos: list[str]


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """The smallest degradation of a metric that a policy sees by the horizon, as a fraction of what is usual.

    `foreseen` is what the past leads to expect (median of the placebos), `caught_half` and `caught_most` what half and
    nine tenths of the placebos were stopped for once it was put into them; null if even the largest was not caught in
    so many. `tried` is the number of placebos, `tolerated` the tolerance in words, `direction` which way it changed.
    """

    metric: str
    tolerated: str
    direction: Literal["increase", "decrease"]
    tried: int
    foreseen: float | None
    caught_half: float | None
    caught_most: float | None


class PastLength(msgspec.Struct, frozen=True, kw_only=True):
    """What the same placebos come to if the policy learns from so many ticks at most."""

    ticks: int
    on_evidence: int
    stopped: int
    advanced: Advanced
    total: int


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the policy: the path of a value, what it was (null: not given) and might be, and why."""

    kind: Kind
    path: list[str | int]
    metric: str | None
    before: float | None
    after: float
    why: str


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What the same placebos come to with all that is suggested. It was chosen on them, so it flatters."""

    on_evidence: Rate
    stopped: Rate
    advanced: Advanced


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that no tolerance that promises something mends, and why.

    `noise`: what the policy asks for is not shown by the end; `excludable` is the tolerance that would be (null: none),
    `needed_ticks` the length of the stage that would show it (null: none). `unlike`: canary and control go apart by
    themselves. `data`: too few ticks have both. `alarms`: it stops placebos on evidence, whatever is tolerated.
    `placebos` is in how many of the `total`.
    """

    metric: str
    why: Literal["noise", "unlike", "data", "alarms"]
    placebos: int
    total: int
    excludable: float | None = None
    needed_ticks: float | None = None


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """What a calibration found; what `holdfast calibrate --json` prints. `docs/calibrate.md` explains each field."""

    policy: str
    policy_digest: str
    rollout: str
    engine: str
    seed: int
    tick_s: float
    alpha: float
    bake_ticks: int
    deadline_ticks: int | None
    live_ticks: int
    past_ticks: int
    assigned_groups: int
    histories: list[Used]
    placebos: int
    independent: int
    overlap: float
    independent_needed: int
    on_evidence: Rate
    stopped: Rate
    causes: dict[str, int]
    metrics: dict[str, int]
    colos: dict[str, int]
    alarms: list[Alarm]
    advanced: Advanced
    waiting: dict[str, int]
    effects: list[Effect]
    pasts: list[PastLength]
    suggestions: list[Suggestion]
    suggested: Verified | None
    held: list[Held]
    exposure: Verified | None
