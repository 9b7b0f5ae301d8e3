"""The page: what the report says, put into HTML that needs neither scripts nor a network."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from detectors.verdict import Abstained, Reason
from holdfast.reporting.data import MetricView, ReportData, Said
from holdfast.reporting.svg import charts
from holdfast.reporting.svg.charts import Chart, Frame
from holdfast.reporting.svg.heat import heat_map
from holdfast.reporting.svg.timeline import timeline
from holdfast.reporting.tables import (
    Table,
    gap_table,
    heat_table,
    intake_table,
    metric_table,
    said_of,
    silent_table,
    stage_table,
    summary_table,
    verdict_table,
)
from holdfast.reporting.words import (
    ACTIONS,
    because,
    clock,
    day,
    duration,
    e_value,
    iso,
    kind_of,
    level,
    listed,
    plain,
    sentence,
)

METRICS_DRAWN_MAX: Final = 60
"""Metrics with pictures; the others are in the table of all metrics."""

OPEN_MAX: Final = 4
"""Metrics whose pictures are shown without being asked for; the blamed ones are, however many they are."""

REASONS_MAX: Final = 30
ABSTAINED_MAX: Final = 40

_TELLING: Final = 0.5
"""The part of the logarithm of its threshold from which on a metric's evidence says something."""


@dataclass(frozen=True, slots=True)
class Section:
    """A metric on the page."""

    name: str
    made_of: str
    values: str
    finding: str
    is_blamed: bool
    is_open: bool
    edges: str
    charts: tuple[Chart, ...]
    table: Table


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict in words, with as many reasons as a page bears."""

    said: Said
    word: str
    asks: str
    because: str
    reasons: tuple[Reason, ...]
    reasons_left_out: int
    abstained: tuple[Abstained, ...]
    abstained_left_out: int

    @classmethod
    def of(cls, said: Said) -> "Verdict":
        """Put a verdict into words."""
        word, asks = ACTIONS[said.action]
        return cls(
            said,
            word,
            asks,
            because(said.action, said.cause),
            said.reasons[:REASONS_MAX],
            max(0, len(said.reasons) - REASONS_MAX),
            said.abstained[:ABSTAINED_MAX],
            max(0, len(said.abstained) - ABSTAINED_MAX),
        )


def render(data: ReportData) -> str:
    """Write the page; equal data give equal text."""
    frame = Frame.of(data)
    environment = Environment(
        loader=PackageLoader("holdfast.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(clock=clock, day=day, iso=iso, duration=duration, listed=listed, plain=plain)
    environment.filters["sentence"] = sentence
    environment.filters["e_value"] = e_value
    return environment.get_template("page.html").render(
        data=data,
        decisive=Verdict.of(data.decisive),
        final=Verdict.of(data.final),
        is_changed=data.final.sequence != data.decisive.sequence,
        timeline=timeline(data, frame, "timeline"),
        verdicts=verdict_table(data),
        stages=stage_table(data),
        total=_total(data, frame),
        summary=summary_table(data),
        sections=sections_of(data),
        drawn_max=METRICS_DRAWN_MAX,
        heat=heat_map(data, data.heat, frame, "heat") if data.heat else None,
        heat_table=heat_table(data.heat) if data.heat else None,
        intake=intake_table(data.quality, data.unit),
        silent=silent_table(data.quality, data.unit),
        gaps=gap_table(data.quality),
        log_total=-float(np.log(data.alpha)),
        ticks_to_stop=_ticks_to_stop(data),
        unknown_scale=[view.name for view in data.metrics if view.scale == "unknown"],
    )


def _ticks_to_stop(data: ReportData) -> int | None:
    """Return the ticks from the onset of harm to the stop, if there were both and in this order."""
    if data.truth is None or data.truth.onset is None or data.decisive.action not in ("halt", "revert"):
        return None
    ticks = -(-(data.decisive.time_ms - round(data.truth.onset.timestamp() * 1000)) // data.tick_ms)
    return ticks if ticks > 0 else None


def _total(data: ReportData, frame: Frame) -> Chart | None:
    """Draw all evidence together, which is what stops a rollout."""
    if data.grid is None or data.is_classical:
        return None
    judged = [view.curves for view in data.metrics]
    stage = np.full(data.grid.steps, -1)
    for curves in judged:
        stage[curves.step] = np.maximum(stage[curves.step], curves.stage)
    step = np.flatnonzero(stage >= 0)
    curve = charts.Evidence(step, stage[step], data.total[step], data.total_max[step])
    return charts.evidence(data, frame, "total", "All metrics together", curve, -float(np.log(data.alpha)))


def sections_of(data: ReportData) -> tuple[Section, ...]:
    """Draw each metric."""
    frame = Frame.of(data)
    sections = []
    for place, view in enumerate(data.metrics[:METRICS_DRAWN_MAX]):
        made_of, values = kind_of(view.metric, data.unit)
        sections.append(
            Section(
                view.name,
                made_of,
                values,
                said_of(data, view),
                view.is_blamed,
                view.is_blamed or place == 0 or (place < OPEN_MAX and _is_telling(data, view)),
                _edges(view),
                _charts(data, view, frame, f"metric-{place}"),
                metric_table(data, view),
            )
        )
    return tuple(sections)


def _charts(data: ReportData, view: MetricView, frame: Frame, name: str) -> tuple[Chart, ...]:
    curves = view.curves
    if not len(curves.step):
        return ()
    drawn = [
        charts.levels(data, view, frame, f"{name}-levels"),
        charts.effects(data, view, frame, f"{name}-effect"),
    ]
    if not data.is_classical:
        curve = charts.Evidence(curves.step, curves.stage, curves.log_e, curves.log_e_max)
        drawn.append(charts.evidence(data, frame, f"{name}-e", view.name, curve, view.log_threshold))
    return tuple(drawn)


def _is_telling(data: ReportData, view: MetricView) -> bool:
    abstained = any(each.metric == view.name for each in data.decisive.abstained)
    return abstained or view.log_e_max >= _TELLING * view.log_threshold


def _edges(view: MetricView) -> str:
    """Say which events are counted of a histogram."""
    if view.metric is None or not view.metric.histogram:
        return ""
    edges = list(dict.fromkeys(level(edge, False) for edge in view.edges))
    return f"Shown is the share of events beyond the bucket edge with most evidence: {', '.join(edges)}."
