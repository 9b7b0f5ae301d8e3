"""What control's histories and announcements say beside a verdict."""

from datetime import timedelta

from holdfast.response.facts import change_of, reached_of, taken_back
from rollouts.announced import announce, with_event
from rollouts.document import Rollout, Stage, Unit
from tests.rollouts.fleet import BEGIN, POLICY, World


def reverting() -> World:
    """Give a rollout that is on its way back."""
    world = World()
    world.advance_to("half")
    world.verdict(900, "revert", "half")
    return world


def test_a_rollout_is_back_once_every_host_has_reported_so() -> None:
    world = reverting()
    assert taken_back(world.events, world.state) is None
    world.settle()
    assert taken_back(world.events, world.state) == world.now


def test_a_rollout_that_was_never_taken_back_is_not_back() -> None:
    world = World()
    world.advance_to("half")
    assert taken_back(world.events, world.state) is None


def test_what_a_rollout_has_reached_are_the_colos_of_its_hosts() -> None:
    world = World()
    assert reached_of(world.state) == frozenset()
    world.advance_to("half")
    changed = {host.colo for host in world.fleet.hosts if host.host in world.changed()}
    assert reached_of(world.state) >= changed != set()


def test_an_announced_rollout_is_a_change_with_its_units_and_the_stages_that_began() -> None:
    rollout = Rollout(
        rollout="r",
        started=BEGIN,
        stages=[Stage(name=name, canary={"host": name}, bake="5m") for name in ("one", "two", "three")],
        package=[Unit(unit="waf", kind="data-file", digest="sha256:11112222")],
    )
    told = with_event(announce(rollout, POLICY), "started", "two", BEGIN + timedelta(minutes=5))
    found = change_of(told, None, None, None)
    assert [start.stage for start in found.starts] == ["one", "two"]
    assert found.units == {"waf@sha256:11112222"}
    assert found.colos is None
