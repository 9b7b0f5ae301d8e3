"""What a subscriber is told. Whatever is no verdict says `wait`, so that code which knows verdicts alone holds."""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from detectors.verdict import Abstained, Action, Cause, Reason, Scope, Verdict


@dataclass(frozen=True, slots=True)
class Received:
    """A verdict, in force until the next one of its rollout.

    `time` is the end of the last tick that was used, in event time; `decided_at` is when it was decided by the clock of
    whoever decided it, if that is known. What stands in `verdict` can be asked for here too.
    """

    rollout: str
    time: datetime
    id: str
    verdict: Verdict
    decided_at: datetime | None = None

    @property
    def sequence(self) -> int:
        """Number of the verdict within its rollout, from 1 on."""
        return self.verdict.sequence

    @property
    def action(self) -> Action:
        """What the rollout is to do."""
        return self.verdict.action

    @property
    def cause(self) -> Cause:
        """Why."""
        return self.verdict.cause

    @property
    def stage(self) -> str:
        """Which stage was judged."""
        return self.verdict.stage

    @property
    def binding(self) -> bool:
        """False if the rollout is in shadow mode: look, but do not act."""
        return self.verdict.binding

    @property
    def scope(self) -> Scope:
        """Which colos and metrics it is about."""
        return self.verdict.scope

    @property
    def reasons(self) -> list[Reason]:
        """The evidence, each piece with a sentence for people."""
        return self.verdict.reasons

    @property
    def abstained(self) -> list[Abstained]:
        """What could not be judged, and why."""
        return self.verdict.abstained


@dataclass(frozen=True, slots=True)
class Gap:
    """Verdicts `first` to `last` of a rollout are missing. `in_force` is the newest action, where the engine said so.

    Hold; if `in_force` stops the rollout, stop it. The next verdict says more.
    """

    rollout: str
    first: int
    last: int
    in_force: Action | None
    action: ClassVar[Action] = "wait"
    binding: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Untrusted:
    """A message under a rollout's name that is not signed as demanded, or no verdict at all. Hold, and alert.

    `rollout` is what the message's key claims.
    """

    rollout: str
    reason: str
    topic: str
    partition: int
    offset: int
    action: ClassVar[Action] = "wait"
    binding: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Stale:
    """The engine has said nothing new about a rollout for too long. Hold until `Fresh` or a verdict comes.

    `since` is through when it had judged, in event time, if that is known. `rollout` is None if nothing was ever heard
    from the brokers, so that it is not known which rollouts are under way: hold all.
    """

    rollout: str | None
    since: datetime | None
    action: ClassVar[Action] = "wait"
    binding: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Fresh:
    """The engine speaks, after silence or after a restart of the subscriber, and no verdict was missed.

    `in_force` is the action of the newest verdict, if there is one. `rollout` is None if that is not about one of them:
    the brokers were not heard, and now are.
    """

    rollout: str | None
    in_force: Action | None
    action: ClassVar[Action] = "wait"
    binding: ClassVar[bool] = True


Event = Received | Gap | Untrusted | Stale | Fresh
