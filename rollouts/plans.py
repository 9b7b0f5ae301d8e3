"""Plans: a package released stage by stage, resolved against the fleet before anything begins, and refused if unsafe.

What a stage reaches is decided when the plan is submitted, and kept as names of hosts. A selector can therefore never
come to reach more than it did, and a host never leaves its stage. Hosts that come later belong to the rest: to what no
stage reaches, which is the control of all of them, and gets the change at the very end if the plan says so.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from detectors.errors import BadInput
from detectors.policy import Duration, Name, duration_ms
from rollouts import freezes, inventory, packages
from rollouts.document import NOT_YET, Rollout, Stage, Timestamp, Unit
from rollouts.freezes import Freeze
from rollouts.inventory import Host, Inventory, Reach

STEP_SHARE_MAX: Final = 0.5
"""Most of the fleet that a single stage may add: more at once is everywhere at once."""

REST: Final = "rest"
"""Name of what no stage reaches."""

BAKE_TICKS_MIN: Final = 66
"""A bake of fewer ticks is told of: clear harm was seen within 33 ticks in simulated stages, and so within the second
half of such a bake at the latest. What is weaker takes longer, as `holdfast check` says."""

Package = Annotated[list[Unit], Meta(max_length=1_000)]
"""Units that are released together."""

Share = Annotated[float, Meta(gt=0, le=1, description="A part of the whole, as in 0.05.")]


class Most(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The largest part of the fleet, of any region and of any colo that may have the change once a stage has it."""

    fleet: Share
    region: Share
    colo: Share = 1.0


