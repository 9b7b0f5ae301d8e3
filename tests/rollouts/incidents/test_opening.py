"""Which verdicts open an incident, under which name, and how bad it is."""

import pytest

from rollouts.incidents.attribution import Surroundings
from rollouts.incidents.folding import evolve, fold
from rollouts.incidents.history import (
    Assessed,
    History,
    Impact,
    Joined,
    Mitigated,
    Opened,
    Ranked,
    Reopened,
    Resolved,
)
from rollouts.incidents.opening import (
    COLOS_MAX,
    UNGRADED,
    cause_of,
    impact_of,
    name_of,
    opens,
    plain,
    respond,
    severity_of,
    sharpened,
    title_of,
)
from rollouts.incidents.response import Component, Grade, Response
from tests.rollouts.incidents.making import NAME, NOON, at, change, incident, stop

NOTHING = Surroundings()
EDGE = Component(name="edge", title="Edge", metrics=["err*"], colos=["ams*"])
RESPONSE = Response(response="r", components=[EDGE])


@pytest.mark.parametrize(
    ("one", "is_so"),
    [
        (stop(), True),
        (stop(is_binding=False), False),
        (stop(action="halt"), False),
        (stop(action="wait"), False),
    ],
)
def test_a_revert_that_binds_opens_an_incident_and_nothing_else_does(one, is_so) -> None:
    assert opens(one.said, RESPONSE) is is_so


def test_a_halt_opens_one_where_the_document_says_so() -> None:
    assert opens(stop(action="halt").said, Response(response="r", opens=["halt"]))


def test_the_same_stop_has_the_same_name_on_whatever_machine() -> None:
    assert name_of(NOON, ["r", "v"]) == name_of(at(600.0), ["r", "v"]) != name_of(NOON, ["r", "w"])


def test_a_drill_is_no_candidate_of_what_is_real_and_nothing_real_is_one_of_a_drill() -> None:
    around = Surroundings(changes={name: change(name) for name in ("bots", "drill-b")})
    for name, other in (("bots", "drill-b"), ("drill-b", "bots")):
        ((_, events),) = respond({}, [stop(name)], RESPONSE, around, NOON).items()
        ranked = events[-1]
        assert isinstance(ranked, Ranked)
        named = [each.rollout for each in ranked.candidates]
        assert name in named
        assert other not in named


def test_a_name_that_is_taken_is_not_given_again() -> None:
    first = name_of(NOON, ["r", "v"])
    assert name_of(NOON, ["r", "v"], {first}) != first


def test_a_component_is_hurt_if_one_of_its_metrics_is_in_one_of_its_colos() -> None:
    assert impact_of(stop(), RESPONSE, NOTHING).services == ["edge"]
    assert impact_of(stop(colos=["fra02"]), RESPONSE, NOTHING).services == []
    assert impact_of(stop(metrics=["latency"]), RESPONSE, NOTHING).services == []


def test_what_nobody_knows_is_none_and_not_zero() -> None:
    found = impact_of(stop(), RESPONSE, NOTHING)
    assert (found.traffic_share, found.hosts_share, found.onset) == (None, None, None)


def test_the_share_of_traffic_is_known_if_that_of_each_colo_is() -> None:
    around = Surroundings(traffic={"ams01": 0.25, "fra02": 0.5})
    assert impact_of(stop(colos=["ams01", "fra02"]), RESPONSE, around).traffic_share == 0.75
    assert impact_of(stop(colos=["ams01", "sin03"]), RESPONSE, around).traffic_share is None


def test_a_stop_that_names_no_colo_hurts_those_that_the_rollout_has_reached() -> None:
    around = Surroundings(changes={"bot-features": change(colos=["sin03", "ams01"])})
    assert impact_of(stop(colos=[]), RESPONSE, around).colos == ["ams01", "sin03"]


def test_colos_beyond_the_most_are_left_to_the_verdict() -> None:
    many = [f"c{number:05}" for number in range(COLOS_MAX + 5)]
    assert len(impact_of(stop(colos=many), RESPONSE, NOTHING).colos) == COLOS_MAX


GRADES = Response(
    response="r",
    grades=[
        Grade(severity="critical", traffic_share=0.2),
        Grade(severity="major", services=["edge"], actions=["revert"]),
        Grade(severity="minor", colos=["ams*"]),
    ],
)


@pytest.mark.parametrize(
    ("impact", "action", "severity"),
    [
        (Impact(traffic_share=0.3), "revert", "critical"),
        (Impact(traffic_share=None), "revert", "critical"),
        (Impact(traffic_share=0.1, services=["edge"]), "revert", "major"),
        (Impact(traffic_share=0.1, services=["edge"], colos=["ams01"]), "halt", "minor"),
        (Impact(traffic_share=0.1), "revert", UNGRADED),
    ],
)
def test_the_first_grade_whose_conditions_all_hold_counts_and_what_is_unknown_holds(impact, action, severity) -> None:
    assert severity_of(impact, action, GRADES) == severity


