"""Recordings of more than one kind: of plans with stages, and those that `shared/recordings/make.py` makes."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from holdfast.replaying import Outcome, replay_recording
from tests.test_cli import POLICY, ROLLOUT, Command, Small, make_command
from tests.test_outcomes import Judge, blamed, last, make_judge, said

SHARED: Final = Path(__file__).resolve().parents[2] / "shared" / "recordings"
MADE: Final = {
    "harmless": ["fleet", "--colos", "4", "--hosts", "10", "--pre", "240", "--post", "240"],
    "errors": ["fleet", "--colos", "2", "--hosts", "5", "--pre", "120", "--post", "90", "--onset", "0"],
    "real": ["real", "--base", str(SHARED / "servers-a.parquet"), "--colos", "2", "--pre", "180", "--post", "90"],
}
OTHERS: Final = ROLLOUT.replace("control: {cohort: control}, ", "")
TWO_STAGES: Final = """\
rollout: bot-0312
started: 2026-03-12T11:20:01Z
stages:
  - {name: first, canary: {host: "*-h0"}, bake: 4m, deadline: 6m}
  - {name: second, canary: {host: "*-h1"}, bake: 4m, deadline: 6m, started: 2026-03-12T11:27:01Z}
"""


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    return make_judge(tmp_path)


# ---------------------------------------------------------------- stages


def test_each_stage_is_judged_by_its_own_past(judge: Judge) -> None:
    """The second stage's hosts take on more load long before their stage, and keep it: no harm of the change."""
    small = Small(live=90)
    second = np.array([host.endswith("h1") for host in small.labels["host"]])
    small.gauges["cpu"][small.pre + 4 :, second] *= 1.6
    outcome = judge(small, POLICY + "pre_period: {ticks_min: 30, ticks_max: 35}\n", TWO_STAGES)
    stages = [verdict["data"]["stage"] for verdict in outcome.verdicts if verdict["data"]["action"] == "advance"]
    assert stages == ["first", "second"]
    assert outcome.action == "advance"


def test_the_second_stage_may_be_the_one_that_hurts(judge: Judge) -> None:
    small = Small(live=90)
    second = np.array([host.endswith("h1") for host in small.labels["host"]])
    small.gauges["cpu"][small.pre + 46 :, second] *= 2
    outcome = judge(small, rollout=TWO_STAGES)
    assert [(v["data"]["stage"], v["data"]["action"]) for v in outcome.verdicts] == [
        ("first", "wait"),
        ("first", "advance"),
        ("second", "wait"),
        ("second", "halt"),
    ]


@pytest.mark.parametrize("live", [60, 100])
def test_what_was_halted_stays_halted(live: int, judge: Judge) -> None:
    """Also where the plan goes on to a stage that would be harmless."""
    small = Small(live=live)
    small.gauges["cpu"][small.since(4, cohort="canary") & ~small.since(20)] *= 2
    outcome = judge(small, rollout=TWO_STAGES)
    assert (outcome.action, outcome.final_action) == ("halt", "halt")
    assert {action for action, _ in said(outcome)} == {"wait", "halt"}


def test_without_a_control_all_others_of_the_colo_are_it(judge: Judge) -> None:
    small = Small()
    for host in (2, 3, 6, 7):
        small.labels["cohort"][host] = "other"
    narrow, wide = (last(judge(small, rollout=rollout))["reasons"] for rollout in (ROLLOUT, OTHERS))
    counts = [{r["metric"]: r["samples"] for r in reasons}["cpu"] for reasons in (narrow, wide)]
    assert [(count["canary"], count["control"]) for count in counts] == [(60, 60), (60, 180)]


def test_a_whole_colo_is_compared_with_matched_colos(judge: Judge) -> None:
    small = Small(colos=("ams01", "fra02", "lhr03"))
    rollout = OTHERS.replace("{cohort: canary}", "{colo: ams01}")
    harmless = judge(small, rollout=rollout)
    assert (harmless.action, last(harmless)["scope"]["colos"]) == ("advance", ["ams01"])
    samples = {reason["metric"]: reason["samples"] for reason in harmless.reasons}["cpu"]
    assert samples == {"canary": 120.0, "control": 240.0}
    small.gauges["cpu"][small.since(4, colo="ams01")] *= 2
    assert judge(small, rollout=rollout).action == "halt"


def test_settling_ignores_a_transient(judge: Judge) -> None:
    small = Small()
    small.gauges["cpu"][small.since(0, cohort="canary") & ~small.since(6)] *= 3
    settling = ROLLOUT.replace("deadline: 8m", "deadline: 8m, settle: 1m")
    assert [judge(small, rollout=rollout).action for rollout in (ROLLOUT, settling)] == ["halt", "advance"]


def test_settling_does_not_ignore_silence(judge: Judge) -> None:
    small = Small()
    small.missing |= small.since(0, cohort="canary")
    outcome = judge(small, rollout=ROLLOUT.replace("deadline: 8m", "deadline: 8m, settle: 4m"))
    assert (outcome.action, blamed(outcome)) == ("halt", {"reporting_hosts"})
    assert outcome.time < "2026-03-12T11:24:00Z"


# ---------------------------------------------------------------- made recordings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Two recordings of each kind."""
    if not (SHARED / "make.py").is_file():
        pytest.skip(f"{SHARED / 'make.py'} is not there; it comes with the shared folder beside the repository")
    out = tmp_path_factory.mktemp("made")
    for kind, arguments in MADE.items():
        scenario = ["--scenario", "errors", "--size", "4"] if kind == "errors" else []
        line = [sys.executable, str(SHARED / "make.py"), *arguments, *scenario, "--count", "2", "--seed", "5"]
        subprocess.run([*line, "--out", str(out / kind)], check=True, capture_output=True, timeout=300)
    return {kind: sorted((out / kind).iterdir()) for kind in MADE}


@pytest.fixture(scope="module")
def outcomes(made: dict[str, list[Path]]) -> dict[str, list[Outcome]]:
    return {kind: [replay_recording(path, check=True) for path in paths] for kind, paths in made.items()}


@pytest.mark.parametrize("kind", ["harmless", "real"])
def test_nothing_harmless_is_stopped_on_evidence(kind: str, outcomes: dict[str, list[Outcome]]) -> None:
    for outcome in outcomes[kind]:
        assert not {("halt", "evidence"), ("revert", "evidence")} & set(said(outcome)), outcome.recording


def test_harmless_rollouts_of_a_simulated_fleet_advance(outcomes: dict[str, list[Outcome]]) -> None:
    assert [outcome.final_action for outcome in outcomes["harmless"]] == ["advance"] * 2


def test_errors_are_reverted_soon(outcomes: dict[str, list[Outcome]]) -> None:
    for outcome in outcomes["errors"]:
        assert (outcome.action, outcome.contradictions) == ("revert", [])
        assert "errors" in blamed(outcome)
        assert outcome.time < "2026-03-02T00:25:00Z"  # 30 ticks after the start


def test_the_command_line_checks_them(
    made: dict[str, list[Path]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command: Command = make_command(capsys, monkeypatch)
    ran = command("replay", *made["errors"], "--check", "--json", "--no-store")
    assert (ran.status, ran.err) == (0, "")
    assert [outcome["recording"] for outcome in ran.outcomes] == [str(path) for path in made["errors"]]
