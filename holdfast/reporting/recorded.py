"""Gathering what a report shows while a recording is replayed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.policy import duration_ms
from detectors.verdict import Verdict
from holdfast.recording.folder import Show, chosen, load_documents, require_folder
from holdfast.replaying import Keeps, Outcome, replay_recording
from holdfast.reporting.gathered import (
    EFFECTS,
    HEAT,
    HEAT_STEPS_MAX,
    SIDES,
    SILENT,
    SPANS,
    STEPS_MAX,
    WEIGHED,
    Gathered,
    Grid,
    Intake,
    Tables,
    begun,
)
from sinks.cloudevents import VerdictEvent, verdict_event
from streams.cache import Cache
from streams.plan import REPORTING
from streams.records import EVIDENCE
from streams.replay import Observer, Progress

Array = NDArray[np.float64]

_ROWS_KEPT: Final = ("stage", "metric", "edge", "time", "effect", "lower", "upper", "mde", "log_e")
_WORST_KEPT: Final = ("place", "time", "metric", "log_e")
_SAME: Final = ("stage", "metric", "edge", "colo", "time")
_ORDER: Final = [(name, "ascending") for name in ("stage", "metric", "edge", "time")]


class Gatherer:
    """A sink that keeps what a report shows, and no more.

    Of each tick it keeps the comparisons over the whole fleet, both cohorts' sums over all colos, and of each colo
    the greatest e-value: so memory grows with metrics x ticks and with colos x ticks, not with their product.
    """

    def __init__(self) -> None:
        self.verdicts: list[VerdictEvent] = []
        self._fleet: list[pa.Table] = []
        self._heat: list[pa.Table] = []
        self._sides: list[pa.Table] = []
        self._silent: list[pa.Table] = []
        self._canary: pa.Table | None = None
        self._times: list[int] = []
        self._log_e: list[Mapping[str, float]] = []

    def verdict(self, rollout: str, time_ms: int, verdict: Verdict) -> None:
        """Take a verdict."""
        self.verdicts.append(verdict_event(rollout, time_ms, verdict))

    def evidence(self, table: pa.Table) -> None:
        """Take evidence: keep the fleet's, and the most telling of each colo."""
        is_fleet = _is_any(table["level"], "fleet")
        self._fleet.append(table.filter(is_fleet).select(_ROWS_KEPT))
        local = table.filter(_is_any(table["level"], "colo", "stratum"))
        self._heat.append(_worst(local))

    def cohort_ticks(self, table: pa.Table) -> None:
        """Take both sides of a block of ticks: the canary's first, then the control's, row for row alike."""
        if self._canary is None:
            self._canary = table
            return
        canary, self._canary = self._canary, None
        assert canary.select(_SAME).equals(table.select(_SAME)), "the two cohorts of a block have the same rows"
        self._sides.append(_over_colos(canary, table))
        for side in (canary, table):
            silent = side.filter(_is_any(side["metric"], REPORTING))
            self._silent.append(_silent(silent.select(["colo", "cohort", "bad", "total"])))

    def ticks(self, table: pa.Table) -> None:
        """Pass over what came of each tick: the replay adds it up."""

    def observe(self, progress: Progress) -> None:
        """Take what the metrics came to at a tick."""
        self._times.append(progress.time_ms)
        self._log_e.append(progress.log_e)

    def tables(self, tick_ms: int) -> Tables:
        """Cut all that was kept into steps."""
        ticks = np.array(self._times, np.int64) // tick_ms
        first, last = int(ticks.min()), int(ticks.max())
        grid = Grid.over(first, last, tick_ms, STEPS_MAX)
        heat_grid = Grid.over(first, last, tick_ms, HEAT_STEPS_MAX)
        fleet = _all(self._fleet, EVIDENCE, _ROWS_KEPT)
        sides = pa.concat_tables(self._sides)
        return Tables(
            grid,
            heat_grid,
            _effects(fleet, grid),
            _in_steps(sides, grid),
            self._weighed(grid),
            _hottest(_all(self._heat, EVIDENCE, _WORST_KEPT), heat_grid),
            _most_silent(pa.concat_tables(self._silent)),
            _spans(sides, tick_ms),
        )

    def _weighed(self, grid: Grid) -> pa.Table:
        steps = grid.step_of(np.array(self._times, np.int64))
        metrics = list(self._log_e[0])
        values = np.array([[row[name] for name in metrics] for row in self._log_e])
        starts = np.flatnonzero(np.diff(steps, prepend=-1))
        ends = np.append(starts[1:], len(steps)) - 1
        columns = {
            "metric": np.repeat(metrics, len(starts)),
            "step": np.tile(steps[starts], len(metrics)),
            "log_e": values[ends].T.reshape(-1),
            "log_e_max": np.maximum.reduceat(values, starts).T.reshape(-1),
        }
        return pa.table(columns, schema=WEIGHED)


