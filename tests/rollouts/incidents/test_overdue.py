"""Overdue action items are drift."""

from datetime import timedelta

from msgspec.structs import replace

from rollouts.drift import audit
from rollouts.incidents.folding import fold
from rollouts.incidents.history import ActionAdded, ActionDone, ActionItem, History
from tests.rollouts.drifting import NOW, facts
from tests.rollouts.incidents.making import NAME, at, incident, opened

DAY = timedelta(days=1)


def added(due, name="a1"):
    return ActionAdded(at=at(1), by="ada", item=ActionItem(id=name, what="Limit the size", owner="grace", due=due))


def found(*events, now=NOW):
    return [one for one in audit(facts(incidents={NAME: incident(*events)}), now) if one.kind == "action-overdue"]


def test_an_action_item_that_is_overdue_is_found_until_it_is_done() -> None:
    (one,) = found(added(NOW - DAY))
    assert one.subject == f"{NAME}/a1"
    assert "grace was to have it done by" in one.sentence
    assert not found(added(NOW - DAY), ActionDone(at=at(2), by="grace", id="a1"))


def test_what_a_drill_left_to_do_is_no_drift() -> None:
    drill = fold(History(incident=NAME, events=[replace(opened(), is_drill=True), added(NOW - DAY)]))
    assert not [one for one in audit(facts(incidents={NAME: drill}), NOW) if one.kind == "action-overdue"]


def test_one_that_is_still_to_come_is_none() -> None:
    assert not found(added(NOW + DAY))
    assert found(added(NOW + DAY), now=NOW + 2 * DAY)
