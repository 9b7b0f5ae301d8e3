"""What the handlers of requests work with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from holdfast.api.applying import Take
from holdfast.api.auditing import Keep
from holdfast.api.board import Board, Opinion
from holdfast.api.delivering import TargetState
from holdfast.api.refusals import Refused
from holdfast.api.settings import Api
from holdfast.api.telemetry import ApiTelemetry
from holdfast.api.tokens import Gate
from rollouts.announced import Announcement
from rollouts.blast import Blast


class Rollouts(Protocol):
    """What is announced, and changing it."""

    def current(self) -> Mapping[str, Announcement] | None:
        """Return what is announced by name, or None if that is not known yet."""
        ...

    def change(self, rollout: str, make: Callable[[Announcement | None], Announcement]) -> Announcement:
        """Change what is announced of a rollout; see `announcing.change`. It blocks."""
        ...


class Target(Protocol):
    """A webhook that events are sent to."""

    @property
    def state(self) -> TargetState:
        """What became of its events so far."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """The settings, who is let in, what is known, and what can be done.

    `keep_reports` and `reach` are slow, and raise `BadInput` and `Unreachable`. `keep_refusal` sees to it that what was
    refused gets on the audit topic. `silences` tell how long each loop beside the server has not gone round.
    """

    api: Api
    gate: Gate
    board: Board
    rollouts: Rollouts
    telemetry: ApiTelemetry
    keep_reports: Take
    reach: Callable[[str], Blast]
    keep_refusal: Keep
    targets: Sequence[Target] = ()
    silences: Mapping[str, Callable[[], float]] = field(default_factory=dict)

    def known(self) -> Mapping[str, Announcement]:
        """Return what is announced.

        Raises
        ------
        Refused
            If that is not known yet (503).
        """
        found = self.rollouts.current()
        if found is None:
            detail = "the rollouts topic was not read to its end yet"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"retry-after": "2"})
        return found

    def announced(self, rollout: str) -> Announcement:
        """Return what is announced of a rollout.

        Raises
        ------
        Refused
            If it is not announced (404), or that is not known yet (503).
        """
        found = self.known().get(rollout)
        if found is None:
            raise Refused(HTTPStatus.NOT_FOUND, f"{rollout}: not announced")
        return found

    def opinion(self, rollout: str, stage: str | None) -> Opinion:
        """Say what is known of a stage; while nothing is known of what is announced, that is in doubt.

        Raises
        ------
        Refused
            If the rollout is not announced, or has no such stage (404).
        """
        if self.rollouts.current() is None:
            return Opinion("doubt", "the rollouts topic was not read to its end yet")
        plan = self.announced(rollout).rollout
        names = [each.name for each in plan.stages]
        if stage is not None and stage not in names:
            raise Refused(HTTPStatus.NOT_FOUND, f"{rollout}: no stage {stage!r}; allowed: {', '.join(names)}")
        return self.board.opinion(rollout, stage, is_shadow=plan.mode == "shadow")
