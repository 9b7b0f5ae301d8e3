"""What is due for an incident: each step once, in order, and never after somebody is on it."""

import pytest

from rollouts.incidents.folding import folded
from rollouts.incidents.history import (
    Acknowledged,
    Assessed,
    Escalated,
    Overdue,
    Reopened,
    Resolved,
    RoleTaken,
    Updated,
)
from rollouts.incidents.response import Response, Step
from rollouts.incidents.timers import due, promised_for
from tests.rollouts.incidents.making import at, incident

RESPONSE = Response(
    response="r",
    escalation=[
        Step(after="5m", tell=["first"]),
        Step(after="10m", tell=["critical"], severities=["critical"]),
        Step(after="15m", tell=["second"]),
    ],
)


def steps(one, minutes):
    return [event.step for event in due(one, RESPONSE, at(minutes)) if isinstance(event, Escalated)]


def test_a_step_is_due_when_its_time_has_come() -> None:
    assert (steps(incident(), 4.9), steps(incident(), 5.0)) == ([], [0])


def test_after_a_pause_each_step_is_taken_once() -> None:
    one = incident()
    assert steps(one, 60.0) == [0, 2]
    assert steps(folded(one, due(one, RESPONSE, at(60.0))), 90.0) == []


def test_steps_of_other_severities_are_passed_by() -> None:
    assert steps(incident(Assessed(at=at(1.0), by="ada", severity="critical", why="x")), 60.0) == [0, 1, 2]
    assert steps(incident(Assessed(at=at(1.0), by="ada", severity="minor", why="x")), 60.0) == []


@pytest.mark.parametrize(
    "event",
    [
        Acknowledged(at=at(1.0), by="ada"),
        RoleTaken(at=at(1.0), by="ada", role="expert", person="ada"),
        Resolved(at=at(1.0), by="ada", how="x"),
    ],
)
def test_nothing_escalates_once_somebody_is_on_it(event) -> None:
    assert steps(incident(event), 60.0) == []


def test_without_a_word_the_document_promises_one() -> None:
    assert promised_for(incident(), RESPONSE) == at(60.0)


def test_a_promise_counts_from_the_newest_word() -> None:
    said = Updated(at=at(10.0), by="ada", text="x", next_update=None)
    assert promised_for(incident(said), RESPONSE) == at(70.0)


def test_what_somebody_has_promised_counts() -> None:
    said = Updated(at=at(10.0), by="ada", text="x", next_update=at(15.0))
    assert promised_for(incident(said), RESPONSE) == at(15.0)


def test_a_missed_promise_is_told_once_until_the_next_word() -> None:
    said = Updated(at=at(10.0), by="ada", text="x", next_update=at(15.0))
    one = incident(said, Acknowledged(at=at(1.0), by="ada"))
    assert due(one, RESPONSE, at(14.9)) == []
    late = due(one, RESPONSE, at(20.0))
    assert late == [Overdue(at=at(20.0), by="holdfast", promised=at(15.0))]
    one = folded(one, late)
    assert (one.overdue, due(one, RESPONSE, at(30.0))) == (True, [])
    one = folded(one, [Updated(at=at(31.0), by="ada", text="x", next_update=at(40.0))])
    assert (one.overdue, [type(event) for event in due(one, RESPONSE, at(41.0))]) == (False, [Overdue])


def test_what_is_over_promises_nothing_and_what_is_reopened_does() -> None:
    over = incident(Resolved(at=at(1.0), by="ada", how="x"))
    assert (promised_for(over, RESPONSE), due(over, RESPONSE, at(900.0))) == (None, [])
    again = folded(over, [Reopened(at=at(100.0), by="ada", why="x")])
    assert promised_for(again, RESPONSE) == at(160.0)
