"""How a rollout stands after each event, and what is to be done because of it."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import reduce
from typing import Any, Final

from msgspec.structs import replace

from detectors.errors import BadInput
from rollouts.controlled import (
    Aborted,
    Advanced,
    Announce,
    Awaited,
    Before,
    Commanded,
    Completed,
    Deploy,
    Done,
    Effect,
    Event,
    Halted,
    Judged,
    Note,
    Reached,
    Restore,
    RestoreBegun,
    Restored,
    RevertBegun,
    Reverted,
    Reverting,
    StageApplied,
    StageBegun,
    State,
    Submitted,
    Tell,
)
from rollouts.plans import rollout_of

CONTROL: Final = "control"
"""Who has done what nobody has told it to."""


def fold(events: Iterable[Event]) -> State | None:
    """Return how a rollout stands after its events; None before the first one."""
    return reduce(evolve, events, None)


def appended(events: Sequence[Event], event: Event) -> list[Event]:
    """Add an event to a history.

    Of two that say the newest word of the judge, or which effects are done, one behind the other, one is left: so a
    history stays short, however long a rollout bakes.
    """
    last = events[-1] if events else None
    if isinstance(last, Judged) and isinstance(event, Judged):
        return [*events[:-1], event]
    if isinstance(last, Done) and isinstance(event, Done):
        return [*events[:-1], Done(at=event.at, effects=[*last.effects, *event.effects])]
    return [*events, event]


def evolve(state: State | None, event: Event) -> State:
    """Return how a rollout stands after one more event.

    Raises
    ------
    BadInput
        If the event cannot follow: a history is not one, and nothing is to be built on it.
    """
    if state is None:
        if not isinstance(event, Submitted):
            message = f"a rollout's history begins with 'submitted'; found {type(event).__name__}"
            raise BadInput(message)
        return _submitted(event)
    if isinstance(event, Submitted) or (state.is_ended and not isinstance(event, Done)):
        message = f"{state.rollout}: found {type(event).__name__} after {state.phase}; allowed: nothing of the kind"
        raise BadInput(message)
    moved = replace(state, at=max(state.at, event.at), count=state.count + _counts(event))
    step: Callable[[State, Any], State] = _STEPS[type(event)]
    return step(moved, event)


def _counts(event: Event) -> int:
    """Count what gives names to effects: not what may be one event or two."""
    return 0 if isinstance(event, (Judged, Done)) else 1


def in_scope(state: State, reached: Reached, colos: Iterable[str] | None) -> list[Before]:
    """List the hosts of a stage that are in some colos, and neither back nor asked to go back."""
    wanted = None if colos is None else frozenset(colos)
    asked = {seat.host for one in (state.reverting.awaited if state.reverting else ()) for seat in one.seats}
    groups = [
        Before(
            units=group.units,
            seats=[
                seat
                for seat in group.seats
                if (wanted is None or seat.colo in wanted) and seat.host not in state.restored | asked
            ],
        )
        for group in reached.before
    ]
    return [group for group in groups if group.seats]


def _submitted(event: Submitted) -> State:
    rollout = event.resolved.plan.rollout
    state = State(rollout=rollout, resolved=event.resolved, phase="waiting", at=event.at, count=1)
    document = rollout_of(event.resolved, event.unit)
    first = Announce(id=_name(state, "announce"), rollout=document, policy=event.policy)
    return _with(state, first, _note(state, "submitted", event.by, ""))


def _stage_begun(state: State, event: StageBegun) -> State:
    plan, name = state.resolved.plan, state.name_of(event.stage)
    reached = Reached(stage=event.stage, number=event.number, at=event.at, before=event.before)
    moved = replace(
        state, phase="applying", number=event.number, reached=(*state.reached, reached), applied_at=None, halted=None
    )
    seats = [seat for group in event.before for seat in group.seats]
    told = (
        Tell(id=_name(state, "tell"), event="started", stage=name, at=event.at)
        if event.stage < len(plan.stages)
        else _finish(state)  # from here on the control has the change too: there is nothing left to judge by
    )
    deploy = Deploy(id=_name(state, "deploy"), number=event.number, stage=name, units=plan.package, seats=seats)
    return _with(moved, told, deploy, _note(moved, f"stage {name} begun", CONTROL, f"{len(seats)} hosts"))


def _stage_applied(state: State, _event: StageApplied) -> State:
    return replace(state, phase="baking", applied_at=state.at)


def _judged(state: State, event: Judged) -> State:
    return replace(state, judged=event)


def _advanced(state: State, event: Advanced) -> State:
    current = state.current
    passed = 0 if current is None else current.stage + 1
    overrides, sequence = state.overrides, state.judged.sequence if state.judged else 0
    by = CONTROL
    if event.override is not None:
        overrides, by = overrides | {event.override}, f"override {event.override}"
    moved = replace(
        state,
        phase="waiting",
        passed=passed,
        halted=None,
        overrides=overrides,
        overruled=state.overruled if event.override is None else sequence,
    )
    return _with(moved, _note(moved, f"stage {state.name_of(passed - 1)} passed", by, ""))


def _halted(state: State, event: Halted) -> State:
    moved = replace(state, phase="halted", halted=event.why)
    return _with(moved, _note(moved, "halted", CONTROL, event.why))


def _revert_begun(state: State, event: RevertBegun) -> State:
    awaited = state.reverting.awaited if state.reverting else ()
    todo = tuple(one.stage for one in reversed(state.reached) if in_scope(state, one, event.colos))
    touched = sorted({s.colo for one in state.reached for g in in_scope(state, one, event.colos) for s in g.seats})
    moved = replace(
        state,
        phase="reverting",
        halted=None,
        reverting=Reverting(why=event.why, colos=event.colos, todo=todo, awaited=awaited),
        reverts=(*state.reverts, (event.at, tuple(touched))),
        overrides=state.overrides if event.override is None else state.overrides | {event.override},
        excluded=state.excluded.union(event.colos or ()),
        outbox=tuple(effect for effect in state.outbox if not isinstance(effect, Deploy)),
    )
    by = CONTROL if event.override is None else f"override {event.override}"
    where = "everywhere" if event.colos is None else f"in {', '.join(event.colos)}"
    return _with(moved, _note(moved, f"revert {where}", by, event.why))


def _restore_begun(state: State, event: RestoreBegun) -> State:
    way = _way(state)
    reached = next(one for one in state.reached if one.stage == event.stage)
    before = in_scope(state, reached, way.colos)
    awaited = tuple(Awaited(number=event.number, units=group.units, seats=group.seats) for group in before)
    on = replace(
        way,
        todo=tuple(stage for stage in way.todo if stage != event.stage),
        number=event.number,
        stage=event.stage,
        since=event.at,
        awaited=(*way.awaited, *awaited),
    )
    moved = replace(state, number=event.number, reverting=on)
    name = state.name_of(event.stage)
    effect = Restore(id=_name(state, "restore"), number=event.number, stage=name, before=before)
    return _with(moved, effect, _note(moved, f"restoring {name}", CONTROL, way.why))


def _restored(state: State, event: Restored) -> State:
    way, late = _way(state), frozenset(event.missing)
    mine = [one for one in way.awaited if one.number == event.number]
    back = {seat.host for one in mine for seat in one.seats} - late
    left = [replace(one, seats=[seat for seat in one.seats if seat.host in late]) for one in mine]
    others = [one for one in way.awaited if one.number != event.number]
    awaited = (*others, *(one for one in left if one.seats))
    moved = replace(
        state, restored=state.restored | back, reverting=replace(way, number=None, since=None, awaited=awaited)
    )
    if not late:
        return moved
    why = f"{len(late)} hosts have not reported yet: {', '.join(sorted(late)[:10])}"
    return _with(moved, _note(moved, "going on with the stage before", CONTROL, why))


def _reverted(state: State, _event: Reverted) -> State:
    way = _way(state)
    hosts = {seat.host for one in way.awaited for seat in one.seats}
    back = replace(state, reverting=None, restored=state.restored | hosts)
    if way.colos is not None:
        where = f"taken back in {', '.join(way.colos)}"
        return _with(replace(back, phase="halted", halted=where), _note(back, where, CONTROL, way.why))
    moved = replace(back, phase="reverted" if state.abort is None else "aborted")
    return _with(moved, _finish(state), _note(moved, moved.phase, CONTROL, way.why))


def _commanded(state: State, event: Commanded) -> State:
    moved = replace(state, commands=state.commands | {event.id})
    match event.command:
        case "pause":
            moved = replace(moved, paused=f"{event.by}: {event.why}")
        case "resume":
            moved = replace(moved, paused=None)
        case "abort":
            moved = replace(moved, abort=f"{event.by}: {event.why}")
    return _with(moved, _note(moved, event.command, event.by, event.why))


def _aborted(state: State, _event: Aborted) -> State:
    return _with(replace(state, phase="aborted"), _finish(state), _note(state, "aborted", CONTROL, state.abort or ""))


def _completed(state: State, _event: Completed) -> State:
    moved = replace(state, phase="completed")
    is_told = any(one.stage == len(state.resolved.plan.stages) for one in state.reached)
    effects = (_note(state, "completed", CONTROL, ""),)
    return _with(moved, *effects) if is_told else _with(moved, _finish(state), *effects)


def _done(state: State, event: Done) -> State:
    done = frozenset(event.effects)
    return replace(state, outbox=tuple(effect for effect in state.outbox if effect.id not in done))


_STEPS: Final[dict[type, Callable[[State, Any], State]]] = {
    StageBegun: _stage_begun,
    StageApplied: _stage_applied,
    Judged: _judged,
    Advanced: _advanced,
    Halted: _halted,
    RevertBegun: _revert_begun,
    RestoreBegun: _restore_begun,
    Restored: _restored,
    Reverted: _reverted,
    Commanded: _commanded,
    Aborted: _aborted,
    Completed: _completed,
    Done: _done,
}


def _way(state: State) -> Reverting:
    if state.reverting is None:
        message = f"{state.rollout}: nothing is being taken back in phase {state.phase}"
        raise BadInput(message)
    return state.reverting


def _with(state: State, *effects: Effect) -> State:
    return replace(state, outbox=(*state.outbox, *effects))


def _name(state: State, what: str) -> str:
    return f"{state.rollout}/{state.count}/{what}"


def _note(state: State, what: str, by: str, why: str) -> Note:
    return Note(id=_name(state, "note"), at=state.at, what=what, by=by, why=why)


def _finish(state: State) -> Tell:
    """Tell the end of a rollout, which is later than the start of any of its stages."""
    judged = [one.at for one in state.reached if one.stage < len(state.resolved.plan.stages)]
    at = max(state.at, *(begun + timedelta(milliseconds=1) for begun in judged), state.at)
    return Tell(id=_name(state, "tell"), event="finished", stage=None, at=at)
