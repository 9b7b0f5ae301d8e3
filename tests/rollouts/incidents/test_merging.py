"""Which stops have one cause."""

import pytest
from msgspec.structs import replace

from detectors.errors import BadInput
from rollouts.incidents.attribution import Change, Surroundings
from rollouts.incidents.folding import Incident, evolve, fold, folded
from rollouts.incidents.history import (
    Assessed,
    Closed,
    Dated,
    Event,
    History,
    Impact,
    Joined,
    MergedInto,
    Opened,
    Resolved,
    Reviewed,
)
from rollouts.incidents.merging import CAUSES_MAX, ROOM, Arrived, onset_of, place_of, together, united
from rollouts.incidents.opening import cause_of, impact_of, respond
from rollouts.incidents.response import Response
from tests.rollouts.incidents.making import NAME, NOON, at, change, incident, opened, stop

RESPONSE = Response(response="r", merge_within="30m")


def place(new, *known_stops, around=None, response=RESPONSE):
    """Return why a stop joins the incident of others; None if it opens one of its own."""
    around = around or Surroundings()
    known: dict[str, Incident] = {}
    for each in known_stops:
        for name, events in respond(known, [each], response, around, each.at).items():
            known[name] = folded(known[name], events) if name in known else fold(History(incident=name, events=events))
    arrived = Arrived(cause=cause_of(new), impact=impact_of(new, response, around), is_drill=new.is_drill(around))
    found = place_of(arrived, known.values(), response, around)
    return None if found is None else found[1]


def test_another_stop_of_the_rollout_joins() -> None:
    assert place(stop(verdict="v2", colos=["x"], metrics=["y"]), stop()) == "bot-features was stopped before"


def test_after_a_while_it_is_another_incident() -> None:
    assert place(stop(verdict="v2", minutes=30.0), stop()) is not None
    assert place(stop(verdict="v2", minutes=31.0), stop()) is None


def test_time_counts_from_the_newest_stop() -> None:
    assert place(stop(verdict="v3", minutes=50.0), stop(), stop(verdict="v2", minutes=25.0)) is not None


def test_a_rollout_with_the_same_unit_in_the_same_version_joins() -> None:
    units = {"a": ["waf@sha256:1", "x@1"], "b": ["waf@sha256:1"], "c": ["waf@sha256:2"]}
    around = Surroundings(changes={name: change(name, units=mine) for name, mine in units.items()})
    same, other = (stop(name, "v2", colos=["sin03"], metrics=["latency"]) for name in ("b", "c"))
    assert place(same, stop("a"), around=around) == "b brings waf@sha256:1 too"
    assert place(other, stop("a"), around=around) is None


def test_a_rollout_that_began_after_the_harm_of_another_one_joins_that() -> None:
    around = Surroundings(changes={"a": change("a", [-20.0]), "b": change("b", [5.0])})
    assert place(stop("b", "v2", 10.0), stop("a"), around=around) == "errors in ams01 is hurt too, and a is likelier"


def test_two_that_are_as_likely_stay_two() -> None:
    around = Surroundings(changes={"a": change("a", [-20.0]), "b": change("b", [-20.0])})
    assert place(stop("b", "v2"), stop("a"), around=around) is None


@pytest.mark.parametrize("other", [{"colos": ["sin03"]}, {"metrics": ["latency"]}])
def test_what_hurts_elsewhere_or_otherwise_stays_apart(other) -> None:
    around = Surroundings(changes={"a": change("a", [-20.0]), "b": change("b", [5.0])})
    assert place(stop("b", "v2", 10.0, **other), stop("a"), around=around) is None


@pytest.mark.parametrize("changes", [{}, {"drill-b": replace(change("drill-b"), is_drill=False)}])
def test_a_name_alone_makes_no_drill_of_a_rollout(changes: dict[str, Change]) -> None:
    assert not stop("drill-b").is_drill(Surroundings(changes=changes))


def test_drills_stay_apart() -> None:
    shared = {name: change(name, units=["x@1"]) for name in ("a", "drill-b")}
    assert place(stop("drill-b", "v2"), stop("a"), around=Surroundings(changes=shared)) is None


