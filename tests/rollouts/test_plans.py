"""Plans, packages, the fleet and its breakers: what is refused, and what is decided once and for all."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from detectors.errors import BadInput
from holdfast.documents import recheck
from rollouts import inventory as fleets
from rollouts import packages
from rollouts.breakers import Limits, crowded, touching, trips
from rollouts.document import Unit
from rollouts.freezes import Freeze, frozen_by
from rollouts.freezes import problems as freeze_problems
from rollouts.inventory import Reach, point, reached
from rollouts.packages import digest_of, verified
from rollouts.plans import Most, resolve, rollout_of
from rollouts.reports import Report, fleet_of, heard
from tests.rollouts.fleet import BEGIN, NEW, POLICY, UNIT, inventory, other, plan, seats, stage


def freeze(begin: str, until: str) -> Freeze:
    return Freeze(begin=begin, until=until, zone="UTC", reason="x")


def refused(given, fleet=None, known=None) -> str:
    with pytest.raises(BadInput) as error:
        resolve(given, fleet or inventory(), known or {})
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"policy": None}, "policy: there is none"),
        ({"package": []}, "package: found no unit"),
        ({"package": [replace(UNIT, kind="script")]}, "kind: found 'script'"),
        ({"package": [replace(UNIT, digest="md5:0123456789abcdef")]}, "digest: found 'md5:"),
        ({"package": [replace(UNIT, unit="../etc/passwd")]}, "a relative path"),
        ({"package": [UNIT, UNIT]}, "each unit once"),
        ({"stages": [stage("all")]}, "20 of 20 hosts at once"),
        ({"stages": [stage("all")]}, "no host is left to compare with"),
        ({"stages": [stage("one", hosts={"host": "c0-h0"})]}, "leave 19 of 20 hosts"),
        ({"stages": [stage("one", percent=50), stage("one", percent=60)]}, "never goes back to a stage"),
        ({"stages": [stage("one", percent=50), stage("less", percent=20)]}, "has not reached already"),
        ({"stages": [stage("half", 0.1, hosts={"host": "c*-h1"})]}, "20.00% of the fleet would have the change"),
        ({"stages": [stage("odd", segment="odd")]}, "allowed: even"),
        ({"after": ["routes"]}, "there is no rollout 'routes'"),
        ({"after": ["bots"]}, "bots -> bots"),
        ({"freezes": [freeze("2026-01-02T00:00", "2026-01-01T00:00")]}, "a later time"),
        ({"freezes": [freeze("noon", "2026-01-01T00:00")]}, "found 'noon'"),
    ],
)  # fmt: skip
def test_an_unsafe_plan_is_refused(changes, words) -> None:
    assert words in refused(plan(**changes))


def test_all_that_is_wrong_with_a_plan_is_said_at_once() -> None:
    assert len(refused(plan(policy=None, package=[], after=["x"])).splitlines()) >= 3


def test_a_region_that_would_be_reached_too_far_is_named() -> None:
    one = replace(stage("two", hosts={"host": ["c0-h1", "c2-h1"]}), most=Most(fleet=1, region=0.1))
    assert "20.00% of region r0" in refused(plan(stages=[one]))


def test_two_plans_of_one_name_are_refused_and_the_same_twice_is_not() -> None:
    assert "another plan has that name" in refused(plan(rest="hold"), known={"bots": plan()})
    assert resolve(plan(), inventory(), {"bots": plan()}) == resolve(plan(), inventory(), {})


def test_plans_that_wait_for_each_other_are_refused() -> None:
    known = {"a": plan("a", after=["b"]), "b": plan("b", after=["bots"])}
    assert "bots -> a -> b -> bots" in refused(plan(after=["a"]), known=known)


def test_a_resolved_plan_is_a_rollout_that_the_judge_takes() -> None:
    rollout = rollout_of(resolve(plan(), inventory(), {}), "host")
    recheck(POLICY, rollout, "test")
    assert rollout.stages[0].canary == {"host": ["c0-h0"]}


@given(st.integers(1, 60), st.integers(1, 60), st.floats(1, 99), st.floats(0, 1))
def test_a_percentage_holds_its_hosts_as_the_fleet_and_it_grow(small, more, percent, further) -> None:
    def picked(hosts: int, part: float) -> set[str]:
        return set(reached(inventory(1, hosts), Reach(percent=part), "bots"))

    before, wider = picked(small, percent), percent + further * (100 - percent)
    names = {f"c0-h{host}" for host in range(small)}
    assert picked(small + more, percent) & names == before
    assert before <= picked(small, wider)


@given(st.lists(st.floats(1, 40), min_size=2, max_size=5, unique=True))
def test_no_host_is_in_two_stages(percents) -> None:
    stages = [stage(f"s{index}", percent=part) for index, part in enumerate(sorted(percents))]
    try:
        resolved = resolve(plan(stages=stages, rest="hold"), inventory(5, 20), {})
    except BadInput:  # two percentages so close that no host is between them
        return
    hosts = [seat.host for seats in resolved.stages for seat in seats]
    assert len(hosts) == len(set(hosts))


def test_a_percentage_is_about_that_part_of_a_large_fleet_and_another_one_for_another_rollout() -> None:
    points = [point("bots", f"h{index}") for index in range(10_000)]
    assert 0.09 < sum(p < 0.1 for p in points) / 10_000 < 0.11
    assert points[:3] != [point("routes", f"h{index}") for index in range(3)]


def test_a_segment_is_the_hosts_that_serve_it() -> None:
    assert reached(inventory(1, 4), Reach(segment="even", hosts={"colo": "c0"}), "x") == ["c0-h0", "c0-h2"]


def test_hosts_of_one_name_and_names_that_are_patterns_are_refused() -> None:
    fleet = inventory(1, 2)
    bad = [
        replace(fleet.hosts[0], host="c*"),
        *fleet.hosts,
        fleet.hosts[0],
        replace(fleet.hosts[1], host="x", region="z"),
    ]
    found = "\n".join(fleets.problems(replace(fleet, hosts=bad)))
    assert "selectors take for a pattern" in found
    assert "each name once" in found
    assert "its colo 'c0' is in" in found


@pytest.mark.parametrize(
    ("kind", "content", "is_good"),
    [
        ("data-file", b"\x00\xff", True),
        ("flag", b"true", True),
        ("flag", b"yes", False),
        ("key-value", b'{"a": "b"}', True),
        ("key-value", b'{"a": 1}', False),
        ("software-version", b"1.2.3", True),
        ("software-version", b"1 2", False),
        ("script", b"rm", False),
    ],
)
def test_a_content_is_such_as_its_kind_has(kind, content, is_good) -> None:
    unit = Unit(unit="x", kind=kind, digest=digest_of(content))
    if is_good:
        assert verified(unit, content) == content
    else:
        with pytest.raises(BadInput):
            verified(unit, content)


def test_another_content_than_the_digest_names_is_refused() -> None:
    with pytest.raises(BadInput, match="the package says"):
        verified(UNIT, b"other")


def test_what_is_stored_never_changes() -> None:
    kept = packages.stored({}, [b"new"])
    assert packages.stored(kept, [b"new", b"more"])[NEW] == b"new"


def report(sequence: int, minutes: float = 0, **given: object) -> Report:
    at = BEGIN + timedelta(minutes=minutes)
    return Report(host="a", colo="c", region="r", sequence=sequence, at=at, **given)  # type: ignore[arg-type]


@given(st.permutations(range(1, 6)))
def test_the_newest_report_of_a_host_counts_in_whatever_order_they_come(order) -> None:
    reports: dict[str, Report] = {}
    for sequence in order:
        reports = heard(reports, report(sequence), BEGIN)
    assert reports["a"].sequence == 5


def test_a_host_whose_clock_is_ahead_is_refused() -> None:
    with pytest.raises(BadInput, match="clocks disagree"):
        heard({}, report(1, minutes=6), BEGIN)


def test_a_fleet_can_be_made_of_what_hosts_report() -> None:
    assert [host.host for host in fleet_of([report(1)]).hosts] == ["a"]
    with pytest.raises(BadInput):
        fleet_of([])


NIGHT = Freeze(days=["fri"], begin="18:00", until="08:00", zone="Europe/Lisbon", reason="weekend")


@pytest.mark.parametrize(
    ("moment", "is_frozen"),
    [
        ("2026-07-10T16:59:59+00:00", False),
        ("2026-07-10T17:00:00+00:00", True),  # 18:00 in Lisbon, in summer
        ("2026-07-11T06:59:59+00:00", True),
        ("2026-07-11T07:00:00+00:00", False),
        ("2026-12-11T17:30:00+00:00", False),
        ("2026-12-11T18:00:00+00:00", True),
    ],
)
def test_a_weekly_freeze_goes_by_the_clocks_of_its_zone(moment, is_frozen) -> None:
    assert (frozen_by([NIGHT], datetime.fromisoformat(moment)) is not None) is is_frozen


def test_a_freeze_is_never_shorter_than_meant_where_an_hour_comes_twice() -> None:
    twice = Freeze(begin="2026-10-25T01:10", until="2026-10-25T01:40", zone="Europe/Lisbon", reason="x")
    for moment in ("2026-10-25T00:10:00+00:00", "2026-10-25T01:39:00+00:00"):
        assert frozen_by([twice], datetime.fromisoformat(moment)) == twice


def test_a_zone_that_does_not_exist_is_refused() -> None:
    assert "Mars/Olympus" in freeze_problems([replace(NIGHT, zone="Mars/Olympus")])[0]


def reverting(name: str, minutes: float, *colos: str):
    return other(name, reverts=((BEGIN + timedelta(minutes=minutes), colos),), regions=dict.fromkeys(colos, "r0"))


def test_two_reverts_of_a_colo_open_its_breaker_until_they_are_old() -> None:
    both = [reverting("a", 0, "c0"), reverting("b", 30, "c0", "c1")]
    found = trips(both, Limits(), BEGIN + timedelta(minutes=31))
    assert [(one.kind, one.place) for one in found] == [("colo", "c0")]
    assert trips(both, Limits(), BEGIN + timedelta(minutes=61)) == []
    assert touching(found, seats("c1-h0")) == []
    assert touching(found, seats("c0-h0")) == found


def test_reverts_of_a_region_and_of_the_fleet_open_theirs() -> None:
    four = [reverting(name, 0, f"c{index}") for index, name in enumerate("abcd")]
    assert [(one.kind, one.place) for one in trips(four, Limits(), BEGIN)] == [("fleet", "fleet"), ("region", "r0")]


def test_many_rollouts_without_their_judge_put_the_engine_in_doubt() -> None:
    lost = [other(name, is_judge_lost=True) for name in "abc"]
    assert [one.kind for one in trips(lost, Limits(), BEGIN)] == ["fleet"]
    assert trips(lost[:2], Limits(), BEGIN) == []


def test_a_colo_takes_so_many_rollouts_at_once() -> None:
    three = [other(name, active=frozenset({"c0"})) for name in "abc"]
    assert [one.place for one in crowded(three, Limits(), "bots")] == ["c0"]
    assert crowded(three, Limits(), "a") == []
