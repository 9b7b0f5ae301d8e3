"""The replay cache: the second replay of a recording is the first one, without its samples being read."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detectors.errors import BadInput
from detectors.verdict import Verdict
from holdfast import cli
from holdfast.replaying import load_setting, replay_recording, samples_of
from streams.cache import Cache, key_of
from streams.cache_entry import Damaged, Entry
from streams.fleet import Fleet, write
from streams.membership import Announced
from streams.recording import MetricsFile, Samples
from streams.replay import Progress, Setting, replay

SMALL: Final = Fleet(seed=5, colos=3, hosts=4, canary_hosts=1, pre_ticks=40, live_ticks=40, hurt=1, scenario="errors")
ROWS: Final = 1 << 12  # several blocks, though the recording is small


class Kept:
    """A sink that remembers what it got."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []
        self.verdicts: list[tuple[str, int, Verdict]] = []

    def cohort_ticks(self, table: pa.Table) -> None:
        self.tables.append(table)

    def evidence(self, table: pa.Table) -> None:
        self.tables.append(table)

    def ticks(self, table: pa.Table) -> None:
        self.tables.append(table)

    def verdict(self, rollout: str, time_ms: int, verdict: Verdict) -> None:
        self.verdicts.append((rollout, time_ms, verdict))


class Unread:
    """A recording whose samples must not be read."""

    def __init__(self, path: Path) -> None:
        file = MetricsFile(path / "metrics.parquet")
        self.name, self.labels, self.rows, self.identity = file.name, file.labels, file.rows, file.identity

    def read(self, rows: int = 0, columns: Sequence[str] | None = None) -> Any:
        message = f"{rows} of {columns} were asked for"
        raise AssertionError(message)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "change"
    write(SMALL, path)
    return path


@pytest.fixture
def recording(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "recording"))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def entries(cache: Cache) -> list[Path]:
    return sorted(path for path in cache.folder.iterdir() if path.suffix == ".arrow")


class Whole(NamedTuple):
    """Everything that comes out of a replay."""

    outcome: bytes
    tables: list[bytes]
    verdicts: list[tuple[str, int, Verdict]]
    progress: list[Progress]


def whole(path: Path, cache: Cache | None, rows: int = ROWS) -> Whole:
    kept, progress = Kept(), list[Progress]()
    outcome = replay_recording(path, cache=cache, beside=kept, observer=progress.append, rows=rows)
    return Whole(outcome.as_json(), [written(table) for table in kept.tables], kept.verdicts, progress)


