"""The rollout document: a package, and the stages by which it travels through the fleet."""

from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from detectors.policy import Duration, Name, Selector

Digest = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9]+:[0-9a-f]{8,128}$",
        description="Algorithm and lower-case hexadecimal digest, as in sha256:9f2c…; any algorithm.",
        extra={"allowed": "an algorithm and 8 to 128 lower-case hexadecimal digits, as in sha256:9f2c4b1a"},
    ),
]
Timestamp = Annotated[datetime, Meta(tz=True)]
"""A point in time that says where on Earth its clock stands: with Z or an offset."""

NOT_YET: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""The `started` of a rollout that starts when an event says so, and not by itself: nobody knows yet when."""

NonEmptySelector = Annotated[Selector, Meta(min_length=1)]
"""A selector that names at least one label; an empty one would be the whole fleet."""


class Unit(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One unit of configuration or software in the package."""

    unit: Name
    kind: Name
    digest: Digest


class Stage(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which units get the change next, and how long it must bake there.

    Without `control`, every other unit of the same colo is the control. `settle` is the time after
    the start whose comparisons are ignored, since a restart has transients; silence still counts.
    """

    name: Name
    canary: NonEmptySelector
    bake: Duration
    control: NonEmptySelector | None = None
    deadline: Duration | None = None
    settle: Duration = "0s"
    started: Timestamp | None = None


class Rollout(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rollout document: one change and its plan.

    `started` is when the change reaches the first canary unit; `NOT_YET` if an event is to tell.
    """

    rollout: Name
    started: Timestamp
    stages: Annotated[list[Stage], Meta(min_length=1, max_length=100)]
    package: list[Unit] = []
    policy: Name | None = None
    mode: Literal["enforce", "shadow"] = "enforce"
