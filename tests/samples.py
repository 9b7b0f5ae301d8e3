"""Small recordings out of Python values: rows of samples, the files they make, and the sums they come to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from detectors.policy import Metric, Policy, PrePeriod
from streams.aggregate import Aggregate
from streams.catalogue import Catalogue
from streams.clock import STEP_ROWS
from streams.cohorts import CohortTicks
from streams.layout import Layout, build
from streams.membership import Announced, Membership, Sightings, Stage, Units, find_units, resolve
from streams.recording import LabelColumn, Samples

TICK_MS = 10_000
EARLY_MS = 3_000
"""How long before the end of a tick it is scraped."""

Values = Sequence[float | None]
Matrix = NDArray[np.float64]


class Row(NamedTuple):
    """One sample; `time` in epoch milliseconds, a label of None is absent."""

    time: int
    labels: dict[str, str | None]
    value: float


def sample(
    tick: int,
    metric: str | None,
    value: float,
    *,
    host: str | None = "h1",
    colo: str | None = "ams01",
    early_ms: int = EARLY_MS,
    **labels: str,
) -> Row:
    """Make a sample of a tick, taken `early_ms` before its end."""
    return Row(tick * TICK_MS - early_ms, {"metric": metric, "host": host, "colo": colo, **labels}, value)


def series(
    metric: str,
    values: Values,
    *,
    first: int = 1,
    host: str | None = "h1",
    colo: str = "ams01",
    early_ms: int = EARLY_MS,
    **labels: str,
) -> list[Row]:
    """Make the samples of a series, one a tick from `first` on; None is a missed scrape."""
    return [
        sample(first + index, metric, value, host=host, colo=colo, early_ms=early_ms, **labels)
        for index, value in enumerate(values)
        if value is not None
    ]


def in_order(*parts: list[Row]) -> list[Row]:
    """Put rows in order of time, those of one time as given."""
    return sorted((row for part in parts for row in part), key=lambda row: row.time)


def columns(rows: Sequence[Row]) -> Samples:
    """Lay rows out as the reader of recordings does."""
    names = sorted({"metric", "colo", *(name for row in rows for name in row.labels)})
    labels = {}
    for name in names:
        texts = [row.labels.get(name) for row in rows]
        values = list(dict.fromkeys(text for text in texts if text is not None))
        codes = [-1 if text is None else values.index(text) for text in texts]
        labels[name] = LabelColumn(np.array(codes, np.int32), values)
    time = np.array([row.time for row in rows], np.int64)
    return Samples(time, np.array([row.value for row in rows], np.float64), labels)


def table(rows: Sequence[Row]) -> pa.Table:
    """Lay rows out as a recording's `metrics.parquet` holds them."""
    names = sorted({"metric", "colo", *(name for row in rows for name in row.labels)})
    labels = {name: pa.array([row.labels.get(name) for row in rows], pa.string()) for name in names}
    time = pa.array([row.time for row in rows], pa.timestamp("ms", tz="UTC"))
    return pa.table({"time": time, "value": pa.array([row.value for row in rows], pa.float64()), **labels})


def write(folder: Path, rows: Sequence[Row], rows_per_group: int = 1 << 20) -> Path:
    """Write rows as a recording's metrics, and return the file."""
    path = folder / "metrics.parquet"
    pq.write_table(table(rows), path, row_group_size=rows_per_group)
    return path


def stage(
    canary: dict[str, str | list[str]],
    control: dict[str, str | list[str]] | None = None,
    *,
    started: int | None = 1,
    name: str = "canary",
) -> Stage:
    """Make a stage with an hour to bake."""
    return Stage(name, canary, control, started, bake=360, deadline=720, settle=0)


def gauge(name: str) -> Metric:
    """Judge a gauge."""
    return Metric(name=name, gauge=name, worse="increase", breach="halt")


def policy(*metrics: Metric, gap: int = 5, lateness: int = 3, ahead: int = 60) -> Policy:
    """Judge some metrics, without a past if there is none."""
    return Policy(
        policy="p",
        metrics=list(metrics),
        gap_ticks_max=gap,
        lateness_ticks=lateness,
        ahead_ticks_max=ahead,
        pre_period=PrePeriod(ticks_min=8, required=False),
    )


