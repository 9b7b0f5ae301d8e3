"""`holdfast calibrate` on tiny histories: what it finds, what it writes, and what it refuses."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from holdfast.calibration.calibrating import Asked, calibrate
from holdfast.calibration.report import (
    Advanced,
    Alarm,
    Calibration,
    Effect,
    Held,
    PastLength,
    Rate,
    Suggestion,
    Used,
    Verified,
)
from holdfast.calibration.view import show
from holdfast.documents import load_policy
from tests.test_calibrate_units import SHORT
from tests.test_cli import POLICY, Command, Small, make_command
from tests.test_docs import fields, missing

TIGHT = POLICY.replace("tolerate: {relative: 0.2}", "tolerate: {relative: 0.001}")


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return make_command(capsys, monkeypatch)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a history in which the canary's processors get warmer than the control's, again and again."""
    small = Small(pre=260, live=1, seed=5)
    for start in range(140, 260, 25):
        small.gauges["cpu"][start : start + 12] *= [
            1.06 if cohort == "canary" else 1 for cohort in small.labels["cohort"]
        ]
    return small.write(tmp_path_factory.mktemp("history") / "warm", TIGHT, SHORT)


@pytest.fixture(scope="module")
def found(history: Path) -> Calibration:
    return calibrate([history], Asked(history / "policy.yaml", effects=2, jobs=1))


def test_every_stop_of_a_placebo_is_a_false_alarm(found: Calibration) -> None:
    assert found.on_evidence.count == len([one for one in found.alarms if one.cause == "evidence"]) > 0
    assert set(found.metrics) == {"cpu"}


def test_the_interval_is_that_of_the_independent_placebos(found: Calibration) -> None:
    loose, strict = found.on_evidence.interval_if_independent, found.on_evidence.interval
    assert found.independent < found.placebos
    assert strict[0] < loose[0] < found.on_evidence.share < loose[1] < strict[1]


def test_the_tolerance_that_stopped_placebos_is_to_be_raised_and_then_stops_fewer(found: Calibration) -> None:
    raised = {(one.metric, one.kind): one for one in found.suggestions}
    assert raised["cpu", "raise"].after > 0.001
    assert found.suggested is not None
    assert found.suggested.on_evidence.count < found.on_evidence.count


def test_the_smallest_effect_is_told_of_each_metric(found: Calibration) -> None:
    assert [(one.metric, one.direction, one.tried) for one in found.effects] == [
        ("errors", "increase", 2),
        ("cpu", "increase", 2),
    ]
    assert found.effects[1].caught_half is not None


def test_any_number_of_processes_comes_to_the_same(history: Path, found: Calibration) -> None:
    assert calibrate([history], Asked(history / "policy.yaml", effects=2, jobs=2)) == found


def test_what_is_suggested_is_written_with_a_comment(command: Command, history: Path, tmp_path: Path) -> None:
    out = tmp_path / "calibrated.yaml"
    policy = str(history / "policy.yaml")
    status, said, _ = command(
        "calibrate", str(history), "--policy", policy, "--effects", "0", "--jobs", "1", "--out", str(out), "--json"
    )
    suggested = {tuple(one["path"]): one["after"] for one in json.loads(said)["suggestions"]}
    written = load_policy(out)
    assert status == 0
    assert written.metrics[1].tolerate.relative == suggested["metrics", 1, "tolerate", "relative"]
    assert out.read_text().startswith("# holdfast calibrate changed this policy")


