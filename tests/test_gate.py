"""The gate: what fails it, what it says, and what it writes."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from holdfast.corpus.gating import Gate, Rules, gate
from holdfast.corpus.scoring import Score
from rollouts.truth import Truth
from tests.corpora import LAX, make_corpus, written
from tests.test_cli import POLICY, Command, make_command
from tests.test_docs import ROOT, blocks

BAD = Truth(bad=True, expect=["revert"])
GOOD = Truth(bad=False, expect=["advance", "wait"])
RULES = Rules(alpha=0.01, tick_ms=10_000)
CAUGHT = Score("i", True, "caught", "revert", 100_000, "evidence", "revert", True, False, 5, 45.0, None, "revert")
MISSED = replace(
    CAUGHT, kind="missed", action="advance", final="advance", delay_ticks=None, delay_s=None, expected=False
)
QUIET = Score("h", False, "advanced", "advance", 90_000, "evidence", "advance", True, False, None, None, 90_000, "")
ALARM = replace(QUIET, kind="false alarm", action="revert", final="revert", expected=False)
DEADLINE = replace(ALARM, action="halt", final="halt", cause="deadline", why="halt (deadline)")


def later(ticks: int, score: Score = CAUGHT) -> Score:
    assert score.delay_ticks is not None
    assert score.delay_s is not None
    ticks_later, seconds_later = score.delay_ticks + ticks, score.delay_s + 10 * ticks
    time_ms = score.time_ms + 10_000 * ticks
    return replace(score, time_ms=time_ms, delay_ticks=ticks_later, delay_s=seconds_later)


def gated(new: list[Score], old: list[Score] | None = None, rules: Rules = RULES, truth: Truth = BAD) -> Gate:
    return gate(rules, [truth if each.bad else GOOD for each in new], new, old)


def rules_of(found: Gate) -> list[str]:
    return [each.rule for each in found.failures]


def test_what_is_caught_and_let_go_as_it_should_passes() -> None:
    assert gated([CAUGHT, QUIET]).passed


def test_an_incident_that_is_missed_fails_the_truth_alone() -> None:
    assert rules_of(gated([MISSED, QUIET])) == ["missed"]


@pytest.mark.parametrize(("old", "rules"), [(CAUGHT, ["missed"]), (MISSED, [])])
def test_against_another_policy_only_what_that_one_caught_may_not_be_missed(old: Score, rules: list[str]) -> None:
    assert rules_of(gated([MISSED], [old])) == rules


@pytest.mark.parametrize(("ticks", "rules"), [(-4, []), (3, []), (4, ["late"])])
def test_later_than_the_other_policy_by_more_than_the_margin_fails(ticks: int, rules: list[str]) -> None:
    assert rules_of(gated([later(ticks)], [CAUGHT])) == rules


def test_what_moves_within_the_margin_is_told() -> None:
    assert gated([later(3)], [CAUGHT]).rows[0].note == "30 s (3 ticks) later than before"
    assert gated([later(-1)], [CAUGHT]).rows[0].note == "10 s (1 tick) sooner than before"


def test_harmless_ones_that_no_longer_advance_are_told_of_though_no_rule_fails_them() -> None:
    held = replace(QUIET, kind="held", action="wait", final="wait", cause="insufficient", advanced_ms=None)
    found = gated([held, QUIET, CAUGHT], [QUIET, QUIET, CAUGHT])
    assert found.passed
    assert "1 of 2 harmless recordings that the other policy lets go on are left to wait" in found.warnings[-1]
    assert not any("left to wait" in each for each in gated([QUIET, held], [QUIET, held]).warnings)


def test_without_another_policy_the_truth_says_by_when() -> None:
    truth = Truth(bad=True, expect=["revert"], onset=None, within=4)
    dated = yaml.safe_load("2026-03-12T11:20:51Z")
    due = Truth(bad=True, expect=["revert"], onset=dated, within=4)
    assert (rules_of(gated([CAUGHT], truth=due)), rules_of(gated([CAUGHT], truth=truth))) == (["late"], [])


def test_a_catch_that_ends_in_another_action_than_is_right_fails() -> None:
    wrong = replace(CAUGHT, final="halt", expected=False)
    assert (rules_of(gated([wrong])), rules_of(gated([wrong], [CAUGHT])), rules_of(gated([wrong], [wrong]))) == (
        ["action"],
        ["action"],
        [],
    )


def test_a_harmless_one_that_is_halted_at_its_deadline_fails_for_its_action_not_for_alpha() -> None:
    assert rules_of(gated([DEADLINE])) == ["action"]
    assert gated([DEADLINE]).alarms.count == 0


def test_one_alarm_in_two_fails_and_one_in_ten_may_be_chance() -> None:
    assert rules_of(gated([ALARM, QUIET])) == ["false-alarms"]
    assert rules_of(gated([ALARM] + [QUIET] * 9)) == []


def test_the_passed_gate_says_what_so_few_recordings_cannot_show() -> None:
    (warning,) = gated([CAUGHT] + [QUIET] * 10).warnings
    assert "at most 25.9% is all that this shows" in warning
    assert "it takes 299 harmless recordings" in warning


def test_a_strict_gate_demands_what_a_lenient_one_warns_of() -> None:
    strict = replace(RULES, strict=True)
    assert rules_of(gated([CAUGHT] + [QUIET] * 298, rules=strict)) == ["unproven"]
    assert gated([CAUGHT] + [QUIET] * 299, rules=strict).passed
    assert rules_of(gated([QUIET] * 299, rules=strict)) == ["unproven"]


def test_a_corpus_without_an_incident_is_said_to_show_nothing_of_them() -> None:
    assert "no recording is one of a bad change" in gated([QUIET] * 300).warnings[0]


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_corpus(tmp_path_factory.mktemp("gate") / "corpus")
    written(folder.parent, POLICY)
    written(folder.parent, LAX, "lax.yaml")
    return folder


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return make_command(capsys, monkeypatch)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """Make a key as the documents say."""
    private, public = tmp_path / "gate.pem", tmp_path / "gate.pub.pem"
    for line in (
        ["genpkey", "-algorithm", "ed25519", "-out", private],
        ["pkey", "-in", private, "-pubout", "-out", public],
    ):
        subprocess.run(["openssl", *map(str, line)], check=True, capture_output=True)
    return private, public


def policies(corpus: Path) -> tuple[Path, Path]:
    return corpus.parent / "policy.yaml", corpus.parent / "lax.yaml"


def test_a_policy_that_passes_ends_with_0(corpus: Path, command: Command) -> None:
    ran = command("gate", corpus, "--policy", policies(corpus)[0], "--jobs", 1)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[0] == f"{policies(corpus)[0]} on {corpus}: passed"


def test_a_policy_that_fails_ends_with_4_and_says_why(corpus: Path, command: Command) -> None:
    good, lax = policies(corpus)
    ran = command("gate", corpus, "--policy", lax, "--against", good, "--jobs", 1)
    assert ran.status == 4
    assert ran.out.splitlines()[0].endswith("FAILED, for 1 reason")
    assert "  FAILS incidents/erring: missed: " in ran.out


def test_a_cache_is_filled_and_changes_nothing(corpus: Path, command: Command, tmp_path: Path) -> None:
    line = ("gate", corpus, "--policy", policies(corpus)[0], "--json", "--jobs")
    filling, filled = (command(*line, jobs, "--cache", tmp_path / "sums") for jobs in (1, 2))
    assert len(list((tmp_path / "sums").glob("*.arrow"))) == 3
    assert filling.out == filled.out == command(*line, 1).out


def test_the_other_way_round_it_is_an_improvement(corpus: Path, command: Command) -> None:
    good, lax = policies(corpus)
    ran = command("gate", corpus, "--policy", good, "--against", lax, "--jobs", 1, "--json")
    found = json.loads(ran.out)
    assert (ran.status, found["passed"]) == (0, True)
    assert "was missed" in found["recordings"][2]["note"]
    assert [found["sums"][name]["caught"]["count"] for name in ("policy", "against")] == [1, 0]


def test_bad_input_ends_with_2_before_anything_is_written(corpus: Path, command: Command, tmp_path: Path) -> None:
    ran = command("gate", tmp_path, "--policy", policies(corpus)[0], "--junit", tmp_path / "junit.xml")
    assert (ran.status, ran.out) == (2, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--junit", "--markdown"])
def test_a_place_that_cannot_be_written_is_told_before_there_is_any_work(
    option: str, corpus: Path, command: Command, tmp_path: Path
) -> None:
    ran = command("gate", corpus, "--policy", policies(corpus)[0], option, tmp_path / "none" / "file")
    assert (ran.status, ran.err) == (
        2,
        f"{tmp_path}/none/file: no such folder; allowed: a file in a folder that is there\n",
    )


def test_junit_has_a_case_for_each_recording_and_one_for_the_corpus(
    corpus: Path, command: Command, tmp_path: Path
) -> None:
    command("gate", corpus, "--policy", policies(corpus)[1], "--junit", tmp_path / "j.xml", "--jobs", 1)
    suites = ElementTree.parse(tmp_path / "j.xml").getroot()
    (suite,) = suites
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == ["harmless-0", "harmless-1", "incidents/erring", "false alarms"]
    assert [case.get("name") for case in cases if case.find("failure") is not None] == ["incidents/erring"]
    assert (suite.get("tests"), suite.get("failures"), suites.get("failures")) == ("4", "1", "1")


def test_names_that_no_xml_may_hold_and_no_cell_can_are_written_all_the_same(
    corpus: Path, command: Command, tmp_path: Path
) -> None:
    shutil.copytree(corpus / "incidents" / "erring", tmp_path / "c" / "odd\x01|<b>`")
    ran = command(
        *("gate", tmp_path / "c", "--policy", policies(corpus)[1], "--jobs", 1),
        *("--junit", tmp_path / "j.xml", "--markdown", tmp_path / "m.md"),
    )
    assert ran.status == 4
    names = [case.get("name") for case in ElementTree.parse(tmp_path / "j.xml").iter("testcase")]
    assert names[0] == "odd\ufffd|<b>`"
    table = [line for line in (tmp_path / "m.md").read_text("utf-8").splitlines() if "odd" in line]
    assert all("\\|&lt;b>" in line for line in table)


def test_markdown_says_first_how_it_ended(corpus: Path, command: Command, tmp_path: Path) -> None:
    command("gate", corpus, "--policy", policies(corpus)[1], "--markdown", tmp_path / "m.md", "--jobs", 1)
    lines = (tmp_path / "m.md").read_text("utf-8").splitlines()
    assert lines[0] == "### Gate failed: `edge`"
    assert lines[4].startswith("| incidents/erring | missed: ")


# ---------------------------------------------------------------- certificates


def certified(corpus: Path, command: Command, keys: tuple[Path, Path], folder: Path, policy: int = 0) -> Any:
    file = folder / "certificate.json"
    line = ("--jobs", 1, "--certificate", file, "--key", keys[0], "--key-id", "ci")
    return command("gate", corpus, "--policy", policies(corpus)[policy], *line), file


def test_a_passed_gate_is_certified_and_the_certificate_counts(
    corpus: Path, command: Command, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    ran, file = certified(corpus, command, keys, tmp_path)
    assert (ran.status, ran.err) == (0, f"{file}: written, signed by ci\n")
    ran = command("gate", "verify", file, "--policy", policies(corpus)[0], "--trusted", f"ci={keys[1]}")
    assert ran.status == 0
    assert "1 of 1 incidents caught" in ran.out


def test_the_same_gate_gives_the_same_certificate(
    corpus: Path, command: Command, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    first = certified(corpus, command, keys, tmp_path)[1].read_bytes()
    assert certified(corpus, command, keys, tmp_path)[1].read_bytes() == first


def test_a_gate_that_is_not_passed_is_not_certified(
    corpus: Path, command: Command, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    ran, file = certified(corpus, command, keys, tmp_path, policy=1)
    assert (ran.status, ran.err) == (4, f"{file}: not written, since the gate is not passed\n")
    assert not file.exists()


def test_a_certificate_needs_a_key_and_its_name(corpus: Path, command: Command, tmp_path: Path) -> None:
    ran = command("gate", corpus, "--policy", policies(corpus)[0], "--certificate", tmp_path / "c.json")
    assert (ran.status, ran.err.partition(":")[0]) == (2, "--key, --key-id")


def test_a_certificate_does_not_count_for_another_policy(
    corpus: Path, command: Command, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    _, file = certified(corpus, command, keys, tmp_path)
    ran = command("gate", "verify", file, "--policy", policies(corpus)[1], "--trusted", f"ci={keys[1]}")
    assert (ran.status, ran.out) == (4, "")
    assert "is that of another policy" in ran.err


@pytest.mark.parametrize(
    ("given", "said"), [([], "trusted keys: found none"), (["--trusted", "ci"], "--trusted: found")]
)
def test_whom_to_trust_must_be_said(
    given: list[str], said: str, corpus: Path, command: Command, tmp_path: Path
) -> None:
    ran = command("gate", "verify", tmp_path / "c.json", "--policy", policies(corpus)[0], *given)
    assert (ran.status, ran.err.startswith(said)) == (2, True)


# ---------------------------------------------------------------- the page about it


def test_the_workflow_of_the_page_runs_commands_that_there_are() -> None:
    (workflow,) = (text for text in blocks(ROOT / "docs" / "gate.md", "yml") if "jobs:" in text)
    document = yaml.safe_load(workflow)
    steps = [step for job in document["jobs"].values() for step in job["steps"]]
    runs = "\n".join(step["run"] for step in steps if "run" in step)
    assert all(step.keys() & {"run", "uses"} for step in steps)
    assert "holdfast gate " in runs
    for option in ("--against", "--junit", "--markdown", "--certificate", "--key-id"):
        assert option in runs
