"""The tables behind the pictures: the same, for whoever reads numbers, or hears them."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from holdfast.reporting.data import Heat, MetricView, Quality, ReportData
from holdfast.reporting.svg.charts import effect_in_words, interval_in_words, is_share_of, latest
from holdfast.reporting.words import ACTIONS, SPACE, because, clock, e_value, kind_of, level, listed, plain, tolerated

ROWS_MAX: Final = 24
"""Rows of a table behind a chart; they are spread evenly over the steps."""

VERDICTS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names its rows; `note` says what it leaves out."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def verdict_table(data: ReportData) -> Table:
    """List the verdicts, the first and the last ones if they are many."""
    said = data.verdicts
    left_out = max(0, len(said) - VERDICTS_MAX)
    shown = said if not left_out else said[: VERDICTS_MAX // 2] + said[-(VERDICTS_MAX // 2) :]
    rows = tuple(
        (
            f"{each.sequence}",
            clock(each.time_ms),
            each.stage,
            ACTIONS[each.action][0],
            because(each.action, each.cause),
            listed(each.metrics),
            listed(each.colos),
        )
        for each in shown
    )
    note = f"{left_out:,} verdicts in the middle are left out." if left_out else ""
    return Table("All verdicts", ("No.", "Time (UTC)", "Stage", "Verdict", "Cause", "Metrics", "Colos"), rows, note)


def stage_table(data: ReportData) -> Table:
    """List the stages."""
    rows = tuple(
        (
            stage.name,
            clock(stage.started_ms),
            clock(stage.bake_ms) if stage.bake_ms else "after the end",
            clock(stage.deadline_ms) if stage.deadline_ms else "none by then",
        )
        for stage in data.stages
    )
    return Table("Stages that have begun", ("Stage", "Began (UTC)", "Bake time ends", "Deadline"), rows)


def summary_table(data: ReportData) -> Table:
    """Sum all metrics up, one line each."""
    rows = []
    for view in data.metrics:
        effect, lower, upper = latest(view)
        allowed = view.metric.tolerate if view.metric else None
        tolerance = tolerated(allowed.relative, allowed.absolute) if allowed else "as in the policy"
        numbers = () if data.is_classical else (e_value(view.log_e_max), e_value(view.log_threshold))
        rows.append(
            (
                view.name,
                said_of(data, view),
                effect_in_words(effect, view.scale),
                interval_in_words(lower, upper, view.scale),
                tolerance,
                *numbers,
            )
        )
    evidence = () if data.is_classical else ("Greatest e-value", "Stops alone at")
    head = ("Metric", "Finding", "Effect at the end", "Interval", "Tolerated", *evidence)
    return Table("All judged metrics", head, tuple(rows))


def said_of(data: ReportData, view: MetricView) -> str:
    """Say in a word or two what was found of a metric."""
    if view.is_blamed:
        return "blamed"
    if any(each.metric == view.name for each in data.final.abstained):
        return "not judged"
    if view.log_e_max >= view.log_threshold:
        return "against the change"
    if data.final.action == "advance":
        return "shown healthy"
    return "nothing against it"


def metric_table(data: ReportData, view: MetricView) -> Table:
    """Give a metric's curves as numbers."""
    curves, is_share = view.curves, is_share_of(view)
    count = len(curves.step)
    chosen = np.unique(np.linspace(0, max(0, count - 1), min(count, ROWS_MAX)).round().astype(np.int64)).tolist()
    times = [] if data.grid is None else data.grid.time_ms(curves.step).tolist()
    rows = tuple(
        (
            clock(times[at]),
            level(float(curves.canary[at]), is_share),
            level(float(curves.control[at]), is_share),
            effect_in_words(float(curves.effect[at]), view.scale),
            interval_in_words(float(curves.lower[at]), float(curves.upper[at]), view.scale),
            *(() if data.is_classical else (e_value(float(curves.log_e[at])),)),
        )
        for at in chosen
    )
    head = ("Time (UTC)", "Canary", "Control", "Effect", "Interval", *(() if data.is_classical else ("E-value",)))
    note = f"{len(rows)} of {count} steps, evenly spread." if len(rows) < count else ""
    return Table(f"{view.name}, {kind_of(view.metric, data.unit)[1]}", head, rows, note)


def heat_table(heat: Heat) -> Table:
    """Give the heat map's rows as numbers."""
    rows = []
    for place, colo in enumerate(heat.colos):
        found = heat.log_e[place]
        at = int(np.nanargmax(found)) if not np.isnan(found).all() else 0
        over = np.flatnonzero(np.nan_to_num(found, nan=-math.inf) >= heat.log_threshold)
        times = heat.grid.time_ms(np.array([at, *over[:1]])).tolist()
        greatest = float(found[at])
        rows.append(
            (
                colo,
                e_value(greatest),
                heat.metric[place] if greatest > 0 else "–",
                clock(times[0]) if greatest > 0 else "–",
                clock(times[1]) if len(over) else "never",
            )
        )
    head = ("Colo", "Greatest e-value", "Of metric", "At (UTC)", f"First at {e_value(heat.log_threshold)}")
    note = f"{heat.left_out:,} more colos had less evidence than these, and are left out." if heat.left_out else ""
    return Table("Evidence by colo", head, tuple(rows), note)


def intake_table(quality: Quality, unit: str) -> Table:
    """Say what came in, and what of it was left out for which reason."""
    intake = quality.intake
    rows = [
        ("Live ticks judged", "not kept" if intake.ticks is None else f"{intake.ticks:,}"),
        ("Samples", "not kept" if intake.samples is None else f"{intake.samples:,}"),
    ]
    rows += [(f"Dropped: {reason.replace('_', ' ')}", f"{count:,}") for reason, count in sorted(intake.dropped.items())]
    if intake.samples is not None and not intake.dropped:
        rows.append(("Dropped", "none"))
    rows += [
        (f"Silent {cohort} {unit}s", f"{plain(100 * share)}{SPACE}% of the time")
        for cohort, share in quality.silent_share.items()
    ]
    return Table("What came in", ("What", "How many"), tuple(rows))


def silent_table(quality: Quality, unit: str) -> Table:
    """List cohorts whose units fell silent."""
    rows = tuple(
        (each.colo, each.cohort, f"{plain(100 * each.share)}{SPACE}%", f"{each.silent_max:,} of {each.units:,}")
        for each in quality.silent
    )
    note = f"{quality.silent_left_out:,} more, with less, are left out." if quality.silent_left_out else ""
    return Table(f"Silent {unit}s, worst colos first", ("Colo", "Cohort", "Of the time", "At most at once"), rows, note)


def gap_table(quality: Quality) -> Table:
    """List metrics that one of the sides lacked at times."""
    rows = tuple(
        (name, f"{empty:,}", f"{ticks:,}", f"{plain(100 * empty / max(1, ticks))}{SPACE}%")
        for name, empty, ticks in quality.gaps
    )
    head = ("Metric", "Ticks without data", "Ticks judged", "Share")
    return Table("Ticks in which the canary or the control had no data", head, rows)
