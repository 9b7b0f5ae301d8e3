"""Who has the change: units out of series, and the stage and control of each out of its labels."""

import numpy as np
import pytest

from detectors.errors import BadInput
from streams.membership import NOT_REACHED, Stage
from tests.samples import Fleet, Row, find, in_order, series, stage

COHORTS = stage({"cohort": "canary"}, {"cohort": "control"}, started=4)


def host(name: str, cohorts: str, *, colo: str = "ams01") -> list[Row]:
    """Make one series a cohort; `cohorts` has a letter a tick: (c)anary, c(o)ntrol or none (.)."""
    rows = []
    for letter, cohort in (("c", "canary"), ("o", "control")):
        values = [1.0 if found == letter else None for found in cohorts]
        rows += series("cpu", values, host=name, colo=colo, cohort=cohort)
    return in_order(rows)


def refusal(fleet: Fleet, *stages: Stage) -> list[str]:
    with pytest.raises(BadInput) as caught:
        fleet.membership(*stages)
    return str(caught.value).split("\n")


FLEET = find([*host("h1", "cccccc"), *host("h2", "oooooo"), *host("h3", "oooooo")])


def test_unit_is_one_value_of_the_unit_label_in_one_colo() -> None:
    rows = [row for colo in ("fra02", "ams01") for name in ("h2", "h1") for row in host(name, "o", colo=colo)]
    units = find([*rows, *series("mem", [1.0])]).units
    assert list(zip(units.colo, units.name, strict=True)) == [
        ("ams01", "h1"),
        ("ams01", "h2"),
        ("fra02", "h1"),
        ("fra02", "h2"),
    ]


def test_series_without_the_unit_label_form_a_unit_by_their_other_labels() -> None:
    rows = [
        row for service in ("kv", "dns") for m in ("a", "b") for row in series(m, [1.0], host=None, service=service)
    ]
    units = find(rows).units
    assert units.name == ["service=dns", "service=kv"]
    assert units.of_series.tolist() == [1, 1, 0, 0]


def test_region_of_a_unit_does_not_depend_on_which_series_came_first() -> None:
    rows = [*series("cpu", [1.0], region="eu"), *series("mem", [1.0])]
    assert [find(order).units.region for order in (rows, rows[::-1])] == [["eu"], ["eu"]]


def test_canary_and_control_are_who_the_selectors_match() -> None:
    membership = FLEET.membership(COHORTS)
    assert FLEET.stage_of(COHORTS) == {"h1": 0, "h2": NOT_REACHED, "h3": NOT_REACHED}
    assert membership.canary(0)[membership.signature].tolist() == [True, False, False]
    assert membership.controls(0)[membership.signature].tolist() == [False, True, True]


def test_relabelled_host_is_canary_for_its_past_too() -> None:
    fleet = find([*host("h1", "ooooccc"), *host("h2", "ooooooo")])
    assert fleet.stage_of(COHORTS) == {"h1": 0, "h2": NOT_REACHED}


def test_host_relabelled_in_the_middle_of_the_stage_is_canary() -> None:
    fleet = find([*host("h1", "ooooooooocc"), *host("h2", "ooooooooooo")])
    assert fleet.stage_of(COHORTS) == {"h1": 0, "h2": NOT_REACHED}


def test_host_that_was_canary_of_an_earlier_change_is_control_now() -> None:
    fleet = find([*host("h1", "ccooooo"), *host("h2", "ooocccc")])
    assert fleet.stage_of(COHORTS) == {"h1": NOT_REACHED, "h2": 0}


def test_host_that_fell_silent_before_the_start_keeps_its_earlier_labels() -> None:
    fleet = find([*host("h1", "ccc...."), *host("h2", "ooo...."), *host("h3", "ccccccc"), *host("h4", "ooooooo")])
    assert fleet.stage_of(COHORTS) == {"h1": 0, "h2": NOT_REACHED, "h3": 0, "h4": NOT_REACHED}


def test_sample_at_the_end_of_the_tick_before_the_start_is_of_the_past() -> None:
    early, late = ([*series("cpu", [1.0], first=tick, early_ms=0, cohort="canary")] for tick in (3, 4))
    others = [*series("cpu", [1.0] * 9, cohort="control"), *host("h2", "ccccccccc")]
    assert find([*early, *others]).stage_of(COHORTS)["h1"] == NOT_REACHED
    assert find([*late, *others]).stage_of(COHORTS)["h1"] == 0


def test_overlapping_selectors_are_refused_with_names() -> None:
    everyone = stage({"cohort": "canary"}, {"host": "*"})
    (error,) = refusal(FLEET, everyone)
    assert error == (
        "rollout.yaml: stages[0]: 1 unit(s) are canary and control at the same time (h1); "
        "the two selectors must not overlap"
    )


def test_host_that_bears_both_labels_for_long_is_refused() -> None:
    both = [*series("cpu", [1.0] * 9, cohort="canary"), *series("mem", [1.0] * 9, cohort="control")]
    assert "(h1)" in refusal(find([*both, *host("h2", "ooooooooo")]), COHORTS)[0]


def test_three_of_many_overlapping_units_are_named() -> None:
    fleet = find([row for number in range(5) for row in host(f"h{number}", "ccccccc")])
    (error,) = refusal(fleet, stage({"cohort": "canary"}, {"colo": "ams01"}))
    assert "5 unit(s) are canary and control at the same time (h0, h1, h2);" in error


