"""Samples in any order become one file, in any memory; and folders appear whole or not at all."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from holdfast.errors import BadInput
from holdfast.recording.aside import filled
from holdfast.recording.gathering import Gathering
from holdfast.recording.metrics import Gap, write
from streams.recording import Samples
from tests.recorded import made
from tests.samples import Row, columns, in_order, sample, series

ALWAYS = (-(1 << 62), 1 << 62)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("fleet"))


def written(folder: Path, gathering: Gathering, gap_ms: int = 50_000):
    found = write(gathering, folder / "metrics.parquet", gap_ms=gap_ms)
    assert found is not None
    return found, pq.read_table(folder / "metrics.parquet")


def rows() -> list[Row]:
    hosts = [series("m", [float(tick) for tick in range(40)], host=f"h{number}", rack="r") for number in range(5)]
    return in_order(*hosts, series("m", [1.0, 1.0], host="h1"))


@pytest.mark.parametrize(("run_rows", "block_rows"), [(10_000, 10_000), (7, 3), (50, 1), (1, 64)])
def test_the_same_samples_are_the_same_file_however_they_come_and_however_little_memory_there_is(
    run_rows: int, block_rows: int, tmp_path: Path
) -> None:
    given = rows()
    order = np.random.default_rng(run_rows).permutation(len(given))
    gathering = Gathering(tmp_path, ALWAYS, {}, run_rows=run_rows, block_rows=block_rows)
    for part in np.array_split(order, 9):
        gathering.take(columns([given[index] for index in part]))
    one = Gathering(tmp_path, ALWAYS, {})
    one.take(columns(given))
    found = written(tmp_path, gathering)[1]
    assert found.num_rows == len(given)
    assert found.equals(written(tmp_path, one)[1])


def test_the_file_is_the_same_to_the_byte_whatever_the_runs_were(tmp_path: Path) -> None:
    given = rows()
    files = set()
    for run_rows in (7, 50, 64, 10_000):
        folder = tmp_path / str(run_rows)
        folder.mkdir()
        gathering = Gathering(folder, ALWAYS, {}, run_rows=run_rows, block_rows=16)
        for start in range(0, len(given), 9):
            gathering.take(columns(given[start : start + 9]))
        assert [len(block.time) for block in gathering.blocks()] == [16] * (len(given) // 16) + [len(given) % 16]
        again = Gathering(folder / "again", ALWAYS, {}, run_rows=run_rows, block_rows=16)
        (folder / "again").mkdir()
        for start in range(0, len(given), 9):
            again.take(columns(given[start : start + 9]))
        written(folder, again)
        files.add((folder / "metrics.parquet").read_bytes())
    assert len(files) == 1


def test_frames_with_the_same_labels_have_their_own_numbers_and_are_counted_at_once(tmp_path: Path) -> None:
    gathering = Gathering(tmp_path, (7_000, 40_000), {"host": "h1"})
    frame = columns([sample(1, "m", 1.0, host="h1"), sample(1, "m", 2.0, host="h2")])
    for tick in range(6):
        numbers = np.full(2, 10_000 * tick, np.int64), np.array([float(tick), -1.0])
        gathering.take(Samples(*numbers, frame.labels))
        numbers[0].fill(20_000)  # what was taken does not lie in the frame
        numbers[1].fill(99.0)
    assert (gathering.rows, dict(gathering.left_out)) == (3, {"no_time": 0, "outside": 3, "not_selected": 6})
    (block,) = gathering.blocks()
    assert (block.time.tolist(), block.value.tolist()) == ([10_000, 20_000, 30_000], [1.0, 2.0, 3.0])


def test_frames_without_any_label_are_as_long_as_they_are(tmp_path: Path) -> None:
    gathering = Gathering(tmp_path, ALWAYS, {})
    for count in (1, 3, 2):
        gathering.take(Samples(np.arange(count, dtype=np.int64), np.zeros(count), {}))
    assert gathering.rows == 6


def test_labels_that_no_sample_has_are_left_out_and_new_ones_are_added(tmp_path: Path) -> None:
    gathering = Gathering(tmp_path, ALWAYS, {"colo": "ams*"})
    gathering.take(columns([sample(1, "m", 1.0), sample(1, "m", 1.0, colo="fra02", only="there")]))
    gathering.take(columns([sample(2, "m", 2.0, zone="z")]))
    found, table = written(tmp_path, gathering)
    assert (table.schema.names, found.series) == (["time", "metric", "value", "colo", "host", "zone"], 2)
    assert gathering.left_out["not_selected"] == 1


def test_samples_without_a_colo_are_kept_and_told(tmp_path: Path) -> None:
    gathering = Gathering(tmp_path, ALWAYS, {})
    gathering.take(columns([sample(1, "m", 1.0), sample(1, "m", 1.0, colo=None)]))
    found, table = written(tmp_path, gathering)
    assert (found.nameless, table.num_rows) == (1, 2)


def test_gaps_are_found_everywhere_and_in_single_colos(tmp_path: Path) -> None:
    holes = [1.0] * 10 + [None] * 10 + [1.0] * 20
    later = [1.0] * 30 + [None] * 6 + [1.0] * 4
    gathering = Gathering(tmp_path, ALWAYS, {}, run_rows=16, block_rows=4)
    gathering.take(columns(in_order(series("m", holes), series("m", [*holes[:30], *later[30:]], colo="fra02"))))
    found, table = written(tmp_path, gathering)
    assert found.gaps == [Gap("", 97_000, 207_000), Gap("fra02", 297_000, 367_000)]
    assert table.num_rows == 54


def test_a_recording_that_is_there_is_replaced_only_if_that_is_said(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with filled(out, replaces=False) as (made_here, _):
        (made_here / "rollout.yaml").write_text("a")
    with (
        pytest.raises(BadInput, match=r"out: there already; allowed: another folder, or --replace"),
        filled(out, replaces=False),
    ):
        pass
    with filled(out, replaces=True) as (made_here, _):
        (made_here / "rollout.yaml").write_text("b")
    assert (out / "rollout.yaml").read_text() == "b"
    (out / "photos").mkdir()
    with pytest.raises(BadInput, match="no recording; allowed: another folder"), filled(out, replaces=True):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


KILLED = """
import os, signal, sys
from pathlib import Path
from holdfast.recording.aside import filled
with filled(Path(sys.argv[1]), replaces=True) as (made, around):
    (made / "metrics.parquet").write_bytes(b"half")
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    signal.pause()
"""


@pytest.mark.parametrize(("number", "left"), [("SIGINT", 0), ("SIGTERM", 1), ("SIGKILL", 1)])
def test_who_is_killed_leaves_at_most_a_hidden_folder_which_the_next_one_removes(
    number: str, left: int, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, out, number], check=False, capture_output=True, timeout=300)
    assert done.returncode != 0
    names = [each.name for each in tmp_path.iterdir()]
    assert (len(names), all(name.startswith(".out.recording-") for name in names)) == (left, True)
    with filled(out, replaces=False) as (made_here, _):
        (made_here / "rollout.yaml").write_text("a")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_recording_whose_replacement_was_killed_at_the_worst_moment_comes_back(tmp_path: Path) -> None:
    aside = tmp_path / ".out.recording-x"
    (aside / "replaced").mkdir(parents=True)
    (aside / "replaced" / "rollout.yaml").write_text("old")
    with pytest.raises(BadInput, match="there already"), filled(tmp_path / "out", replaces=False):
        pass
    assert (tmp_path / "out" / "rollout.yaml").read_text() == "old"


def test_two_who_record_to_one_place_do_not_meet(tmp_path: Path) -> None:
    aside = tmp_path / ".out.recording-x"
    aside.mkdir()
    with (aside / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        with (
            pytest.raises(BadInput, match=rf"another holdfast \(process {os.getpid()}\)"),
            filled(tmp_path / "out", replaces=False),
        ):
            pass


def test_a_command_that_is_interrupted_leaves_nothing(recording: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # who connects is never answered
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        words = ["record", "--from", "prometheus", "--url", url, "--out", str(tmp_path / "out")]
        words += ["--rollout", str(recording / "rollout.yaml"), "--policy", str(recording / "policy.yaml")]
        process = subprocess.Popen([Path(sys.executable).parent / "holdfast", *words], stderr=subprocess.PIPE)
        silent.settimeout(300)
        client, _ = silent.accept()
        with client:
            client.recv(1)
            assert len(list(tmp_path.glob(".out.recording-*"))) == 1
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=300)
    assert (process.returncode != 0, b"Traceback" in errors, list(tmp_path.iterdir())) == (True, False, [])
