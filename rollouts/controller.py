"""The controller: what is to happen to a rollout next, out of how it stands and of what is true now.

It looks at the whole each time, and not at what came last: so it makes no difference in which order things come, how
often, or what was missed while nobody was there. What it decides are events (`rollouts.folding` says what follows from
them). Only what was asked for last may be in flight, whatever is taken back goes before everything else, and whoever is
not sure begins nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from detectors.policy import duration_ms
from rollouts.context import Context, holds, seats_of_next
from rollouts.controlled import (
    Aborted,
    Advanced,
    Awaited,
    Before,
    Completed,
    Digests,
    Event,
    Halted,
    InForce,
    Note,
    RestoreBegun,
    Restored,
    RevertBegun,
    Reverted,
    StageApplied,
    StageBegun,
    State,
)
from rollouts.folding import appended, evolve, fold, in_scope
from rollouts.inputs import Input, note, taken
from rollouts.plans import Seat
from rollouts.reports import CLOCK_SLACK, Report, missing

_STEPS_MAX: Final = 1_000


class Decision(Struct, frozen=True, kw_only=True):
    """What was decided.

    Attributes
    ----------
    events
        The whole history. It is to be kept before an effect is done.
    state
        Its fold; what is to be done is in `outbox`.
    notes
        What is worth telling people, but is no part of the history: what was refused, and doubts about the judge.
    """

    events: list[Event]
    state: State
    notes: list[Note]


def decide(events: Sequence[Event], state: State, given: Input | None, context: Context) -> Decision:
    """Take what came, if anything did, and decide all that follows from it and from the time.

    Parameters
    ----------
    events
        The history, not empty.
    state
        Its fold.
    given
        What came; None to look whether time or reports have changed anything.
    context
        What is true now.
    """
    if context.now < state.at - CLOCK_SLACK:
        # Without the time here, so that the same is said again, and not something new at every look.
        why = f"it was {state.at.isoformat()} before, and is earlier here: clocks disagree"
        return Decision(events=[*events], state=state, notes=[note(state, context.now, "refused", why)])
    context = replace(context, now=max(context.now, state.at))
    history, notes = [*events], list[Note]()
    if given is not None:
        event, told = taken(history, state, given, context.now)
        notes.extend(told)
        if event is not None:
            history, state = appended(history, event), evolve(state, event)
    for _ in range(_STEPS_MAX):
        following = _next(state, context)
        if following is None:
            break
        history, state = appended(history, following), evolve(state, following)
    return Decision(events=history, state=state, notes=notes)


def again(events: Sequence[Event], given: Input | None, context: Context) -> Decision:
    """Decide from the history alone, as after a crash."""
    state = fold(events)
    assert state is not None
    return decide(events, state, given, context)


def _next(state: State, context: Context) -> Event | None:
    if state.is_ended:
        return None
    back = _way_back(state, context)
    if back is not None:
        return back
    match state.phase:
        case "reverting":
            return _reverting(state, context)
        case "halted":
            return _forced(state, context)
        case "applying":
            return _applying(state, context)
        case "baking":
            return _baking(state, context)
        case _:
            return _waiting(state, context)


def _stopping(state: State, context: Context) -> InForce | None:
    """Return the verdict in force if it stops the rollout, and nobody with the right to has overruled it."""
    judged = state.judged
    said = judged.in_force if judged is not None else None
    if said is None or said.action not in ("halt", "revert") or said.sequence <= state.overruled:
        return None
    ignored = {one.metric for one in context.forcing("ignore_metric", state.rollout)}
    return None if said.metrics and ignored.issuperset(said.metrics) else said


def _way_back(state: State, context: Context) -> Event | None:
    forced = [o for o in context.forcing("force_revert", state.rollout) if o.rollout and o.id not in state.overrides]
    if state.abort is not None and not state.reached:
        return Aborted(at=context.now)
    if _is_covered(state, None):
        return None
    if forced:
        return RevertBegun(at=context.now, why="people decided it", override=forced[0].id)
    if state.abort is not None:
        return RevertBegun(at=context.now, why=f"aborted by {state.abort}")
    said = _stopping(state, context)
    if said is None or said.action != "revert":
        return None
    colos = sorted(said.colos) if said.colos and state.resolved.plan.revert == "scope" else None
    if _is_covered(state, colos):
        return None
    return RevertBegun(at=context.now, why=f"verdict {said.sequence} on stage {said.stage}", colos=colos)


def _is_covered(state: State, colos: list[str] | None) -> bool:
    """Tell whether what is, or was, taken back is all of what is to be."""
    way = state.reverting
    if way is not None and way.colos is None:
        return True
    return colos is not None and state.excluded.issuperset(colos)


def _reverting(state: State, context: Context) -> Event | None:
    way, now = state.reverting, context.now
    assert way is not None
    gone = _gone(state, context)
    if way.number is not None:
        late = {
            seat.host
            for one in way.awaited
            if one.number == way.number
            for seat in missing(one, context.reports, gone, state.rollout)
        }
        if late and now < (way.since or now) + _apply_within(state, way.stage):
            return None
        return Restored(at=now, number=way.number, missing=sorted(late))
    for stage in way.todo:
        reached = next(one for one in state.reached if one.stage == stage)
        if in_scope(state, reached, way.colos):
            return RestoreBegun(at=now, number=state.number + 1, stage=stage)
    left = [seat for one in way.awaited for seat in missing(one, context.reports, gone, state.rollout)]
    return None if left else Reverted(at=now)


def _forced(state: State, context: Context) -> Event | None:
    stage = _stage_name(state)
    for one in context.forcing("force_advance", state.rollout):
        if one.rollout and one.id not in state.overrides and stage is not None and one.stage == stage:
            return Advanced(at=context.now, override=one.id)
    return None


def _stage_name(state: State) -> str | None:
    return state.name_of(state.current.stage) if state.current is not None else None


def _applying(state: State, context: Context) -> Event | None:
    current = state.current
    assert current is not None
    forced, halted = _forced(state, context), _halt(state, context)
    if forced is not None or halted is not None:
        return forced or halted
    wanted: Digests = {unit.unit: unit.digest for unit in state.resolved.plan.package}
    seats = [seat for group in current.before for seat in group.seats]
    awaited = Awaited(number=current.number, units=wanted, seats=seats)
    late = missing(awaited, context.reports, _gone(state, context), state.rollout)
    if not late:
        return StageApplied(at=context.now, number=current.number)
    if context.now >= current.at + _apply_within(state, current.stage):
        names = ", ".join(seat.host for seat in late[:5])
        return Halted(at=context.now, why=f"{len(late)} of {len(seats)} hosts have not applied it in time: {names}")
    return None


def _baking(state: State, context: Context) -> Event | None:
    current, plan = state.current, state.resolved.plan
    assert current is not None
    if current.stage >= len(plan.stages):
        return Advanced(at=context.now)
    forced, halted = _forced(state, context), _halt(state, context)
    if forced is not None or halted is not None:
        return forced or halted
    stage, judged, now = plan.stages[current.stage], state.judged, context.now
    said = judged.in_force if judged is not None else None
    has_passed = said is not None and said.action == "advance" and said.stage == stage.name
    is_sure = judged is not None and judged.lost is None and state.paused is None
    if has_passed and is_sure and now >= (state.applied_at or now) + _span(stage.bake):
        return Advanced(at=now)
    if now >= current.at + _span(stage.deadline) + _apply_within(state, current.stage):
        return Halted(at=now, why=f"the deadline of {stage.deadline} passed, and the stage with it")
    return None


def _halt(state: State, context: Context) -> Event | None:
    said = _stopping(state, context)
    if said is None or (said.action == "revert" and _is_covered(state, said.colos)):
        return None
    return Halted(at=context.now, why=f"verdict {said.sequence}, {said.action}, on stage {said.stage}")


def _waiting(state: State, context: Context) -> Event | None:
    halted = _halt(state, context)
    if halted is not None and state.reached:
        return halted
    stages = len(state.resolved.plan.stages)
    if state.passed > stages or (state.passed == stages and state.resolved.plan.rest == "hold"):
        return Completed(at=context.now)
    seats = seats_of_next(state, context.fleet)
    if state.passed == stages and not seats:
        return Completed(at=context.now)
    if holds(state, context):
        return None
    return StageBegun(
        at=context.now, number=state.number + 1, stage=state.passed, before=_before(state, seats, context.reports)
    )


def _before(state: State, seats: Sequence[Seat], reports: Mapping[str, Report]) -> list[Before]:
    """Note what hosts have of the package's units, those with the same together."""
    units = sorted(unit.unit for unit in state.resolved.plan.package)
    groups: dict[tuple[str | None, ...], list[Seat]] = {}
    for seat in seats:
        groups.setdefault(tuple(reports[seat.host].units.get(unit) for unit in units), []).append(seat)
    return [Before(units=dict(zip(units, key, strict=True)), seats=group) for key, group in groups.items()]


def _gone(state: State, context: Context) -> frozenset[str]:
    there = {host.host for host in context.fleet.hosts}
    seats = (seat for one in state.reached for group in one.before for seat in group.seats)
    return frozenset(seat.host for seat in seats if seat.host not in there)


def _apply_within(state: State, stage: int) -> timedelta:
    stages = state.resolved.plan.stages
    return _span(stages[min(stage, len(stages) - 1)].apply_within)


def _span(text: str) -> timedelta:
    return timedelta(milliseconds=duration_ms(text))