@dataclass(frozen=True, slots=True)
class Fleet:
    """Series and units that were found in some samples."""

    catalogue: Catalogue
    units: Units
    seen: Sightings
    series: NDArray[np.int32]

    def membership(self, *stages: Stage) -> Membership:
        return self.memberships(stages)[0]

    def memberships(self, *rollouts: Sequence[Stage]) -> list[Membership]:
        """Resolve several rollouts, named r, r1, r2 and so on."""
        announced = [
            Announced(f"r{index or ''}", stages, f"rollout{index or ''}.yaml") for index, stages in enumerate(rollouts)
        ]
        return resolve(self.catalogue, self.units, announced, self.seen, TICK_MS)

    def stage_of(self, *stages: Stage) -> dict[str, int]:
        """Return the stage of each unit by name, -1 where it is never reached."""
        found = self.membership(*stages)
        reached = [found.signatures[signature][0] for signature in found.signature]
        return dict(zip(self.units.name, reached, strict=True))


def find(rows: Sequence[Row]) -> Fleet:
    """Find series and units, as the first reading of a recording does."""
    samples = columns(rows)
    catalogue = Catalogue(sorted(samples.labels))
    ids = catalogue.encode(samples.labels, len(rows))
    first = np.full(len(catalogue), np.iinfo(np.int64).max)
    last = np.full(len(catalogue), np.iinfo(np.int64).min)
    np.minimum.at(first, ids, samples.time)
    np.maximum.at(last, ids, samples.time)
    return Fleet(catalogue, find_units(catalogue, "host", "region"), Sightings(first, last), ids)


@dataclass(frozen=True, slots=True)
class Sums:
    """What became of samples: the cohort ticks of all blocks, and what was dropped."""

    ticks: CohortTicks
    dropped: Counter[str]
    layout: Layout

    def of(
        self, metric: int = 0, *, colo: str = "ams01", edge: float = 0.0, signature: int | None = None
    ) -> tuple[list[float], list[float], list[float]]:
        """Return the three sums of a metric, tick by tick."""
        rows = [
            row
            for row, key in enumerate(self.ticks.keys)
            if (key.metric, key.colo, key.edge) == (metric, colo, edge) and signature in (None, key.signature)
        ]
        assert len(rows) == 1, f"{len(rows)} rows; there are {self.ticks.keys}"
        units, first, second = self.ticks.values[:, rows[0]].tolist()
        return units, first, second


def reduce(
    rows: Sequence[Row],
    *metrics: Metric,
    stages: Sequence[Stage] = (),
    rollouts: Sequence[Sequence[Stage]] = (),
    gap: int = 5,
    lateness: int = 3,
    ahead: int = 60,
    steps: int | None = None,
) -> Sums:
    """Send samples through an aggregate, `steps` steps of the clock at a time, to the end of the input."""
    fleet, samples = find(rows), columns(rows)
    wanted = policy(*metrics, gap=gap, lateness=lateness, ahead=ahead)
    moving = sorted(
        {label for plan in rollouts or [stages] for stage in plan for label in (*stage.canary, *(stage.control or {}))}
    )
    layout = build(fleet.catalogue, fleet.units, fleet.memberships(*(rollouts or [stages]))[0], wanted, moving)
    of_series = fleet.units.of_series
    aggregate = Aggregate(layout, of_series, TICK_MS, lateness * TICK_MS, ahead * TICK_MS, gap)
    size = len(rows) if steps is None else steps * STEP_ROWS
    unnamed = [row.labels.get("metric") and row.labels.get("colo") for row in rows]
    ids = np.where([not name for name in unnamed], np.int32(-1), fleet.series)
    blocks: list[CohortTicks] = []
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        blocks += aggregate.push(ids[part], samples.time[part], samples.value[part])
    blocks += aggregate.finish()
    return Sums(joined(blocks), aggregate.dropped, layout)


def joined(blocks: Sequence[CohortTicks]) -> CohortTicks:
    """Put blocks of consecutive ticks together."""
    for before, after in pairwise(blocks):
        assert after.first == before.first + before.ticks
        assert after.keys == before.keys
    return CohortTicks(blocks[0].first, blocks[0].keys, np.concatenate([block.values for block in blocks], axis=2))
