"""What happens to a rollout under control, what is to be done because of it, and how it stands.

A rollout's history is a list of events, and how it stands is a fold over them: whoever reads the same list comes to the
same state and to the same effects that are still to be done. An effect stays in the state until it is said to be done,
so that nothing is forgotten over a crash; its id says which event brought it, so that doing it twice can be told.
"""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from detectors.errors import BadInput
from detectors.policy import Policy
from detectors.verdict import Action
from rollouts.document import Rollout, Timestamp, Unit
from rollouts.plans import REST, Resolved, Seat

Phase = Literal["waiting", "applying", "baking", "halted", "reverting", "reverted", "aborted", "completed"]

ENDED: Final = frozenset({"reverted", "aborted", "completed"})

Number = Annotated[int, Meta(ge=1)]
Digests = dict[str, str | None]
"""Digest by unit; None where there is no such unit."""


class Before(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hosts, and what all of them had of the package's units before they got it."""

    units: Digests
    seats: list[Seat]


class InForce(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The newest verdict; without `colos` about all of them, without `metrics` for reasons that nobody can ignore."""

    sequence: int
    action: Action
    stage: str
    colos: list[str] | None = None
    metrics: list[str] = []


# ------------------------------------------------------------------ effects


class Announce(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="effect", tag="announce"):
    """Announce a rollout to the judge."""

    id: str
    rollout: Rollout
    policy: Policy


class Tell(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="effect", tag="tell"):
    """Tell the judge that a stage started, or that the rollout is finished."""

    id: str
    event: Literal["started", "finished"]
    stage: str | None
    at: Timestamp


class Deploy(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="effect", tag="deploy"):
    """Give hosts the units of the package. Whoever has done a higher number of this rollout leaves it undone."""

    id: str
    number: Number
    stage: str
    units: list[Unit]
    seats: list[Seat]


class Restore(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="effect", tag="restore"):
    """Give hosts back what they had of the package's units. Numbers go on from those of `Deploy`."""

    id: str
    number: Number
    stage: str
    before: list[Before]


class Note(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="effect", tag="note"):
    """Write down for people and audits what happened."""

    id: str
    at: Timestamp
    what: str
    by: str
    why: str


Effect = Announce | Tell | Deploy | Restore | Note

# ------------------------------------------------------------------ events


class _Event(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="event"):
    at: Timestamp


class Submitted(_Event, frozen=True, kw_only=True, tag="submitted"):
    """A plan was submitted, and what its stages reach was decided."""

    by: str
    unit: str
    resolved: Resolved
    policy: Policy


class StageBegun(_Event, frozen=True, kw_only=True, tag="stage-begun"):
    """A stage begins: its hosts are to get the package. The stage after the last one is the rest."""

    number: Number
    stage: int
    before: list[Before]


class StageApplied(_Event, frozen=True, kw_only=True, tag="stage-applied"):
    """All hosts of the stage have reported that they have the package."""

    number: Number


class Judged(_Event, frozen=True, kw_only=True, tag="judged"):
    """What the judge has said as a whole: of two that follow each other, the later one alone counts.

    `lost` says why the judge is not relied on; None while it is.
    """

    sequence: int
    in_force: InForce | None = None
    lost: str | None = None


class Advanced(_Event, frozen=True, kw_only=True, tag="advanced"):
    """The stage has passed; `override` is the one that said so in the judge's place."""

    override: str | None = None


class Halted(_Event, frozen=True, kw_only=True, tag="halted"):
    """Nothing further begins until somebody says so."""

    why: str


class RevertBegun(_Event, frozen=True, kw_only=True, tag="revert-begun"):
    """What was reached is taken back: everywhere, or in some colos."""

    why: str
    colos: list[str] | None = None
    override: str | None = None


class RestoreBegun(_Event, frozen=True, kw_only=True, tag="restore-begun"):
    """Hosts of one stage are to get back what they had."""

    number: Number
    stage: int


class Restored(_Event, frozen=True, kw_only=True, tag="restored"):
    """Hosts of one stage have reported that they have what they had; those that are `missing` had time enough to."""

    number: Number
    missing: list[str] = []


class Reverted(_Event, frozen=True, kw_only=True, tag="reverted"):
    """Every host that was to be taken back has reported so."""


class Commanded(_Event, frozen=True, kw_only=True, tag="commanded"):
    """Somebody said what to do; the id keeps it from being done twice."""

    id: str
    command: Literal["pause", "resume", "abort"]
    by: str
    why: str


class Aborted(_Event, frozen=True, kw_only=True, tag="aborted"):
    """The rollout was called off before it reached a host."""


class Completed(_Event, frozen=True, kw_only=True, tag="completed"):
    """All stages have passed, and the rest has the package or is not to get it."""


class Done(_Event, frozen=True, kw_only=True, tag="done"):
    """Effects were done."""

    effects: list[str]


Event = (
    Submitted
    | StageBegun
    | StageApplied
    | Judged
    | Advanced
    | Halted
    | RevertBegun
    | RestoreBegun
    | Restored
    | Reverted
    | Commanded
    | Aborted
    | Completed
    | Done
)

# ------------------------------------------------------------------ how it stands


class Awaited(Struct, frozen=True, kw_only=True):
    """Hosts that are to report that they have these units, and have done this action or a later one."""

    number: int
    units: Digests
    seats: list[Seat]


class Reached(Struct, frozen=True, kw_only=True):
    """A stage that has begun, and the hosts it has reached."""

    stage: int
    number: int
    at: datetime
    before: list[Before]


class Reverting(Struct, frozen=True, kw_only=True):
    """A way back: `todo` are stages, the next one first; `awaited` are hosts that are not known to be back.

    `number`, `stage` and `since` are of the action in flight, if one is.
    """

    why: str
    colos: list[str] | None
    todo: tuple[int, ...]
    number: int | None = None
    stage: int = 0
    since: datetime | None = None
    awaited: tuple[Awaited, ...] = ()


class State(Struct, frozen=True, kw_only=True):
    """How a rollout stands. `count` is the number of events that were folded, `number` that of the newest action."""

    rollout: str
    resolved: Resolved
    phase: Phase
    at: datetime
    count: int
    number: int = 0
    passed: int = 0
    reached: tuple[Reached, ...] = ()
    applied_at: datetime | None = None
    judged: Judged | None = None
    overruled: int = 0
    halted: str | None = None
    paused: str | None = None
    abort: str | None = None
    commands: frozenset[str] = frozenset()
    overrides: frozenset[str] = frozenset()
    reverting: Reverting | None = None
    reverts: tuple[tuple[datetime, tuple[str, ...]], ...] = ()
    restored: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    outbox: tuple[Effect, ...] = ()

    @property
    def is_ended(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.phase in ENDED

    @property
    def current(self) -> Reached | None:
        """The stage that began last."""
        return self.reached[-1] if self.reached else None

    @property
    def in_flight(self) -> int | None:
        """Number of the action whose end is waited for, or None. There is never more than one."""
        if self.phase == "applying":
            return self.number
        return self.reverting.number if self.reverting is not None else None

    def name_of(self, stage: int) -> str:
        """Name a stage, or the rest."""
        stages = self.resolved.plan.stages
        return stages[stage].name if stage < len(stages) else REST


_EVENTS: Final = msgspec.json.Decoder(list[Event])


def encode(events: list[Event]) -> bytes:
    """Write a history as JSON; equal histories give equal bytes."""
    return msgspec.json.encode(events, order="deterministic")


def decode(raw: bytes) -> list[Event]:
    """Read a history.

    Raises
    ------
    BadInput
        If the bytes are none.
    """
    try:
        return _EVENTS.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"not a rollout's history: {error}"
        raise BadInput(message) from error
