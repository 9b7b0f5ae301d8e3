"""Where a judge stands: what it must remember beside its detectors to go on elsewhere as if nothing had happened."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final

import msgspec
import numpy as np

from detectors.errors import StateMismatch
from detectors.state import State
from streams.cohorts import CohortTicks, RowKey
from streams.history import emptied
from streams.plan import Plan

VERSION: Final = 1
"""Of the state's form. A state of another one is refused, and the journal judged again."""


class Said(msgspec.Struct, frozen=True):
    """What a verdict said. There is another one as soon as this changes.

    `blamed` are positions of metrics, `where` those of colos, or of watched places where traffic was lost. `trouble` is
    what keeps a stage waiting for no want of evidence: data that cannot be trusted, or a policy. `unjudged`
    are positions of metrics in which something came up too late to be judged.
    """

    stage: str
    action: str
    cause: str
    blamed: tuple[int, ...]
    where: tuple[int, ...]
    confounders: tuple[str, ...]
    trouble: str | None
    unjudged: tuple[int, ...]


class StageStanding(msgspec.Struct, frozen=True):
    """The stage that is judged.

    Attributes
    ----------
    index
        Its position in the plan.
    began, past_first
        The first tick that was judged, or will be; the first tick of its past.
    is_held
        Whether its past and its live ticks are remembered, so that it can be begun anew.
    basis
        What it stands on, see `streams.basis`.
    rows
        Positions in the judge's rows of those that it was begun with.
    unjudged, is_outdated
        See `streams.begun.Begun`.
    """

    index: int
    began: int
    past_first: int
    is_held: bool
    basis: str
    rows: list[int]
    unjudged: dict[int, list[str]]
    is_outdated: bool


class Standing(msgspec.Struct, frozen=True):
    """Where a judge stands.

    Attributes
    ----------
    plan
        Digest of what numbers and names in the state refer to, see `plan_digest`.
    next_tick, needs_from
        The tick that comes next, and the first of those before it that are needed to go on.
    keys
        The rows that are known.
    trouble
        Why ticks that are remembered could not be trusted.
    """

    version: int
    engine: str
    plan: str
    next_tick: int | None
    needs_from: int
    next_stage: int
    sequence: int
    said: Said | None
    keys: tuple[RowKey, ...]
    trouble: dict[int, str]
    stage: StageStanding | None

    def written(self) -> State:
        """Return this as plain bytes."""
        return {"judge": np.frombuffer(msgspec.msgpack.encode(self), np.uint8)}


class _Needs(msgspec.Struct):
    needs_from: int


class _Version(msgspec.Struct):
    version: int
    engine: str


def standing_of(state: State, plan: Plan) -> Standing:
    """Read where a judge stood, if it was of this plan and this engine.

    Raises
    ------
    StateMismatch
        If it was not.
    """
    data = state.get("judge")
    if not isinstance(data, np.ndarray):
        msg = f"a judge's state has `judge`, and here are {sorted(state)}"
        raise StateMismatch(msg)
    try:
        found = msgspec.msgpack.decode(data.tobytes(), type=_Version)
        if (found.version, found.engine) != (VERSION, plan.engine):
            msg = f"the state is of form {found.version} by {found.engine}; read is form {VERSION} by {plan.engine}"
            raise StateMismatch(msg)
        standing = msgspec.msgpack.decode(data.tobytes(), type=Standing)
    except msgspec.MsgspecError as error:
        msg = f"where the judge stood cannot be read: {error}"
        raise StateMismatch(msg) from error
    if standing.plan != plan_digest(plan, standing.next_stage):
        msg = f"the state is of another plan than that of {plan.rollout}: of other stages, signatures or another policy"
        raise StateMismatch(msg)
    return standing


def needs_from(state: State) -> int:
    """Return the first tick that going on from a state needs; 0 if the state does not say, as one that is refused."""
    data = state.get("judge")
    try:
        return msgspec.msgpack.decode(data.tobytes(), type=_Needs).needs_from if isinstance(data, np.ndarray) else 0
    except msgspec.MsgspecError:
        return 0


def plan_digest(plan: Plan, begun: int) -> str:
    """Return a digest of what a state refers to: policy, metrics, signatures, and the stages that have `begun`.

    What is still open, as when a later stage starts, is no part of it.
    """
    membership = plan.membership
    names = [rollout.rollout for rollout in plan.others]
    stages = [stage.name for stage in plan.stages], plan.stages[:begun]
    whole = (
        *(plan.rollout, plan.policy_digest, plan.metrics, plan.tick_ms, stages),
        *(membership.signatures, names, membership.others.tolist()),
    )
    return sha256(repr(whole).encode()).hexdigest()


def checked(ticks: Iterable[CohortTicks], standing: Standing) -> Iterator[CohortTicks]:
    """Yield the ticks that a judge stood on, without the data of those in trouble.

    Raises
    ------
    StateMismatch
        If they are others.
    """
    at, stop = standing.needs_from, standing.next_tick or 0
    for piece in ticks:
        if piece.first != at or at + piece.ticks > stop:
            msg = f"needed are ticks {at} to {stop - 1}, and here are {piece.first} to {piece.first + piece.ticks - 1}"
            raise StateMismatch(msg)
        at += piece.ticks
        yield emptied(piece, standing.trouble)
    if at != stop:
        msg = f"needed are ticks up to {stop - 1}, and the last one here is {at - 1}"
        raise StateMismatch(msg)


def split(ticks: Iterator[CohortTicks], standing: Standing) -> Iterator[CohortTicks]:
    """Yield the same ticks, none of them both before and after the stage began."""
    for piece in ticks:
        at, stop = standing.stage.began if standing.stage else piece.first, piece.first + piece.ticks
        if piece.first < at < stop:
            yield piece.between(piece.first, at)
            yield piece.between(at, stop)
        else:
            yield piece
