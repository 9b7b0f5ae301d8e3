"""No order of events, and nothing that anybody writes to the log, puts an override in force without enough people."""

from datetime import datetime, timedelta

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rollouts.breakglass import APPROVE, DENY, REQUEST, REVOKE, Request, in_force
from rollouts.people import KINDS
from tests.overrides import HERE, NOW, OWNERS, PEOPLE, Log, hand, request, vote

SEEDS = st.sampled_from(sorted(OWNERS))
MAY_APPROVE = {1: "ada", 2: "bo", 12: "bo", 3: "cy"}


class Overrides(RuleBasedStateMachine):
    """People, and somebody who can write whatever they like to the log; beside it, what has honestly happened."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log()
        self.now: datetime = NOW
        self.asked: list[Request] = []
        self.votes: dict[str, set[str]] = {}
        self.over: set[str] = set()

    @rule(seconds=st.integers(1, 1_200))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(seed=SEEDS, kind=st.sampled_from(KINDS), minutes=st.integers(-1, 300), drill=st.booleans())
    def somebody_asks(self, seed: int, kind, minutes: int, drill: bool) -> None:
        made = request(
            seed,
            kind,
            signed=self.now,
            expires=self.now + timedelta(minutes=minutes),
            nonce=f"{len(self.log.raws):032x}",
            drill=drill,
        )
        if self.log.ask(made, seed, self.now) is None:
            assert seed in {1, 2, 12, 3, 4}
            assert 0 < minutes <= (240 if kind != "force_revert" else 1_440)
        self.asked.append(made)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), seed=SEEDS, kind=st.sampled_from([APPROVE, APPROVE, APPROVE, DENY, REVOKE]))
    def somebody_votes(self, data, seed: int, kind: str) -> None:
        wanted = data.draw(st.sampled_from(self.asked))
        said = vote(seed, wanted, self.now)
        why = self.log.say(kind, said, seed, self.now)
        if kind == APPROVE and seed in MAY_APPROVE and OWNERS[seed] != wanted.by and self.now < wanted.expires:
            self.votes.setdefault(said.request, set()).add(OWNERS[seed])
        if kind != APPROVE and why is None:
            self.over.add(said.request)

    @precondition(lambda self: self.log.raws)
    @rule(data=st.data())
    def somebody_writes_an_old_entry_again(self, data) -> None:
        old = msgspec.json.decode(data.draw(st.sampled_from(self.log.raws)))
        self.log.put(old["kind"], old["body"], old["who"], self.now)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), seed=SEEDS, as_seed=SEEDS)
    def somebody_signs_in_the_name_of_another(self, data, seed: int, as_seed: int) -> None:
        wanted = data.draw(st.sampled_from(self.asked))
        said = vote(as_seed, wanted, self.now)
        forged = hand(seed).sign(APPROVE, HERE, said)
        if seed != as_seed:
            self.log.put(APPROVE, forged, said.by, self.now)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), hours=st.integers(1, 100))
    def somebody_lengthens_a_request(self, data, hours: int) -> None:
        wanted = data.draw(st.sampled_from(self.asked))
        longer = msgspec.structs.replace(wanted, expires=wanted.expires + timedelta(hours=hours))
        self.log.put(REQUEST, hand(6).sign(REQUEST, HERE, longer), wanted.by, self.now)

    @invariant()
    def nothing_is_in_force_without_enough_people(self) -> None:
        for held in in_force(self.log.state(), self.now):
            found = PEOPLE.overrides.of(held.request.override)
            assert found is not None
            assert len(self.votes.get(held.id, set()) - {held.request.by}) >= found.approvals
            assert held.id not in self.over
            assert self.now < held.request.expires
            assert not held.request.drill
            assert held.request in [
                msgspec.structs.replace(each, signature=held.request.signature) for each in self.asked
            ]


TestOverrides = Overrides.TestCase
TestOverrides.settings = settings(max_examples=30, stateful_step_count=30, deadline=None, derandomize=True)


def test_the_machine_can_put_an_override_in_force() -> None:
    machine = Overrides()
    wanted = request(kind="force_advance")
    machine.log.ask(wanted)
    machine.log.approve(wanted, 2)
    machine.log.approve(wanted, 3)
    assert len(in_force(machine.log.state(), NOW)) == 1