def gather_recording(
    path: Path,
    *,
    policy_path: Path | None = None,
    rollout: str | None = None,
    store: Keeps | None = None,
    observer: Observer | None = None,
    check: bool = False,
    cache: Cache | None = None,
    show: Show = lambda *_: None,
) -> tuple[Outcome, Gathered]:
    """Replay a recording, and gather what a report of it shows.

    Parameters
    ----------
    path, policy_path, rollout, store, observer, check, cache, show
        As for `holdfast.replaying.replay_recording`.

    Raises
    ------
    BadInput
        If the recording or a document cannot be judged.
    """
    require_folder(path)
    has_truth = check or (path / "truth.yaml").exists()
    rollouts, policy, truth = load_documents(path, policy_path, has_truth)
    place = chosen(path, rollouts, rollout, check)
    gatherer = Gatherer()

    def observe(progress: Progress) -> None:
        gatherer.observe(progress)
        if observer:
            observer(progress)

    outcome = replay_recording(
        path,
        policy_path=policy_path,
        rollout=rollout,
        store=store,
        observer=observe,
        check=check,
        beside=gatherer,
        cache=cache,
        show=show,
    )
    tables = gatherer.tables(duration_ms(policy.tick))
    gathered = Gathered(
        f"recording {path.resolve().name}",
        rollouts[place],
        policy,
        truth if place == path / "rollout.yaml" else None,
        tuple(gatherer.verdicts),
        begun(rollouts[place], gatherer.verdicts, tables.spans, tables.grid.tick_ms),
        Intake(outcome.ticks, outcome.samples, outcome.dropped),
        True,
        tables,
    )
    return outcome, gathered


def _all(parts: list[pa.Table], schema: pa.Schema, names: tuple[str, ...]) -> pa.Table:
    """Put tables together; none make an empty one."""
    return pa.concat_tables(parts) if parts else schema.empty_table().select(names)


def _codes(table: pa.Table, names: tuple[str, ...]) -> tuple[NDArray[np.int64], dict[str, pa.Array]]:
    """Tell rows apart by some columns: return a number for each row, and the columns of the distinct rows."""
    code = np.zeros(table.num_rows, np.int64)
    for name in names:
        encoded = table[name].combine_chunks().dictionary_encode()
        code = code * max(1, len(encoded.dictionary)) + encoded.indices.to_numpy(zero_copy_only=False)
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    return inverse.reshape(-1), {name: table[name].combine_chunks().take(pa.array(first)) for name in names}


def _worst(table: pa.Table) -> pa.Table:
    """Keep of each place and tick the row with the greatest e-value."""
    log_e = table["log_e"].to_numpy()
    log_e = np.where(np.isnan(log_e), -np.inf, log_e)
    code, _ = _codes(table, ("place", "time"))
    order = np.lexsort((-np.arange(len(code)), log_e, code))
    last = order[np.flatnonzero(np.diff(code[order], append=-1))]
    kept = table.take(pa.array(last)).select(["place", "time", "metric"])
    return kept.append_column("log_e", pa.array(log_e[last]))


def _over_colos(canary: pa.Table, control: pa.Table) -> pa.Table:
    """Add both sides of a block up over its colos, the control's at the canary's share of each."""
    code, keys = _codes(canary, ("stage", "metric", "edge", "time"))
    size = len(keys["time"])
    top, of = ((canary[a].to_numpy() + canary[b].to_numpy()) for a, b in (("bad", "sum"), ("total", "units")))
    other, other_of = ((control[a].to_numpy() + control[b].to_numpy()) for a, b in (("bad", "sum"), ("total", "units")))
    both = (of > 0) & (other_of > 0)
    share = np.divide(of * other, other_of, out=np.zeros_like(of), where=both)
    sums = {
        "canary": np.bincount(code, top, size),
        "canary_of": np.bincount(code, of, size),
        "control": np.bincount(code, share, size),
        "control_of": np.bincount(code, np.where(both, of, 0.0), size),
    }
    return pa.table({**keys, **{name: pa.array(values) for name, values in sums.items()}})


