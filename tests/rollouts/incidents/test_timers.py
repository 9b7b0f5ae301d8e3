"""What is due for an incident: each step once, in order, and never after somebody is on it."""

import pytest

from rollouts.incidents.folding import folded
from rollouts.incidents.history import (
    Acknowledged,
    Assessed,
    Escalated,
    Overdue,
    Reminded,
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
    assert not any(isinstance(event, Overdue) for event in due(one, RESPONSE, at(14.9)))
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


def reminders(one, minutes, response=RESPONSE):
    return [event.promised for event in due(one, response, at(minutes)) if isinstance(event, Reminded)]


def test_a_promised_update_is_reminded_of_once_before_it_is_due() -> None:
    one = incident(Updated(at=at(1.0), by="ada", text="x", next_update=at(31.0)))
    assert (reminders(one, 25.9), reminders(one, 26.0)) == ([], [at(31.0)])
    one = folded(one, [Reminded(at=at(26.0), by="holdfast", promised=at(31.0))])
    assert reminders(one, 30.0) == []
    assert [type(event) for event in due(one, Response(response="r"), at(31.0))] == [Overdue]


def test_another_promise_is_reminded_of_anew() -> None:
    one = incident(
        Updated(at=at(1.0), by="ada", text="x", next_update=at(31.0)),
        Reminded(at=at(26.0), by="holdfast", promised=at(31.0)),
        Updated(at=at(29.0), by="ada", text="x", next_update=at(60.0)),
    )
    assert (reminders(one, 31.0), reminders(one, 55.0)) == ([], [at(60.0)])


def test_what_nobody_has_promised_is_reminded_of_by_the_severity() -> None:
    assert (reminders(incident(), 54.9), reminders(incident(), 55.0)) == ([], [at(60.0)])


def test_of_a_short_promise_is_reminded_at_half_of_its_time() -> None:
    one = incident(Updated(at=at(1.0), by="ada", text="x", next_update=at(5.0)))
    assert (reminders(one, 2.9), reminders(one, 3.0)) == ([], [at(5.0)])


def test_after_a_pause_nobody_is_reminded_of_what_is_late() -> None:
    one = incident(Updated(at=at(1.0), by="ada", text="x", next_update=at(31.0)))
    assert reminders(one, 31.0) == []


def test_who_wants_no_reminders_gets_none() -> None:
    one = incident(Updated(at=at(1.0), by="ada", text="x", next_update=at(31.0)))
    assert reminders(one, 30.9, Response(response="r", remind="0s")) == []