def written(table: pa.Table) -> bytes:
    """A table to the last bit, NaN and all."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def names(cache: Cache) -> list[str]:
    """Everything in the folder."""
    return sorted(path.name for path in cache.folder.iterdir())


def changed(recording: Path, file: str, old: str, new: str) -> None:
    text = (recording / file).read_text(encoding="utf-8")
    assert old in text
    (recording / file).write_text(text.replace(old, new), encoding="utf-8")


def spoil(path: Path, at: Callable[[int], int]) -> None:
    """Change one bit of a file, at a place that depends on its size."""
    content = bytearray(path.read_bytes())
    content[at(len(content))] ^= 4
    path.write_bytes(content)


def test_a_replay_from_the_cache_leaves_the_very_same_behind(recording: Path, cache: Cache) -> None:
    without = whole(recording, None)
    assert whole(recording, cache) == without
    assert whole(recording, cache) == without
    assert len(entries(cache)) == 1


def test_the_second_replay_reads_no_sample(recording: Path, cache: Cache) -> None:
    setting = load_setting(recording)
    first = replay(samples_of(recording), setting, cache=cache)
    assert replay(Unread(recording), setting, cache=cache) == first


def test_samples_that_are_late_twice_or_odd_are_counted_alike_from_the_cache(recording: Path, cache: Cache) -> None:
    table = pq.read_table(recording / "metrics.parquet")
    odd = table.slice(0, 300).set_column(
        table.schema.get_field_index("value"), "value", pa.array([float("nan")] * 100 + [1.0] * 200)
    )
    parts = [table.slice(0, 9_000), odd, table.slice(8_800, 400), table.slice(9_000)]
    pq.write_table(pa.concat_tables(parts), recording / "metrics.parquet")
    whole(recording, cache)
    found = whole(recording, cache)
    assert found == whole(recording, None)
    assert json.loads(found.outcome)["dropped"].keys() >= {"late", "nan"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("relative: 0.10, absolute: 0.00005", "relative: 0.20"),
        ("alpha: 0.01", "alpha: 0.02"),
        ("breach: revert", "breach: halt"),
        ("quantile: 0.99", "quantile: 0.9"),
        ("tick: 10s", "tick: 10s\npre_period: {ticks_min: 10, ticks_max: 30}"),
    ],
)
def test_policies_that_sum_alike_share_an_entry(recording: Path, cache: Cache, old: str, new: str) -> None:
    whole(recording, cache)
    changed(recording, "policy.yaml", old, new)
    assert whole(recording, cache) == whole(recording, None)
    assert len(entries(cache)) == 1


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("policy.yaml", "tick: 10s", "tick: 5s"),
        ("policy.yaml", "tick: 10s", "tick: 10s\nregion: cohort"),
        ("policy.yaml", "tick: 10s", "tick: 10s\nlateness_ticks: 1"),
        ("policy.yaml", "tick: 10s", "tick: 10s\ngap_ticks_max: 2"),
        ("policy.yaml", "tick: 10s", "tick: 10s\nahead_ticks_max: 2"),
        ("policy.yaml", "gauge: cpu_busy", "gauge: mem_bytes"),
        ("policy.yaml", "gauge: cpu_busy", "gauge: cpu_busy, select: {region: [eu, us, ap, sa]}"),
        ("rollout.yaml", "control: {cohort: control}", "control: {cohort: con*}"),
    ],
)
def test_what_shapes_the_sums_has_an_entry_of_its_own(
    recording: Path, cache: Cache, file: str, old: str, new: str
) -> None:
    whole(recording, cache)
    changed(recording, file, old, new)
    assert whole(recording, cache) == whole(recording, None)
    assert len(entries(cache)) == 2


def test_other_samples_are_another_entry(recording: Path, cache: Cache) -> None:
    whole(recording, cache)
    table = pq.read_table(recording / "metrics.parquet")
    pq.write_table(table.slice(0, table.num_rows - 1), recording / "metrics.parquet")
    whole(recording, cache)
    assert len(entries(cache)) == 2


def test_the_same_samples_elsewhere_are_the_same_entry(recording: Path, cache: Cache, tmp_path: Path) -> None:
    whole(recording, cache)
    moved = Path(shutil.copytree(recording, tmp_path / "moved"))
    assert whole(moved, cache) == whole(moved, None)
    assert len(entries(cache)) == 1


def key(setting: Setting, engine: str = "holdfast/1", rows: int = ROWS) -> str:
    rollouts = Announced(setting.rollout, setting.stages, setting.place), *setting.others
    return key_of(b"samples", setting.policy, rollouts, setting.tick_ms, engine, rows)


def test_another_engine_or_another_start_is_another_entry(recording: Path) -> None:
    setting = load_setting(recording)
    (stage,) = setting.stages
    assert stage.started is not None
    later = replace(setting, stages=(replace(stage, started=stage.started + 1),))
    assert len({key(setting), key(setting, "holdfast/2"), key(later), key(setting, rows=ROWS + 1)}) == 4


def test_another_bake_time_is_the_same_entry(recording: Path) -> None:
    setting = load_setting(recording)
    longer = replace(setting, stages=tuple(replace(stage, bake=stage.bake + 5) for stage in setting.stages))
    assert key(longer) == key(setting)


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(lambda size: size // 4, id="a quarter"),
        pytest.param(lambda size: size // 2, id="middle"),
        pytest.param(lambda size: 9 * size // 10, id="nearly at the end"),
    ],
)
def test_a_damaged_entry_is_told_and_made_anew(
    recording: Path, cache: Cache, caplog: pytest.LogCaptureFixture, at: Callable[[int], int]
) -> None:
    without = whole(recording, cache)
    (entry,) = entries(cache)
    sound = entry.read_bytes()
    spoil(entry, at)
    assert whole(recording, cache) == without
    assert f"{entry}: damaged: " in caplog.text
    assert entry.read_bytes() == sound


@pytest.mark.parametrize("share", [0, 1, 50, 99])
def test_a_truncated_entry_is_told_and_made_anew(
    recording: Path, cache: Cache, caplog: pytest.LogCaptureFixture, share: int
) -> None:
    without = whole(recording, cache)
    (entry,) = entries(cache)
    sound = entry.read_bytes()
    entry.write_bytes(sound[: len(sound) * share // 100])
    assert whole(recording, cache) == without
    assert f"{entry}: damaged: " in caplog.text
    assert entry.read_bytes() == sound


def content(path: Path) -> list[object]:
    """Everything in an entry."""
    entry = Entry(path)
    who = entry.head.membership
    head = entry.head.first_ms, entry.head.last_ms, who.signature.tolist(), who.signatures, who.others.tolist()
    blocks = [
        (block.samples, block.dropped, block.taken, block.ticks and (block.ticks.first, block.ticks.keys))
        for block in entry.blocks()
    ]
    return [head, blocks, [block.ticks.values.tobytes() for block in entry.blocks() if block.ticks]]


def test_no_bit_changes_unnoticed(recording: Path, cache: Cache) -> None:
    whole(recording, cache)
    (entry,) = entries(cache)
    sound, kept, unnoticed = entry.read_bytes(), content(entry), 0
    places = [
        *range(0, 6_000, 61),
        *range(6_000, len(sound), len(sound) // 20),
        *range(len(sound) - 3_000, len(sound), 29),
    ]
    for place in places:
        spoil(entry, lambda _, place=place: place)  # type: ignore[misc]
        try:
            found = content(entry)
        except Damaged:
            pass
        else:
            unnoticed += 1  # it is a bit that says nothing, as in the gaps between columns
            assert found == kept
        entry.write_bytes(sound)
    assert unnoticed < len(places) / 2


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


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["holdfast", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(str(left.value.code)), capsys.readouterr().err


def test_the_command_keeps_sums_beside_the_store(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, "replay", recording, "--data", tmp_path / "data")[0] == 0
    assert len(list((tmp_path / "data" / "cache").glob("*.arrow"))) == 1


@pytest.mark.parametrize("option", ["--no-store", "--no-cache"])
def test_the_command_keeps_no_sums_where_it_is_to_keep_nothing(
    recording: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    option: str,
) -> None:
    assert run(capsys, monkeypatch, "replay", recording, "--data", tmp_path / "data", option)[0] == 0
    assert not (tmp_path / "data" / "cache").exists()


def test_the_command_keeps_sums_where_it_is_told(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "replay", recording, "--no-store", "--cache", tmp_path / "sums"
    assert run(capsys, monkeypatch, *given)[0] == 0
    assert len(list((tmp_path / "sums").glob("*.arrow"))) == 1


def test_the_command_refuses_a_cache_that_is_not_to_be_used(
    recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = "replay", recording, "--no-cache", "--cache", tmp_path / "sums"
    assert run(capsys, monkeypatch, *given) == (
        2,
        f"--cache {tmp_path / 'sums'}: there is --no-cache too; allowed is one of them\n",
    )
