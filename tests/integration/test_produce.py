"""`holdfast produce` against a real broker."""

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from holdfast.cli import main
from holdfast.live.reading import PARTITION_END
from holdfast.live.settings import Settings, load_settings
from holdfast.live.topics import create
from rollouts.announced import decode as decode_announcement
from streams.fleet import Fleet, write
from streams.recording import MetricsFile
from streams.wire.decoding import decode
from streams.wire.encoding import FORMS
from tests.waiting import WAIT_S
from tests.wire_frames import rows

PARTITIONS = 3


class Shell:
    """Runs the command line with topics of its own, and reads them."""

    def __init__(self, folder: Path, bootstrap: str, capsys, monkeypatch) -> None:
        self.prefix = f"t{uuid.uuid4().hex[:10]}"
        self.folder, self._bootstrap = folder, bootstrap
        self._capsys, self._monkeypatch = capsys, monkeypatch
        variables = {
            "HOLDFAST_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
            "HOLDFAST_PREFIX": self.prefix,
            "HOLDFAST_PARTITIONS": str(PARTITIONS),
            "HOLDFAST_METRICS": f"[{{topic: {self.prefix}.metrics}}]",
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        self.settings: Settings = load_settings(None, variables)
        self.admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        create(self.admin, self.settings)

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run a command; return its exit status, output and errors."""
        self._monkeypatch.setattr(sys, "argv", ["holdfast", *words])
        with pytest.raises(SystemExit) as left:
            main()
        out, err = self._capsys.readouterr()
        return int(str(left.value.code)), out, err

    def read(self, topic: str, partitions: int = PARTITIONS) -> list[tuple[int, bytes, bytes, str | None]]:
        """Return partition, key, value and content type of all that is on a topic."""
        reader = Consumer({"bootstrap.servers": self._bootstrap, "group.id": self.prefix, "enable.partition.eof": True})
        reader.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        found: list[Any] = []
        ended = 0
        while ended < partitions:
            message = reader.poll(WAIT_S)
            assert message is not None
            error = message.error()
            if error is not None:
                ended += error.code() == PARTITION_END
                continue
            headers: dict[str, Any] = dict(message.headers() or [])
            kind = headers["content-type"].decode() if "content-type" in headers else None
            found.append((message.partition(), message.key(), message.value(), kind))
        reader.close()
        return found


@pytest.fixture
def shell(kafka, tmp_path: Path, capsys, monkeypatch) -> Iterator[Shell]:
    made = Shell(tmp_path, kafka.bootstrap, capsys, monkeypatch)
    yield made
    names = [name for name in made.admin.list_topics(timeout=WAIT_S).topics if name.startswith(made.prefix)]
    for future in made.admin.delete_topics(names).values():
        future.result()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("played") / "bots"
    write(Fleet(seed=1, colos=4, hosts=3, canary_hosts=1, regions=2, pre_ticks=6, live_ticks=6), path)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_all_samples_of_a_recording_arrive_in_any_format(form: str, shell: Shell, recording: Path) -> None:
    status, out, err = shell.run("produce", str(recording), "--speed", "max", "--format", form)
    assert (status, err) == (0, "")
    found = [row for *_, value, kind in shell.read(f"{shell.prefix}.metrics") for row in rows(decode(value, kind))]
    sent = [row for batch in MetricsFile(recording / "metrics.parquet").read() for row in rows(batch)]
    assert sorted(found, key=repr) == sorted(sent, key=repr)
    assert out.startswith(f"{shell.prefix}.metrics: {len(sent):,} samples in ")


def test_samples_of_a_colo_keep_to_one_partition_and_to_their_order(shell: Shell, recording: Path) -> None:
    assert shell.run("produce", str(recording), "--speed", "max")[0] == 0
    places: dict[bytes, set[int]] = {}
    times: dict[bytes, list[int]] = {}
    for partition, key, value, kind in shell.read(f"{shell.prefix}.metrics"):
        places.setdefault(key, set()).add(partition)
        times.setdefault(key, []).extend(decode(value, kind).time.tolist())
    assert len(places) == 4
    assert all(len(partitions) == 1 for partitions in places.values())
    assert all(seen == sorted(seen) for seen in times.values())


def test_a_fleet_is_simulated_and_played(shell: Shell) -> None:
    options = ("--fleet", "--colos", "3", "--hosts", "3", "--scenario", "cpu", "--from-now", "--speed", "max")
    status, out, err = shell.run("produce", str(shell.folder / "edge"), *options)
    assert (status, err) == (0, "")
    assert (shell.folder / "edge" / "rollout.yaml").is_file()
    assert len({key for _, key, _, _ in shell.read(f"{shell.prefix}.metrics")}) == 3
    assert out.count("\n") == 1


def test_a_rollout_is_announced_with_the_times_at_which_it_is_played(shell: Shell, recording: Path) -> None:
    status, out, err = shell.run("produce", str(recording), "--starts-in", "1m", "--submit", "--speed", "max")
    assert (status, err) == (0, "")
    assert out.startswith("bots: announced, version 1, starts at ")
    ((_, key, value, _),) = shell.read(shell.settings.topics.rollouts, 1)
    assert key == b"bots"
    start_ms = decode_announcement(value).rollout.started.timestamp() * 1_000
    frames = shell.read(f"{shell.prefix}.metrics")
    times = [time for *_, value, kind in frames for time in decode(value, kind).time.tolist()]
    assert min(times) < start_ms < max(times)
    status, _, err = shell.run("produce", str(recording), "--submit", "--speed", "max")
    assert status == 2
    assert err.startswith("bots: announced already, with another plan, policy or time; ")


def test_a_topic_that_is_not_there_is_not_made(shell: Shell, recording: Path) -> None:
    status, _, err = shell.run("produce", str(recording), "--topic", "nowhere", "--speed", "max")
    assert (status, err) == (
        2,
        "topic nowhere: not there; `holdfast topics create` makes those that the settings name\n",
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--speed", "fast"), "--speed: found 'fast'; allowed: a number above 0, or max\n"),
        (("--speed", "0"), "--speed: found '0'; allowed: a number above 0, or max\n"),
        (("--format", "csv"), "--format: found 'csv'; allowed: arrow, json, json-grouped, otlp, prometheus\n"),
        (("--seed", "3"), "--seed: found without --fleet; a recording is played as it is\n"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options, text: str, shell: Shell, recording: Path) -> None:
    assert shell.run("produce", str(recording), *options) == (2, "", text)
