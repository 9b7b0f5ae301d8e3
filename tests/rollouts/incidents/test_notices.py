"""Who hears what of an incident, by the rules of the response document."""

from datetime import timedelta

import pytest

from detectors.errors import BadInput
from rollouts.incidents.history import (
    Acknowledged,
    Assessed,
    Cause,
    Closed,
    Escalated,
    Event,
    History,
    Impact,
    Joined,
    MergedInto,
    Mitigated,
    Opened,
    Overdue,
    Ranked,
    Reminded,
    Reopened,
    Resolved,
    Reviewed,
    RoleTaken,
    Severity,
    Updated,
)
from rollouts.incidents.notices import Notice, notices
from rollouts.incidents.response import Recipient, Response, Rule
from tests.rollouts.incidents.making import NAME, at

ALL = Rule(tell=["all"])


def opened(severity: Severity = "major", *, is_drill: bool = False, impact: Impact | None = None) -> Opened:
    where = impact or Impact(colos=["ams01"], services=["dns"])
    return Opened(at=at(0), by="holdfast", title="errors", severity=severity, impact=where, is_drill=is_drill)


def told(*events: Event, rules: list[Rule] | None = None, drills: list[str] | None = None) -> list[Notice]:
    names = {name for rule in rules or [ALL] for name in rule.tell}
    response = Response(
        response="r",
        recipients=[Recipient(name=name, urls=["json://localhost"]) for name in sorted(names)],
        rules=[ALL] if rules is None else rules,
        drills=drills or [],
    )
    return notices(History(incident=NAME, events=[*events]), response)


def said(*events: Event, rules: list[Rule] | None = None, drills: list[str] | None = None) -> list[tuple[str, str]]:
    return [(notice.what, notice.recipient) for notice in told(*events, rules=rules, drills=drills)]


def assessed(severity: Severity | None = None, minutes: float = 1) -> Assessed:
    return Assessed(at=at(minutes), by="ada", severity=severity, why="looked")


def escalated(*names: str) -> Escalated:
    return Escalated(at=at(10), by="holdfast", step=0, tell=[*names])


def test_every_turn_of_an_incident_is_told_and_nothing_else_is() -> None:
    found = said(
        opened(),
        Ranked(at=at(0), by="holdfast", candidates=[]),
        Acknowledged(at=at(1), by="ada"),
        Updated(at=at(2), by="ada", text="we look"),
        Overdue(at=at(62), by="holdfast", promised=at(62)),
        assessed("critical", 63),
        Mitigated(at=at(64), by="holdfast", how="reverted"),
        Resolved(at=at(65), by="ada", how="reverted"),
        Reopened(at=at(66), by="ada", why="again"),
        Resolved(at=at(67), by="ada", how="reverted"),
        Reviewed(at=at(68), by="ada", digest="0" * 64),
        Closed(at=at(69), by="ada"),
    )
    whats = ["opened", "updated", "overdue", "assessed", "mitigated", "resolved", "reopened", "resolved"]
    assert found == [(what, "all") for what in whats]


def test_what_a_rule_does_not_name_is_not_told_by_it() -> None:
    rule = Rule(tell=["quiet"], of=["opened", "closed"])
    done: list[Event] = [Resolved(at=at(1), by="ada", how="x"), Reviewed(at=at(2), by="ada", digest="0" * 64)]
    assert said(opened(), *done, Closed(at=at(3), by="ada"), rules=[rule]) == [("opened", "quiet"), ("closed", "quiet")]


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Rule(tell=["a"], severities=["critical"]), False),
        (Rule(tell=["a"], severities=["major", "minor"]), True),
        (Rule(tell=["a"], services=["d*"]), True),
        (Rule(tell=["a"], services=["web"]), False),
        (Rule(tell=["a"], colos=["fra*", "ams0?"]), True),
        (Rule(tell=["a"], colos=["fra*"]), False),
    ],
)
def test_a_rule_fits_by_severity_service_and_colo(rule: Rule, fits: bool) -> None:
    assert bool(said(opened(), rules=[rule])) is fits


def test_of_what_nobody_knows_everybody_hears() -> None:
    rule = Rule(tell=["web"], services=["web"], colos=["fra*"])
    assert said(opened(impact=Impact()), rules=[rule]) == [("opened", "web")]


def test_who_fits_several_rules_hears_once() -> None:
    assert said(opened(), rules=[ALL, Rule(tell=["all", "more"])]) == [("opened", "all"), ("opened", "more")]


def test_who_was_told_of_a_critical_incident_hears_that_it_is_minor_and_over() -> None:
    pager = Rule(tell=["pager"], severities=["critical"])
    found = said(opened("critical"), assessed("minor"), Resolved(at=at(2), by="ada", how="x"), rules=[pager])
    assert found == [("opened", "pager"), ("assessed", "pager"), ("resolved", "pager")]


