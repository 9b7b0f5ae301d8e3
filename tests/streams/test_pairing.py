"""Pairing: whose sums stand against whose, and how alpha and bucket edges are shared out."""

import pytest

from detectors.policy import Metric, Policy, Ratio
from streams.membership import Announced, Stage
from streams.pairing import Pairing, pair
from streams.strata import others_of
from tests.samples import Row, Sums, find, gauge, in_order, policy, reduce, series, stage

CPU = gauge("cpu")
ERRORS = Metric(name="errors", ratio=Ratio(bad="bad", total="all"), worse="increase", breach="revert")
BY_COHORT = stage({"cohort": "canary"})


def fleet(**cohorts: str) -> list[Row]:
    """Make colos of hosts, a letter each: (c)anary or c(o)ntrol; the host of place k sends 2 to the k."""
    names = {"c": "canary", "o": "control"}
    return in_order(
        *(
            series("cpu", [2.0**place], host=f"{colo}-{place}", colo=colo, cohort=names[letter])
            for colo, letters in cohorts.items()
            for place, letter in enumerate(letters)
        )
    )


def paired(rows: list[Row], *stages: Stage, index: int = 0, judged: Policy | None = None) -> tuple[Pairing, Sums]:
    wanted = judged or policy(CPU)
    sums = reduce(rows, *wanted.metrics, stages=stages)
    membership = find(rows).membership(*stages)
    return pair(sums.ticks.keys, sums.ticks.values, wanted, membership, index, len(stages)), sums


def against(rows: list[Row], *stages: Stage, index: int = 0) -> dict[str, tuple[float, float, bool]]:
    """Return for each colo the canary's and the control's sum of the gauge, and whether control is other colos."""
    pairing, sums = paired(rows, *stages, index=index)
    sides, strand = pairing.sides(sums.ticks.values), pairing.tests.strand
    return {
        pairing.colos[pairing.tests.place[i]]: (
            float(sides.canary[i, 0]),
            float(sides.control[i, 0]),
            bool(pairing.matched[i]),
        )
        for i in range(pairing.tests.comparisons)
        if pairing.strands[strand[i]].metric == 0
    }


def test_canary_stands_against_the_control_of_its_own_colo() -> None:
    assert against(fleet(ams="coo", fra="occ"), BY_COHORT) == {"ams": (1, 6, False), "fra": (6, 1, False)}


def test_colo_without_a_canary_is_not_compared() -> None:
    assert against(fleet(ams="co", fra="oo"), BY_COHORT) == {"ams": (1, 2, False)}


def test_colo_that_is_all_canary_stands_against_colos_that_the_change_has_not_reached() -> None:
    rows = fleet(ams="cc", fra="co", lhr="oo")
    assert against(rows, BY_COHORT) == {"ams": (3, 3, True), "fra": (1, 2, False)}


def test_colo_without_anyone_to_stand_against_is_not_compared() -> None:
    assert against(fleet(ams="cc", fra="co"), BY_COHORT) == {"fra": (1, 2, False)}


def test_hosts_of_a_later_stage_are_control_until_then() -> None:
    stages = (stage({"host": "*-0"}), stage({"host": "*-1"}))
    rows = fleet(ams="ooo")
    assert against(rows, *stages) == {"ams": (1, 6, False)}
    assert against(rows, *stages, index=1) == {"ams": (2, 4, False)}


def test_hosts_that_the_control_selector_leaves_out_stand_nowhere() -> None:
    chosen = stage({"host": "*-0"}, {"host": "*-2"})
    assert against(fleet(ams="oooo"), chosen) == {"ams": (1, 4, False)}


def test_shares_of_alpha_add_up_to_one_over_all_stages() -> None:
    stages = (stage({"host": "*-0"}), stage({"host": "*-1"}))
    rows = fleet(ams="ooo")
    total = sum(strand.weight for index in (0, 1) for strand in paired(rows, *stages, index=index)[0].strands)
    assert total == pytest.approx(1.0)


