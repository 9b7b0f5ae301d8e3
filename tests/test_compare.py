"""Comparing: two policies on a corpus, or two saved runs, difference by difference."""

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.corpus.comparing import compare
from holdfast.replaying import replay_recording
from tests.corpora import LAX, make_corpus, written
from tests.test_cli import POLICY, Command, make_command


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_corpus(tmp_path_factory.mktemp("compare") / "corpus", harmless=1)
    written(folder.parent, POLICY)
    written(folder.parent, POLICY + "# the same\n", "same.yaml")
    written(folder.parent, LAX, "lax.yaml")
    return folder


@pytest.fixture(scope="module")
def line(corpus: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(replay_recording(corpus / "incidents" / "erring").as_json())
    return found


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return make_command(capsys, monkeypatch)


def copied(line: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(line))
    return found


def whats(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return [change.what for each in compare({"r": a}, {"r": b}).differences for change in each.changes]


def test_a_run_is_equal_to_itself(line: dict[str, Any]) -> None:
    found = compare({"r": line}, {"r": copied(line)})
    assert (found.is_equal, found.same) == (True, 1)


def test_the_names_of_policy_and_engine_and_the_ids_that_follow_from_them_do_not_matter(line: dict[str, Any]) -> None:
    other = copied(line)
    for event in other["verdicts"]:
        event["id"] = "0" * 32
        event["data"] |= {"policy": "sha256:0", "engine": "holdfast/9.9.9"}
    assert compare({"r": line}, {"r": other}).is_equal


def test_a_later_stop_is_told_with_by_how_much(line: dict[str, Any]) -> None:
    other = copied(line)
    stop = next(event for event in other["verdicts"] if event["time"] == other["time"])
    other["time"] = stop["time"] = line["time"].replace("11:2", "12:2")
    (change,) = compare({"r": line}, {"r": other}).differences[0].changes
    assert (change.what, change.by) == ("time", 3_600.0)


def test_each_number_of_the_evidence_is_compared(line: dict[str, Any]) -> None:
    other = copied(line)
    other["reasons"][0]["effect"] *= 2
    (change,) = compare({"r": line}, {"r": other}).differences[0].changes
    assert change.what.endswith(": effect")
    assert change.by == pytest.approx(line["reasons"][0]["effect"])


def test_the_first_line_tells_of_how_many_the_figures_alone_are_other_ones(
    line: dict[str, Any], command: Command, tmp_path: Path
) -> None:
    figures, later = copied(line), copied(line)
    figures["reasons"][0]["effect"] *= 2
    stop = next(event for event in later["verdicts"] if event["time"] == later["time"])
    later["time"] = stop["time"] = line["time"].replace("11:2", "12:2")
    lines = [
        [one | {"recording": name} for name, one in zip("abc", some, strict=True)]
        for some in (
            (line, line, line),
            (line, figures, later),
        )
    ]
    files = [
        written(tmp_path, "".join(f"{json.dumps(one)}\n" for one in some), f"{at}.jsonl")
        for at, some in enumerate(lines)
    ]
    said = command("compare", *files).out.splitlines()[0]
    assert said.endswith(
        "1 of 3 recordings came out the same; of the others 1 with the same decisions, and other figures alone"
    )


def test_the_last_digits_of_another_machine_are_no_difference(line: dict[str, Any]) -> None:
    other = copied(line)
    other["reasons"][0]["e_value"] *= 1 + 1e-14
    assert whats(line, other) == []


def test_another_scope_is_told(line: dict[str, Any]) -> None:
    other = copied(line)
    for event in other["verdicts"]:
        event["data"]["scope"]["colos"] = ["lhr07"]
    assert whats(line, other) == ["scope.colos"]


def test_reasons_that_are_in_one_alone_are_told(line: dict[str, Any]) -> None:
    other = copied(line)
    del other["reasons"][0]
    (change,) = compare({"r": line}, {"r": other}).differences[0].changes
    assert (change.a, change.b) == ("there", None)


def test_other_words_of_the_same_decisions_are_told(line: dict[str, Any]) -> None:
    other = copied(line)
    other["verdicts"][0]["data"]["abstained"] = [{"metric": "cpu", "why": "another"}]
    (difference,) = compare({"r": line}, {"r": other}).differences
    assert difference.verdicts == ("verdicts 1: the same decisions, with other figures or words",)


def test_recordings_of_one_run_alone_are_named(line: dict[str, Any]) -> None:
    found = compare({"r": line, "a": line}, {"r": line, "b": line})
    assert (found.only_a, found.only_b, found.is_equal) == (("a",), ("b",), False)


# ---------------------------------------------------------------- the command


def test_the_same_policies_end_with_0(corpus: Path, command: Command) -> None:
    a, b = corpus.parent / "policy.yaml", corpus.parent / "same.yaml"
    ran = command("compare", a, b, "--corpus", corpus, "--jobs", 1)
    assert ran == (0, f"A is {a}, B is {b}: 2 of 2 recordings came out the same\n", "")


def test_other_policies_end_with_5_and_their_differences(corpus: Path, command: Command) -> None:
    a, b = corpus.parent / "policy.yaml", corpus.parent / "lax.yaml"
    ran = command("compare", a, b, "--corpus", corpus, "--jobs", 1)
    assert ran.status == 5
    lines = ran.out.splitlines()
    assert "  action: revert -> advance" in lines[lines.index("incidents/erring") :]


def test_two_saved_runs_are_compared(corpus: Path, command: Command, tmp_path: Path) -> None:
    recordings = corpus / "harmless-0", corpus / "incidents" / "erring"
    for name in ("policy", "lax"):
        saved = command("replay", *recordings, "--json", "--no-store", "--policy", corpus.parent / f"{name}.yaml")
        written(tmp_path, saved.out, f"{name}.jsonl")
    ran = command("compare", tmp_path / "policy.jsonl", tmp_path / "lax.jsonl", "--json")
    found = json.loads(ran.out)
    assert (ran.status, found["same"]) == (5, False)
    assert "erring: bot-0312" in [each["recording"] for each in found["comparison"]["differences"]]
    assert command("compare", tmp_path / "lax.jsonl", tmp_path / "lax.jsonl").status == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no outcome in it"),
        ("{}\n", ":1: not an outcome: "),
        ('{"recording": "r"\n', ":1: not an outcome: "),
    ],
)
def test_a_file_that_is_no_run_is_refused(text: str, said: str, command: Command, tmp_path: Path) -> None:
    file = written(tmp_path, text, "a.jsonl")
    ran = command("compare", file, file)
    assert ran.status == 2
    assert said in ran.err


