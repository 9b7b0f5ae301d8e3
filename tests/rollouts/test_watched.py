"""Nothing begins before the judge is there to see it."""

from msgspec.structs import replace

from rollouts.context import Context, holds
from rollouts.controller import decide
from rollouts.inputs import Doubt, Trust
from tests.rollouts.fleet import World


def watched(world: World) -> Context:
    return replace(world.context, is_watched=True)


def test_the_first_stage_waits_until_the_judge_has_been_heard_of_the_rollout() -> None:
    world = World()
    assert decide(world.events, world.state, None, watched(world)).state.phase == "waiting"
    assert "the judge has not come to it yet: it still reads the past, or has no data" in holds(
        world.state, watched(world)
    )
    assert decide(world.events, world.state, Trust(), watched(world)).state.phase == "applying"


def test_a_judge_that_was_lost_before_it_was_heard_begins_nothing() -> None:
    world = World()
    made = decide(world.events, world.state, Doubt(why="it says nothing new"), watched(world))
    assert made.state.phase == "waiting"
    assert "the judge is not relied on: it says nothing new" in holds(made.state, watched(world))


def test_that_the_judge_is_heard_is_an_event_of_its_own_only_once() -> None:
    world = World()
    made = decide(world.events, world.state, Trust(), watched(world))
    assert decide(made.events, made.state, Trust(), watched(world)).events == made.events