def test_region_of_a_comparison_is_that_of_its_colo() -> None:
    rows = [
        row._replace(labels=row.labels | {"region": "eu" if row.labels["colo"] == "ams" else "us"})
        for row in fleet(ams="co", iad="co")
    ]
    pairing, _ = paired(rows, BY_COHORT)
    assert (pairing.colos, pairing.regions) == (["ams", "iad"], ["eu", "us"])


def test_ratio_pairs_bad_events_and_all_events() -> None:
    rows = in_order(
        series("all", [0, 100], cohort="canary"),
        series("bad", [0, 7], cohort="canary"),
        series("all", [0, 300], host="h2", cohort="control"),
    )
    pairing, sums = paired(rows, BY_COHORT, judged=policy(ERRORS))
    sides = pairing.sides(sums.ticks.values)
    assert [float(side[0, 1]) for side in sides.arrays()] == [7, 100, 0, 300]


def beside(
    rows: list[Row], ours: Stage, *others: Stage, first: int | None = None
) -> list[tuple[str, str, float, float]]:
    """Return each comparison's colo and stratum, and both sides' sums of the gauge, beside other rollouts."""
    memberships = find(rows).memberships([ours], *([other] for other in others))
    sums = reduce(rows, CPU, rollouts=[[ours], *([other] for other in others)])
    announced = [Announced(f"r{number}", [other], "") for number, other in enumerate(others, 1)]
    divided = others_of(memberships[0], announced, first)
    pairing = pair(sums.ticks.keys, sums.ticks.values, policy(CPU), memberships[0], 0, 1, divided)
    sides, tests = pairing.sides(sums.ticks.values), pairing.tests
    return [
        (pairing.colos[tests.place[i]], pairing.stratum[i], float(sides.canary[i, 0]), float(sides.control[i, 0]))
        for i in range(tests.comparisons)
        if pairing.strands[tests.strand[i]].metric == 0
    ]


FIRST = stage({"host": "*-[01]"})


def test_units_stand_against_those_that_another_rollout_treats_alike() -> None:
    assert beside(fleet(ams="oooooo"), FIRST, stage({"host": "*-[12]"})) == [
        ("ams", "without r1", 1, 8 + 16 + 32),
        ("ams", "with r1", 2, 4),
    ]


def test_stratum_without_both_sides_is_left_out() -> None:
    assert beside(fleet(ams="oooo"), FIRST, stage({"host": "*-1"})) == [("ams", "without r1", 1, 4 + 8)]
    assert beside(fleet(ams="oooo"), FIRST, stage({"host": "*-3"})) == [("ams", "without r1", 3, 4)]


def test_colo_without_a_pair_stands_against_the_same_stratum_elsewhere() -> None:
    ours, other = stage({"host": "ams-*"}), stage({"host": ["ams-0", "fra-0"]})
    assert beside(fleet(ams="oo", fra="ooo"), ours, other) == [
        ("ams", "without r1", 2, 2 + 4),
        ("ams", "with r1", 1, 1),
    ]


def test_rollout_that_is_everywhere_in_a_colo_divides_nothing_there() -> None:
    assert beside(fleet(ams="ooo", fra="ooo"), FIRST, stage({"colo": "fra"})) == [
        ("ams", "", 3, 4),
        ("fra", "", 3, 4),
    ]


@pytest.mark.parametrize(("first", "divides"), [(None, True), (4, True), (5, False), (9, False)])
def test_rollout_that_began_before_the_past_divides_nothing(first: int | None, divides: bool) -> None:
    other = stage({"host": "*-[12]"}, started=5)
    assert len(beside(fleet(ams="oooo"), FIRST, other, first=first)) == (2 if divides else 1)


def test_rollout_that_does_not_begin_divides_nothing() -> None:
    assert beside(fleet(ams="oooo"), FIRST, stage({"host": "*-[12]"}, started=None)) == [("ams", "", 3, 12)]


def test_rollout_on_the_same_units_is_passed_over() -> None:
    assert beside(fleet(ams="oooo"), FIRST, FIRST, stage({"host": "*-[02]"})) == [
        ("ams", "without r2", 2, 8),
        ("ams", "with r2", 1, 4),
    ]
