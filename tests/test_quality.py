import doctest
import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.quality import report
from benchmarks.quality.__main__ import main, parse
from benchmarks.quality.outcome import Cell, Outcome, gather
from benchmarks.quality.rivals import RIVALS, Cohorts, judge, relative
from benchmarks.quality.simulated import BAKE, DEADLINE, Goal, fleet, holdfast, scenarios
from benchmarks.simulator import COLOS, HARMLESS, LIVE, PAST, Scenario, simulate
from detectors.errors import BadInput

ROOT = Path(__file__).resolve().parent.parent
ERRORS = Scenario("errors x2", "ratio", 2.0)
LOOK_OFTEN = [name for name in RIVALS if name != "classical, once"]


@pytest.mark.parametrize("name", ["intervals", "blocks", "outcome", "report"])
def test_examples_of_the_benchmark_hold(name: str) -> None:
    done = doctest.testmod(importlib.import_module(f"benchmarks.quality.{name}"))
    assert done.attempted > 0
    assert done.failed == 0


def test_a_simulated_rollout_is_the_same_for_the_same_seed() -> None:
    one, other = (simulate(ERRORS, (3, 1)) for _ in range(2))
    for a, b in zip(one.sides.arrays(), other.sides.arrays(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.hurt == other.hurt


def test_harm_begins_at_the_onset() -> None:
    late = simulate(Scenario("", "ratio", 50.0, onset=60), (3, 1))
    assert late.hurt is not None
    canary = late.sides.canary[late.hurt * COLOS : (late.hurt + 1) * COLOS].sum(axis=0)
    before, after = canary[PAST : PAST + 60], canary[PAST + 60 : PAST + LIVE]
    assert after.mean() > 20 * before.mean()


def test_every_scenario_has_a_name_of_its_own() -> None:
    names = [scenario.name for scenario, _ in scenarios(by_phi=True)]
    assert len(set(names)) == len(names)
    assert names[0] == "harmless"


# ---------------------------------------------------------------- methods


@pytest.mark.parametrize("method", LOOK_OFTEN)
def test_every_method_that_looks_often_catches_doubled_errors_within_fifteen_ticks(method: str) -> None:
    stop = RIVALS[method](fleet(simulate(ERRORS, (3, 1))))
    assert stop is not None
    assert stop < 15


def test_holdfast_stops_doubled_errors_and_lets_a_harmless_rollout_advance() -> None:
    bad, harmless = holdfast([simulate(ERRORS, (3, 1)), simulate(HARMLESS, (3, 1))])
    assert bad.stopped is not None
    assert bad.stopped < 15
    assert harmless == Outcome(None, None, advances=True)


def test_a_stage_in_which_nothing_can_be_shown_is_halted_at_its_deadline() -> None:
    rollout = simulate(HARMLESS, (3, 1))
    for array in rollout.sides.arrays():
        array[:, PAST + BAKE // 2 :] = 0.0  # nobody reports any more
    assert holdfast([rollout]) == [Outcome(None, DEADLINE, advances=False)]


def test_rollouts_that_are_worked_on_together_know_nothing_of_each_other() -> None:
    kinds = [HARMLESS, ERRORS, Scenario("level", "level", 1.1, onset=60)]
    rollouts = [simulate(kind, (3, number)) for number, kind in enumerate(kinds)]
    assert holdfast(rollouts) == [one for rollout in rollouts for one in holdfast([rollout])]


def quiet(metrics: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two sides of 200 ticks around 1, with a little noise."""
    rng = np.random.default_rng(5)
    return 1 + rng.normal(0, 0.01, (metrics, 200)), 1 + rng.normal(0, 0.01, (metrics, 200))


@pytest.mark.parametrize("method", LOOK_OFTEN)
@pytest.mark.parametrize(("factor", "up"), [(1.5, True), (0.5, False)])
def test_a_method_looks_in_the_direction_that_is_worse(method: str, factor: float, up: bool) -> None:
    canary, control = quiet()
    canary[:, 100:] *= factor
    worse = np.array([up])
    assert RIVALS[method](Cohorts(canary, control, 100, worse, ~worse)) is not None
    assert RIVALS[method](Cohorts(canary, control, 100, ~worse, worse)) is None


@pytest.mark.parametrize("method", LOOK_OFTEN)
def test_missing_ticks_neither_stop_nor_hide(method: str) -> None:
    canary, control = quiet()
    canary[:, ::7] = np.nan
    up = np.array([True])
    assert RIVALS[method](Cohorts(canary, control, 100, up, ~up)) is None
    canary[:, 100:] *= 1.5
    assert RIVALS[method](Cohorts(canary, control, 100, up, ~up)) is not None


def test_fixed_thresholds_stop_at_the_third_tick_in_a_row() -> None:
    canary, control = quiet()
    canary[:, [110, 111, 120, 121, 122]] = 2.0
    up = np.array([True])
    assert RIVALS["1.25x thrice"](Cohorts(canary, control, 100, up, ~up)) == 22


def test_errors_that_appear_from_zero_are_infinitely_more() -> None:
    canary = np.zeros((1, 200))
    canary[:, 100:] = 0.001
    control = relative(np.zeros((1, 200)), 100)
    up = np.array([True])
    assert RIVALS["1.25x thrice"](Cohorts(relative(canary, 100), control, 100, up, ~up)) == 2


def test_values_are_measured_by_their_own_past() -> None:
    values = np.array([[4.0, 4.0, 6.0, np.nan], [-1.0, 1.0, 3.0, 0.0]])
    np.testing.assert_allclose(relative(values, 2), [[1.0, 1.0, 1.5, np.nan], [0.0, 2.0, 4.0, 1.0]])


def test_what_a_rival_does_not_stop_goes_on() -> None:
    canary, control = quiet()
    up = np.array([True])
    assert all(
        outcome == Outcome(None, advances=True) for outcome in judge(Cohorts(canary, control, 100, up, ~up)).values()
    )


# ---------------------------------------------------------------- counting


def test_an_alarm_before_the_onset_is_no_detection() -> None:
    cell = gather([Outcome(5), Outcome(None, advances=True), Outcome(70)], [60, 60, 60])
    assert (cell.early, cell.delays, cell.advanced, cell.undecided) == (1, [11], 1, 0)


def test_a_halt_for_another_cause_is_no_judgement_and_evidence_after_it_a_false_alarm_alone() -> None:
    cell = gather([Outcome(200, 180), Outcome(150, 180), Outcome(None, 180)], [0, 0, 0])
    assert cell.stopped == [True, True, False]
    assert cell.caught == [False, True, False]
    assert (cell.delays, cell.undecided) == ([151], 2)


def test_every_rollout_ends_in_one_way() -> None:
    rng = np.random.default_rng(3)
    outcomes = [
        Outcome(stop if stop < 240 else None, halt if halt < 240 else None, advances=bool(stop % 2))
        for stop, halt in rng.integers(0, 480, (300, 2)).tolist()
    ]
    cell = gather(outcomes, [60] * 300)
    assert sum(cell.caught) + cell.early + cell.undecided + cell.advanced == 300
    assert min(sum(cell.caught), cell.early, cell.undecided, cell.advanced) > 0


def cell(stopped: int, rollouts: int, delay: int = 3) -> Cell:
    """Return a cell in which some rollouts were stopped after `delay` ticks, and the others advanced."""
    outcomes = [Outcome(delay - 1) if i < stopped else Outcome(None, advances=True) for i in range(rollouts)]
    return gather(outcomes, [0] * rollouts)


@pytest.mark.parametrize(("stopped", "delay", "reached"), [(99, 3, True), (98, 3, False), (100, 4, False)])
def test_a_goal_is_reached_by_share_and_delay(stopped: int, delay: int, reached: bool) -> None:
    assert Goal(0.99, 3).is_reached(cell(stopped, 100, delay)) == reached


@pytest.mark.parametrize(("stopped", "rollouts", "goal"), [(3, 1000, "reached"), (0, 20, "open"), (2, 100, "MISSED")])
def test_too_few_harmless_rollouts_leave_the_goal_open(stopped: int, rollouts: int, goal: str) -> None:
    rows = [report.Row("harmless", False, {"holdfast": cell(stopped, rollouts)})]
    shown = report.Report("simulated", "", 1, "", rows).text()
    assert shown.splitlines()[6].split()[-1] == goal


# ---------------------------------------------------------------- the command


def test_the_quick_measurement_fills_a_page_and_draws_a_picture(tmp_path: Path) -> None:
    page, picture = tmp_path / "page.md", tmp_path / "picture.svg"
    page.write_text("before\n<!-- simulated: begin -->\nstale\n<!-- simulated: end -->\nafter\n", encoding="utf-8")
    options = ["--quick", "--json", "--page", str(page), "--picture", str(picture)]
    command = [sys.executable, "-m", "benchmarks.quality", *options]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # the bar is for terminals
    rows = json.loads(done.stdout)["rows"]
    assert [row["kind"] for row in rows] == [scenario.name for scenario, _ in scenarios(by_phi=False)]
    assert all(set(row["methods"]) == {"holdfast", *RIVALS} for row in rows)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- simulated: begin -->\n\n```sh\n.venv/bin/python -m benchmarks.quality --quick")
    assert text.endswith("<!-- simulated: end -->\nafter\n")
    assert "stale" not in text
    assert "errors x2 in 2 of 20 colos" in picture.read_text(encoding="utf-8")


def test_bad_input_is_one_line_that_names_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["quality", "--recordings", str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr()
    assert (stopped.value.code, printed.out) == (2, "")
    assert printed.err.startswith(f"{tmp_path}: no recording")
    assert len(printed.err.splitlines()) == 1


@pytest.mark.parametrize("wrong", [["--harmless", "0"], ["--seed", "-1"], ["--picture", "x.pdf"], ["--fleet", "many"]])
def test_an_option_that_cannot_be_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(wrong)
    assert wrong[0] in capsys.readouterr().err


def test_a_page_without_markers_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no markers\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"page\.md: there must be <!-- recorded: begin -->"):
        report.put_into(page, "recorded", "new")
    assert page.read_text(encoding="utf-8") == "no markers\n"


def test_no_table_is_wider_than_a_terminal() -> None:
    cells = {name: cell(3, 1000) for name in ("holdfast", *RIVALS)}
    rows = [report.Row("harmless", False, cells, block=np.zeros(1000, np.intp))]
    rows += [report.Row(scenario.name, True, cells, goal) for scenario, goal in scenarios(by_phi=True)[1:]]
    shown = report.Report("simulated", "", 1, "", rows).text().splitlines()
    assert max(len(line) for line in shown[:-1]) <= report.WIDTH_MAX