class PlanStage(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which hosts get the change next.

    `apply_within` is how long they may take to report that they have it, and again how long a step back may take before
    the stage before it is taken back too. The other keys are those of a rollout's stage.
    """

    name: Name
    reach: Reach
    most: Most
    bake: Duration
    deadline: Duration
    settle: Duration = "0s"
    apply_within: Duration = "10m"


class Plan(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A plan document.

    Attributes
    ----------
    rollout
        Its name, which no other plan has.
    policy
        Name of the policy that judges it.
    started
        Not before; at once without it.
    after
        Names of rollouts that have to be completed before.
    freezes
        When no stage begins.
    revert
        Whether a revert takes the change back everywhere (`all`), or only in the colos that a verdict names (`scope`).
        The colos that are hurt first are seldom the only ones that a bad change hurts: so everywhere, unless said.
    rest
        Whether the hosts that no stage reaches get the change when the last stage has passed (`release`; they are at
        most half of the fleet then), or never (`hold`).
    """

    rollout: Name
    package: Package
    stages: Annotated[list[PlanStage], Meta(min_length=1, max_length=100)]
    policy: Name | None = None
    started: Timestamp | None = None
    after: list[Name] = []
    freezes: list[Freeze] = []
    revert: Literal["all", "scope"] = "all"
    rest: Literal["release", "hold"] = "release"


class Seat(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, array_like=True):
    """A host that a stage reaches, and where it was when that was decided."""

    host: str
    colo: str
    region: str


class Resolved(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A plan, and the hosts of each of its stages."""

    plan: Plan
    stages: list[list[Seat]]


def resolve(plan: Plan, fleet: Inventory, known: Mapping[str, Plan]) -> Resolved:
    """Decide which hosts each stage of a plan reaches: the first stage that matches a host has it.

    Parameters are those of `problems`.

    Raises
    ------
    BadInput
        With everything that is wrong with the plan, one a line.
    """
    found = problems(plan, fleet, known)
    if found:
        raise BadInput("\n".join(f"{plan.rollout}: {problem}" for problem in found))
    return Resolved(plan=plan, stages=_stages(plan, fleet))


def problems(plan: Plan, fleet: Inventory, known: Mapping[str, Plan]) -> list[str]:
    """Say everything that is wrong with a plan, each with its place in the document.

    Parameters
    ----------
    plan
        What is submitted.
    fleet
        All hosts.
    known
        Plans that were submitted before, and those that are to be together with this one, by name.
    """
    return [
        *inventory.problems(fleet),
        *packages.problems(plan.package),
        *_plain_problems(plan),
        *freezes.problems(plan.freezes),
        *_order_problems(plan, known),
        *_stage_problems(plan, fleet, _stages(plan, fleet)),
    ]


def advice(plan: Plan, tick: Duration) -> list[str]:
    """Say what is allowed, and yet seldom meant: bakes so short that harm which begins late in them may not be seen.

    Parameters
    ----------
    plan
        What is submitted.
    tick
        Of the policy.

    Examples
    --------
    >>> stage = PlanStage(
    ...     name="one", reach=Reach(percent=5), most=Most(fleet=0.1, region=0.1), bake="5m", deadline="1h"
    ... )
    >>> advice(Plan(rollout="bots", package=[], stages=[stage]), "10s")
    ['stages[0] (one): bake: found 5m, of which 30 ticks of 10s are judged; advised: at least 66, or harm that begins \
late in it may pass']
    """
    found: list[str] = []
    for index, stage in enumerate(plan.stages):
        ticks = (duration_ms(stage.bake) - duration_ms(stage.settle)) // duration_ms(tick)
        if ticks < BAKE_TICKS_MIN:
            found.append(
                f"stages[{index}] ({stage.name}): bake: found {stage.bake}, of which {ticks} ticks of {tick} are "
                f"judged; advised: at least {BAKE_TICKS_MIN}, or harm that begins late in it may pass"
            )
    return found


def rollout_of(resolved: Resolved, unit: str) -> Rollout:
    """Write a resolved plan as the rollout that the judge knows: its stages name their hosts one by one.

    Parameters
    ----------
    resolved
        The plan.
    unit
        The label by which the policy knows hosts.
    """
    plan = resolved.plan
    stages = [
        Stage(
            name=stage.name,
            canary={unit: [seat.host for seat in seats]},
            bake=stage.bake,
            deadline=stage.deadline,
            settle=stage.settle,
        )
        for stage, seats in zip(plan.stages, resolved.stages, strict=True)
    ]
    return Rollout(rollout=plan.rollout, started=NOT_YET, stages=stages, package=plan.package, policy=plan.policy)


def rest_of(resolved: Resolved, fleet: Inventory) -> list[Seat]:
    """List the hosts that no stage reaches: those held back as control, and those that came later."""
    taken = {seat.host for seats in resolved.stages for seat in seats}
    return [seat_of(host) for host in sorted(fleet.hosts, key=lambda one: one.host) if host.host not in taken]


def seat_of(host: Host) -> Seat:
    """Say where a host is."""
    return Seat(host=host.host, colo=host.colo, region=host.region)


def _stages(plan: Plan, fleet: Inventory) -> list[list[Seat]]:
    hosts = {host.host: host for host in fleet.hosts}
    taken: set[str] = set()
    stages: list[list[Seat]] = []
    for stage in plan.stages:
        mine = [name for name in inventory.reached(fleet, stage.reach, plan.rollout) if name not in taken]
        taken.update(mine)
        stages.append([seat_of(hosts[name]) for name in mine])
    return stages


def _plain_problems(plan: Plan) -> list[str]:
    found = [] if plan.policy is not None else ["policy: there is none; allowed: the policy that judges the rollout"]
    names: set[str] = set()
    for index, stage in enumerate(plan.stages):
        place = f"stages[{index}] ({stage.name})"
        if stage.name in names:
            found.append(f"{place}: name: a stage of that name comes before it; a rollout never goes back to a stage")
        if stage.name == REST:
            found.append(f"{place}: name: {REST!r} is what no stage reaches; allowed: another name")
        names.add(stage.name)
        bake, deadline, settle = (duration_ms(text) for text in (stage.bake, stage.deadline, stage.settle))
        if bake == 0:
            found.append(f"{place}: bake: found {stage.bake}; allowed: longer than 0")
        if deadline < bake:
            found.append(f"{place}: deadline: found {stage.deadline}; allowed: at least the bake, {stage.bake}")
        if bake and settle >= bake:
            found.append(f"{place}: settle: found {stage.settle}; allowed: shorter than the bake, {stage.bake}")
        if duration_ms(stage.apply_within) == 0:
            found.append(f"{place}: apply_within: found {stage.apply_within}; allowed: longer than 0")
    return found


def _order_problems(plan: Plan, known: Mapping[str, Plan]) -> list[str]:
    found: list[str] = []
    before = known.get(plan.rollout)
    if before is not None and before != plan:
        found.append("rollout: another plan has that name; allowed: the same plan, or another name")
    everyone = {**known, plan.rollout: plan}
    unknown = [name for name in plan.after if name not in everyone]
    found.extend(f"after: there is no rollout {name!r}; allowed: one that was submitted" for name in unknown)
    circle = _circle(plan.rollout, everyone)
    if circle:
        found.append(f"after: a circle, in which each waits for the next: {' -> '.join(circle)}")
    return found


def _circle(name: str, plans: Mapping[str, Plan]) -> list[str]:
    """Return a way along `after` that comes back to where it began, or nothing."""
    ways = [[name]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        plan = plans.get(way[-1])
        for other in plan.after if plan else []:
            if other == name:
                return [*way, name]
            if other not in seen:
                seen.add(other)
                ways.append([*way, other])
    return []


def _stage_problems(plan: Plan, fleet: Inventory, stages: Sequence[Sequence[Seat]]) -> list[str]:
    found: list[str] = []
    reached: list[Seat] = []
    everyone = [seat_of(host) for host in fleet.hosts]
    for index, (stage, seats) in enumerate(zip(plan.stages, stages, strict=True)):
        place = f"stages[{index}] ({stage.name})"
        reached.extend(seats)
        segment = stage.reach.segment
        if segment is not None and segment not in fleet.segments:
            known = ", ".join(sorted(fleet.segments)) or "none, the inventory has no segments"
            found.append(f"{place}: reach.segment: found {segment!r}; allowed: {known}")
        elif not seats:
            found.append(f"{place}: reach: no host that an earlier stage has not reached already")
        if len(seats) > max(1, STEP_SHARE_MAX * len(everyone)):
            found.append(
                f"{place}: reach: {len(seats)} of {len(everyone)} hosts at once; "
                f"allowed: at most {STEP_SHARE_MAX:.0%} of the fleet in one stage"
            )
        found.extend(f"{place}: {problem}" for problem in over(stage.most, reached, everyone))
        if seats and not _has_control(seats, reached, everyone):
            found.append(
                f"{place}: reach: no host is left to compare with; allowed: one in each of its colos, or a colo"
            )
    left = len(everyone) - len(reached)
    if plan.rest == "release" and left > max(1, STEP_SHARE_MAX * len(everyone)):
        found.append(
            f"rest: the stages leave {left} of {len(everyone)} hosts, which would get the change at once; "
            f"allowed: at most {STEP_SHARE_MAX:.0%} of the fleet, or rest: hold"
        )
    return found


def over(most: Most, reached: Sequence[Seat], everyone: Sequence[Seat]) -> Iterable[str]:
    """Say what a stage would reach more of than it may, all stages before it together."""
    share = len(reached) / max(1, len(everyone))
    if share > most.fleet:
        yield f"most.fleet: {share:.2%} of the fleet would have the change; allowed: {most.fleet:.2%}"
    for key, allowed, places in (
        ("region", most.region, [(seat.host, seat.region) for seat in everyone]),
        ("colo", most.colo, [(seat.host, seat.colo) for seat in everyone]),
    ):
        names = {seat.host for seat in reached}
        totals = Counter(place for _, place in places)
        mine = Counter(place for host, place in places if host in names)
        for place in sorted(mine):
            part = mine[place] / totals[place]
            if part > allowed:
                yield f"most.{key}: {part:.2%} of {key} {place} would have the change; allowed: {allowed:.2%}"


def _has_control(seats: Sequence[Seat], reached: Sequence[Seat], everyone: Sequence[Seat]) -> bool:
    """Tell whether each colo of a stage keeps a host without the change, or the fleet a colo without it."""
    names = {seat.host for seat in reached}
    left = {seat.colo for seat in everyone if seat.host not in names}
    untouched = {seat.colo for seat in everyone} - {seat.colo for seat in reached}
    return bool(untouched) or {seat.colo for seat in seats} <= left
