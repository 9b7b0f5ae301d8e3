"""`holdfast record` from a real broker: a range of a metrics topic, and documents from the rollouts topic."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from holdfast.documents import digest, load_policy, load_rollout
from holdfast.errors import BadInput
from holdfast.live.topics import create
from holdfast.recording.document import KafkaSource
from holdfast.recording.topic import BAD_FRAMES
from rollouts.announced import with_event
from rollouts.document import NOT_YET
from tests.integration.cluster import Cluster
from tests.live.engine import announced
from tests.recorded import Shell, canonical, directly, made, recorded, verdicts
from tests.waiting import WAIT_S


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("fleet"))


@pytest.fixture
def cluster(kafka, tmp_path: Path):
    folder = tmp_path / "cluster"
    folder.mkdir()
    with Cluster(kafka.bootstrap, folder) as found:
        yield found


@pytest.fixture
def shell(capsys, monkeypatch) -> Shell:
    return Shell(capsys, monkeypatch)


def source(cluster: Cluster, **changes) -> KafkaSource:
    return KafkaSource(**{"topic": cluster.metrics, "settings": str(cluster.path)} | changes)


@pytest.mark.parametrize("form", ["arrow", "prometheus"])
def test_every_sample_of_a_topic_is_recorded(form, cluster: Cluster, recording: Path, tmp_path: Path) -> None:
    samples = cluster.feed(cluster.frames(recording, form))
    found = recorded(tmp_path / "out", source(cluster), recording)
    assert (found.samples, found.lost) == (samples, {})
    assert canonical(tmp_path / "out" / "metrics.parquet").equals(canonical(recording / "metrics.parquet"))


def test_a_direct_replay_gives_the_verdicts_of_the_recording(cluster: Cluster, recording: Path, tmp_path: Path) -> None:
    cluster.feed(cluster.frames(recording))
    recorded(tmp_path / "out", source(cluster), recording)
    assert directly(tmp_path, source(cluster), recording) == verdicts(tmp_path / "out") == verdicts(recording)


def test_frames_that_cannot_be_read_are_counted_and_named(cluster: Cluster, recording: Path, tmp_path: Path) -> None:
    cluster.feed(cluster.frames(recording))
    cluster._producer.produce(cluster.metrics, b"\xff\xff\xff\xff nothing", b"ams01", partition=1)
    cluster._producer.flush(WAIT_S)
    found = recorded(tmp_path / "out", source(cluster), recording)
    assert found.lost == {BAD_FRAMES: 1}
    (note,) = [finding.sentence for finding in found.findings if finding.kind == "note"]
    assert note.startswith(f"{cluster.metrics}/1 at offset ")


def test_a_range_is_found_by_the_times_at_which_messages_were_written(
    cluster: Cluster, recording: Path, tmp_path: Path
) -> None:
    cluster.feed(cluster.frames(recording))
    start = load_rollout(recording / "rollout.yaml").started
    asked = source(cluster, start=start - timedelta(minutes=6), end=start + timedelta(minutes=2))
    found = recorded(tmp_path / "out", asked, recording)
    times = canonical(tmp_path / "out" / "metrics.parquet")["time"].to_pylist()
    assert asked.start <= times[0] < times[-1] < asked.end
    assert found.left_out["outside"] > 0
    # Written much later than measured: with a slack, nothing is looked for there.
    with pytest.raises(BadInput, match="no sample of what is selected"):
        recorded(tmp_path / "none", msgspec.structs.replace(asked, slack="1h"), recording)
    # Measured after all that was written.
    later = datetime.fromtimestamp(4_000_000_000, UTC)
    with pytest.raises(BadInput, match="no sample of what is selected"):
        recorded(tmp_path / "none", source(cluster, start=later), recording)


def test_a_topic_that_is_not_there_is_told(cluster: Cluster, recording: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="topic nowhere: "):
        recorded(tmp_path / "out", source(cluster, topic="nowhere"), recording)
    assert not (tmp_path / "out").exists()


def test_documents_are_those_that_were_announced(cluster: Cluster, recording: Path, tmp_path: Path, shell) -> None:
    cluster.feed(cluster.frames(recording))
    first = announced(recording)
    other = msgspec.structs.replace(first.rollout, rollout="a/b: other")
    cluster.submit(with_event(first, "started", "canary", first.rollout.started + timedelta(seconds=30)))
    cluster.submit(msgspec.structs.replace(first, rollout=other))
    out = tmp_path / "out"
    words = ("--from", "kafka", "--topic", cluster.metrics, "--config", str(cluster.path), "--out", str(out))
    status, said, errors = shell("record", *words, "--announced", first.rollout.rollout)
    assert (status, errors) == (0, "")
    assert said.splitlines()[-1] == f"next: holdfast replay {out}"
    written = load_rollout(out / "rollout.yaml")
    assert written.stages[0].started == first.rollout.started + timedelta(seconds=30)
    assert digest(load_policy(out / "policy.yaml")) == digest(first.policy)
    assert load_rollout(out / "rollouts" / "1-a-b-other.yaml") == other
    assert len(verdicts(out)) > 0


def test_rollouts_that_events_start_begin_with_their_first_stage(
    cluster: Cluster, recording: Path, tmp_path: Path, shell
) -> None:
    """As all do that `holdfast control` releases."""
    cluster.feed(cluster.frames(recording))
    first = announced(recording)
    begun = first.rollout.started + timedelta(seconds=30)
    late = {
        name: msgspec.structs.replace(
            first, rollout=msgspec.structs.replace(first.rollout, rollout=name, started=NOT_YET)
        )
        for name in ("bots", "other", "waiting")
    }
    for name in ("bots", "other"):
        cluster.submit(with_event(late[name], "started", "canary", begun))
    cluster.submit(late["waiting"])
    out = tmp_path / "out"
    words = ("--from", "kafka", "--topic", cluster.metrics, "--config", str(cluster.path), "--out", str(out))
    status, _, errors = shell("record", *words, "--announced", "bots")
    assert (status, errors) == (0, "")
    assert load_rollout(out / "rollout.yaml").started == begun
    assert [load_rollout(path).started for path in (out / "rollouts").iterdir()] == [begun]
    assert len(verdicts(out)) > 0
    status, _, errors = shell("record", *words, "--replace", "--announced", "waiting")
    assert (status, errors) == (
        2,
        "waiting: no stage of it has started; allowed: a rollout that there is something to record of\n",
    )


def test_a_rollout_that_was_not_announced_is_told(cluster: Cluster, tmp_path: Path, shell) -> None:
    create(cluster._admin, cluster.settings)
    words = ("--from", "kafka", "--topic", "t", "--config", str(cluster.path), "--out", str(tmp_path / "out"))
    status, _, errors = shell("record", *words, "--announced", "nope")
    assert (status, errors) == (2, f"nope: not announced on {cluster.settings.topics.rollouts}; none is announced\n")