def test_selector_that_matches_nothing_names_what_is_there() -> None:
    assert refusal(FLEET, stage({"cohort": "canry"}, {"cohort": "control"})) == [
        "rollout.yaml: stages[0].canary: no series matches {'cohort': 'canry'}; `cohort` is one of: canary, control"
    ]


def test_control_that_matches_nothing_names_what_is_there() -> None:
    (error,) = refusal(FLEET, stage({"cohort": "canary"}, {"cohort": "ctrl", "colo": "ams01"}))
    assert error == (
        "rollout.yaml: stages[0].control: no series matches {'cohort': 'ctrl', 'colo': 'ams01'}; "
        "`cohort` is one of: canary, control; `colo` is one of: ams01"
    )


def test_selector_with_a_label_that_nothing_has_says_so() -> None:
    assert refusal(FLEET, stage({"track": "canary"})) == [
        "rollout.yaml: stages[0].canary: no series matches {'track': 'canary'}; no series has a label `track`"
    ]


def test_of_many_values_five_are_named() -> None:
    fleet = find([row for number in range(7) for row in host(f"h{number}", "o")])
    assert refusal(fleet, stage({"host": "x"}))[0].endswith("`host` is one of: h0, h1, h2, h3, h4, …")


def test_faults_of_all_stages_are_named_at_once() -> None:
    places = [
        line.partition(": no series")[0]
        for line in refusal(FLEET, stage({"host": "x"}), stage({"host": "y"}, {"host": "z"}))
    ]
    assert places == [f"rollout.yaml: stages[{path}" for path in ("0].canary", "1].canary", "1].control")]


def test_control_is_everyone_else_where_none_is_named() -> None:
    membership = FLEET.membership(stage({"cohort": "canary"}))
    assert membership.controls(0)[membership.signature].tolist() == [False, True, True]


def test_unit_belongs_to_the_first_stage_that_matches_it() -> None:
    assert FLEET.stage_of(stage({"host": "h1"}), stage({"host": "h[12]"}), stage({"host": "*"})) == {
        "h1": 0,
        "h2": 1,
        "h3": 2,
    }


def test_unit_of_a_later_stage_is_control_until_the_change_reaches_it() -> None:
    membership = FLEET.membership(stage({"host": "h1"}), stage({"host": "h2"}))
    controls = np.stack([membership.controls(index)[membership.signature] for index in (0, 1)])
    assert controls.tolist() == [[False, True, True], [False, False, True]]


def test_stages_that_treat_units_alike_give_them_one_signature() -> None:
    first, second = stage({"host": "h1"}), stage({"host": "h9*"}, {"host": "h2"})
    fleet = find([row for name in ("h1", "h2", "h3", "h4", "h9") for row in host(name, "o")])
    membership = fleet.membership(first, second)
    assert len(membership.signatures) == 4
    assert membership.signature[2] == membership.signature[3]
    assert membership.signatures[membership.signature[1]] == (NOT_REACHED, (True, True))
    assert membership.signatures[membership.signature[2]] == (NOT_REACHED, (True, False))


def test_stage_that_has_not_begun_goes_by_all_labels() -> None:
    fleet = find([*host("h1", "ooooccc"), *host("h2", "ooooooo")])
    assert fleet.stage_of(stage({"host": "h2"}, started=2), stage({"cohort": "canary"}, started=None)) == {
        "h1": 1,
        "h2": 0,
    }


def test_membership_does_not_depend_on_what_came_first() -> None:
    rows = [*host("h1", "ooooccc"), *host("h2", "ooooooo"), *host("h3", "occ....", colo="fra02")]
    one, other = (find(order).membership(COHORTS) for order in (rows, rows[::-1]))
    assert one.signatures == other.signatures
    assert one.signature.tolist() == other.signature.tolist()


def test_host_whose_label_came_back_after_a_rollback_is_canary() -> None:
    fleet = find([*host("h1", "oooocccccooooo"), *host("h2", "oooooooooooooo")])
    assert fleet.stage_of(COHORTS)["h1"] == 0


def test_signature_holds_the_stages_of_all_rollouts() -> None:
    fleet = find([row for name in ("h1", "h2", "h3", "h4", "h5") for row in host(name, "o")])
    one, two = fleet.memberships([stage({"host": "h[12]"})], [stage({"host": "h2"}), stage({"host": "h3"})])
    assert one.signature.tolist() == two.signature.tolist()
    assert one.signature[3] == one.signature[4]
    assert [one.signatures[i][0] for i in one.signature] == [0, 0, -1, -1, -1]
    assert [two.signatures[i][0] for i in two.signature] == [-1, 0, 1, -1, -1]
    assert one.others[one.signature].tolist() == [[-1], [0], [1], [-1], [-1]]
    assert two.others[two.signature].tolist() == [[0], [0], [-1], [-1], [-1]]


def test_rollouts_that_treat_units_alike_cost_no_signature() -> None:
    fleet = find([row for name in ("h1", "h2", "h3") for row in host(name, "o")])
    plan = [stage({"host": "h1"})]
    assert len(fleet.memberships(plan, plan, plan)[0].signatures) == 2


def test_faults_of_all_rollouts_are_named_with_their_files() -> None:
    with pytest.raises(BadInput) as caught:
        FLEET.memberships([stage({"host": "x"})], [stage({"host": "y"})])
    assert [line.partition(": ")[0] for line in str(caught.value).split("\n")] == ["rollout.yaml", "rollout1.yaml"]