def test_a_title_says_what_where_and_how_many_more() -> None:
    found = title_of(stop(colos=["a", "b", "c", "d", "e"]), impact_of(stop(colos="abcde"), RESPONSE, NOTHING))
    assert found == "bot-features reverted: errors in a, b, c and 2 more"


def test_texts_from_elsewhere_become_a_line_that_is_what_it_looks_like() -> None:
    assert plain("a\nb\x1b[31m\u202ec\u2028") == "a b [31m c "
    assert plain("x" * 300) == "x" * 199 + "…"


def test_the_sentence_of_a_verdict_is_made_plain() -> None:
    assert cause_of(stop(sentence="errors\r\nX-Header: 1")).sentences == ["errors  X-Header: 1"]


def test_where_nothing_was_compared_there_is_no_e_value() -> None:
    assert (cause_of(stop(cause="objective")).e_value, cause_of(stop(e_value=9.0)).e_value) == (None, 9.0)


def test_a_stop_opens_an_incident_and_the_candidates_are_ranked() -> None:
    around = Surroundings(changes={"bot-features": change()})
    ((name, events),) = respond({}, [stop()], RESPONSE, around, NOON).items()
    assert [type(event) for event in events] == [Opened, Ranked]
    assert name == name_of(NOON, ["bot-features", "v1"])


def test_a_rollout_of_a_drill_opens_a_drill() -> None:
    around = Surroundings(changes={"drill-42": change("drill-42")})
    ((_, events),) = respond({}, [stop("drill-42")], RESPONSE, around, NOON).items()
    assert isinstance(events[0], Opened)
    assert events[0].is_drill


def known_at_noon():
    ((name, events),) = respond({}, [stop()], GRADES, Surroundings(traffic={"ams01": 0.1}), NOON).items()
    return {name: incident_of(name, events)}


def incident_of(name, events):
    return fold(History(incident=name, events=events))


def test_what_has_become_worse_is_called_worse() -> None:
    around = Surroundings(traffic={"ams01": 0.1, "fra02": 0.3})
    ((_, events),) = respond(known_at_noon(), [stop(verdict="v2", colos=["fra02"])], GRADES, around, NOON).items()
    found = [event for event in events if isinstance(event, Assessed)]
    assert [event.severity for event in found] == ["critical"]


def test_what_people_have_called_less_bad_stays_so_while_it_gets_no_worse() -> None:
    known = known_at_noon()
    ((name, one),) = known.items()
    calm = evolve(one, Assessed(at=at(1.0), by="ada", severity="minor", why="few"))
    around = Surroundings(traffic={"ams01": 0.1})
    ((_, events),) = respond({name: calm}, [stop(verdict="v2")], GRADES, around, NOON).items()
    assert not [event for event in events if isinstance(event, Assessed)]


def test_what_was_mitigated_is_reopened_by_another_stop() -> None:
    known = known_at_noon()
    ((name, one),) = known.items()
    calm = evolve(one, Mitigated(at=at(1.0), by="holdfast", how="back"))
    ((_, events),) = respond({name: calm}, [stop(verdict="v2")], RESPONSE, NOTHING, at(2.0)).items()
    assert [type(event) for event in events[:2]] == [Reopened, Joined]


def test_a_verdict_that_is_known_brings_nothing() -> None:
    assert respond(known_at_noon(), [stop(), stop()], RESPONSE, NOTHING, at(3.0)) == {}


def test_what_is_over_is_not_joined() -> None:
    ((name, one),) = known_at_noon().items()
    over = evolve(one, Resolved(at=at(1.0), by="ada", how="back"))
    assert name not in respond({name: over}, [stop(verdict="v2")], RESPONSE, NOTHING, at(2.0))


def test_an_incident_by_hand_has_a_place_beside_those_of_verdicts() -> None:
    found = respond({NAME: incident()}, [stop()], RESPONSE, NOTHING, NOON)
    assert NAME not in found


def test_what_is_known_later_is_told_later_and_once() -> None:
    around = Surroundings(changes={"bot-features": change()})
    ((name, events),) = respond({}, [stop()], GRADES, around, NOON).items()
    one = incident_of(name, events)
    assert sharpened(one, GRADES, around, at(1.0)) == []
    later = Surroundings(changes=around.changes, traffic={"ams01": 0.1})
    found = sharpened(one, GRADES, later, at(1.0))
    assert [type(event) for event in found] == [Assessed]
    for event in found:
        one = evolve(one, event)
    assert (one.impact.traffic_share, one.severity) == (0.1, "critical")
    assert sharpened(one, GRADES, later, at(2.0)) == []
