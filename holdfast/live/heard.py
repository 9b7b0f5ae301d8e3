"""What somebody who waits for a decision has heard so far, and what it comes to. No Kafka here."""

from dataclasses import dataclass
from typing import Literal

from holdfast.live.events import Event, Gap, Received, Stale, Untrusted

Outcome = Literal["advance", "halt", "revert", "timeout", "stale", "finished"]
"""How waiting may end."""


@dataclass(slots=True)
class Heard:
    """What was heard of the rollout: what stops it, and the newest verdict on the stage."""

    stage: str
    stop: Received | None = None
    newest: Received | None = None
    lost: Gap | None = None  # a verdict that stops it, and of which only a heartbeat tells
    untrusted: Untrusted | None = None
    is_silent: bool = False
    is_known: bool = False  # whether nothing older can matter

    def take(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, Received) and event.binding:
            self.lost = None
            if event.action in ("halt", "revert"):
                self.stop = event
            if event.stage == self.stage:
                self.newest, self.is_known = event, True
        elif isinstance(event, Gap) and event.in_force in ("halt", "revert"):
            self.lost = event
        elif isinstance(event, Untrusted):
            self.untrusted = event
        elif isinstance(event, Stale):
            self.is_silent = True

    @property
    def outcome(self) -> Outcome | None:
        """The decision, if there is one: a stop of any stage, for no later one begins; else an advance of this one."""
        if self.stop is not None:
            return "halt" if self.stop.action == "halt" else "revert"
        if self.lost is not None:
            return "halt" if self.lost.in_force == "halt" else "revert"
        return "advance" if self.newest is not None and self.newest.action == "advance" else None


@dataclass(frozen=True, slots=True)
class Waited:
    """How the waiting ended; `verdict` is the deciding one, else the newest on the stage, if there is any."""

    outcome: Outcome
    verdict: Received | None
    untrusted: Untrusted | None
