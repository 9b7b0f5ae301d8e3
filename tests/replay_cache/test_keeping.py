"""What is kept, for how long, and by how many at once."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from detectors.errors import BadInput
from holdfast.recording.folder import load_setting
from holdfast.replaying import replay_recording
from streams.cache import Cache
from streams.recording import MetricsFile, Samples
from streams.replay import Progress, replay
from tests.replay_cache.cases import ROWS, changed, entries, names, whole


def test_a_replay_that_fails_keeps_nothing(recording: Path, cache: Cache) -> None:
    changed(recording, "rollout.yaml", "control: {cohort: control}", "control: {cohort: nobody}")
    with pytest.raises(BadInput):
        whole(recording, cache)
    assert names(cache) == [".lock"]


def test_an_observer_that_stops_a_replay_leaves_nothing_behind(recording: Path, cache: Cache) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replay_recording(recording, cache=cache, observer=stop)
    assert names(cache) == [".lock"]


def test_a_start_without_a_past_is_refused_from_the_cache_in_the_same_words(recording: Path, cache: Cache) -> None:
    whole(recording, cache)
    changed(recording, "policy.yaml", "tick: 10s", "tick: 10s\npre_period: {ticks_min: 50}")
    with pytest.raises(BadInput) as without:
        whole(recording, None)
    with pytest.raises(BadInput) as cached:
        whole(recording, cache)
    assert str(cached.value) == str(without.value)


def test_the_entry_that_was_not_used_for_longest_goes_first(recording: Path, cache: Cache) -> None:
    used: list[Path] = []
    for tick in ("10s", "5s", "4s"):
        changed(recording, "policy.yaml", "tick: ", f"tick: {tick} # ")
        whole(recording, cache)
        used += [entry for entry in entries(cache) if entry not in used]
        os.utime(used[-1], (len(used), len(used)))
    assert cache.find(used[0].stem) is not None  # so it was used now
    small = Cache(cache.folder, sum(path.stat().st_size for path in used) - 1)
    changed(recording, "policy.yaml", "tick: ", "tick: 8s # ")
    whole(recording, small)
    assert used[0] in entries(cache)
    assert used[1] not in entries(cache)
    assert sum(path.stat().st_size for path in entries(cache)) <= small.bytes_max


def test_what_is_larger_than_the_whole_cache_is_told_and_not_kept(
    recording: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(tmp_path / "cache", 10_000)
    assert whole(recording, cache) == whole(recording, None)
    assert "it holds more than the 10,000 bytes of a whole cache" in caplog.text
    assert len(caplog.records) == 1
    assert names(cache) == [".lock"]


def test_what_a_killed_process_was_writing_is_taken_away_and_what_another_writes_is_not(
    recording: Path, cache: Cache
) -> None:
    left, used = cache.folder / ".left.1.0.aside", cache.folder / ".used.2.0.aside"
    left.write_bytes(b"half")
    with used.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        whole(recording, cache)
    assert used.exists()
    assert not left.exists()


def test_a_cache_that_cannot_be_written_to_any_more_is_told_and_does_no_harm(
    recording: Path, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(cache.folder)
    assert whole(recording, cache) == whole(recording, None)
    assert "cannot be kept in this cache: " in caplog.text


def test_a_file_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be used as a cache"):
        Cache(tmp_path / "file")


def test_a_source_that_cannot_be_told_apart_is_not_kept(recording: Path, cache: Cache) -> None:
    class Changing(MetricsFile):
        def identity(self) -> bytes | None:
            return None

    replay(Changing(recording / "metrics.parquet"), load_setting(recording), cache=cache)
    assert entries(cache) == []


def test_a_file_that_was_replaced_since_it_was_opened_has_no_identity(recording: Path) -> None:
    file = MetricsFile(recording / "metrics.parquet")
    assert file.identity() is not None
    shutil.copyfile(recording / "metrics.parquet", recording / "copy")
    (recording / "copy").replace(recording / "metrics.parquet")
    assert file.identity() is None


def test_what_was_kept_is_what_samples_of_any_source_add_up_to(recording: Path, cache: Cache) -> None:
    class Elsewhere:
        """Samples that are in no file."""

        def __init__(self, file: MetricsFile) -> None:
            self.name, self.labels, self.rows = "elsewhere", file.labels, file.rows
            self._file = file

        def identity(self) -> bytes | None:
            return b"offsets 0 to 100"

        def read(self, rows: int = ROWS, columns: Sequence[str] | None = None) -> "Any[Samples]":
            return self._file.read(rows, columns)

    source = Elsewhere(MetricsFile(recording / "metrics.parquet"))
    setting = load_setting(recording)
    assert replay(source, setting, cache=cache) == replay(source, setting, cache=cache)
    assert len(entries(cache)) == 1


def test_replays_may_fill_a_cache_at_the_same_time(recording: Path, cache: Cache) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: whole(recording, Cache(cache.folder)), range(3)))
    assert found == [whole(recording, None)] * 3
    assert names(cache) == [".lock", entries(cache)[0].name]


@pytest.mark.slow
def test_processes_may_fill_a_cache_at_the_same_time(recording: Path, cache: Cache) -> None:
    arguments = [str(Path(sys.executable).with_name("holdfast")), "replay", str(recording), "--json", "--no-store"]
    arguments += ["--cache", str(cache.folder)]
    running = [subprocess.Popen(arguments, stdout=subprocess.PIPE) for _ in range(2)]
    printed = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert printed == {replay_recording(recording).as_json() + b"\n"}
    assert names(cache) == [".lock", entries(cache)[0].name]