def test_who_waits_for_critical_ones_alone_hears_when_one_becomes_critical() -> None:
    pager = Rule(tell=["pager"], severities=["critical"], of=["opened", "resolved"])
    assert said(opened("minor"), assessed("critical"), rules=[pager]) == [("assessed", "pager")]


def test_a_further_stop_is_told_only_where_it_makes_it_larger() -> None:
    cause = Cause(rollout="b", verdict="v2", sequence=1, action="revert", stage="s", at=at(1))
    same = Joined(at=at(1), by="holdfast", cause=cause, impact=Impact(colos=["ams01"], services=["dns"]), why="x")
    more = Joined(at=at(2), by="holdfast", cause=cause, impact=Impact(colos=["ams01", "fra02"]), why="x")
    assert [(each.what, each.at) for each in told(opened(), same, more)] == [("opened", at(0)), ("assessed", at(2))]


def test_a_step_of_the_escalation_tells_whom_it_names_and_later_whether_they_are_needed() -> None:
    over: list[Event] = [Mitigated(at=at(20), by="holdfast", how="x"), Updated(at=at(21), by="ada", text="x")]
    found = said(opened(), escalated("boss"), *over, rules=[Rule(tell=["boss"], severities=["critical"])])
    assert found == [("escalated", "boss"), ("mitigated", "boss")]


def test_one_whom_the_document_does_not_know_is_not_passed_over() -> None:
    assert said(opened(), escalated("gone"), rules=[]) == [("escalated", "gone")]


def test_a_drill_is_told_to_those_who_are_told_of_drills_and_to_nobody_else() -> None:
    found = said(opened("critical", is_drill=True), escalated("boss"), drills=["lab"])
    assert found == [("opened", "lab"), ("escalated", "lab")]


def test_nobody_hears_of_a_drill_if_nobody_is_told_of_drills() -> None:
    assert said(opened("critical", is_drill=True), escalated("boss")) == []


def test_what_went_on_elsewhere_ends_here() -> None:
    rule = Rule(tell=["a"], of=["closed"])
    found = told(opened(), MergedInto(at=at(1), by="holdfast", incident="inc-20260312-ffffffff"), rules=[rule])
    assert [each.what for each in found] == ["closed"]


def test_ids_stay_the_same_when_a_history_grows_and_no_two_are_alike() -> None:
    events: list[Event] = [opened()]
    seen: list[tuple[str, str]] = []
    for minutes in range(1, 20):
        events.append(Updated(at=at(minutes), by="ada", text="x"))
        keys = [notice.key for notice in told(*events)]
        assert keys[: len(seen)] == seen
        assert len(set(keys)) == len(keys)
        seen = keys


def test_a_history_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match="begins with 'opened'"):
        told(Updated(at=at(1), by="ada", text="x"))
    with pytest.raises(BadInput):
        told()


def test_each_notice_has_the_incident_as_it_stood_then() -> None:
    found = told(opened("minor"), assessed("critical"))
    assert [each.incident.severity for each in found] == ["minor", "critical"]
    assert found[1].before is not None
    assert found[1].before.severity == "minor"
    assert found[1].at - found[0].at == timedelta(minutes=1)


LEADS = RoleTaken(at=at(1), by="ada", role="lead", person="ada")
LATE: list[Event] = [
    Reminded(at=at(50), by="holdfast", promised=at(60)),
    Overdue(at=at(60), by="holdfast", promised=at(60)),
]


def heard(*events: Event, rules: list[Rule] | None = None, is_drill: bool = False) -> list[tuple[str, str]]:
    history = (opened(is_drill=is_drill), *events)
    return [(one.what, one.recipient) for one in told(*history, rules=rules) if one.what != "opened"]


def test_who_leads_is_reminded_alone_if_there_is_a_recipient_of_that_name() -> None:
    rules = [ALL, Rule(tell=["ada"], of=["closed"])]
    assert heard(LEADS, *LATE, rules=rules) == [("due", "ada"), ("overdue", "all"), ("overdue", "ada")]


def test_without_such_a_recipient_those_are_reminded_whom_the_rules_name() -> None:
    assert heard(LEADS, *LATE) == [("due", "all"), ("overdue", "all")]
    assert heard(*LATE, rules=[Rule(tell=["all"], of=["opened", "overdue"])]) == [("overdue", "all")]


def test_who_leads_a_drill_is_not_reminded_of_it_by_a_recipient_of_their_own() -> None:
    assert heard(LEADS, *LATE, rules=[Rule(tell=["ada"])], is_drill=True) == []
