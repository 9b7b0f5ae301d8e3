"""What is true beside a rollout itself, and what keeps its next stage from beginning."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct

from rollouts import breakers
from rollouts.breakers import Limits, Summary, Trip
from rollouts.controlled import Note, State
from rollouts.freezes import frozen_by
from rollouts.inventory import Inventory
from rollouts.plans import STEP_SHARE_MAX, Seat, over, rest_of, seat_of
from rollouts.reports import Report


class Override(Struct, frozen=True, kw_only=True):
    """What people have decided in the judge's place, as long as it is in force."""

    id: str
    kind: Literal["force_advance", "force_revert", "freeze_all", "ignore_metric"]
    rollout: str | None = None
    stage: str | None = None
    metric: str | None = None
    expires_at: datetime


class Context(Struct, frozen=True, kw_only=True):
    """What is true now, beside the rollout itself.

    Attributes
    ----------
    now
        The time, in UTC.
    reports
        The newest report of each host.
    fleet
        All hosts there are.
    others
        All rollouts under control, this one too.
    overrides
        Whether or not they have expired.
    limits
        What is too much at once.
    unknown
        Why it is not known what people have decided; None if it is.
    is_audited
        Whether a stage waits until all that was noted of the rollout before is written down.
    is_watched
        Whether the first stage waits until the judge has been heard of the rollout.
    """

    now: datetime
    reports: Mapping[str, Report]
    fleet: Inventory
    others: Sequence[Summary] = ()
    overrides: Sequence[Override] = ()
    limits: Limits = Limits()
    unknown: str | None = None
    is_audited: bool = False
    is_watched: bool = False

    def forcing(self, kind: str, rollout: str) -> list[Override]:
        """List the overrides of a kind that are in force for a rollout."""
        return [
            one
            for one in self.overrides
            if one.kind == kind and one.rollout in (None, rollout) and one.expires_at > self.now
        ]


def seats_of_next(state: State, fleet: Inventory, stage: int | None = None) -> list[Seat]:
    """List the hosts that the next stage reaches, or another one: as it was decided, less those that are gone."""
    stages, index = state.resolved.stages, state.passed if stage is None else stage
    seats = stages[index] if index < len(stages) else rest_of(state.resolved, fleet)
    there = {host.host for host in fleet.hosts}
    return [seat for seat in seats if seat.host in there and seat.colo not in state.excluded]


def holds(state: State, context: Context) -> list[str]:
    """Say everything that keeps the next stage from beginning."""
    plan, now = state.resolved.plan, context.now
    found = [f"paused by {state.paused}"] if state.paused is not None else []
    if state.judged is not None and state.judged.lost is not None:
        found.append(f"the judge is not relied on: {state.judged.lost}")
    if context.is_watched and state.judged is None and not state.reached:
        found.append("the judge has not come to it yet: it still reads the past, or has no data")
    if plan.started is not None and now < plan.started:
        found.append(f"not before {plan.started.isoformat()}")
    phases = {one.rollout: one.phase for one in context.others}
    found.extend(
        f"after {name}, which is {phases.get(name, 'not known')}"
        for name in plan.after
        if phases.get(name) != "completed"
    )
    freeze = frozen_by((*plan.freezes, *context.limits.freezes), now)
    if freeze is not None:
        found.append(f"frozen: {freeze.reason}")
    found.extend(f"frozen by override {one.id[:12]}" for one in context.forcing("freeze_all", state.rollout))
    if context.unknown is not None:
        found.append(f"it is not known what people have decided: {context.unknown}")
    notes = sum(isinstance(effect, Note) for effect in state.outbox)
    if notes and context.is_audited:
        found.append(f"what was done is not on the audit topic yet: {notes} entries are missing")
    mine = {unit.unit for unit in plan.package}
    found.extend(
        f"{one.rollout} is under way with {', '.join(sorted(mine & one.units))}"
        for one in context.others
        if one.rollout != state.rollout and one.is_under_way and mine & one.units
    )
    return [*found, *_host_holds(state, context)]


def _host_holds(state: State, context: Context) -> list[str]:
    seats, plan = seats_of_next(state, context.fleet), state.resolved.plan
    if not seats:
        return ["none of its hosts is there"]
    open_now: list[Trip] = [
        *breakers.trips(context.others, context.limits, context.now),
        *breakers.crowded(context.others, context.limits, state.rollout),
    ]
    found = [f"{one.kind} {one.place}: {one.why}" for one in breakers.touching(open_now, seats)]
    silent = [seat.host for seat in seats if seat.host not in context.reports]
    if silent:
        found.append(f"{len(silent)} hosts have never reported what they have: {', '.join(silent[:5])}")
    everyone = [seat_of(host) for host in context.fleet.hosts]
    if state.passed < len(plan.stages):
        names = {seat.host for stage in state.resolved.stages[: state.passed] for seat in stage}
        reached = [*seats, *(seat for seat in everyone if seat.host in names)]
        found.extend(over(plan.stages[state.passed].most, reached, everyone))
    elif len(seats) > max(1, STEP_SHARE_MAX * len(everyone)):
        found.append(f"{len(seats)} of {len(everyone)} hosts are left: the fleet has grown, and half of it is too much")
    return found
