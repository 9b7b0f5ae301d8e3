"""What a replay from the cache leaves behind, and which replays share an entry."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from holdfast.recording.folder import load_setting
from holdfast.recording.samples import samples_of
from streams.cache import Cache, key_of
from streams.membership import Announced
from streams.replay import Setting, replay
from tests.replay_cache.cases import ROWS, Unread, changed, entries, whole


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