def test_a_metric_too_noisy_for_any_tolerance_is_named_and_what_exposure_would_come_to(
    command: Command, tmp_path: Path
) -> None:
    small = Small(pre=260, live=1, seed=5)
    wander = small.rng.normal(0.0, 0.5, small.size)  # far, and for longer than a stage takes
    for tick in range(1, len(wander)):
        wander[tick] += 0.97 * wander[tick - 1]
    small.gauges["cpu"] = np.exp(wander)
    path = small.write(tmp_path / "noisy", POLICY, SHORT)
    policy, out = path / "policy.yaml", tmp_path / "calibrated.yaml"
    status, said, _ = command(
        *("calibrate", str(path), "--policy", str(policy), "--effects", "0", "--jobs", "1", "--out", str(out))
    )
    words = " ".join(said.split())
    assert status == 0
    assert "let go on 0 of 5" in words
    assert "- cpu: in 5 of 5 placebos its health is not shown by the end" in words
    assert "Judge such a metric on more hosts, or leave it out." in words  # no stage is long enough
    assert "With advance: exposure, which asks for no evidence of health, 5 of 5 would be let go on" in words
    assert load_policy(out).metrics[1] == load_policy(policy).metrics[1]
    assert "what no tolerance mends: cpu" in " ".join(out.read_text().split())


def test_metrics_that_are_held_for_the_same_reason_are_told_together(found: Calibration) -> None:
    held = [Held(metric=name, why="unlike", placebos=3, total=4) for name in ("cpu", "errors")]
    printed = StringIO()
    show(Console(file=printed, width=120), msgspec.structs.replace(found, held=held))
    said = " ".join(printed.getvalue().split())
    assert "- cpu, errors: in 3 of 4 placebos canary and control go apart by themselves" in said
    assert "Choose a control of the same service, size and traffic" in said


def test_hosts_that_take_turns_give_a_placebo_each(command: Command, history: Path) -> None:
    status, said, _ = command(
        *("calibrate", str(history), "--policy", str(history / "policy.yaml"), "--assign", "--placebos", "4"),
        *("--effects", "0", "--no-suggest", "--jobs", "1"),
    )
    assert status == 0
    words = " ".join(said.split())  # wherever lines are broken
    assert "4 placebos of bot-0312" in words
    assert "one of 4 random groups of hosts is the canary" in words


def test_a_history_that_is_too_short_says_how_much_it_takes(command: Command, tmp_path: Path) -> None:
    path = Small(pre=40, live=1).write(tmp_path / "short", POLICY, SHORT)
    status, _, error = command("calibrate", str(path), "--policy", str(path / "policy.yaml"))
    assert status == 2
    assert "too short for a placebo: 40 ticks of 10 s without a change, and it takes 55" in error


def test_a_rollout_that_starts_first_leaves_nothing(command: Command, tmp_path: Path) -> None:
    path = Small(pre=1, live=60).write(tmp_path / "changed", POLICY, SHORT)
    status, _, error = command("calibrate", str(path), "--policy", str(path / "policy.yaml"))
    assert status == 2
    assert str(path) in error


def test_errors_of_all_histories_are_told_at_once(command: Command, history: Path, tmp_path: Path) -> None:
    policy = str(history / "policy.yaml")
    status, _, error = command("calibrate", str(tmp_path / "a"), str(tmp_path / "b"), "--policy", policy)
    assert status == 2
    assert f"{tmp_path / 'a'}" in error
    assert f"{tmp_path / 'b'}" in error


def test_a_policy_without_suggestions_is_not_written(command: Command, history: Path, tmp_path: Path) -> None:
    policy = str(history / "policy.yaml")
    status, _, error = command(
        "calibrate", str(history), "--policy", policy, "--no-suggest", "--out", str(tmp_path / "x.yaml")
    )
    assert status == 2
    assert "--out: found with --no-suggest" in error


def test_another_seed_pretends_other_starts(history: Path, found: Calibration) -> None:
    asked = Asked(history / "policy.yaml", placebos=2, effects=0, suggests=False, jobs=1)
    starts = [{one.started for one in calibrate([history], replace(asked, seed=seed)).alarms} for seed in range(1, 6)]
    assert len(set(map(frozenset, starts))) > 1


def test_every_field_of_a_calibration_is_documented() -> None:
    structs = (Calibration, Used, Rate, Advanced, Alarm, Effect, PastLength, Suggestion, Verified, Held)
    assert missing("docs/calibrate.md", fields(*structs)) == set()
