"""The simulated fleet: is it the recording that it says it is, and is it as awkward as a real one?"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from detectors.errors import BadInput
from holdfast.documents import load_policy, load_rollout, load_truth
from streams.fleet import Fleet, Scenario, write
from streams.recording import MetricsFile
from streams.simulation import SERIES, Scrapes, simulate
from streams.writing import FILES

SMALL = Fleet(seed=5, colos=4, hosts=5, pre_ticks=60, live_ticks=60, hurt=2, scenario="errors")
COUNTERS = [i for i, (metric, _) in enumerate(SERIES) if metric in ("http_requests", "http_5xx")]
BUCKETS = [i for i, (metric, _) in enumerate(SERIES) if metric == "http_seconds_bucket"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fleet") / "a-change"
    write(SMALL, path)
    return path


@pytest.fixture(scope="module")
def table(folder: Path) -> pa.Table:
    return pq.read_table(folder / "metrics.parquet")


@pytest.fixture(scope="module")
def scrapes() -> Scrapes:
    return simulate(SMALL.shape(), SMALL.seed)


def falls(scrapes: Scrapes, series: int) -> Iterator[tuple[int, int]]:
    """Find (tick, host) where a counter was seen to be lower than before."""
    for host in range(scrapes.values.shape[1]):
        value = scrapes.values[:, host, series]
        there = np.flatnonzero(~np.isnan(value))
        for place in np.flatnonzero(np.diff(value[there]) < 0):
            yield int(there[place + 1]), host


def test_the_same_seed_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write(SMALL, tmp_path / folder.name)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (tmp_path / folder.name / name).read_bytes() == (folder / name).read_bytes()


def test_another_seed_writes_other_samples(folder: Path, tmp_path: Path) -> None:
    write(Fleet(seed=6, colos=4, hosts=5, pre_ticks=60, live_ticks=60), tmp_path / folder.name)
    assert (tmp_path / folder.name / "metrics.parquet").read_bytes() != (folder / "metrics.parquet").read_bytes()


def test_the_documents_are_those_of_the_contract(folder: Path) -> None:
    rollout, policy = load_rollout(folder / "rollout.yaml"), load_policy(folder / "policy.yaml")
    truth = load_truth(folder / "truth.yaml")
    assert rollout.rollout == folder.name
    assert [metric.name for metric in policy.metrics] == ["errors", "cpu", "memory", "latency_p99", "requests"]
    assert (rollout.stages[0].bake, rollout.stages[0].deadline) == ("5m", "500s")
    assert (truth.bad, truth.expect, truth.metrics, len(truth.colos)) == (True, ["revert"], ["errors"], 2)
    assert truth.onset is not None
    assert (truth.onset - rollout.started).total_seconds() == SMALL.onset_ticks * SMALL.tick_s


def test_a_harmless_change_is_expected_to_pass(tmp_path: Path) -> None:
    write(Fleet(seed=1, colos=1, hosts=2, canary_hosts=1, pre_ticks=5, live_ticks=5), tmp_path / "harmless")
    truth = load_truth(tmp_path / "harmless" / "truth.yaml")
    assert (truth.bad, truth.expect, truth.colos) == (False, ["advance", "wait"], [])


def test_the_samples_are_a_recording(folder: Path, table: pa.Table) -> None:
    file = MetricsFile(folder / "metrics.parquet")
    assert file.labels == ["cohort", "colo", "host", "le", "metric", "region"]
    assert file.rows == table.num_rows
    assert table["value"].null_count == 0
    assert np.isfinite(table["value"].to_numpy()).all()
    assert set(pc.unique(table["region"].cast(pa.string())).to_pylist()) == {"eu", "us", "ap", "sa"}
    assert pc.count_distinct(table["host"].cast(pa.string())).as_py() == SMALL.colos * SMALL.hosts


def test_rows_are_in_order_of_time(table: pa.Table) -> None:
    assert (np.diff(table["time"].to_numpy().astype("int64")) >= 0).all()


def test_only_buckets_have_an_edge(table: pa.Table) -> None:
    is_bucket = pc.equal(table["metric"].cast(pa.string()), "http_seconds_bucket")
    assert pc.all(pc.equal(is_bucket, table["le"].is_valid())).as_py()


def test_no_scrape_after_the_start_is_before_it(folder: Path, table: pa.Table) -> None:
    started_ms = load_rollout(folder / "rollout.yaml").started.timestamp() * 1_000
    times = np.unique(table["time"].to_numpy().astype("int64"))
    ticks = np.ceil(times / (SMALL.tick_s * 1_000))
    first_live = np.ceil(started_ms / (SMALL.tick_s * 1_000))
    assert ((times >= started_ms) == (ticks >= first_live)).all()
    assert np.unique(ticks).size == SMALL.pre_ticks + SMALL.live_ticks


def test_counters_fall_only_where_a_host_restarts(scrapes: Scrapes) -> None:
    fallen = set(falls(scrapes, COUNTERS[0]))
    canaries = np.flatnonzero(scrapes.hosts.is_canary)
    at_start = {host for tick, host in fallen if SMALL.pre_ticks <= tick <= SMALL.pre_ticks + 3}
    assert set(canaries.tolist()) <= at_start
    assert len(canaries) <= len(fallen) <= len(canaries) + SMALL.colos  # and one host of each colo
    for series in BUCKETS:
        assert set(falls(scrapes, series)) <= fallen


def test_buckets_are_cumulative(scrapes: Scrapes) -> None:
    buckets = scrapes.values[:, :, BUCKETS]
    there = ~np.isnan(buckets[:, :, 0])
    assert (np.diff(buckets[there], axis=1) >= 0).all()
    assert (buckets[there][:, -1] == scrapes.values[:, :, COUNTERS[0]][there]).all()


def test_about_one_scrape_in_twenty_is_missing() -> None:
    fleet = Fleet(seed=3, pre_ticks=100, live_ticks=100)
    cpu = simulate(fleet.shape(), fleet.seed).values[:, :, 2]
    assert np.isnan(cpu).mean() == pytest.approx(0.05, abs=0.005)


def test_errors_appear_with_the_first_one() -> None:
    fleet = Fleet(seed=3, pre_ticks=50, live_ticks=50)
    scrapes = simulate(fleet.shape(), fleet.seed)
    requests, errors = scrapes.values[:, :, COUNTERS[0]], scrapes.values[:, :, COUNTERS[1]]
    assert np.nanmin(errors) >= 1
    assert (np.isnan(errors) & ~np.isnan(requests)).any()
    assert not (np.isnan(requests) & ~np.isnan(errors)).any()


@pytest.mark.parametrize(("scenario", "series"), [("errors", 1), ("latency", BUCKETS[3]), ("cpu", 2), ("silent", 2)])
def test_a_scenario_touches_the_canaries_of_hurt_colos_alone(scenario: Scenario, series: int) -> None:
    harmed = Fleet(seed=9, colos=6, hosts=6, pre_ticks=40, live_ticks=40, scenario=scenario, size=2.5)
    one = simulate(harmed.shape(), harmed.seed)
    hit = one.hosts.is_hurt & one.hosts.is_canary
    assert hit.sum() == harmed.hurt * harmed.canary_hosts
    late, early = slice(60, 80), slice(20, 40)
    if scenario == "silent":
        silent = np.isnan(one.values[late, :, series]).all(axis=0)
        assert (silent == hit).all()
        return
    if series == 2:
        change = np.nanmean(one.values[late, :, 2], axis=0) / np.nanmean(one.values[early, :, 2], axis=0)
    else:
        gain = np.nanmax(one.values[late], axis=0) - np.nanmin(one.values[late], axis=0)
        before = np.nanmax(one.values[early], axis=0) - np.nanmin(one.values[early], axis=0)
        change = (gain[:, series] / gain[:, 0]) / (before[:, series] / before[:, 0])
    other = np.median(change[~hit])
    assert (np.median(change[hit]) < 0.7 * other) if scenario == "latency" else (np.median(change[hit]) > 1.7 * other)


def test_an_earlier_recording_is_replaced(tmp_path: Path) -> None:
    tiny = Fleet(seed=1, colos=1, hosts=2, canary_hosts=1, pre_ticks=5, live_ticks=5)
    write(tiny, tmp_path / "a")
    before = (tmp_path / "a" / "metrics.parquet").read_bytes()
    write(replace(tiny, seed=2), tmp_path / "a")
    assert (tmp_path / "a" / "metrics.parquet").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.txt").write_text("ten years of work")
    with pytest.raises(BadInput, match="no recording; choose another folder"):
        write(SMALL, tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        write(SMALL, tmp_path / "file" / "recording")


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        Fleet(seed=1, hosts=2, canary_hosts=2, regions=9, scenario="errors", hurt=21)
    assert [line.split(" must")[0] for line in str(caught.value).splitlines()] == [
        "simulated fleet: hosts",
        "simulated fleet: regions",
        "simulated fleet: hurt",
    ]


def test_many_colos_have_different_names() -> None:
    names = Fleet(seed=1, colos=300, regions=3).colo_names()
    assert len({name for _, name in names}) == 300
