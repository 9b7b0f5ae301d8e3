"""The same recording gives the same verdicts, byte for byte, however it is stored, cut, shuffled or spread."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detectors.policy import Metric, Policy, PrePeriod, Ratio, Tolerance
from detectors.verdict import Verdict
from sinks.cloudevents import encode, verdict_event
from streams.aggregate import Aggregate
from streams.cohorts import CohortTicks, merge
from streams.fleet import SCHEMA, STARTED_S, Fleet, write
from streams.judge import Judge
from streams.layout import build
from streams.membership import Announced, Stage, find_units, resolve
from streams.plan import Plan
from streams.recording import MetricsFile
from streams.replay import Setting, replay
from streams.scan import in_steps, scan
from tests.samples import TICK_MS

STEP = 1_024
"""Rows between two looks at the clock: few, so that ticks close all along a small recording."""

LATENESS_TICKS = 3
START = -(-STARTED_S // 10)
STAGES = (
    Stage("canary", {"cohort": "canary"}, {"cohort": "control"}, START, bake=8, deadline=18, settle=1),
    Stage("more", {"host": "*-h00"}, None, START + 20, bake=4, deadline=8, settle=0),
)
POLICY = Policy(
    policy="edge-http",
    metrics=[
        Metric(
            name="errors",
            ratio=Ratio(bad="http_5xx", total="http_requests"),
            worse="increase",
            breach="revert",
            tolerate=Tolerance(relative=0.1, absolute=0.00005),
        ),
        Metric(name="cpu", gauge="cpu_busy", worse="increase", breach="halt"),
        Metric(name="latency", histogram="http_seconds_bucket", quantile=0.9, worse="increase", breach="revert"),
        Metric(name="requests", counter="http_requests", worse="either", breach="halt"),
    ],
    lateness_ticks=LATENESS_TICKS,
    pre_period=PrePeriod(ticks_min=8),
)
SETTING = Setting("r", STAGES, POLICY, "sha256:0", "engine", True, TICK_MS, "rollout.yaml", "policy.yaml")
SCENARIOS = st.sampled_from([None, "errors", "latency", "cpu", "silent"])
SEEDS = st.integers(0, 3)
EXAMPLES = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])

Recording = Callable[[str | None, int], "Recorded"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A simulated fleet, and the verdicts and evidence on it."""

    table: pa.Table
    verdicts: list[bytes]


