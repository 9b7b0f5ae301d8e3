"""The report of a tuning: what `holdfast tune --json` prints, and what its text and picture are made of."""

import msgspec

from holdfast.tuning.figures import Deciding, Figures


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A value of the policy that was changed: its path, also in words, what it was (null: not given) and what it is."""

    keys: list[str | int]
    path: str
    before: float | str | None
    after: float | str


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that was tried: its number, digest, changes, factor of the bake time, and figures on both parts.

    `held_out` is null if nothing is held out; `deciding` are the recordings that it judges otherwise than the one
    before it on the front. `within` says whether it keeps within the limit on what was learned from.
    """

    number: int
    digest: str
    changes: list[Change]
    bake: float
    within: bool
    train: Figures
    held_out: Figures | None
    deciding: list[Deciding]


class Dot(msgspec.Struct, frozen=True, kw_only=True):
    """One policy that was tried, as far as the picture needs it."""

    delay_s: float
    alarm_share: float
    missed: int


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """What a tuning found; what `holdfast tune --json` prints. `docs/tune.md` explains each field."""

    policy: str
    policy_digest: str
    corpus: str
    corpus_digest: str
    engine: str
    seed: int
    alarms_max: float
    free: list[str]
    recordings: int
    held_out: list[str]
    tried: int
    dropped: int
    is_complete: bool
    current: Tuned
    front: list[Tuned]
    chosen: Tuned | None
    gained: list[Deciding]
    gained_held_out: list[Deciding]
    dots: list[Dot]
    warnings: list[str]
    findings: list[str]