def test_an_incident_has_room_for_so_many_stops() -> None:
    one = incident()
    for number in range(CAUSES_MAX):
        cause = cause_of(stop(verdict=f"v{number}"))
        one = evolve(one, Joined(at=NOON, by="holdfast", cause=cause, impact=Impact(), why="x"))
    arrived = Arrived(cause=cause_of(stop(verdict="one more")), impact=Impact(), is_drill=False)
    assert place_of(arrived, [one], RESPONSE, Surroundings()) is None


def test_an_incident_of_many_colos_has_room_for_fewer() -> None:
    colos = [f"c{number}" for number in range(ROOM // 4)]
    events = [Opened(at=NOON, by="holdfast", title="x", severity="major", impact=Impact(colos=colos))]
    one = fold(History(incident=NAME, events=[*events]))
    for number in range(4):
        joined = Joined(at=NOON, by="x", cause=cause_of(stop(verdict=f"v{number}")), impact=one.impact, why="x")
        one = evolve(one, joined)
    arrived = Arrived(cause=cause_of(stop(verdict="more")), impact=Impact(), is_drill=False)
    assert place_of(arrived, [one], RESPONSE, Surroundings()) is None


def test_what_is_hurt_together_has_a_share_that_is_known_or_none() -> None:
    one, other = Impact(colos=["a"], traffic_share=0.1), Impact(colos=["b"], traffic_share=0.2)
    assert together(one, other, Surroundings()).traffic_share is None
    assert together(one, one, Surroundings()).traffic_share == 0.1
    around = Surroundings(traffic={"a": 0.1, "b": 0.2})
    assert together(one, other, around).traffic_share == pytest.approx(0.3)


def test_of_two_onsets_the_earlier_one_counts_and_stays_an_estimate_if_it_is_one() -> None:
    said, early = Impact(onset=at(-1.0)), Impact(onset=at(-2.0), is_onset_estimated=True)
    for pair in ((said, early), (early, said), (early, Impact())):
        found = together(*pair, Surroundings())
        assert (found.onset, found.is_onset_estimated) == (at(-2.0), True)
    same = replace(early, onset=at(-1.0))
    assert not together(said, same, Surroundings()).is_onset_estimated


def test_an_estimate_acquits_no_change_that_began_after_it() -> None:
    one = incident(Dated(at=at(1.0), by="holdfast", onset=at(-30.0), why="errors"))
    assert one.impact.onset == at(-30.0)
    assert onset_of(one) == one.opened
    said = incident(Assessed(at=at(1.0), by="ada", impact=Impact(onset=at(-30.0)), why="graphs"))
    assert onset_of(said) == at(-30.0)


OTHER = "inc-20260312-ffffffff"


def test_an_incident_goes_on_as_another_one_with_its_stops() -> None:
    one = evolve(incident(), Joined(at=NOON, by="x", cause=cause_of(stop()), impact=Impact(colos=["ams01"]), why="x"))
    other = fold(History(incident=OTHER, events=[opened()]))
    added = united(one, other, "ada", at(5.0))
    assert [type(event) for event in added[NAME]] == [MergedInto]
    for event in added[OTHER]:
        other = evolve(other, event)
    assert ([cause.verdict for cause in other.causes], other.impact.colos) == (["v1"], ["ams01"])


def test_an_incident_does_not_go_on_as_itself_nor_as_a_drill_nor_as_one_that_is_closed() -> None:
    drill = Opened(at=NOON, by="ada", title="x", severity="minor", impact=Impact(), is_drill=True)
    over: list[Event] = [
        Resolved(at=NOON, by="ada", how="x"),
        Reviewed(at=NOON, by="ada", digest="0" * 64),
        Closed(at=NOON, by="ada"),
    ]
    for other, why in (
        (incident(), "found the same incident twice"),
        (fold(History(incident=OTHER, events=[drill])), "the other is not|one is a drill"),
        (fold(History(incident=OTHER, events=[opened(), *over])), "is closed; allowed: reopen it first"),
    ):
        with pytest.raises(BadInput, match=why):
            united(incident(), other, "ada", NOON)
