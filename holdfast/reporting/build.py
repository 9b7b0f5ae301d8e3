"""From what was gathered to what the report says."""

import math
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.policy import Metric, Policy, duration_ms
from holdfast.errors import BadInput
from holdfast.replaying import contradicted
from holdfast.reporting.data import Curves, Heat, MetricView, Quality, ReportData, Said, Scale, Silence, StageSpan
from holdfast.reporting.gathered import EFFECTS, SIDES, WEIGHED, Gathered, Tables
from holdfast.terminal import Scale as Thresholds
from rollouts.document import Rollout
from sinks.cloudevents import VerdictEvent, epoch_ms
from streams.plan import REPORTING

Array = NDArray[np.float64]

HEAT_COLOS_MAX: Final = 60
"""Rows of the heat map; the colos with most evidence are shown."""

SILENT_MAX: Final = 10
"""Rows of the table of silent units."""

_SIDES: Final = ("canary", "control")


def report_data(gathered: Gathered) -> ReportData:
    """Work out what a report says.

    Raises
    ------
    BadInput
        If there is no verdict to report.
    """
    if not gathered.verdicts:
        message = f"{gathered.rollout.rollout}: no verdict was given yet; there is nothing to report"
        raise BadInput(message)
    rollout, policy, tables = gathered.rollout, gathered.policy, gathered.tables
    tick_ms = duration_ms(policy.tick)
    first_ms, last_ms = _span(gathered, tick_ms)
    verdicts = _said(gathered.verdicts, last_ms)
    final = verdicts[-1]
    decisive = next((said for said in verdicts if said.action in ("halt", "revert")), final)
    stages = _stages(gathered, last_ms)
    blamed = {name for said in (decisive, final) if said.action in ("halt", "revert") for name in said.metrics}
    metrics = () if tables is None else _metrics(gathered, tables, stages, blamed)
    total, total_max = _total(tables, policy, rollout)
    newest = gathered.verdicts[-1].data
    return ReportData(
        rollout.rollout,
        tuple((unit.unit, unit.kind, unit.digest) for unit in rollout.package),
        policy.policy,
        newest.policy,
        newest.engine,
        gathered.origin,
        policy.unit,
        policy.alpha,
        newest.judge == "classical",
        gathered.is_weighed_exactly,
        tick_ms,
        first_ms,
        last_ms,
        None if tables is None else tables.grid,
        decisive,
        final,
        verdicts,
        stages,
        gathered.truth,
        _contradictions(gathered, tick_ms),
        total,
        total_max,
        tuple(sorted(metrics, key=_telling)),
        None if tables is None else _heat(tables, policy),
        _quality(gathered, metrics),
    )


def _contradictions(gathered: Gathered, tick_ms: int) -> tuple[str, ...]:
    if gathered.truth is None:
        return ()
    stops = [event for event in gathered.verdicts if event.data.action in ("halt", "revert")]
    decisive = stops[0] if stops else gathered.verdicts[-1]
    final = gathered.verdicts[-1].data
    return tuple(contradicted(gathered.truth, _time_ms(decisive), decisive.data, final, tick_ms))


def _telling(view: MetricView) -> tuple[bool, float]:
    """Order metrics by how much they say: the blamed first, then by their evidence, as a part of what it takes."""
    return not view.is_blamed, view.log_threshold - view.log_e_max


def _time_ms(event: VerdictEvent) -> int:
    return epoch_ms(datetime.fromisoformat(event.time))


def _span(gathered: Gathered, tick_ms: int) -> tuple[int, int]:
    times = [_time_ms(event) for event in gathered.verdicts] + list(gathered.started_ms.values())
    if gathered.tables is not None:
        grid = gathered.tables.grid
        times += [(grid.first - 1) * tick_ms, grid.last * tick_ms]
    return min(times), max(times)


def _said(events: tuple[VerdictEvent, ...], last_ms: int) -> tuple[Said, ...]:
    times = [*(_time_ms(event) for event in events), last_ms]
    return tuple(
        Said(
            event.data.sequence,
            times[place],
            times[place + 1],
            event.data.action,
            event.data.cause,
            event.data.stage,
            event.data.binding,
            tuple(event.data.scope.colos),
            tuple(event.data.scope.metrics),
            tuple(event.data.reasons),
            tuple(event.data.abstained),
        )
        for place, event in enumerate(events)
    )


def _stages(gathered: Gathered, last_ms: int) -> tuple[StageSpan, ...]:
    """List the stages that have begun, in order of their starts; each ends where the next one begins."""
    documents = {stage.name: stage for stage in gathered.rollout.stages}
    begun = sorted((start, name) for name, start in gathered.started_ms.items() if start <= last_ms)
    ends = [*(start for start, _ in begun[1:]), last_ms]
    spans = []
    for (start, name), end in zip(begun, ends, strict=True):
        document = documents.get(name)
        bake = start + duration_ms(document.bake) if document else None
        deadline = start + duration_ms(document.deadline) if document and document.deadline else None
        spans.append(
            StageSpan(
                name,
                start,
                end,
                bake if bake is not None and bake <= last_ms else None,
                deadline if deadline is not None and deadline <= last_ms else None,
            )
        )
    return tuple(spans)


