"""Uptime by day, out of incidents: a stated rule, and no day is good of which nothing is known."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.status.harm import Span, days_of, spans
from holdfast.status.snapshot import DAYS, State
from rollouts.incidents import history as events
from rollouts.incidents.history import History, Severity
from tests.status.samples import DAY, MINUTE, NOW, PERSON, impact, name, opened

HOUR = timedelta(hours=1)
MIDNIGHT = NOW.replace(hour=0, minute=0, second=0)
ALL = [(NOW - 200 * DAY, NOW)]


def span(begin: datetime, end: datetime | None, state: State = "outage") -> Span:
    return Span(begin, end, state, frozenset({"dns"}))


def ended(severity: Severity, begin: datetime, *more: events.Event) -> History:
    return History(incident=name(1), events=[opened(begin, "dns", severity=severity), *more])


def test_there_are_ninety_days_and_the_last_is_today() -> None:
    days, _ = days_of([], ALL, NOW)
    assert (len(days), days[-1].day, days[0].day) == (DAYS, "2026-03-12", "2025-12-13")


def test_a_day_of_which_nothing_is_known_is_unknown_and_no_part_of_the_figure() -> None:
    days, up = days_of([], [], NOW)
    assert {(each.state, each.up) for each in days} == {("unknown", None)}
    assert up is None


def test_a_day_of_which_less_than_half_is_known_is_unknown() -> None:
    yesterday = MIDNIGHT - DAY
    assert days_of([], [(yesterday, yesterday + 11 * HOUR)], NOW)[0][-2].state == "unknown"
    assert days_of([], [(yesterday, yesterday + 13 * HOUR)], NOW)[0][-2].state == "operational"


@pytest.mark.parametrize(("state", "up"), [("outage", 0.75), ("partial-outage", 0.925), ("degraded", 1.0)])
def test_downtime_counts_by_severity(state: State, up: float) -> None:
    day = MIDNIGHT - 3 * DAY
    days, _ = days_of([span(day + 6 * HOUR, day + 12 * HOUR, state)], ALL, NOW)
    assert (days[-4].state, days[-4].up) == (state, up)


def test_what_overlaps_counts_once_by_the_worst() -> None:
    day = MIDNIGHT - 3 * DAY
    found = [span(day, day + 6 * HOUR), span(day + 3 * HOUR, day + 6 * HOUR, "partial-outage"), span(day, day + HOUR)]
    assert days_of(found, ALL, NOW)[0][-4].up == 0.75


def test_an_incident_over_midnight_is_in_both_days() -> None:
    found = [span(MIDNIGHT - HOUR, MIDNIGHT + HOUR)]
    days, _ = days_of(found, ALL, NOW)
    assert [each.state for each in days[-3:]] == ["operational", "outage", "outage"]


def test_an_incident_is_known_of_though_nobody_listened() -> None:
    day = MIDNIGHT - 3 * DAY
    days, up = days_of([span(day, day + HOUR)], [], NOW)
    assert (days[-4].state, days[-4].up, up) == ("outage", 0.0, 0.0)


def test_what_goes_on_is_down_until_now() -> None:
    begin = NOW - 2 * HOUR
    day = days_of([span(begin, None)], ALL, NOW)[0][-1]
    assert day.up == pytest.approx(1 - 7_200 / (NOW - MIDNIGHT).total_seconds(), abs=1e-6)


def test_a_day_that_has_just_begun_is_unknown() -> None:
    assert days_of([], ALL, MIDNIGHT)[0][-1].state == "unknown"


def test_harm_begins_with_the_evidence_and_ends_with_its_mitigation() -> None:
    begin = NOW - HOUR
    first = opened(begin, "dns", severity="critical", onset=begin - 9 * MINUTE)
    done = events.Mitigated(at=begin + 20 * MINUTE, by=PERSON, how="x")
    found = spans(History(incident=name(1), events=[first, done]))
    assert found == [Span(begin - 9 * MINUTE, begin + 20 * MINUTE, "outage", frozenset({"dns"}))]


def test_an_onset_that_cannot_be_is_not_believed() -> None:
    for onset in (NOW - 400 * DAY, NOW + DAY):
        first = opened(NOW - HOUR, "dns", onset=onset)
        assert spans(History(incident=name(1), events=[first]))[0].begin == NOW - HOUR


def test_harm_that_is_assessed_otherwise_counts_so_from_then_on() -> None:
    less = events.Assessed(at=NOW - 30 * MINUTE, by=PERSON, severity="minor", impact=impact("http"), why="x")
    found = spans(ended("critical", NOW - HOUR, less))
    assert [(each.state, sorted(each.services)) for each in found] == [("outage", ["dns"]), ("degraded", ["http"])]
    assert (found[0].end, found[1].begin, found[1].end) == (less.at, less.at, None)


def test_what_is_reopened_hurts_again() -> None:
    found = spans(
        ended(
            "major",
            NOW - HOUR,
            events.Mitigated(at=NOW - 50 * MINUTE, by=PERSON, how="x"),
            events.Reopened(at=NOW - 20 * MINUTE, by=PERSON, why="x"),
        )
    )
    assert [(each.begin, each.end) for each in found] == [(NOW - HOUR, NOW - 50 * MINUTE), (NOW - 20 * MINUTE, None)]


def test_a_clock_that_goes_back_makes_no_time_negative() -> None:
    back = events.Mitigated(at=NOW - 2 * HOUR, by=PERSON, how="x")
    found = spans(ended("major", NOW - HOUR, back))
    assert all(each.end is None or each.end >= each.begin for each in found)


MINUTES = st.integers(0, 100 * 24 * 60)
SPANS = st.lists(st.tuples(MINUTES, MINUTES, st.sampled_from(["outage", "partial-outage", "degraded"])), max_size=6)


@settings(max_examples=60, deadline=None)
@given(found=SPANS, heard=st.lists(st.tuples(MINUTES, MINUTES), max_size=4))
def test_shares_are_shares_and_unknown_days_have_none(
    found: list[tuple[int, int, State]], heard: list[tuple[int, int]]
) -> None:
    hurt = [span(NOW - max(a, b) * MINUTE, NOW - min(a, b) * MINUTE, state) for a, b, state in found]
    watched = [(NOW - max(a, b) * MINUTE, NOW - min(a, b) * MINUTE) for a, b in heard]
    days, up = days_of(hurt, watched, NOW)
    assert all((each.up is None) == (each.state == "unknown") for each in days)
    assert all(0 <= each.up <= 1 for each in days if each.up is not None)
    assert (up is None) == all(each.state == "unknown" for each in days)
