"""`holdfast tune` on a tiny corpus: the same whatever is in between, nothing half-written, errors that help."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from msgspec import structs
from rich.console import Console

from holdfast.corpus.contenders import Contender
from holdfast.corpus.judging import judge_corpus
from holdfast.corpus.loading import load_corpus
from holdfast.documents import digest, load_policy
from holdfast.tuning.evaluating import Bench, Job, evaluate
from holdfast.tuning.figures import Figures
from holdfast.tuning.journal import NAME
from holdfast.tuning.picture import draw
from holdfast.tuning.report import Tuned, Tuning
from holdfast.tuning.space import Candidate
from holdfast.tuning.tuning import Asked, tune
from holdfast.tuning.view import comment, show
from tests.corpora import LAX, make_corpus, written
from tests.test_cli import Command, make_command
from tests.test_docs import fields, missing

TRIALS = 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "corpus", 3)


@pytest.fixture(scope="module")
def lax(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("lax"), "# ours\n" + LAX.replace("relative: 40,", "relative: 16,"))


@pytest.fixture(scope="module")
def asked(lax: Path) -> Asked:
    return Asked(lax, ("tolerances",), alarms_max=0.0, trials=TRIALS, jobs=1)


@pytest.fixture(scope="module")
def tuned(corpus: Path, asked: Asked) -> Tuning:
    return tune(corpus, asked)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return make_command(capsys, monkeypatch)


def test_a_tolerance_that_lets_an_incident_pass_is_tightened(tuned: Tuning) -> None:
    assert tuned.chosen is not None
    assert (tuned.current.train.missed, tuned.chosen.train.missed, tuned.chosen.train.alarms) == (1, 0, 0)


def test_the_chosen_policy_is_in_the_table_also_where_others_are_faster_and_no_figure_is_cut(tuned: Tuning) -> None:
    chosen = tuned.chosen
    assert chosen is not None
    held = structs.replace(chosen.train, delay_s=3_719.0)
    faster = structs.replace(chosen, number=90, held_out=held, deciding=[])
    printed = StringIO()
    show(Console(file=printed, width=80), structs.replace(tuned, front=[faster]))
    words = " ".join(printed.getvalue().split())
    assert words.count(f"no. {chosen.number}, chosen") == 1
    assert "and what was chosen, since more harmless ones are let go on" in words
    assert "1 h 1 min" in words
    assert "…" not in words.replace(f"{tuned.policy_digest[:15]}…", "")


def test_the_incident_that_decides_is_named(tuned: Tuning) -> None:
    assert [(one.recording, one.before.split(":")[0], one.after.split()[0]) for one in tuned.gained] == [
        ("incidents/erring", "missed", "caught")
    ]


def test_too_small_a_corpus_is_told_of(tuned: Tuning) -> None:
    assert any("too few to tell" in text for text in tuned.warnings)


def test_any_number_of_processes_comes_to_the_same(corpus: Path, asked: Asked, tuned: Tuning) -> None:
    assert tune(corpus, replace(asked, jobs=2)) == tuned


def test_a_run_that_was_killed_goes_on_to_the_same_end(
    corpus: Path, asked: Asked, tuned: Tuning, tmp_path: Path
) -> None:
    going_on = replace(asked, resume=tmp_path / "journal")
    assert tune(corpus, going_on) == tuned
    file = tmp_path / "journal" / NAME
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[: len(lines) // 2]) + lines[-1][:9])
    assert tune(corpus, going_on) == tuned
    assert sorted(file.read_bytes().splitlines(keepends=True)) == sorted(lines)


def test_the_search_judges_as_a_replay_does(corpus: Path, lax: Path) -> None:
    for text in (LAX, LAX.replace("relative: 40,", "relative: 0.3,"), LAX.replace("relative: 0.2", "relative: 0.001")):
        file = written(lax.parent / "other", text)
        contender = Contender.load(file)
        loaded = load_corpus(corpus, [contender])
        bench = Bench(loaded.recordings, file)
        for number, replayed in enumerate(judge_corpus(loaded, [contender], jobs=1)[0]):
            own = evaluate(bench, Job(number, Candidate(contender.policy, {})))
            score = replayed.score
            assert (own.kind, own.early, own.delay_s) == (score.kind, score.early, score.delay_s)


def test_the_picture_is_one_svg_that_needs_nothing_else(tuned: Tuning) -> None:
    text = draw(tuned)
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme: dark" in text
    assert "href" not in text
    assert "url(" not in text


def test_the_comment_says_what_was_changed_and_what_decided(tuned: Tuning) -> None:
    text = "\n".join(comment(tuned))
    assert tuned.chosen is not None
    assert all(f"{change.path}: was " in text for change in tuned.chosen.changes)
    assert "incidents/erring: missed" in text


def test_the_chosen_policy_is_written_and_said_to_be_in_json(
    command: Command, corpus: Path, lax: Path, tmp_path: Path
) -> None:
    out, svg = tmp_path / "tuned.yaml", tmp_path / "front.svg"
    options = ["--free", "tolerances", "--alpha-max", "0", "--trials", str(TRIALS), "--jobs", "1", "--json"]
    status, said, _ = command(
        "tune", str(corpus), "--policy", str(lax), "--out", str(out), "--picture", str(svg), *options
    )
    found = json.loads(said)
    assert status == 0
    assert digest(load_policy(out)) == found["chosen"]["digest"] != found["policy_digest"]
    assert "# ours\n" in out.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"tuned.yaml", "front.svg"}


def test_where_none_keeps_within_the_limit_nothing_is_chosen(command: Command, corpus: Path, tmp_path: Path) -> None:
    policy = written(tmp_path, LAX.replace("{relative: 0.2}", "{relative: 0.0001}"))
    out = tmp_path / "tuned.yaml"
    limit = ["--free", "bake", "--trials", "1", "--jobs", "1", "--alpha-max", "0", "--out", str(out)]
    small = written(tmp_path / "p", policy.read_text().replace("worse: increase, tolerate: {relative: 0.0001}", STOPS))
    status, said, _ = command("tune", str(corpus), "--policy", str(small), *limit)
    assert (status, out.exists()) == (1, False)
    assert "None keeps within the limit" in said


STOPS = "worse: increase, objective: {below: 0.01}, tolerate: {relative: 0.2}"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--free", "tolerances,colour"], "--free: found 'colour'; allowed: tolerances, weights, tick, advance, bake"),
        (["--time", "soon"], "--time: found 'soon'; allowed: a number and its unit"),
        (["--out", "nowhere/tuned.yaml"], "nowhere/tuned.yaml: there is no folder"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_before_anything_is_read(
    command: Command, tmp_path: Path, options: list[str], said: str
) -> None:
    status, _, error = command("tune", str(tmp_path / "none"), "--policy", str(tmp_path / "none.yaml"), *options)
    assert status == 2
    assert said in error


def test_a_corpus_without_a_harmless_recording_is_refused(command: Command, lax: Path, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", 0)
    status, _, error = command("tune", str(corpus), "--policy", str(lax), "--jobs", "1")
    assert status == 2
    assert "no recording of a harmless rollout in it; allowed: one at least" in error


def test_every_field_of_a_tuning_is_documented() -> None:
    assert missing("docs/tune.md", fields(Tuning, Tuned, Figures)) == set()
