"""What a control worker tells of itself."""

from datetime import timedelta
from typing import cast

import pytest
from msgspec.structs import replace

from holdfast.control import watch
from holdfast.control.ears import Ears
from holdfast.control.watch import GONE, OVERDUE, Watch, overdue
from holdfast.live.settings import load_settings
from rollouts.breakers import Limits
from rollouts.inputs import Doubt
from tests.rollouts.fleet import World


class Silent:
    """Ears that have heard nothing for a while."""

    silent_s, backlog = 12.5, 7


def made() -> Watch:
    return Watch(load_settings(None, {"HOLDFAST_WORKER": "one"}))


def looked(world: World) -> Watch:
    found = made()
    found.takes_over(cast("Ears", Silent()))
    found.look({"bots": world.state}, world.context.reports, world.context.fleet, Limits(judges_lost=1), world.now)
    return found


def value(found: Watch, name: str, **labels: str) -> float | None:
    return found.registry.get_sample_value(f"holdfast_{name}", {"role": "control", "worker": "one", **labels})


def test_one_that_stands_by_says_so_and_counts_nothing() -> None:
    found = made()
    assert value(found, "control_in_charge") == 0
    assert value(found, "control_rollouts", phase="baking") == 0
    assert value(found, "control_verdict_age_seconds") == 0


def test_rollouts_are_counted_by_phase_and_actions_that_are_in_flight() -> None:
    world = World()
    world.advance_to("one")
    found = looked(world)
    assert value(found, "control_in_charge") == 1
    assert value(found, "control_rollouts", phase=world.state.phase) == 1
    assert value(found, "control_rollouts", phase="reverted") == 0
    assert value(found, "control_actions_in_flight") == int(world.state.in_flight is not None)


def test_how_long_no_verdict_came_and_how_many_are_unread_is_told() -> None:
    found = looked(World())
    assert value(found, "control_verdict_age_seconds") == Silent.silent_s
    assert value(found, "backlog_messages", topic="holdfast.verdicts") == 7


def test_a_judge_that_is_lost_and_the_breaker_that_it_opens_are_told() -> None:
    world = World()
    world.advance_to("one")
    world.give(Doubt(why="it says nothing new"))
    found = looked(world)
    assert value(found, "control_judges_lost") == 1
    assert value(found, "control_breakers_open", place="fleet") == 1
    assert value(found, "control_breakers_open", place="colo") == 0


def test_hosts_that_are_silent_for_long_are_overdue_and_those_that_never_reported() -> None:
    world = World()
    host, *others = world.context.reports
    late = replace(world.context.reports[host], at=world.now - OVERDUE - timedelta(seconds=1))
    reports = {name: replace(world.context.reports[name], at=world.now) for name in others} | {host: late}
    assert overdue([*reports, "nobody"], reports, world.now) == [host, "nobody"]


def test_what_is_counted_ends_when_somebody_else_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_LOOK_S", 0.0)
    found = looked(World())
    assert value(found, "control_rollouts", phase="waiting") == 1
    found.stands_by()
    assert value(found, "control_rollouts", phase="waiting") == 0
    assert value(found, "control_hosts") == 0


def test_without_an_inventory_a_host_that_was_silent_for_a_day_has_left_the_fleet() -> None:
    world = World()
    reports = dict(world.context.reports)
    gone, late = sorted(reports)[:2]
    reports[gone] = replace(reports[gone], at=world.now - GONE - timedelta(seconds=1))
    reports[late] = replace(reports[late], at=world.now - GONE)
    found = made()
    found.takes_over(cast("Ears", Silent()))
    found.look({}, reports, None, Limits(), world.now)
    assert value(found, "control_hosts") == len(reports) - 1
    assert value(found, "control_reports_overdue") == len(overdue(reports, reports, world.now)) - 1