def _in_steps(ticks: pa.Table, grid: Grid) -> pa.Table:
    """Cut both sides' ticks into steps: sums, and the extremes of single ticks."""
    canary, control = (_value(ticks, side) for side in ("canary", "control"))
    empty = np.isnan(canary) | np.isnan(control)
    table = _with_steps(ticks, grid)
    for name, values in (("canary_value", canary), ("control_value", control)):
        table = table.append_column(name, pa.array(values, from_pandas=True))
    table = table.append_column("empty", pa.array(empty.astype(np.int64)))
    grouped = table.group_by(["stage", "metric", "edge", "step"], use_threads=False).aggregate(
        [
            *((name, "sum") for name in ("canary", "canary_of", "control", "control_of")),
            *((f"{side}_value", how) for side in ("canary", "control") for how in ("min", "max")),
            ("step", "count"),
            ("empty", "sum"),
        ]
    )
    renamed = {
        **{name: f"{name}_sum" for name in ("canary", "canary_of", "control", "control_of", "empty")},
        **{f"{side}_{how}": f"{side}_value_{how}" for side in ("canary", "control") for how in ("min", "max")},
        "ticks": "step_count",
    }
    return pa.table([_filled(grouped[renamed.get(name, name)]) for name in SIDES.names], schema=SIDES)


def _value(ticks: pa.Table, side: str) -> Array:
    top, of = ticks[side].to_numpy(), ticks[f"{side}_of"].to_numpy()
    value: Array = np.divide(top, of, out=np.full_like(top, np.nan), where=of > 0)
    return value


def _filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.fill_null(float("nan")) if pa.types.is_floating(column.type) else column


def _with_steps(table: pa.Table, grid: Grid) -> pa.Table:
    times = table["time"].cast(pa.int64()).to_numpy()
    return table.append_column("step", pa.array(grid.step_of(times)))


def _effects(fleet: pa.Table, grid: Grid) -> pa.Table:
    grouped = (
        _with_steps(fleet, grid)
        .sort_by(_ORDER)
        .group_by(["stage", "metric", "edge", "step"], use_threads=False)
        .aggregate([*((name, "last") for name in ("effect", "lower", "upper", "mde", "log_e")), ("log_e", "max")])
    )
    names = [f"{name}_last" if f"{name}_last" in grouped.column_names else name for name in EFFECTS.names]
    return pa.table([grouped[name] for name in names], schema=EFFECTS)


def _hottest(heat: pa.Table, grid: Grid) -> pa.Table:
    stepped = _with_steps(heat, grid)
    code, _ = _codes(stepped, ("place", "step"))
    order = np.lexsort((-np.arange(len(code)), heat["log_e"].to_numpy(), code))
    last = order[np.flatnonzero(np.diff(code[order], append=-1))]
    kept = stepped.take(pa.array(last))
    return pa.table([kept["place"], kept["step"], kept["log_e"], kept["metric"]], schema=HEAT)


_SUMMED: Final = {
    "silent": ("bad", "sum"),
    "seen": ("total", "sum"),
    "silent_max": ("bad", "max"),
    "units": ("total", "max"),
}


def _silent(side: pa.Table) -> pa.Table:
    grouped = side.group_by(["colo", "cohort"], use_threads=False).aggregate(list(_SUMMED.values()))
    names = {name: "_".join(how) for name, how in _SUMMED.items()}
    return pa.table([grouped[names.get(name, name)] for name in SILENT.names], schema=SILENT)


def _most_silent(parts: pa.Table) -> pa.Table:
    how = {name: how for name, (_, how) in _SUMMED.items()}
    grouped = parts.group_by(["colo", "cohort"], use_threads=False).aggregate(list(how.items()))
    columns = [grouped[f"{name}_{how[name]}" if name in how else name] for name in SILENT.names]
    return pa.table(columns, schema=SILENT)


def _spans(sides: pa.Table, tick_ms: int) -> pa.Table:
    ticks = sides["time"].cast(pa.int64()).to_numpy() // tick_ms
    times = sides.select(["stage"]).append_column("tick", pa.array(ticks))
    grouped = times.group_by("stage", use_threads=False).aggregate([("tick", "min"), ("tick", "max")])
    return pa.table([grouped[name] for name in ("stage", "tick_min", "tick_max")], schema=SPANS)


def _is_any(column: pa.ChunkedArray, *texts: str) -> pa.Array:
    """Tell which rows are one of some texts, comparing each distinct one once."""
    encoded = column.combine_chunks().dictionary_encode()
    wanted = np.array([text in texts for text in encoded.dictionary.to_pylist()], np.bool_)
    return pa.array(wanted[encoded.indices.to_numpy(zero_copy_only=False)])
