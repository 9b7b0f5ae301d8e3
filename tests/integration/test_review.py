"""A review and a recording of an incident that the engine found on a real broker."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from holdfast.commands.incident_review import keep, review
from holdfast.documents import load_truth
from holdfast.errors import BadInput
from holdfast.replaying import replay_recording
from holdfast.response.record import append, read_all
from holdfast.reviewing.markdown import NO_ITEMS, UNFILLED
from holdfast.reviewing.replayed import history_of
from rollouts.incidents.folding import fold
from rollouts.incidents.history import Event, Kept, Resolved, Reviewed, RoleTaken
from tests.integration.cluster import Cluster
from tests.integration.test_faults import begun

APP = typer.Typer()
APP.command()(review)
APP.command()(keep)


class Case:
    """An incident on a broker, and the commands about it."""

    def __init__(self, cluster: Cluster, recording: Path, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        announcement, frames = begun(cluster, recording)
        name = announcement.rollout.rollout
        cluster.feed(frames)
        cluster.start("aggregate,judge")
        cluster.wait_until_finished(name)
        history = history_of(cluster.verdicts(name), announcement.rollout, load_truth(recording / "truth.yaml").onset)
        assert history is not None
        self.id = history.incident
        later = history.events[0].at + timedelta(minutes=10)
        by_hand: list[Event] = [
            RoleTaken(at=later, by="Ada", role="lead", person="Ada"),
            Resolved(at=later + timedelta(minutes=5), by="Ada", how="taken back"),
        ]
        append(cluster.settings, self.id, [*history.events, *by_hand])

    def run(self, *words: str) -> str:
        """Run a command; what is wrong comes as it is raised."""
        done = CliRunner().invoke(APP, [*words, "--config", str(self.cluster.path)], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    def events(self) -> list[object]:
        """Return what happened to the incident."""
        return list(read_all(self.cluster.settings)[self.id].events)


@pytest.fixture(scope="module")
def case(kafka, bad: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    """Give an incident that was resolved."""
    folder = tmp_path_factory.mktemp("review")
    with Cluster(kafka.bootstrap, folder) as cluster:
        yield Case(cluster, bad, folder)


def test_a_draft_says_what_is_stored_and_what_is_not(case: Case, tmp_path: Path) -> None:
    found = json.loads(case.run("review", case.id, "--out", str(tmp_path), "--json"))
    text = Path(found["markdown"]).read_text()
    assert "**revert** (evidence)" in text
    assert "Ada is incident lead" in text
    assert "stage canary starts" in text
    assert Path(found["html"]).read_text().startswith("<!doctype html>")
    assert any("carried out by another rollout system" in missing for missing in found["missing"])


def test_a_draft_that_is_there_is_not_written_over(case: Case, tmp_path: Path) -> None:
    (tmp_path / f"{case.id}.md").write_text("what somebody thought")
    with pytest.raises(BadInput, match="may have been written in"):
        case.run("review", case.id, "--out", str(tmp_path))
    assert (tmp_path / f"{case.id}.md").read_text() == "what somebody thought"


def test_an_incident_that_nobody_knows_is_refused(case: Case, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is none; the newest are: inc-"):
        case.run("review", "inc-20000101-00000000", "--out", str(tmp_path))


def test_a_review_is_submitted_once_it_is_filled(case: Case, tmp_path: Path) -> None:
    case.run("review", case.id, "--out", str(tmp_path))
    file = tmp_path / f"{case.id}.md"
    with pytest.raises(BadInput, match="'Summary' is not written"):
        case.run("review", case.id, "--submit", str(file))
    text = file.read_text().replace(UNFILLED, "We thought about it.").replace(NO_ITEMS, "")
    row = "| Id | What | Owner | Due |\n|---|---|---|---|\n"
    file.write_text(text.replace(row, f"{row}| | Limit the size | Grace | 2026-12-24 |\n"))
    said = case.run("review", case.id, "--submit", str(file), "--by", "Ada")
    assert "reviewed, with 1 action item" in said
    incident = fold(read_all(case.cluster.settings)[case.id])
    assert [(item.what, item.owner) for item in incident.actions] == [("Limit the size", "Grace")]
    assert any(isinstance(event, Reviewed) and event.by == "Ada" for event in case.events())


def test_the_review_of_another_incident_is_refused(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "other.md"
    case.run("review", case.id, "--out", str(tmp_path))
    other = case.id[:-1] + ("0" if case.id[-1] != "0" else "1")
    text = (tmp_path / f"{case.id}.md").read_text().replace(case.id, other)
    file.write_text(text.replace(UNFILLED, "Yes.").replace(NO_ITEMS, "None."))
    with pytest.raises(BadInput, match=f"is the review of {other}"):
        case.run("review", case.id, "--submit", str(file))


def test_an_incident_is_kept_in_the_corpus_and_judged_as_it_was(case: Case, tmp_path: Path) -> None:
    said = case.run("keep", case.id, "--corpus", str(tmp_path), "--from", "kafka", "--topic", case.cluster.metrics)
    assert "judged as it should be: revert" in said
    recording = tmp_path / case.id
    truth = load_truth(recording / "truth.yaml")
    assert (truth.bad, truth.within is not None, truth.expect) == (True, True, ["halt", "revert"])
    assert not replay_recording(recording, check=True).contradictions
    kept = [event for event in case.events() if isinstance(event, Kept)]
    assert [event.recording for event in kept] == [case.id]
    with pytest.raises(BadInput, match="is there already"):
        case.run("keep", case.id, "--corpus", str(tmp_path), "--from", "kafka", "--topic", case.cluster.metrics)


def test_a_truth_that_the_replay_contradicts_keeps_nothing(case: Case, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="contradicts its truth, and is not kept"):
        case.run(
            *("keep", case.id, "--corpus", str(tmp_path), "--from", "kafka", "--topic", case.cluster.metrics),
            "--harmless",
        )
    assert not list(tmp_path.iterdir())


def test_an_onset_after_the_verdict_is_refused(case: Case, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="allowed: before the verdict"):
        case.run(
            *("keep", case.id, "--corpus", str(tmp_path), "--from", "kafka", "--topic", case.cluster.metrics),
            *("--onset", "2030-01-01T00:00:00Z"),
        )
