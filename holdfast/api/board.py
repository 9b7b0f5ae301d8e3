"""What is known of each rollout, and what that comes to for somebody who asks whether its stage may go on.

Pure: events are handed in, opinions come out. No data is never good news: whatever is not known to be healthy is in
doubt.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, Literal

from holdfast.live.events import Event, Fresh, Gap, Received, Stale, Untrusted
from holdfast.live.heard import Heard

ROLLOUTS_MAX: Final = 2_000
"""Most rollouts that are kept: of those beyond them whoever was heard of longest ago goes, and is in doubt then."""

STAGES_MAX: Final = 100
"""Most stages of one rollout that are kept."""

Phase = Literal["success", "failure", "wait", "doubt", "finished"]
"""What a gate makes of what is known.

`success`: the stage has shown that it is healthy, and the engine watches on. `failure`: it, or an earlier one, is to be
halted or reverted. `wait`: nothing is decided yet. `doubt`: the engine is not heard, or not to be trusted, or binds
nobody. `finished`: the rollout is over without a decision on the stage.
"""


@dataclass(slots=True)
class Standing:
    """How a rollout stands.

    `silence` says why the engine may not be watching it, until it is heard again; `gap` is about verdicts that are
    missing, until the next one comes; `lost` is a verdict that stops it, of which only a heartbeat tells.
    """

    by_stage: dict[str, Received] = field(default_factory=dict)
    newest: Received | None = None
    stop: Received | None = None
    silence: str | None = None
    gap: Gap | None = None
    lost: Gap | None = None
    is_finished: bool = False

    @property
    def doubt(self) -> str | None:
        """Why what was heard last is not to be relied on, or None."""
        if self.gap is not None:
            return f"verdicts {self.gap.first} to {self.gap.last} are missing"
        return self.silence


@dataclass(frozen=True, slots=True)
class Opinion:
    """What is known of a stage, in one word and in a sentence; `verdict` is the one that it rests on, if any."""

    phase: Phase
    why: str
    verdict: Received | None = None
    is_revert: bool = False


class Board:
    """Takes events of all rollouts, and says how each stands. One thread writes; any may read."""

    def __init__(self) -> None:
        self._standings: dict[str, Standing] = {}
        self._doubt: str | None = "the verdict topic was not read to its end yet"

    @property
    def doubt(self) -> str | None:
        """Why nothing that is known here is to be relied on, or None."""
        return self._doubt

    def unheard(self, why: str | None) -> None:
        """Note that the topic cannot be heard, and why; None once it was read to its end."""
        self._doubt = why

    def remembered(self, rollouts: Collection[str]) -> None:
        """Note rollouts of which the past alone was read: the engine has not spoken of them since."""
        for name in rollouts:
            self._standing(name).silence = "the engine was not heard yet since this server has begun to listen"

    def finished(self, rollout: str) -> None:
        """Note that the engine said its last word on a rollout."""
        self._standing(rollout).is_finished = True

    def take(self, event: Event) -> None:
        """Take an event."""
        if event.rollout is None:  # the brokers as a whole: whoever listens says so
            return
        if isinstance(event, Untrusted) and event.rollout not in self._standings:
            return  # what nobody vouches for takes no room from what is known
        standing = self._standing(event.rollout)
        match event:
            case Received():
                _receive(standing, event)
            case Gap():
                standing.gap = event
                standing.lost = event if event.in_force in ("halt", "revert") else standing.lost
            case Stale():
                standing.silence = "the engine has said nothing new for too long"
            case Untrusted():
                standing.silence = f"a message that is not to be trusted came: {event.reason}"
            case Fresh():
                standing.silence = None

    def standing(self, rollout: str) -> Standing | None:
        """Return how a rollout stands, or None if nothing was heard of it."""
        return self._standings.get(rollout)

    def opinion(self, rollout: str, stage: str | None, *, is_shadow: bool = False) -> Opinion:
        """Say what is known of a stage.

        Parameters
        ----------
        rollout, stage
            What is asked about; without a stage, whether anything speaks against the rollout: then nothing is success.
        is_shadow
            Whether it was announced in mode shadow.
        """
        standing = self._standings.get(rollout)
        if standing is not None and (found := _stop(standing, stage)) is not None:
            return found
        if self._doubt is not None:
            return Opinion("doubt", self._doubt)
        if is_shadow:
            return Opinion("doubt", "the rollout is in mode shadow: its verdicts bind nobody")
        if standing is None:
            return Opinion("doubt", "nothing was heard of the rollout yet")
        if standing.doubt is not None:
            return Opinion("doubt", standing.doubt, standing.newest)
        own = standing.by_stage.get(stage) if stage is not None else None
        if own is not None and own.action == "advance":
            return Opinion("success", "the stage has shown that it is healthy", own)
        if standing.is_finished:
            return Opinion("finished", "the rollout is finished without a decision on the stage", own)
        if own is None:
            return Opinion("wait", "there is no binding verdict on the stage yet", standing.newest)
        return Opinion("wait", f"nothing is decided yet ({own.cause})", own)

    def _standing(self, rollout: str) -> Standing:
        found = self._standings.pop(rollout, None) or Standing()
        self._standings[rollout] = found  # whoever was heard last stands last
        while len(self._standings) > ROLLOUTS_MAX:
            self._standings.pop(next(iter(self._standings)))
        return found


def _receive(standing: Standing, verdict: Received) -> None:
    standing.newest, standing.silence, standing.gap = verdict, None, None
    if not verdict.binding:
        return
    standing.lost = None
    if verdict.action in ("halt", "revert"):
        standing.stop = verdict
    standing.by_stage.pop(verdict.stage, None)
    standing.by_stage[verdict.stage] = verdict
    while len(standing.by_stage) > STAGES_MAX:
        standing.by_stage.pop(next(iter(standing.by_stage)))


def _stop(standing: Standing, stage: str | None) -> Opinion | None:
    """Say that a rollout is stopped, as `holdfast verdict wait` does: whatever else is in doubt."""
    own = standing.by_stage.get(stage) if stage is not None else None
    outcome = Heard(stage or "", stop=standing.stop, newest=own, lost=standing.lost).outcome
    if outcome not in ("halt", "revert"):
        return None
    told = "revert: roll the change back" if outcome == "revert" else "halt: stop here, and have a person look"
    return Opinion("failure", told, standing.stop, is_revert=outcome == "revert")
