"""What comes to a rollout from outside: verdicts and doubts about them, commands, and effects that were done."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct

from detectors.verdict import Action
from rollouts.controlled import Commanded, Done, Event, InForce, Judged, Note, State
from rollouts.folding import CONTROL
from rollouts.packages import digest_of

EVENTS_MAX: Final = 5_000
"""Longest history; beyond it nobody may pause and resume any more, while everything else goes on."""


class Verdict(Struct, frozen=True, kw_only=True):
    """A verdict, as subscribers get it."""

    sequence: int
    action: Action
    stage: str
    binding: bool = True
    colos: list[str] | None = None
    metrics: list[str] = []


class Doubt(Struct, frozen=True, kw_only=True):
    """The judge is not relied on: it is silent, verdicts are missing (up to `sequence`), or are not signed."""

    why: str
    sequence: int = 0
    is_missing: bool = False
    in_force: Action | None = None


class Trust(Struct, frozen=True, kw_only=True):
    """The judge is heard, for the first time or again, and this is its newest word."""

    in_force: Action | None = None


class Command(Struct, frozen=True, kw_only=True):
    """What somebody says is to happen."""

    id: str
    command: Literal["pause", "resume", "abort"]
    by: str
    why: str


class Acted(Struct, frozen=True, kw_only=True):
    """Effects that were done, by id."""

    effects: list[str]


Input = Verdict | Doubt | Trust | Command | Acted


def note(state: State, at: datetime, what: str, why: str) -> Note:
    """Write down what is no part of the history. The same said twice bears the same id."""
    name = digest_of(msgspec.json.encode([what, why]))[7:23]
    return Note(id=f"{state.rollout}/{state.count}/{name}", at=at, what=what, by=CONTROL, why=why)


def taken(events: Sequence[Event], state: State, given: Input, now: datetime) -> tuple[Event | None, list[Note]]:
    """Return the event that what came is, if it changes anything, and what to tell people of it.

    An advance or a wait counts for the stage that is judged; a halt or a revert for each stage that has begun, since
    the judge may not have heard of the later one. Old numbers, and verdicts that do not bind, count for nothing.
    """
    if isinstance(given, Acted):
        known = {effect.id for effect in state.outbox}
        done = sorted(known.intersection(given.effects))
        return (Done(at=now, effects=done) if done else None), []
    if isinstance(given, Command):
        why = _objection(events, state, given)
        if why is not None:
            return None, [note(state, now, f"{given.command} refused", f"{given.by}: {why}")]
        is_news = given.id not in state.commands
        return (
            Commanded(at=now, id=given.id, command=given.command, by=given.by, why=given.why) if is_news else None
        ), []
    if state.is_ended:
        return None, _too_late(state, given, now)
    if isinstance(given, Verdict):
        return _verdict(state, given, now)
    return _doubt(state, given, now) if isinstance(given, Doubt) else (_trust(state, given, now), [])


def _too_late(state: State, given: Verdict | Doubt | Trust, now: datetime) -> list[Note]:
    """Say that nothing comes of a verdict that would have stopped a rollout which has ended."""
    if not isinstance(given, Verdict) or not given.binding or given.action not in ("halt", "revert"):
        return []
    about = f"verdict {given.sequence}, {given.action}, on stage {given.stage!r}"
    return [note(state, now, "refused", f"{about}: the rollout is {state.phase}; allowed: nothing more")]


def _objection(events: Sequence[Event], state: State, given: Command) -> str | None:
    if given.id in state.commands:
        return None
    if state.is_ended:
        return f"the rollout is {state.phase}; allowed: nothing more"
    if not given.why.strip():
        return "there is no reason; allowed: to say why"
    if given.command == "resume" and state.paused is None:
        return "it is not paused"
    if given.command != "abort" and len(events) >= EVENTS_MAX:
        return f"{EVENTS_MAX} events have happened; allowed: to abort"
    return None


def _verdict(state: State, given: Verdict, now: datetime) -> tuple[Event | None, list[Note]]:
    if not given.binding or given.sequence <= (state.judged.sequence if state.judged else 0):
        return None, []
    begun = [state.name_of(one.stage) for one in state.reached]
    is_stop = given.action in ("halt", "revert")
    if given.stage in begun and not is_stop and given.stage != judged_stage(state):
        return None, []  # the judge has not heard yet that a later stage began
    if given.stage not in begun:
        why = f"verdict {given.sequence}, {given.action}, is about stage {given.stage!r}, which is not under way"
        return None, [note(state, now, "refused", why)]
    in_force = InForce(
        sequence=given.sequence, action=given.action, stage=given.stage, colos=given.colos, metrics=given.metrics
    )
    return Judged(at=now, sequence=given.sequence, in_force=in_force), []


def judged_stage(state: State) -> str | None:
    """Name the newest stage that is judged: the rest is not."""
    judged = [one.stage for one in state.reached if one.stage < len(state.resolved.plan.stages)]
    return state.name_of(judged[-1]) if judged else None


def _doubt(state: State, given: Doubt, now: datetime) -> tuple[Event | None, list[Note]]:
    before = state.judged or Judged(at=now, sequence=0)
    in_force, stage = before.in_force, judged_stage(state)
    if given.is_missing and stage is not None and given.sequence > before.sequence:
        # What was said before the missing ones is no longer in force. What is, is known to be this at the most.
        in_force = _assumed(before, given.in_force or "wait", stage, given.sequence)
    sequence = max(before.sequence, given.sequence if given.is_missing else 0)
    event = Judged(at=now, sequence=sequence, in_force=in_force, lost=given.why)
    if (event.sequence, event.in_force, event.lost) == (before.sequence, before.in_force, before.lost):
        return None, []
    return event, [note(state, now, "the judge is not relied on", given.why)]


def _trust(state: State, given: Trust, now: datetime) -> Event | None:
    before, stage = state.judged or Judged(at=now, sequence=0), judged_stage(state)
    in_force = before.in_force
    if stage is not None and given.in_force is not None and given.in_force != (in_force.action if in_force else "wait"):
        in_force = _assumed(before, given.in_force, stage, before.sequence)
    if state.judged is not None and before.lost is None and in_force == before.in_force:
        return None
    return Judged(at=now, sequence=before.sequence, in_force=in_force)


def _assumed(before: Judged, action: Action, stage: str, sequence: int) -> InForce:
    """Make a verdict that was told of, but not seen: one that stops is kept to, one that advances is not."""
    is_stop = action in ("halt", "revert")
    if not is_stop and before.in_force is not None and before.in_force.action in ("halt", "revert"):
        return before.in_force
    return InForce(sequence=sequence, action=action if is_stop else "wait", stage=stage)
