"""Pairing: whose sums stand against whose, and how alpha and bucket edges are shared out."""

import pytest

from detectors.policy import Metric, Policy, Ratio
from streams.membership import Stage
from streams.pairing import Pairing, pair
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
