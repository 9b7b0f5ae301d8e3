"""Roles are held by one, and handed over by whoever may."""

import pytest

from detectors.errors import BadInput
from rollouts.incidents.folding import evolve
from rollouts.incidents.history import RoleTaken
from rollouts.incidents.roles import handed_over, taken
from tests.rollouts.incidents.making import NOON, at, incident


def had(role, person):
    return RoleTaken(at=NOON, by=person, role=role, person=person)


def test_a_role_that_nobody_has_is_taken_and_acknowledges_the_incident() -> None:
    event = taken(incident(), "lead", "ada", at(1.0))
    assert event is not None
    one = evolve(incident(), event)
    assert (one.roles, one.acknowledged) == ({"lead": "ada"}, at(1.0))


def test_who_has_a_role_takes_it_again_without_a_word() -> None:
    assert taken(incident(had("lead", "ada")), "lead", "ada", at(1.0)) is None


def test_a_role_is_not_taken_from_anybody() -> None:
    with pytest.raises(BadInput, match="expert: bob has it; bob or ada may hand it over"):
        taken(incident(had("lead", "ada"), had("expert", "bob")), "expert", "cyd", at(1.0))


@pytest.mark.parametrize("by", ["bob", "ada"])
def test_a_role_is_handed_over_by_whoever_has_it_and_by_the_lead(by) -> None:
    one = incident(had("lead", "ada"), had("expert", "bob"))
    event = handed_over(one, "expert", "cyd", by, at(1.0))
    assert event is not None
    assert evolve(one, event).roles["expert"] == "cyd"


def test_nobody_else_hands_a_role_over() -> None:
    with pytest.raises(BadInput, match="eve may not hand it over; allowed: bob or ada"):
        handed_over(incident(had("lead", "ada"), had("expert", "bob")), "expert", "eve", "eve", at(1.0))
    with pytest.raises(BadInput, match="allowed: nobody"):
        handed_over(incident(), "expert", "eve", "eve", at(1.0))


def test_no_history_has_a_role_taken_from_somebody() -> None:
    with pytest.raises(BadInput, match="bob has it, and bob or ada, who is the incident lead, may hand it over"):
        incident(had("lead", "ada"), had("expert", "bob"), had("expert", "cyd"))
