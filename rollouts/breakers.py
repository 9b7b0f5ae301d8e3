"""Circuit breakers: what happens to many rollouts at once says something that none of them knows by itself.

A breaker that is open keeps new stages from beginning where it is open. It never keeps anything from being taken back,
and it closes by itself when what opened it is over: when the reverts are older than the window, when rollouts end, when
the judge is heard.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct

from detectors.policy import Duration, duration_ms
from rollouts.controlled import State
from rollouts.freezes import Freeze
from rollouts.plans import Seat

Few = Annotated[int, Meta(ge=1, le=10_000)]


class Limits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The limits document: what is too much at once, for all rollouts together.

    Attributes
    ----------
    window
        How long a revert counts.
    reverts_per_colo, reverts_per_region, reverts_in_fleet
        As many reverts within the window keep new stages from the place.
    rollouts_per_colo, rollouts_in_fleet
        As many rollouts may be under way in a place: begun, and neither ended nor halted.
    judges_lost
        As many rollouts under way whose judge is not relied on put the whole engine in doubt.
    freezes
        When no stage of any rollout begins.
    """

    window: Duration = "1h"
    reverts_per_colo: Few = 2
    reverts_per_region: Few = 3
    reverts_in_fleet: Few = 4
    rollouts_per_colo: Few = 3
    rollouts_in_fleet: Few = 20
    judges_lost: Few = 3
    freezes: list[Freeze] = []


class Summary(Struct, frozen=True, kw_only=True):
    """What other rollouts have to know of one.

    `active` are the places where it is under way; `reverts` say when it was taken back, and where.
    """

    rollout: str
    phase: str
    units: frozenset[str]
    is_under_way: bool
    is_judge_lost: bool
    active: frozenset[str]
    reverts: tuple[tuple[datetime, tuple[str, ...]], ...]
    regions: Mapping[str, str]


class Trip(Struct, frozen=True, kw_only=True, order=True):
    """A breaker that is open, and why. `place` is the colo or region, and of the fleet its name."""

    kind: Literal["colo", "region", "fleet"]
    place: str
    why: str


def summary_of(state: State) -> Summary:
    """Sum a rollout up for the others."""
    is_under_way = bool(state.reached) and not state.is_ended
    seats = [seat for one in state.reached for group in one.before for seat in group.seats]
    lost = state.judged.lost if state.judged is not None else None
    moving = is_under_way and state.phase != "halted"
    return Summary(
        rollout=state.rollout,
        phase=state.phase,
        units=frozenset(unit.unit for unit in state.resolved.plan.package),
        is_under_way=is_under_way,
        is_judge_lost=is_under_way and lost is not None,
        active=frozenset(seat.colo for seat in seats if seat.host not in state.restored) if moving else frozenset(),
        reverts=state.reverts,
        regions={seat.colo: seat.region for seat in seats},
    )


def trips(others: Sequence[Summary], limits: Limits, now: datetime) -> list[Trip]:
    """List the breakers that reverts and silence have opened, sorted.

    Parameters
    ----------
    others
        All rollouts.
    limits
        What is too much.
    now
        The time.
    """
    since = now - timedelta(milliseconds=duration_ms(limits.window))
    recent = [(one, colos) for one in others for at, colos in one.reverts if at > since]
    per_colo = Counter(colo for _, colos in recent for colo in colos)
    per_region = Counter(region for one, colos in recent for region in {one.regions[colo] for colo in colos})
    lost = sum(one.is_judge_lost for one in others)
    words = f"reverts within {limits.window}"
    found = [
        *_over("colo", per_colo, limits.reverts_per_colo, words),
        *_over("region", per_region, limits.reverts_per_region, words),
        *_over("fleet", {"fleet": len(recent)}, limits.reverts_in_fleet, words),
        *_over("fleet", {"fleet": lost}, limits.judges_lost, "rollouts whose judge is not relied on"),
    ]
    return sorted(found)


def crowded(others: Sequence[Summary], limits: Limits, rollout: str) -> list[Trip]:
    """List where so many other rollouts are under way that this one may not begin a stage."""
    moving = [one for one in others if one.active and one.rollout != rollout]
    per_colo = Counter(colo for one in moving for colo in one.active)
    words = "other rollouts are under way"
    return sorted(
        [
            *_over("colo", per_colo, limits.rollouts_per_colo, words),
            *_over("fleet", {"fleet": len(moving)}, limits.rollouts_in_fleet, words),
        ]
    )


def touching(found: Iterable[Trip], seats: Iterable[Seat]) -> list[Trip]:
    """Pick the open breakers that keep a stage from some of its hosts."""
    places = {("fleet", "fleet")}
    for seat in seats:
        places |= {("colo", seat.colo), ("region", seat.region)}
    return [trip for trip in found if (trip.kind, trip.place) in places]


def _over(kind: Literal["colo", "region", "fleet"], counts: Mapping[str, int], most: int, words: str) -> Iterable[Trip]:
    return (
        Trip(kind=kind, place=place, why=f"{count} {words}; allowed: fewer than {most}")
        for place, count in counts.items()
        if count >= most
    )
