"""A corpus: what it is made of, what of it is refused before anything is judged, and what names it."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from detectors.errors import BadInput
from holdfast.corpus.contenders import Contender
from holdfast.corpus.loading import load_corpus
from tests.corpora import BAD, copied, make_corpus, written
from tests.test_cli import HARMLESS, POLICY, ROLLOUT, Small


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Path:
    return copied(made, tmp_path / "corpus")


def refused(folder: Path, *contenders: Contender) -> list[str]:
    with pytest.raises(BadInput) as error:
        load_corpus(folder, contenders)
    return str(error.value).splitlines()


def with_truth(corpus: Path, text: str, name: str = "incidents/erring") -> list[str]:
    written(corpus / name, text, "truth.yaml")
    return refused(corpus)


def test_recordings_are_found_at_any_depth_in_order_of_their_names(made: Path) -> None:
    assert [each.name for each in load_corpus(made).recordings] == ["harmless-0", "harmless-1", "incidents/erring"]


def test_a_recording_is_a_corpus_of_one(made: Path) -> None:
    assert [each.name for each in load_corpus(made / "harmless-0").recordings] == ["harmless-0"]


def test_the_onset_is_that_of_the_truth(made: Path) -> None:
    assert [each.onset_ms for each in load_corpus(made).incidents] == [1_773_314_451_000]


def test_without_an_onset_harm_counts_from_the_start_of_the_rollout(corpus: Path) -> None:
    written(corpus / "incidents/erring", "bad: true\nexpect: [revert]\n", "truth.yaml")
    assert [each.onset_ms for each in load_corpus(corpus).incidents] == [1_773_314_401_000]


def test_hidden_folders_are_left_out(corpus: Path) -> None:
    (corpus / "harmless-0").rename(corpus / ".harmless-0.aside")
    assert len(load_corpus(corpus).recordings) == 2


def test_what_links_lead_to_is_looked_at_once(corpus: Path) -> None:
    (corpus / "again").symlink_to(corpus, target_is_directory=True)
    assert len(load_corpus(corpus).recordings) == 3


def test_a_link_to_a_recording_elsewhere_is_followed(made: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "one").symlink_to(made / "harmless-0", target_is_directory=True)
    assert [each.name for each in load_corpus(tmp_path / "links").recordings] == ["one"]


# ---------------------------------------------------------------- digest


def test_the_digest_says_nothing_of_where_a_corpus_lies_and_when_it_was_written(made: Path, tmp_path: Path) -> None:
    moved = copied(made, tmp_path / "elsewhere")
    os.utime(moved / "harmless-0" / "metrics.parquet", (0, 0))
    assert load_corpus(moved).digest == load_corpus(made).digest


@pytest.mark.parametrize("name", ["metrics.parquet", "rollout.yaml", "policy.yaml", "truth.yaml"])
def test_the_digest_changes_with_every_file(name: str, made: Path, corpus: Path) -> None:
    spoiled = corpus / "harmless-0" / name
    if name == "metrics.parquet":
        spoiled.unlink()
        shutil.move(Small(seed=77).write(corpus / ".other") / name, spoiled)
    else:
        spoiled.write_text(spoiled.read_text("utf-8") + "# a comment\n", encoding="utf-8")
    assert load_corpus(corpus).digest != load_corpus(made).digest


def test_the_digest_changes_with_the_name_of_a_recording(made: Path, corpus: Path) -> None:
    (corpus / "harmless-0").rename(corpus / "harmless-9")
    assert load_corpus(corpus).digest != load_corpus(made).digest


def test_files_that_are_not_of_the_recording_change_nothing(made: Path, corpus: Path) -> None:
    written(corpus / "harmless-0", "a story", "README.md")
    assert load_corpus(corpus).digest == load_corpus(made).digest


# ---------------------------------------------------------------- what is refused


def test_a_folder_without_a_recording_is_no_corpus(tmp_path: Path) -> None:
    (error,) = refused(tmp_path)
    assert "0 recordings" in error


def test_a_folder_that_is_not_there_is_no_corpus(tmp_path: Path) -> None:
    (error,) = refused(tmp_path / "none")
    assert "no such folder" in error


def test_a_recording_without_a_truth_is_not_silently_left_out(corpus: Path) -> None:
    (corpus / "harmless-1" / "truth.yaml").unlink()
    (error,) = refused(corpus)
    assert error.startswith(f"{corpus / 'harmless-1'}: no truth.yaml")


def test_all_errors_of_all_recordings_are_told_at_once(corpus: Path) -> None:
    metrics = corpus / "harmless-0" / "metrics.parquet"
    metrics.write_bytes(metrics.read_bytes()[:-100])
    written(corpus / "harmless-1", "policy: p\nmetrics: []\n", "policy.yaml")
    written(corpus / "incidents/erring", "bad: true\nexpect: [advance]\n", "truth.yaml")
    errors = refused(corpus)
    assert [error.removeprefix(f"{corpus}/").partition(":")[0] for error in errors] == [
        "harmless-0/metrics.parquet",
        "harmless-1/policy.yaml",
        "incidents/erring/truth.yaml",
    ]


def test_a_parquet_file_that_is_spoiled_in_the_middle_is_refused(corpus: Path) -> None:
    metrics = corpus / "harmless-0" / "metrics.parquet"
    content = bytearray(metrics.read_bytes())
    content[4:2_000] = bytes(1_996)
    metrics.write_bytes(bytes(content))
    (error,) = refused(corpus)
    assert error.startswith(f"{metrics}: cannot be read")


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        ("bad: true\nexpect: [advance]\n", "truth.yaml:2: expect: found [advance] with bad: true"),
        ("bad: true\nexpect: [wait, advance]\n", "truth.yaml:2: expect: found [wait, advance] with bad: true"),
        ("bad: false\nexpect: [halt, revert]\n", "truth.yaml:2: expect: found [halt, revert] with bad: false"),
        ("bad: false\nexpect: [wait]\nonset: 2026-03-12T11:25:00Z\nwithin: 3\n", "truth.yaml:4: within: found 3"),
        ("bad: true\nexpect: [halt]\nwithin: 3\n", "truth.yaml:3: within: found 3 without an onset"),
        (BAD.replace("11:20:51", "11:19:51"), "truth.yaml:3: onset: found 2026-03-12T11:19:51Z, before the rollout"),
        (BAD.replace("11:20:51", "12:20:51"), "truth.yaml:3: onset: found 2026-03-12T12:20:51Z, outside the samples"),
        (BAD.replace("ams01", "ams01, lhr07"), "truth.yaml:4: colos: found 'lhr07', which the recording does not have"),
        (BAD.replace("[errors]", "[latency]"), "truth.yaml:5: metrics: found 'latency', which the recording does not"),
    ],
)
def test_a_truth_that_contradicts_itself_or_its_recording_is_refused(truth: str, found: str, corpus: Path) -> None:
    (error,) = with_truth(corpus, truth)
    assert found in error


@pytest.mark.parametrize("metric", ["errors", "http_5xx", "reporting_hosts"])
def test_a_truth_may_name_metrics_as_policies_or_samples_do(metric: str, corpus: Path) -> None:
    written(corpus / "incidents/erring", BAD.replace("[errors]", f"[{metric}]"), "truth.yaml")
    assert load_corpus(corpus).findings == ()


def test_a_recording_may_not_be_there_twice_with_another_truth(corpus: Path) -> None:
    shutil.copytree(corpus / "harmless-0", corpus / "twin")
    written(corpus / "twin", "bad: true\nexpect: [halt]\n", "truth.yaml")
    written(corpus / "twin", ROLLOUT.replace("bot-0312", "another-name"), "rollout.yaml")
    (error,) = refused(corpus)
    assert error.startswith(
        f"{corpus / 'twin' / 'truth.yaml'}: the same samples and the same rollout with another truth"
    )


def test_a_recording_may_not_count_double(corpus: Path) -> None:
    shutil.copytree(corpus / "harmless-0", corpus / "twin")
    (error,) = refused(corpus)
    assert "the same samples and the same rollout as in" in error


def test_two_rollouts_on_the_same_samples_are_not_independent(corpus: Path) -> None:
    shutil.copytree(corpus / "harmless-0", corpus / "twin")
    written(corpus / "twin", ROLLOUT.replace("bake: 5m", "bake: 6m"), "rollout.yaml")
    (finding,) = load_corpus(corpus).findings
    assert finding.startswith("harmless-0, twin: have the same samples")


def test_a_metric_that_a_policy_judges_must_be_there(corpus: Path, tmp_path: Path) -> None:
    file = written(tmp_path, POLICY.replace("gauge: cpu,", "gauge: load,"))
    errors = refused(corpus, Contender.load(file))
    assert errors[0].startswith(f"{file}: metrics[1] (cpu): {corpus / 'harmless-0' / 'metrics.parquet'} has no `load`")
    assert len(errors) == 3


def test_errors_that_never_happened_have_no_series(corpus: Path, tmp_path: Path) -> None:
    contender = Contender.load(written(tmp_path, POLICY.replace("http_5xx", "http_507")))
    assert len(load_corpus(corpus, [contender]).recordings) == 3


def test_judged_by_another_policy_a_recording_needs_none_of_its_own(corpus: Path, tmp_path: Path) -> None:
    (corpus / "harmless-0" / "policy.yaml").unlink()
    assert "no such file" in refused(corpus)[0]
    assert len(load_corpus(corpus, [Contender.load(written(tmp_path, POLICY))]).recordings) == 3


def test_a_past_that_is_shorter_than_a_policy_requires_is_refused(corpus: Path, tmp_path: Path) -> None:
    contender = Contender.load(written(tmp_path, POLICY + "pre_period: {ticks_min: 100}\n"))
    errors = refused(corpus, contender)
    assert "rollout.yaml: started: only 60 ticks of 10 s lie before it" in errors[0]


def test_a_rollout_that_starts_outside_the_samples_is_refused(corpus: Path) -> None:
    written(corpus / "harmless-0", ROLLOUT.replace("11:20:01", "13:20:01"), "rollout.yaml")
    (error,) = refused(corpus)
    assert "lies outside the recording" in error


# ---------------------------------------------------------------- holes


def with_a_hole(folder: Path, first: int, last: int, truth: str = HARMLESS) -> Path:
    small = Small(seed=9)
    small.missing[small.pre + first : small.pre + last] = True
    return small.write(folder / "dark", truth=truth)


def test_a_hole_in_the_samples_is_named(tmp_path: Path) -> None:
    (finding,) = load_corpus(with_a_hole(tmp_path, 10, 20)).findings
    assert finding == (
        "dark: no sample at all from 2026-03-12T11:21:40Z to 2026-03-12T11:23:20Z, for 10 ticks; "
        "the policy bridges 5 (gap_ticks_max)"
    )


def test_a_hole_around_the_onset_is_named_with_what_follows(tmp_path: Path) -> None:
    (finding,) = load_corpus(with_a_hole(tmp_path, 3, 20, BAD)).findings
    assert finding.endswith("; the onset lies within, so that its delay says little")


def test_a_hole_that_is_bridged_is_none(tmp_path: Path) -> None:
    assert load_corpus(with_a_hole(tmp_path, 10, 15)).findings == ()


def test_a_hole_before_the_judged_time_does_not_matter(tmp_path: Path) -> None:
    assert load_corpus(with_a_hole(tmp_path, -50, -40)).findings == ()


def test_loading_tells_how_far_it_is(made: Path) -> None:
    told: list[tuple[str, int, int]] = []
    load_corpus(made, observer=lambda *come: told.append(come))
    assert told == [("harmless-0", 0, 3), ("harmless-1", 1, 3), ("incidents/erring", 2, 3)]


def test_a_column_of_times_without_a_time_is_refused(tmp_path: Path) -> None:
    small = Small()
    small.missing[:] = True
    small.gauges["cpu"][:] = np.nan
    folder = small.write(tmp_path / "empty", truth=HARMLESS)
    assert "no samples in it" in refused(folder)[0]