def _metrics(
    gathered: Gathered, tables: Tables, stages: tuple[StageSpan, ...], blamed: set[str]
) -> tuple[MetricView, ...]:
    policy = gathered.policy
    thresholds = Thresholds.of(policy, len(gathered.rollout.stages))
    known = {stage.name: place for place, stage in enumerate(stages)}
    documents: list[tuple[str, Metric | None]] = [(metric.name, metric) for metric in policy.metrics]
    cut = {name: _by_metric(getattr(tables, name)) for name in ("effects", "sides", "weighed")}
    views = []
    for name, document in [*documents, (REPORTING, None)]:
        effects, sides, weighed = (
            cut[table].get(name, schema.empty_table())
            for table, schema in (("effects", EFFECTS), ("sides", SIDES), ("weighed", WEIGHED))
        )
        chosen = _edges(effects)
        effects, sides = (_chosen(table, chosen) for table in (effects, sides))
        curves = _curves(effects, sides, weighed, known, tables.grid.steps)
        log_e = curves.log_e_max[~np.isnan(curves.log_e_max)]
        scale = _scale(gathered.verdicts, name, document, policy)
        views.append(
            MetricView(
                name,
                document,
                name in blamed,
                scale,
                tuple(edge for _, edge in sorted(chosen.items(), key=lambda item: known.get(item[0], -1))),
                math.log(thresholds.alone(name)),
                float(log_e.max(initial=-np.inf)),
                _tolerance(document, policy, scale, curves),
                int(sides["ticks"].to_numpy().sum()),
                int(sides["empty"].to_numpy().sum()),
                curves,
            )
        )
    return tuple(views)


def _by_metric(table: pa.Table) -> dict[str, pa.Table]:
    """Split a table by its metrics."""
    if not table.num_rows:
        return {}
    encoded = table["metric"].combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
    ordered = table.take(pa.array(order))
    return {
        name: ordered.slice(bounds[place], bounds[place + 1] - bounds[place])
        for place, name in enumerate(encoded.dictionary.to_pylist())
    }


def _edges(effects: pa.Table) -> dict[str, float]:
    """Choose for each stage the bucket edge with most evidence; other kinds of metrics have but one."""
    best: dict[str, tuple[float, float]] = {}
    stages, edges = effects["stage"].to_pylist(), effects["edge"].to_pylist()
    for stage, edge, log_e in zip(stages, edges, effects["log_e_max"].to_pylist(), strict=True):
        found = (-math.inf if math.isnan(log_e) else log_e, -edge)
        best[stage] = max(best.get(stage, found), found)
    return {stage: -found[1] for stage, found in best.items()}


def _chosen(table: pa.Table, edges: dict[str, float]) -> pa.Table:
    """Keep the rows of each stage's edge, in order of time."""
    wanted = np.array([edges.get(stage, math.nan) for stage in table["stage"].to_pylist()])
    return table.filter(pa.array(table["edge"].to_numpy() == wanted)).sort_by("step")


def _curves(effects: pa.Table, sides: pa.Table, weighed: pa.Table, stages: dict[str, int], steps: int) -> Curves:
    """Lay the tables of one metric out along the steps in which it was judged."""
    values: dict[str, Array] = {}

    def lay(table: pa.Table, names: dict[str, Array]) -> None:
        at = table["step"].to_numpy()
        for name, column in names.items():
            values[name] = np.full(steps, np.nan)
            values[name][at] = column

    lay(effects, {name: effects[name].to_numpy() for name in ("effect", "lower", "upper")})
    levels: dict[str, Array] = {}
    for side in _SIDES:
        top, of = sides[side].to_numpy(), sides[f"{side}_of"].to_numpy()
        levels[side] = np.divide(top, of, out=np.full(len(top), np.nan), where=of > 0)
        levels |= {f"{side}_{end}": sides[f"{side}_{end}"].to_numpy() for end in ("min", "max")}
    lay(sides, levels)
    lay(weighed, {name: weighed[name].to_numpy() for name in ("log_e", "log_e_max")})
    stage = np.full(steps, -1)
    for table in (effects, sides):
        stage[table["step"].to_numpy()] = [stages.get(name, -1) for name in table["stage"].to_pylist()]
    step = np.flatnonzero(stage >= 0)
    return Curves(step, stage[step], **{name: column[step] for name, column in values.items()})


