"""When holdfast itself says that an incident hurts nobody any more."""

from rollouts.incidents.history import Candidate, Impact, Joined, Mitigated, Ranked
from rollouts.incidents.mitigating import mitigated
from rollouts.incidents.opening import cause_of
from tests.rollouts.incidents.making import NOON, at, incident, stop


def joined(rollout="a", verdict="v1", minutes=0.0):
    return Joined(at=NOON, by="holdfast", cause=cause_of(stop(rollout, verdict, minutes)), impact=Impact(), why="x")


def ranked(rollout):
    return Ranked(at=NOON, by="holdfast", candidates=[Candidate(rollout=rollout, score=0.9, evidence=[])])


def test_it_is_once_hosts_have_reported_that_the_change_is_back() -> None:
    one = incident(joined(), ranked("a"))
    found = mitigated(one, {"a": at(3.0)}, at(4.0))
    assert isinstance(found, Mitigated)
    assert (found.by, found.how) == ("holdfast", "taken back, as the hosts report: a")


def test_it_is_not_while_one_of_the_rollouts_is_not_back() -> None:
    assert mitigated(incident(joined(), joined("b", "v2")), {"a": at(3.0)}, at(4.0)) is None


def test_what_was_back_before_the_newest_stop_proves_nothing() -> None:
    assert mitigated(incident(joined(), joined(verdict="v2", minutes=5.0)), {"a": at(3.0)}, at(6.0)) is None


def test_what_is_back_proves_nothing_where_something_else_did_it() -> None:
    assert mitigated(incident(joined(), ranked("other")), {"a": at(3.0)}, at(4.0)) is None
    assert mitigated(incident(joined(), ranked(None)), {"a": at(3.0)}, at(4.0)) is None


def test_it_is_said_once() -> None:
    one = incident(joined(), Mitigated(at=at(1.0), by="ada", how="x"))
    assert mitigated(one, {"a": at(3.0)}, at(4.0)) is None


def test_what_was_opened_by_hand_is_for_people_to_say() -> None:
    assert mitigated(incident(), {}, at(4.0)) is None
