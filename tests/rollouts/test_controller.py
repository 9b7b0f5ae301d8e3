"""The controller: what happens next, whatever came last."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from rollouts.blast import blast
from rollouts.context import holds
from rollouts.controlled import Deploy, Restore, Tell, decode, encode
from rollouts.folding import fold
from rollouts.freezes import Freeze
from rollouts.inputs import Command, Doubt, Trust
from rollouts.plans import Most
from tests.rollouts.fleet import BEGIN, NEW, OLD, UNIT, World, inventory, other, override, plan


def baking(stage: str = "one") -> World:
    world = World()
    world.advance_to(stage)
    assert world.phase() == "baking"
    return world


def command(what: str, name: str = "1") -> Command:
    return Command(id=name, command=what, by="ann", why="to see")  # type: ignore[arg-type]


def test_the_first_stage_begins_at_once_and_is_told_before_it_is_deployed() -> None:
    world = World()
    world.give()
    kinds = [type(effect) for effect in world.state.outbox]
    assert kinds.index(Tell) < kinds.index(Deploy)
    assert world.phase() == "applying"


def test_a_stage_bakes_once_all_its_hosts_have_reported() -> None:
    world = World()
    world.give()
    world.perform()
    world.give()
    assert world.phase() == "applying"
    world.apply("c0-h0")
    world.give()
    assert world.phase() == "baking"


def test_an_advance_begins_the_next_stage_when_the_bake_is_over() -> None:
    world = baking()
    world.verdict(1, "advance", "one", minutes=1)
    assert world.phase() == "baking"
    world.give(minutes=10)
    assert (world.phase(), world.state.passed) == ("applying", 1)


def test_after_the_last_stage_the_rest_gets_the_package_and_the_rollout_is_completed() -> None:
    world = baking("half")
    world.verdict(900, "advance", "half", minutes=11)
    world.settle()
    assert world.phase() == "completed"
    assert len(world.changed()) == len(world.fleet.hosts)
    assert [e.event for e in world.effects if isinstance(e, Tell)].count("finished") == 1


def test_the_rest_is_left_alone_if_the_plan_says_so() -> None:
    world = World(plan(rest="hold"))
    world.advance_to("half")
    world.verdict(900, "advance", "half", minutes=11)
    world.settle()
    assert world.phase() == "completed"
    assert len(world.changed()) == 13


def test_hosts_that_come_after_the_plan_was_submitted_belong_to_the_rest() -> None:
    world = World()
    world.fleet = inventory(hosts=6)
    world.units |= {f"c{colo}-h5": {UNIT.unit: OLD} for colo in range(4)}
    for colo in range(4):
        world.report(f"c{colo}-h5")
    world.advance_to("half")
    assert not {f"c{colo}-h5" for colo in range(4)} & world.changed()
    world.verdict(900, "advance", "half", minutes=11)
    world.settle()
    assert {f"c{colo}-h5" for colo in range(4)} <= world.changed()


def test_a_revert_takes_the_reached_stages_back_newest_first_and_waits_for_reports() -> None:
    world = baking("half")
    world.verdict(900, "revert", "half")
    world.effects.clear()
    world.perform()
    assert [e.stage for e in world.effects if isinstance(e, Restore)] == ["half"]
    world.give()
    assert world.phase() == "reverting"
    world.settle()
    assert [e.stage for e in world.effects if isinstance(e, Restore)] == ["half", "colo", "one"]
    assert world.phase() == "reverted"
    assert world.changed() == set()


def test_a_host_that_has_not_heard_of_the_way_back_is_not_taken_for_one_that_is_back() -> None:
    world = World()
    world.give()  # the package is not deployed yet, so the host still has what it had
    world.perform()
    world.verdict(1, "revert", "one")
    world.report("c0-h0")
    world.give()
    assert world.phase() == "reverting"


def test_a_silent_host_does_not_keep_older_stages_from_being_taken_back_but_from_being_called_so() -> None:
    world = baking("colo")
    world.verdict(900, "revert", "colo")
    world.perform()
    world.give(minutes=6)
    world.perform()
    assert [e.stage for e in world.effects if isinstance(e, Restore)] == ["colo", "one"]
    world.apply("c0-h0")
    world.give()
    assert world.phase() == "reverting"
    world.settle()
    assert world.phase() == "reverted"


def test_hosts_get_back_what_each_of_them_had() -> None:
    world = World()
    world.units["c1-h1"] = {}
    world.report("c1-h1")
    world.advance_to("colo")
    world.verdict(900, "revert", "colo")
    world.settle()
    assert world.units["c1-h1"] == {}
    assert world.units["c2-h1"] == {UNIT.unit: OLD}


def test_a_halt_stops_and_a_later_revert_takes_back() -> None:
    world = baking()
    world.verdict(1, "halt", "one")
    assert world.phase() == "halted"
    world.verdict(2, "revert", "one")
    assert world.phase() == "reverting"


def test_a_stop_of_an_earlier_stage_counts_for_one_that_began_meanwhile() -> None:
    world = baking("colo")
    world.verdict(900, "revert", "one")
    assert world.phase() == "reverting"


@pytest.mark.parametrize(
    ("sequence", "stage", "given"),
    [(100, "colo", {}), (900, "half", {}), (900, "nowhere", {}), (900, "colo", {"binding": False})],
)
def test_a_verdict_that_is_old_of_another_stage_or_not_binding_changes_nothing(sequence, stage, given) -> None:
    world = baking("colo")
    before = world.events
    world.verdict(sequence, "revert", stage, **given)
    assert world.events == before


@pytest.mark.parametrize("doubt", [Doubt(why="stale"), Doubt(why="gap", sequence=7, is_missing=True)])
def test_without_its_judge_a_rollout_does_not_go_on(doubt: Doubt) -> None:
    world = baking()
    world.verdict(1, "wait", "one")
    world.give(doubt)
    world.give(minutes=11)
    assert world.phase() == "baking"
    world.verdict(8, "advance", "one")
    assert world.phase() == "applying"


def test_what_was_in_force_before_a_silence_is_so_after_it() -> None:
    world = baking()
    world.verdict(1, "advance", "one")
    world.give(Doubt(why="stale"))
    world.give(minutes=11)
    assert world.phase() == "baking"
    world.give(Trust(in_force="advance"))
    assert world.phase() == "applying"


def test_an_advance_that_was_missed_is_not_believed_and_a_revert_is() -> None:
    world = baking()
    world.give(Doubt(why="gap", sequence=3, is_missing=True, in_force="advance"))
    world.give(Trust(in_force="advance"), minutes=11)
    assert world.phase() == "baking"
    world.give(Doubt(why="gap", sequence=5, is_missing=True, in_force="revert"))
    assert world.phase() == "reverting"


def test_a_rollout_is_taken_back_though_its_judge_is_lost_and_it_is_paused() -> None:
    world = baking()
    world.give(command("pause"))
    world.give(Doubt(why="stale"))
    world.verdict(1, "revert", "one")
    world.settle()
    assert world.phase() == "reverted"


def test_a_paused_rollout_goes_on_when_it_is_resumed() -> None:
    world = baking()
    world.give(command("pause"))
    world.verdict(1, "advance", "one", minutes=11)
    assert world.phase() == "baking"
    world.give(command("resume", "2"))
    assert world.phase() == "applying"


def test_a_command_that_comes_again_is_done_once() -> None:
    world = baking()
    world.give(command("pause"))
    world.give(command("resume", "2"))
    world.give(command("pause"))
    assert world.state.paused is None


def test_aborting_takes_back_what_was_reached() -> None:
    world = baking("colo")
    world.give(command("abort"))
    world.settle()
    assert world.phase() == "aborted"
    assert world.changed() == set()


def test_nothing_is_heard_once_a_rollout_has_ended() -> None:
    world = baking()
    world.give(command("abort"))
    world.settle()
    before = world.events
    world.verdict(1, "revert", "one")
    world.give(command("pause", "2"))
    assert world.events == before
    assert "allowed: nothing more" in world.notes[-1]


def test_a_stage_that_hosts_do_not_apply_in_time_is_halted() -> None:
    world = World()
    world.give()
    world.perform()
    world.give(minutes=6)
    assert world.phase() == "halted"
    assert "c0-h0" in str(world.state.halted)


def test_a_stage_that_nobody_judges_is_halted_after_its_deadline() -> None:
    world = baking()
    world.give(minutes=70)
    assert world.phase() == "halted"


def test_a_clock_that_is_behind_decides_nothing() -> None:
    world = baking()
    before = world.events
    world.verdict(1, "revert", "one", minutes=-10)
    assert world.events == before
    assert "clocks disagree" in world.notes[-1]


def test_a_revert_may_be_kept_to_the_colos_that_are_hurt() -> None:
    world = World(plan(revert="scope"))
    world.advance_to("colo")
    world.verdict(900, "revert", "colo", colos=["c1"])
    world.settle()
    assert world.phase() == "halted"
    assert world.changed() == {"c0-h0", "c0-h1", "c2-h1", "c3-h1"}
    world.verdict(901, "revert", "colo", colos=["c1", "c2"])
    world.settle()
    assert world.changed() == {"c0-h0", "c0-h1", "c3-h1"}
    world.give(command("abort"))
    world.settle()
    assert (world.phase(), world.changed()) == ("aborted", set())


def test_a_forced_advance_overrules_a_halt_once_and_for_its_stage_alone() -> None:
    world = baking()
    world.verdict(1, "halt", "one")
    world.overrides = [override("force_advance", rollout="bots", stage="colo")]
    world.give()
    assert world.phase() == "halted"
    world.overrides = [override("force_advance", rollout="bots", stage="one")]
    world.give()
    assert (world.phase(), world.state.passed) == ("applying", 1)
    world.verdict(2, "halt", "colo")
    assert world.phase() == "halted"


def test_a_forced_revert_needs_no_verdict() -> None:
    world = baking()
    world.overrides = [override("force_revert", rollout="bots")]
    world.give()
    world.settle()
    assert world.phase() == "reverted"


def test_a_verdict_that_shows_in_an_ignored_metric_alone_counts_once_nobody_ignores_it() -> None:
    world = baking()
    world.overrides = [override("ignore_metric", metric="busy")]
    world.verdict(1, "revert", "one", metrics=["busy"])
    assert world.phase() == "baking"
    world.give(minutes=60)
    assert world.phase() == "reverting"


GALA = Freeze(begin="2026-03-12T00:00", until="2026-03-12T23:00", zone="UTC", reason="gala")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"after": ["routes"]}, "after routes, which is baking"),
        ({"started": BEGIN + timedelta(hours=1)}, "not before"),
        ({"freezes": [GALA]}, "frozen: gala"),
    ],
)  # fmt: skip
def test_what_holds_a_plan_back_is_said(given, words) -> None:
    world = World(plan() if "after" in given else plan(**given))
    if "after" in given:
        resolved = replace(world.state.resolved, plan=plan(**given))
        world.state = replace(world.state, resolved=resolved)
        world.others = [other("routes")]
    world.give()
    assert world.phase() == "waiting"
    assert any(words in reason for reason in holds(world.state, world.context))


def test_no_stage_begins_while_everything_is_frozen_by_an_override() -> None:
    world = World()
    world.overrides = [override("freeze_all")]
    world.give()
    assert world.phase() == "waiting"
    world.give(minutes=61)
    assert world.phase() == "applying"


def test_two_rollouts_never_have_the_same_unit_under_way() -> None:
    world = World()
    world.others = [other("routes", units=frozenset({UNIT.unit}))]
    world.give()
    assert holds(world.state, world.context) == [f"routes is under way with {UNIT.unit}"]


def test_a_stage_waits_for_hosts_that_have_never_reported() -> None:
    world = World()
    del world.reports["c0-h0"]
    world.give()
    assert "never reported" in holds(world.state, world.context)[0]


def test_a_fleet_that_has_shrunk_does_not_let_a_stage_reach_more_than_it_may() -> None:
    first, *others = plan().stages
    stages = [replace(first, most=Most(fleet=0.06, region=1.0)), *others]
    world = World(plan(stages=stages))
    world.fleet = inventory(hosts=2)
    world.give()
    assert holds(world.state, world.context) == [
        "most.fleet: 12.50% of the fleet would have the change; allowed: 6.00%"
    ]


def test_a_history_that_is_written_and_read_again_folds_to_the_same() -> None:
    world = baking("colo")
    world.verdict(900, "revert", "colo")
    assert fold(decode(encode(world.events))) == world.state


def test_the_blast_radius_says_what_is_reached_and_what_could_be_next() -> None:
    world = baking()
    found = blast(world.state, world.context)
    assert (found.reached.hosts, found.reached.fleet, found.reached.colos) == (["c0-h0"], 0.05, {"c0": 0.2})
    assert found.following.hosts == [f"c{colo}-h1" for colo in range(4)]
    world.verdict(1, "revert", "one")
    world.settle()
    found = blast(world.state, world.context)
    assert (found.reached.hosts, found.changed.hosts, found.following.hosts) == (["c0-h0"], [], [])


def test_nobody_gets_anything_but_the_old_and_the_new() -> None:
    world = baking("half")
    assert {digest for units in world.units.values() for digest in units.values()} == {OLD, NEW}


def test_the_advance_of_one_stage_is_not_that_of_the_next() -> None:
    world = baking("colo")
    world.give(minutes=30)
    assert (world.phase(), world.state.passed) == ("baking", 1)


def test_a_number_that_was_heard_is_not_heard_again_with_another_content() -> None:
    world = baking()
    world.verdict(1, "wait", "one")
    world.verdict(1, "revert", "one")
    assert world.phase() == "baking"