def test_policies_without_a_corpus_are_told_of_once_and_what_is_missing(corpus: Path, command: Command) -> None:
    policy = corpus.parent / "policy.yaml"
    ran = command("compare", policy, policy)
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "with --corpus two policies" in ran.err


def test_a_line_that_was_cut_and_one_that_is_there_twice_are_named(
    line: dict[str, Any], command: Command, tmp_path: Path
) -> None:
    whole = json.dumps(line)
    file = written(tmp_path, f"{whole}\n{whole}\n{whole[:200]}", "a.jsonl")
    ran = command("compare", file, file)
    assert [said.partition(": ")[0] for said in ran.err.splitlines()] == [f"{file}:2", f"{file}:3"]


def test_a_time_that_is_none_is_refused(line: dict[str, Any], command: Command, tmp_path: Path) -> None:
    file = written(tmp_path, json.dumps(line).replace(line["time"], "2026-99-12T11:21:20Z"), "a.jsonl")
    ran = command("compare", file, file)
    assert (ran.status, "not an outcome: time: found '2026-99-12T11:21:20Z'" in ran.err) == (2, True)


def test_a_run_that_is_not_there_is_told(command: Command, tmp_path: Path) -> None:
    ran = command("compare", tmp_path / "a", tmp_path / "a")
    assert (ran.status, ran.err) == (2, f"{tmp_path}/a: cannot be read: No such file or directory\n")