def _scale(verdicts: tuple[VerdictEvent, ...], name: str, metric: Metric | None, policy: Policy) -> Scale:
    """Tell what a metric's effects are: by the policy where that settles it, else by what a verdict said."""
    if policy.judge == "classical":
        return "own"
    if metric is None or metric.ratio or metric.histogram:
        return "relative"
    if metric.gauge and metric.scale not in ("auto", "mean"):
        return "past"
    for event in reversed(verdicts):
        for reason in event.data.reasons:
            if reason.metric == name:
                return reason.scale
    return "unknown"


def _tolerance(
    metric: Metric | None, policy: Policy, scale: Scale, curves: Curves
) -> tuple[float | None, float | None]:
    """Put what is tolerated on the scale of the effects, an absolute tolerance by the control's latest mean."""
    if scale == "own" or (metric and metric.histogram):
        return None, None
    allowed = metric.tolerate if metric else policy.reporting_tolerance
    fraction = allowed.relative
    if allowed.absolute:
        known = curves.control[np.isfinite(curves.control)]
        mean = float(known.mean()) if len(known) else 0.0
        if scale != "relative" or mean <= 0:
            return None, None
        fraction = max(fraction, allowed.absolute / mean)
    up = math.log1p(fraction) if scale == "relative" else fraction
    down = math.log1p(-min(fraction, 0.999)) if scale == "relative" else -fraction
    worse = metric.worse if metric else "increase"
    return down if worse != "increase" else None, up if worse != "decrease" else None


def _total(tables: Tables | None, policy: Policy, rollout: Rollout) -> tuple[Array, Array]:
    """Average the e-values of all metrics by their weights, as the judge does before it compares them with 1/alpha.

    The greatest within a step is bounded from above by that of each metric, which need not have come at one tick.
    """
    if tables is None:
        return np.empty(0), np.empty(0)
    thresholds = Thresholds.of(policy, len(rollout.stages))
    names = list(thresholds.share)
    parts = np.full((2, len(names), tables.grid.steps), -np.inf)
    for name, weighed in _by_metric(tables.weighed).items():
        if name in thresholds.share:
            at, row = weighed["step"].to_numpy(), names.index(name)
            for which, column in enumerate(("log_e", "log_e_max")):
                parts[which, row, at] = np.nan_to_num(weighed[column].to_numpy(), nan=-np.inf, neginf=-np.inf)
    share = np.log([thresholds.share[name] for name in names])[:, None]
    total: Array = np.logaddexp.reduce(parts + share, axis=1)
    return total[0], total[1]


def _heat(tables: Tables, policy: Policy) -> Heat | None:
    heat, grid = tables.heat, tables.heat_grid
    if not heat.num_rows or policy.judge == "classical":
        return None
    encoded = heat["colo"].combine_chunks().dictionary_encode()
    names: list[str] = encoded.dictionary.to_pylist()
    log_e = np.full((len(names), grid.steps), np.nan)
    row, step = encoded.indices.to_numpy(zero_copy_only=False), heat["step"].to_numpy()
    found = heat["log_e"].to_numpy()
    log_e[row, step] = found
    metric = [""] * len(names)
    metrics = heat["metric"]
    for place in np.argsort(found, kind="stable"):  # the greatest of each colo comes last
        metric[row[place]] = metrics[int(place)].as_py()
    most = np.nanmax(log_e, axis=1)
    order = sorted(range(len(names)), key=lambda place: (-most[place], names[place]))
    shown = order[:HEAT_COLOS_MAX]
    return Heat(
        grid,
        tuple(names[place] for place in shown),
        len(order) - len(shown),
        log_e[shown],
        tuple(metric[place] for place in shown),
        math.log(len(names) / policy.alpha),
    )


def _quality(gathered: Gathered, metrics: tuple[MetricView, ...]) -> Quality:
    rows = [] if gathered.tables is None else gathered.tables.silent.to_pylist()
    silent = sorted(
        (
            Silence(
                row["colo"],
                row["cohort"],
                row["silent"] / max(1.0, row["seen"]),
                int(row["silent_max"]),
                int(row["units"]),
            )
            for row in rows
            if row["silent_max"] > 0
        ),
        key=lambda each: (-each.share, each.colo, each.cohort),
    )
    gaps = [(view.name, view.empty, view.ticks) for view in metrics if view.empty]
    share = {
        side: sum(row["silent"] for row in rows if row["cohort"] == side)
        / max(1.0, sum(row["seen"] for row in rows if row["cohort"] == side))
        for side in (_SIDES if rows else ())
    }
    return Quality(
        gathered.intake,
        share,
        tuple(silent[:SILENT_MAX]),
        max(0, len(silent) - SILENT_MAX),
        tuple(sorted(gaps, key=_gap)),
    )


def _gap(gap: tuple[str, int, int]) -> tuple[float, str]:
    return -gap[1] / max(1, gap[2]), gap[0]
