"""Whatever comes in whatever order, and however often: each stop is in one incident, and what is over stays over."""

from collections import Counter
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from detectors.errors import BadInput
from rollouts.incidents.attribution import Surroundings
from rollouts.incidents.folding import Incident, fold, objection
from rollouts.incidents.history import (
    Acknowledged,
    Assessed,
    Closed,
    Escalated,
    Event,
    History,
    Joined,
    MergedInto,
    Mitigated,
    Opened,
    Overdue,
    Reminded,
    Reopened,
    Resolved,
    Reviewed,
    RoleTaken,
    Updated,
    checked,
)
from rollouts.incidents.merging import united
from rollouts.incidents.mitigating import mitigated
from rollouts.incidents.opening import Stop, opens, respond
from rollouts.incidents.response import Response, Step
from rollouts.incidents.roles import handed_over, taken
from rollouts.incidents.timers import due
from tests.rollouts.incidents.making import at, change, stop

COLOS = ["ams01", "fra02", "sin03"]
PEOPLE = ["ada", "bob"]
RESPONSE = Response(
    response="all",
    merge_within="30m",
    escalation=[Step(after="5m", tell=["first"]), Step(after="15m", tell=["second"])],
)
AROUND = Surroundings(
    changes={
        "a": change("a", [-30.0], colos=COLOS, units=["x@1"]),
        "b": change("b", [-20.0], colos=COLOS[:1], units=["x@1", "y@1"]),
        "c": change("c", [10.0], colos=COLOS[1:]),
        "drill-d": change("drill-d", [-10.0]),
    },
    traffic={"ams01": 0.5, "fra02": 0.3},
)
OVER: tuple[type[Event], ...] = (Opened, Joined, Updated, Mitigated, Resolved, MergedInto, Escalated, Overdue, Reminded)

SAID: list[Callable[..., Event]] = [
    Acknowledged,
    Closed,
    lambda **both: Resolved(how="x", **both),
    lambda **both: Reopened(why="x", **both),
    lambda **both: Reviewed(digest="0" * 64, **both),
    lambda **both: Updated(text="x", **both),
    lambda **both: Assessed(severity="minor", why="x", **both),
    lambda **both: RoleTaken(role="lead", person="eve", **both),
]
"""What people say, by whom and when."""


