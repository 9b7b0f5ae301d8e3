"""The parts of a tuning: the space, the search, the front, the split, the journal and the editing of a policy."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from detectors.policy import Policy
from holdfast.corpus.loading import Recorded
from holdfast.documents import load_policy
from holdfast.errors import BadInput
from holdfast.tuning.advice import of_layout
from holdfast.tuning.editing import edited
from holdfast.tuning.evaluating import Evaluated
from holdfast.tuning.figures import Trial, allowed_alarms, better, figures, front
from holdfast.tuning.journal import NAME, Journal
from holdfast.tuning.picture import steps
from holdfast.tuning.searching import Limits, Search
from holdfast.tuning.space import Candidate, Path_, Space
from holdfast.tuning.split import held_out, incidents
from rollouts.truth import Truth
from tests.corpora import written
from tests.test_cli import POLICY

COMMENTED: Final = """\
# ours since 2019
policy: edge   # the name
metrics:
  # errors first
  - name: errors
    ratio: {bad: http_5xx, total: http_requests}
    worse: increase
    tolerate: {relative: 0.10, absolute: 0.00005}  # agreed with product
    breach: revert
  - {name: cpu, gauge: cpu, worse: increase, breach: halt}
"""


def policy_of(folder: Path, text: str = POLICY) -> Policy:
    return load_policy(written(folder, text))


def of(kind: str, delay_s: float | None = None, *, early: bool = False) -> Evaluated:
    return Evaluated(kind=kind, early=early, delay_s=delay_s, left_s=600.0, advanced_s=None, why="")


def trial(number: int, evaluated: Sequence[Evaluated], is_bad: Sequence[bool]) -> Trial:
    candidate = Candidate(Policy(policy="p", metrics=[]), {})
    return Trial(number, (), candidate, tuple(evaluated), figures(evaluated, is_bad), float(number))


def recorded(name: str, *, bad: bool, samples: str = "") -> Recorded:
    truth = Truth(bad=bad, expect=["revert"] if bad else ["advance"])
    return Recorded(Path(name), name, truth, None, 0, 1, name, samples or name)  # type: ignore[arg-type]


# ---------------------------------------------------------------- editing


def test_a_changed_value_stands_where_the_old_one_stood_and_comments_stay(tmp_path: Path) -> None:
    file = written(tmp_path, COMMENTED)
    path: Path_ = ("metrics", 0, "tolerate", "relative")
    text = edited(file, {path: 0.125}, ["Since it was better."])
    assert text == "# Since it was better.\n" + COMMENTED.replace("relative: 0.10", "relative: 0.125")


def test_a_value_that_was_not_given_is_put_in(tmp_path: Path) -> None:
    file = written(tmp_path, COMMENTED)
    changes: dict[Path_, float | str] = {
        ("metrics", 0, "weight"): 2.0,
        ("metrics", 1, "tolerate", "relative"): 0.03,
        ("pre_period", "ticks_min"): 60,
        ("tick",): "20s",
        ("advance",): "strict",
    }
    policy = policy_of(tmp_path / "edited", edited(file, changes, []))
    assert (policy.metrics[0].weight, policy.metrics[1].tolerate.relative) == (2.0, 0.03)
    assert (policy.pre_period.ticks_min, policy.tick, policy.advance) == (60, "20s", "strict")


def test_a_value_behind_an_alias_is_refused_with_its_line(tmp_path: Path) -> None:
    text = POLICY.replace("tolerate: {relative: 0.2}", "tolerate: *t").replace("tolerate: {", "tolerate: &t {")
    file = written(tmp_path, text)
    with pytest.raises(BadInput, match=r"metrics\[1\].tolerate.relative"):
        edited(file, {("metrics", 1, "tolerate", "relative"): 0.3}, [])


# ---------------------------------------------------------------- the space


def test_the_middle_of_the_space_is_the_policy_as_it_is(tmp_path: Path) -> None:
    policy = policy_of(tmp_path)
    space = Space(policy, ("tolerances", "weights", "tick", "advance", "bake"))
    candidate = space.candidate(space.middle)
    assert (candidate.policy, candidate.changes, candidate.bake) == (policy, {}, 1.0)


def test_the_ends_of_a_dimension_are_a_quarter_and_four_times(tmp_path: Path) -> None:
    space = Space(policy_of(tmp_path), ("tolerances",))
    low, high = (space.candidate((at, 0.5)).policy.metrics[0].tolerate.relative for at in (0.0, 1.0))
    assert (low, high) == (0.12, 2.0)


def test_the_same_seed_spreads_the_same_points_and_another_seed_others(tmp_path: Path) -> None:
    space = Space(policy_of(tmp_path))
    assert space.spread(8, 1) == space.spread(8, 1) != space.spread(8, 2)


# ---------------------------------------------------------------- figures and the front


def test_a_miss_costs_the_time_to_the_end_of_the_recording() -> None:
    assert figures([of("caught", 100.0), of("missed")], [True, True]).delay_s == 350.0


def test_a_bad_rollout_that_is_stopped_before_its_onset_is_a_false_alarm() -> None:
    assert figures([of("missed", early=True), of("advanced")], [True, False]).alarms == 1


def test_the_front_holds_what_nothing_beats_in_alarms_misses_and_delay() -> None:
    is_bad = [True, False]
    slow = trial(0, [of("caught", 100.0), of("advanced")], is_bad)
    fast = trial(1, [of("caught", 50.0), of("false alarm")], is_bad)
    beaten = trial(2, [of("caught", 120.0), of("false alarm")], is_bad)
    assert [one.number for one in front([slow, fast, beaten])] == [1, 0]


def test_of_equals_the_front_holds_the_one_nearest_to_the_policy_as_it_is() -> None:
    same = [trial(number, [of("caught", 50.0), of("advanced")], [True, False]) for number in (3, 1, 2)]
    assert [one.number for one in front(same)] == [1]


# ---------------------------------------------------------------- the search


def toy(point_cost: float, recording: int, candidate: Candidate) -> Evaluated:
    """Return what a made-up judge says: the lower the first tolerance, the sooner it catches, and below 0.2 it errs."""
    relative = candidate.policy.metrics[0].tolerate.relative
    if recording == 0:
        return of("caught", point_cost * relative)
    return of("false alarm" if relative < 0.2 else "advanced")


def searched(policy: Policy, trials: int = 40, seed: int = 1) -> tuple[Search, list[int]]:
    asked: list[int] = []

    def evaluate(tasks: Sequence[tuple[int, Candidate]]) -> list[Evaluated]:
        asked.extend(recording for recording, _ in tasks)
        return [toy(1_000.0, recording, candidate) for recording, candidate in tasks]

    search = Search(Space(policy, ("tolerances",)), [True, *[False] * 30], Limits(trials, 0.0, seed), evaluate)
    search.run()
    return search, asked


def test_the_search_finds_the_lowest_tolerance_within_the_limit(tmp_path: Path) -> None:
    search, _ = searched(policy_of(tmp_path))
    found = search.best.candidate.policy.metrics[0].tolerate.relative
    assert 0.2 <= found <= 0.24


def test_the_search_tries_no_more_than_it_may(tmp_path: Path) -> None:
    search, _ = searched(policy_of(tmp_path), trials=13)
    assert search.tried == 13


def test_a_candidate_with_too_many_false_alarms_is_dropped_before_the_bad_recordings(tmp_path: Path) -> None:
    search, asked = searched(policy_of(tmp_path))
    assert search.dropped > 0
    assert asked.count(0) == search.tried - search.dropped


def test_the_policy_as_it_is_is_tried_first_and_never_dropped(tmp_path: Path) -> None:
    search, _ = searched(policy_of(tmp_path, POLICY.replace("relative: 0.5", "relative: 0.01")))
    assert (search.trials[0].number, search.trials[0].candidate.changes) == (0, {})


def test_a_limit_on_false_alarms_counts_whole_recordings() -> None:
    assert [allowed_alarms(0.01, count) for count in (10, 99, 100, 250)] == [0, 0, 1, 2]


def test_to_let_harmless_rollouts_go_on_comes_before_time() -> None:
    let_go_on = Evaluated(kind="advanced", early=False, delay_s=None, left_s=0.0, advanced_s=60.0, why="")
    quick = trial(1, [of("caught", 10.0), of("held")], [True, False])
    slow = trial(2, [of("caught", 100.0), let_go_on], [True, False])
    assert better(slow, quick, 0)
    assert not better(quick, slow, 0)


# ---------------------------------------------------------------- the split


def test_each_class_is_held_out_in_the_same_share() -> None:
    recordings = [recorded(f"b{number}", bad=True) for number in range(10)]
    recordings += [recorded(f"h{number}", bad=False) for number in range(20)]
    out = held_out(recordings, 0.3, 1)
    assert (sum(out[:10]), sum(out[10:])) == (3, 6)


def test_recordings_of_one_incident_are_held_out_together() -> None:
    names = [f"{incident}/{number}" for incident in "abcdef" for number in range(3)]
    out = held_out([recorded(name, bad=True) for name in names], 0.5, 3)
    assert {sum(out[start : start + 3]) for start in range(0, 18, 3)} == {0, 3}


def test_recordings_of_the_same_samples_are_one_incident() -> None:
    recordings = [recorded("a", bad=True, samples="s"), recorded("b", bad=True), recorded("c", bad=False, samples="s")]
    assert incidents(recordings) == [0, 1, 0]


def test_of_two_incidents_one_is_held_out_whatever_the_share() -> None:
    assert sum(held_out([recorded("a", bad=True), recorded("b", bad=True)], 0.9, 1)) == 1


def test_a_layout_that_makes_few_incidents_of_many_recordings_is_told() -> None:
    said = of_layout(2, 30)
    assert len(said) == 1
    assert said[0].startswith("The 30 recordings count as 2 incidents, since those in one folder")
    assert of_layout(1, 30)[0].startswith("The 30 recordings count as 1 incident,")
    assert of_layout(5, 30) == of_layout(3, 3) == []


# ---------------------------------------------------------------- the journal


def test_a_journal_gives_back_what_was_noted_in_it(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.add(("sha256:1", 1.0, "r"), of("caught", 30.0))
    with Journal(tmp_path / "j") as journal:
        assert journal.get(("sha256:1", 1.0, "r")) == of("caught", 30.0)


def test_a_line_that_a_kill_cut_off_is_left_out_and_written_over(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.add(("sha256:1", 1.0, "r"), of("caught", 30.0))
    file = tmp_path / NAME
    whole = file.read_bytes()
    file.write_bytes(whole + whole[: len(whole) // 2])
    with Journal(tmp_path) as journal:
        assert journal.found == 1
        journal.add(("sha256:2", 1.0, "r"), of("missed"))
    with Journal(tmp_path) as journal:
        assert journal.found == 2


def test_a_journal_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("{}\n")
    with pytest.raises(BadInput, match=f"{NAME}:1: no evaluation"):
        Journal(tmp_path)


# ---------------------------------------------------------------- the picture


@pytest.mark.parametrize("most", np.geomspace(1e-3, 1e5, 41).tolist())
def test_an_axis_holds_the_largest_value_with_few_round_steps(most: float) -> None:
    step, end = steps(most)
    assert end >= most * (1 - 1e-9)
    assert 1 <= round(end / step) <= 6
    assert math.isclose(end / step, round(end / step))
