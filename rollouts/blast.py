"""Blast radius: what a rollout has reached, what has it now, and what it could reach next."""

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from rollouts.context import Context, holds, seats_of_next
from rollouts.controlled import State
from rollouts.inventory import Inventory
from rollouts.plans import Seat


class Extent(Struct, frozen=True, kw_only=True):
    """Some hosts, and which part of the fleet, of each region and of each colo they are."""

    hosts: list[str]
    fleet: float
    regions: dict[str, float]
    colos: dict[str, float]


class Blast(Struct, frozen=True, kw_only=True):
    """The blast radius of a rollout.

    Attributes
    ----------
    reached
        Hosts that were ever to have the change.
    changed
        Those of them that are not known to be taken back.
    following
        What the next stage would add; nothing once the rollout has ended or is on its way back.
    held
        Why that does not begin now.
    """

    rollout: str
    phase: str
    stage: str | None
    reached: Extent
    changed: Extent
    following: Extent
    held: list[str]


def blast(state: State, context: Context) -> Blast:
    """Say what a rollout has reached, and what it could reach next."""
    seats = [seat for one in state.reached for group in one.before for seat in group.seats]
    changed = [seat for seat in seats if seat.host not in state.restored]
    can_go_on = not state.is_ended and state.phase != "reverting"
    stages = len(state.resolved.plan.stages)
    index = state.passed if state.phase == "waiting" or state.current is None else state.current.stage + 1
    is_over = index > stages or (index == stages and state.resolved.plan.rest == "hold")
    following = seats_of_next(state, context.fleet, index) if can_go_on and not is_over else []
    held = [f"halted: {state.halted}"] if state.phase == "halted" else []
    if can_go_on and state.phase == "waiting" and not is_over:
        held = holds(state, context)
    return Blast(
        rollout=state.rollout,
        phase=state.phase,
        stage=state.name_of(state.current.stage) if state.current is not None else None,
        reached=extent(seats, context.fleet),
        changed=extent(changed, context.fleet),
        following=extent(following, context.fleet),
        held=held,
    )


def extent(seats: Iterable[Seat], fleet: Inventory) -> Extent:
    """Measure some hosts against the fleet."""
    mine = list(seats)
    regions, colos = Counter(host.region for host in fleet.hosts), Counter(host.colo for host in fleet.hosts)
    return Extent(
        hosts=sorted(seat.host for seat in mine),
        fleet=len(mine) / len(fleet.hosts),
        regions=_shares(Counter(seat.region for seat in mine), regions),
        colos=_shares(Counter(seat.colo for seat in mine), colos),
    )


def _shares(mine: Counter[str], all_of: Counter[str]) -> dict[str, float]:
    """Divide; a place that is gone from the fleet counts as reached as a whole."""
    return {place: mine[place] / max(all_of[place], mine[place]) for place in sorted(mine)}
