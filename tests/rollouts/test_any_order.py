"""Whatever comes in whatever order, and wherever the controller is killed: what a rollout promises, it keeps."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rollouts.controlled import Deploy, Effect, Restore, StageBegun, State, decode, encode
from rollouts.folding import fold
from rollouts.inputs import Acted, Command, Doubt, Trust
from tests.rollouts.fleet import OLD, UNIT, World, plan

STAGES = ("one", "colo", "half")
ACTIONS = st.sampled_from(["advance", "wait", "halt", "revert"])
SEQUENCES = st.integers(1, 40)
HOSTS = st.integers(0, 19)


class AnyOrder(RuleBasedStateMachine):
    """Verdicts, reports, commands and crashes, in any order and as often as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(plan())
        self.highest = 0

    @rule(sequence=SEQUENCES, action=ACTIONS, stage=st.sampled_from(STAGES))
    def a_verdict_comes(self, sequence: int, action: str, stage: str) -> None:
        before, is_old = self.world.state, sequence <= self._heard()
        self.world.verdict(sequence, action, stage)
        if is_old:
            assert self.world.state.judged == before.judged

    @rule(action=ACTIONS, minutes=st.integers(0, 12))
    def the_judge_goes_on(self, action: str, minutes: int) -> None:
        current = self.world.state.current
        if current is not None:
            self.world.verdict(self._heard() + 1, action, self.world.state.name_of(current.stage), minutes)

    @rule(number=SEQUENCES, is_missing=st.booleans(), in_force=st.none() | ACTIONS)
    def the_judge_is_doubted(self, number: int, is_missing: bool, in_force: str | None) -> None:
        self.world.give(Doubt(why="lost", sequence=number, is_missing=is_missing, in_force=in_force))  # type: ignore[arg-type]

    @rule(in_force=st.none() | ACTIONS)
    def the_judge_is_heard(self, in_force: str | None) -> None:
        self.world.give(Trust(in_force=in_force))  # type: ignore[arg-type]

    @rule(what=st.sampled_from(["pause", "resume"]) | st.just("abort"), name=st.integers(0, 9))
    def somebody_commands(self, what: str, name: int) -> None:
        self.world.give(Command(id=str(name), command=what, by="ann", why="to see"))  # type: ignore[arg-type]

    @rule(minutes=st.integers(0, 20))
    def time_goes_by(self, minutes: int) -> None:
        self.world.give(minutes=minutes)

    @rule()
    def all_is_done(self) -> None:
        self.world.perform()

    @precondition(lambda self: self.world.state.outbox)
    @rule(index=st.integers(0, 50))
    def an_effect_is_done_and_nobody_hears_of_it(self, index: int) -> None:
        self.world.act(self.world.state.outbox[index % len(self.world.state.outbox)])

    @precondition(lambda self: self.world.effects)
    @rule(index=st.integers(0, 50))
    def an_effect_of_long_ago_is_done_once_more(self, index: int) -> None:
        effect = self.world.effects[index % len(self.world.effects)]
        self.world.act(effect)
        self.world.give(Acted(effects=[effect.id]))

    @rule(index=HOSTS)
    def a_host_applies(self, index: int) -> None:
        self.world.apply(self.world.fleet.hosts[index].host)

    @rule()
    def all_hosts_apply(self) -> None:
        for host in self.world.fleet.hosts:
            self.world.apply(host.host)
        self.world.give()

    @rule()
    def the_controller_is_killed(self) -> None:
        events = decode(encode(self.world.events))
        self.world.events, self.world.state = events, _folded(events)

    def _heard(self) -> int:
        return self.world.state.judged.sequence if self.world.state.judged else 0

    @invariant()
    def the_history_says_it_all(self) -> None:
        again = _folded(decode(encode(self.world.events)))
        assert again == self.world.state
        assert again.outbox == self.world.state.outbox

    @invariant()
    def no_stage_is_skipped_or_begun_twice(self) -> None:
        begun = [event.stage for event in self.world.events if isinstance(event, StageBegun)]
        assert begun == list(range(len(begun)))

    @invariant()
    def each_action_has_a_number_of_its_own_and_one_id_is_one_effect(self) -> None:
        effects: dict[str, Effect] = {}
        for effect in [*self.world.effects, *self.world.state.outbox]:
            assert effects.setdefault(effect.id, effect) == effect
        actions = [one for one in effects.values() if isinstance(one, Deploy | Restore)]
        assert len({one.number for one in actions}) == len(actions)

    @invariant()
    def sequences_only_grow(self) -> None:
        assert self._heard() >= self.highest
        self.highest = self._heard()

    @invariant()
    def no_host_has_it_that_no_stage_has_reached(self) -> None:
        reached = {s.host for one in self.world.state.reached for group in one.before for s in group.seats}
        assert self.world.changed() <= reached

    @invariant()
    def what_is_said_to_be_back_is_back(self) -> None:
        state = self.world.state
        if state.phase in ("reverted", "aborted"):
            assert self.world.changed() == set()
            assert all(units == {UNIT.unit: OLD} for units in self.world.units.values())


def _folded(events) -> State:
    state = fold(events)
    assert state is not None
    return state


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
