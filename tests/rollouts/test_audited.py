"""What the audit topic keeps from beginning, and what it does not."""

from msgspec.structs import replace

from rollouts.context import Context, holds
from rollouts.controlled import Restore
from rollouts.controller import decide
from rollouts.inputs import Command
from tests.rollouts.fleet import World, override


def audited(world: World) -> Context:
    return replace(world.context, is_audited=True)


def test_no_stage_begins_before_all_that_was_done_is_on_the_audit_topic() -> None:
    world = World()
    made = decide(world.events, world.state, None, audited(world))
    assert made.state.phase == "waiting"
    assert "what was done is not on the audit topic yet: 1 entries are missing" in holds(made.state, audited(world))
    world.perform()
    assert decide(world.events, world.state, None, audited(world)).state.phase == "applying"


def test_what_is_to_be_taken_back_does_not_wait_for_the_audit_topic() -> None:
    world = World()
    world.advance_to("one")
    world.give(Command(id="1", command="pause", by="ann", why="to see"))
    assert world.state.outbox
    world.overrides = [override("force_revert", rollout="bots")]
    made = decide(world.events, world.state, None, audited(world))
    assert made.state.phase == "reverting"
    assert any(isinstance(effect, Restore) for effect in made.state.outbox)


def test_nothing_begins_while_it_is_not_known_what_people_have_decided() -> None:
    world = World()
    context = replace(world.context, unknown="the broker is away")
    assert decide(world.events, world.state, None, context).state.phase == "waiting"
    assert "it is not known what people have decided: the broker is away" in holds(world.state, context)