class AnyOrder(RuleBasedStateMachine):
    """Verdicts, people and clocks, on histories as the topic has them."""

    def __init__(self) -> None:
        super().__init__()
        self.minutes = 0.0
        self.stops: list[Stop] = []
        self.histories: dict[str, History] = {}
        self.number = 0

    @property
    def incidents(self) -> dict[str, Incident]:
        return {name: fold(history) for name, history in self.histories.items()}

    def add(self, name: str, *events: Event) -> None:
        before = self.histories.get(name, History(incident=name, events=[]))
        self.histories[name] = checked(History(incident=name, events=[*before.events, *events]))
        fold(self.histories[name])

    def pick(self, data: st.DataObject) -> Incident:
        return data.draw(st.sampled_from([*self.incidents.values()]))

    def said(self, data: st.DataObject, event: Event) -> None:
        """Have somebody say something, which is refused if it may not follow."""
        chosen = self.pick(data)
        if objection(chosen, event) is None:
            self.add(chosen.id, event)
        else:
            with pytest.raises(BadInput):
                fold(History(incident=chosen.id, events=[*self.histories[chosen.id].events, event]))

    @rule(minutes=st.sampled_from([0.5, 4.0, 20.0, 45.0]))
    def wait(self, minutes: float) -> None:
        self.minutes += minutes

    @rule(data=st.data(), size=st.integers(1, 3))
    def judge(self, data: st.DataObject, size: int) -> None:
        new = list[Stop]()
        for _ in range(size):
            self.number += 1
            new.append(
                stop(
                    data.draw(st.sampled_from(["a", "b", "c", "drill-d", "stranger"])),
                    f"v{self.number}",
                    self.minutes,
                    colos=data.draw(st.sets(st.sampled_from(COLOS))),
                    action=data.draw(st.sampled_from(["revert", "revert", "halt", "wait"])),
                    e_value=data.draw(st.sampled_from([1.0, 1e9])),
                    is_binding=data.draw(st.sampled_from([True, True, True, False])),
                )
            )
        self.stops += new
        self.hear([*new, *new[:1]])

    @precondition(lambda self: self.histories)
    @rule(data=st.data())
    def hear_again(self, data: st.DataObject) -> None:
        before = self.histories.copy()
        self.hear(data.draw(st.lists(st.sampled_from(self.stops), min_size=1, max_size=4)))
        assert self.histories == before

    def hear(self, stops: list[Stop]) -> None:
        for name, events in respond(self.incidents, stops, RESPONSE, AROUND, at(self.minutes)).items():
            self.add(name, *events)

    @precondition(lambda self: self.histories)
    @rule()
    def look_at_the_clock(self) -> None:
        for _ in range(2):
            for name, incident in self.incidents.items():
                self.add(name, *due(incident, RESPONSE, at(self.minutes)))
        assert not any(due(incident, RESPONSE, at(self.minutes)) for incident in self.incidents.values())

    @precondition(lambda self: self.histories)
    @rule(back=st.sets(st.sampled_from(["a", "b", "c"])))
    def take_back(self, back: set[str]) -> None:
        for name, incident in self.incidents.items():
            found = mitigated(incident, dict.fromkeys(back, at(self.minutes)), at(self.minutes))
            if found is not None:
                assert {cause.rollout for cause in incident.causes} <= back
                self.add(name, found)

    @precondition(lambda self: self.histories)
    @rule(
        data=st.data(),
        by=st.sampled_from(PEOPLE),
        kind=st.sampled_from(SAID),
    )
    def say(self, data: st.DataObject, by: str, kind: Callable[..., Event]) -> None:
        self.said(data, kind(at=at(self.minutes), by=by))

    @precondition(lambda self: self.histories)
    @rule(data=st.data(), by=st.sampled_from(PEOPLE), other=st.sampled_from(PEOPLE), is_given=st.booleans())
    def have_a_role(self, data: st.DataObject, by: str, other: str, is_given: bool) -> None:
        chosen = self.pick(data)
        if chosen.phase == "closed":
            return
        before = chosen.roles.get("expert")
        try:
            found = (
                handed_over(chosen, "expert", other, by, at(self.minutes))
                if is_given
                else taken(chosen, "expert", by, at(self.minutes))
            )
        except BadInput:
            assert before != by
            return
        if found is not None:
            self.add(chosen.id, found)
            assert before in (None, by) or chosen.roles.get("lead") == by

    @precondition(lambda self: len(self.histories) > 1)
    @rule(data=st.data())
    def unite(self, data: st.DataObject) -> None:
        one, other = self.pick(data), self.pick(data)
        try:
            added = united(one, other, "ada", at(self.minutes))
        except BadInput:
            return
        for name, events in added.items():
            self.add(name, *events)
        assert self.incidents[one.id].merged_into == other.id

    @invariant()
    def each_stop_is_in_one_incident(self) -> None:
        there = Counter(
            cause.verdict for each in self.incidents.values() if each.merged_into is None for cause in each.causes
        )
        wanted = {each.verdict for each in self.stops if opens(each.said, RESPONSE)}
        assert there == Counter(wanted)

    @invariant()
    def drills_are_apart(self) -> None:
        for each in self.incidents.values():
            assert {cause.rollout.startswith("drill-") for cause in each.causes} <= {each.is_drill}

    @invariant()
    def nothing_comes_after_the_end(self) -> None:
        for history in self.histories.values():
            kinds = [type(event) for event in history.events]
            if MergedInto in kinds:
                assert kinds.index(MergedInto) == len(kinds) - 1
            for number, kind in enumerate(kinds):
                if kind is Closed:
                    assert Reviewed in kinds[:number]
                    until = kinds.index(Reopened, number) if Reopened in kinds[number:] else len(kinds)
                    assert not {*OVER} & {*kinds[number + 1 : until]}

    @invariant()
    def steps_are_taken_once(self) -> None:
        for history in self.histories.values():
            steps = [event.step for event in history.events if isinstance(event, Escalated)]
            assert steps == sorted({*steps})
            promised = [event.promised for event in history.events if isinstance(event, Overdue)]
            assert len(promised) == len({*promised})


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