@pytest.fixture(autouse=True, scope="module")
def _short_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in ("clock", "scan"):
            patch.setattr(f"streams.{module}.STEP_ROWS", STEP)
        yield


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Return a function that simulates a fleet, once for each scenario and seed."""

    @cache
    def record(scenario: str | None, seed: int) -> Recorded:
        folder = tmp_path_factory.mktemp("fleet") / "recording"
        fleet = Fleet(
            seed=seed,
            colos=3,
            hosts=3,
            canary_hosts=1,
            regions=2,
            pre_ticks=30,
            live_ticks=30,
            scenario=scenario,  # type: ignore[arg-type]
            size=12.0,
            hurt=1,
            onset_ticks=2,
        )
        write(fleet, folder)
        metrics = pq.read_table(folder / "metrics.parquet").cast(SCHEMA)
        return Recorded(metrics, verdicts_on(folder / "metrics.parquet"))

    return record


def encoded(verdicts: list[tuple[int, Verdict]], log_e: list[dict[str, float]]) -> list[bytes]:
    """Return the verdicts as rollout systems receive them, and last the evidence of every tick."""
    events = [encode(verdict_event("r", time_ms, verdict)) for time_ms, verdict in verdicts]
    return [*events, repr(log_e).encode()]


def verdicts_on(metrics: Path, rows: int = 1 << 19) -> list[bytes]:
    log_e: list[dict[str, float]] = []
    result = replay(
        MetricsFile(metrics), SETTING, rows=rows, observer=lambda progress: log_e.append({**progress.log_e})
    )
    return encoded(result.verdicts, log_e)


def written(folder: Path, metrics: pa.Table, rows_per_group: int = 1 << 20) -> Path:
    path = folder / "metrics.parquet"
    pq.write_table(metrics, path, row_group_size=rows_per_group)
    return path


def test_recordings_differ_so_that_equal_bytes_say_something(recording: Recording) -> None:
    stopped = [recording(scenario, 0).verdicts for scenario in (None, "errors", "latency", "cpu", "silent")]
    assert len({tuple(verdicts) for verdicts in stopped}) == 5
    assert all(len(verdicts) >= 2 for verdicts in stopped)


@settings(EXAMPLES, max_examples=4)
@given(SCENARIOS, SEEDS)
def test_a_replay_repeated_is_the_same(recording: Recording, tmp_path: Path, scenario: str | None, seed: int) -> None:
    made = recording(scenario, seed)
    assert verdicts_on(written(tmp_path, made.table)) == made.verdicts


@EXAMPLES
@given(SCENARIOS, SEEDS, st.integers(100, 9_000), st.integers(100, 9_000))
def test_row_groups_and_reads_of_any_size_are_the_same(
    recording: Recording, tmp_path: Path, scenario: str | None, seed: int, rows_per_group: int, rows: int
) -> None:
    made = recording(scenario, seed)
    assert verdicts_on(written(tmp_path, made.table, rows_per_group), rows) == made.verdicts


@EXAMPLES
@given(SCENARIOS, SEEDS, st.integers(0, 2**32), st.integers(500, 9_000))
def test_samples_shuffled_within_the_lateness_are_the_same(
    recording: Recording, tmp_path: Path, scenario: str | None, seed: int, shuffle: int, rows: int
) -> None:
    made = recording(scenario, seed)
    delay_ms = np.random.default_rng(shuffle).integers(0, LATENESS_TICKS * TICK_MS, len(made.table))
    arrival = made.table["time"].cast(pa.int64()).to_numpy() + delay_ms
    shuffled = made.table.take(pa.array(np.argsort(arrival)))
    assert verdicts_on(written(tmp_path, shuffled), rows) == made.verdicts


@EXAMPLES
@given(SCENARIOS, SEEDS, st.integers(0, 2**32), st.lists(st.integers(1, 60), max_size=4))
def test_partitions_of_single_colos_merge_to_the_same(
    recording: Recording, tmp_path: Path, scenario: str | None, seed: int, shuffle: int, cuts: list[int]
) -> None:
    made = recording(scenario, seed)
    parts = by_colo(written(tmp_path, made.table))
    whole = merge([parts[place] for place in np.random.default_rng(shuffle).permutation(len(parts))])
    assert judged(written(tmp_path, made.table), cut(whole, cuts)) == made.verdicts


def by_colo(metrics: Path) -> list[CohortTicks]:
    """Aggregate each colo on its own, as one partition of a topic keyed by colo would."""
    file = MetricsFile(metrics)
    found = scan(file, LATENESS_TICKS * TICK_MS)
    units = find_units(found.catalogue, "host", "region")
    membership = resolve(found.catalogue, units, [Announced("r", STAGES, "rollout.yaml")], found.seen, TICK_MS)[0]
    layout = build(found.catalogue, units, membership, POLICY, ["cohort", "host"])
    colo = np.array(units.colo)[units.of_series]
    columns = [np.concatenate(column) for column in zip(*in_steps(file, found.catalogue), strict=True)]
    parts: list[CohortTicks] = []
    for name in sorted(set(units.colo)):
        aggregate = Aggregate(layout, units.of_series, TICK_MS, LATENESS_TICKS * TICK_MS, 60 * TICK_MS, 5)
        series, time, value = (column[colo[columns[0]] == name] for column in columns)
        for start in range(0, len(series), 3 * STEP):
            piece = slice(start, start + 3 * STEP)
            parts += aggregate.push(series[piece], time[piece], value[piece])
        parts += aggregate.finish()
    return parts


def cut(ticks: CohortTicks, cuts: list[int]) -> list[CohortTicks]:
    """Cut cohort ticks into blocks of consecutive ticks."""
    bounds = sorted({0, ticks.ticks, *(place for place in cuts if place < ticks.ticks)})
    return [
        CohortTicks(ticks.first + start, ticks.keys, ticks.values[:, :, start:stop]) for start, stop in pairwise(bounds)
    ]


def judged(metrics: Path, blocks: list[CohortTicks]) -> list[bytes]:
    found = scan(MetricsFile(metrics), LATENESS_TICKS * TICK_MS)
    units = find_units(found.catalogue, "host", "region")
    membership = resolve(found.catalogue, units, [Announced("r", STAGES, "rollout.yaml")], found.seen, TICK_MS)[0]
    judge = Judge(Plan("r", STAGES, membership, POLICY, "sha256:0", "engine", True, TICK_MS))
    ticks = [tick for block in blocks for tick in judge.push(block)]
    verdicts = [(tick.tick * TICK_MS, tick.verdict) for tick in ticks if tick.verdict]
    return encoded(verdicts, [tick.log_e for tick in ticks])
