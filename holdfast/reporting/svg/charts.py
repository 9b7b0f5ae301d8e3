"""Charts of a metric over time: both cohorts, the effect with its interval, and the e-value."""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.reporting.data import MetricView, ReportData, Scale, Steps
from holdfast.reporting.svg.axes import HIGH, WIDE, Axis, Label, change_axis, evidence_axis, level_axis, time_axis
from holdfast.reporting.svg.marks import across, band, line, picture, runs, upright
from holdfast.reporting.words import change, clock, e_value, level

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a legend: the look of a mark, and what it means."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """A word at a place of the picture, in percent from the left or from the top."""

    percent: float
    text: str
    kind: str
    row: int = 0


_COLUMNS: Final = 80
"""Points that the lines of canary and control have at most: single ticks are noisy, and would hide each other."""

_NEAR: Final = 34.0
"""Percent of the width that the word for a moment may need on a telephone."""


def in_rows(notes: list[Note]) -> tuple[Note, ...]:
    """Put words that would run into each other into rows below each other."""
    placed: list[Note] = []
    for note in sorted(notes, key=lambda note: note.percent):
        taken = {other.row for other in placed if note.percent - other.percent < _NEAR}
        row = next(row for row in range(len(placed) + 1) if row not in taken)
        placed.append(replace(note, row=row))
    return tuple(placed)


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture with the words around it."""

    title: str
    svg: str
    x: tuple[Label, ...]
    y: tuple[Label, ...]
    keys: tuple[Key, ...]
    moments: tuple[Note, ...]
    levels: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """What all charts of a report share: time, and what happened at some moments of it."""

    axis: Axis
    x: tuple[Label, ...]
    rules: tuple[str, ...]
    moments: tuple[Note, ...]

    @classmethod
    def of(cls, data: ReportData) -> "Frame":
        """Lay out the time of a report."""
        axis, labels = time_axis(data.first_ms, data.last_ms)
        found = [(stage.started_ms, "stage", stage.name) for stage in data.stages[1:]]
        if data.truth is not None and data.truth.onset is not None:
            onset = round(data.truth.onset.timestamp() * 1000)
            found += [(onset, "onset", "onset")] if data.first_ms <= onset <= data.last_ms else []
        if data.decisive.action != "wait":
            found.append((data.decisive.time_ms, f"stop is-{data.decisive.action}", data.decisive.action))
        rules = tuple(
            upright(f"rule {kind}", int(axis.place(np.array([float(time)]))[0]), HIGH) for time, kind, _ in found
        )
        notes = [Note(axis.percent(time), text, kind) for time, kind, text in found]
        return cls(axis, labels, rules, in_rows(notes))


def levels(data: ReportData, view: MetricView, frame: Frame, name: str) -> Chart:
    """Draw canary and control over time: means of a few ticks each, and the extremes of these ticks as bands."""
    assert data.grid is not None, "there are no curves without steps"
    curves, is_share = view.curves, is_share_of(view)
    per = -(-data.grid.steps // _COLUMNS)
    starts = np.flatnonzero(np.diff(curves.step // per, prepend=-1) | np.diff(curves.stage, prepend=-1))
    ends = np.append(starts[1:], len(curves.step)) - 1
    x, stage = _places(data, view, frame)[ends], curves.stage[ends]
    lines = {side: _means(getattr(curves, side), starts) for side in ("canary", "control")}
    lows = {side: np.fmin.reduceat(getattr(curves, f"{side}_min"), starts) for side in lines}
    highs = {side: np.fmax.reduceat(getattr(curves, f"{side}_max"), starts) for side in lines}
    axis, labels = level_axis(np.concatenate([*lows.values(), *highs.values()]), is_share)
    is_banded = per * data.grid.per > 1
    marks: list[str] = []
    for side in ("control", "canary") if is_banded else ():
        low, high = lows[side], highs[side]
        marks.append(band(f"band {side}", x, _at(axis, low), _at(axis, high), runs(stage, low, high)))
    marks += [
        line(f"line {side}", x, _at(axis, lines[side]), runs(stage, lines[side])) for side in ("control", "canary")
    ]
    ranges = "; ".join(f"{side} {_range(getattr(curves, side), is_share)}" for side in ("canary", "control"))
    svg = picture(
        name, f"{view.name}: canary and control over time", f"{ranges}.", (WIDE, HIGH), [*frame.rules, *marks]
    )
    keys = [Key("line canary", "canary"), Key("line control", "control, weighted by colo as the canary is")]
    if is_banded:
        keys.append(Key("band canary", f"single ticks ({per * data.grid.per} to a point of the line)"))
    return Chart("Canary and control", svg, frame.x, labels, tuple(keys), frame.moments)


def _means(values: Array, starts: NDArray[np.int64]) -> Array:
    known = np.add.reduceat((~np.isnan(values)).astype(np.float64), starts)
    total = np.add.reduceat(np.nan_to_num(values), starts)
    mean: Array = np.divide(total, known, out=np.full(len(starts), np.nan), where=known > 0)
    return mean


def effects(data: ReportData, view: MetricView, frame: Frame, name: str) -> Chart:
    """Draw the effect and its interval, against what is tolerated."""
    curves = view.curves
    down, up = view.tolerance
    low, high = _window(view)
    axis, labels = change_axis(low, high, view.scale)
    x = _places(data, view, frame)
    marks = [
        band(
            "band effect",
            x,
            _at(axis, curves.lower),
            _at(axis, curves.upper),
            runs(curves.stage, curves.lower, curves.upper),
        ),
        across("rule zero", int(axis.place(np.array([0.0]))[0]), WIDE),
        *(across("rule limit", int(axis.place(np.array([end]))[0]), WIDE) for end in (down, up) if end is not None),
        line("line effect", x, _at(axis, curves.effect), runs(curves.stage, curves.effect)),
    ]
    last = latest(view)
    ends = interval_in_words(last[1], last[2], view.scale)
    text = f"At the end {effect_in_words(last[0], view.scale)}, interval {ends}."
    svg = picture(name, f"{view.name}: effect over time", text, (WIDE, HIGH), [*frame.rules, *marks])
    sure = "interval that holds at every look" if not data.is_classical else "interval of one look"
    keys = [Key("line effect", "estimated effect of the change"), Key("band effect", sure)]
    notes = [
        Note(axis.percent(end), f"tolerated {effect_in_words(end, view.scale)}", "limit")
        for end in (down, up)
        if end is not None
    ]
    if notes:
        keys.append(Key("rule limit", "tolerated"))
    return Chart("Effect", svg, frame.x, labels, tuple(keys), frame.moments, tuple(notes))


@dataclass(frozen=True, slots=True)
class Evidence:
    """An e-value over time [step]: the stage of each step, and logarithms as of its end and at its greatest."""

    step: Steps
    stage: Steps
    log_e: Array
    log_e_max: Array


def evidence(data: ReportData, frame: Frame, name: str, what: str, curve: Evidence, threshold: float) -> Chart:
    """Draw an e-value against its threshold, which is given as its logarithm."""
    step, log_e, most = curve.step, curve.log_e, curve.log_e_max
    axis, labels = evidence_axis(np.concatenate([log_e, most]), threshold)
    x = _x(data, step, frame)
    known = np.where(np.isneginf(log_e), axis.low, log_e), np.where(np.isneginf(most), axis.low, most)
    stretches = runs(curve.stage, *known)
    marks = [across("rule threshold", int(axis.place(np.array([threshold]))[0]), WIDE)]
    if data.grid is not None and data.grid.per > 1:
        marks.append(band("band evidence", x, _at(axis, known[0]), _at(axis, known[1]), stretches))
    marks.append(line("line evidence", x, _at(axis, known[0]), stretches))
    greatest = float(np.nanmax(most, initial=-math.inf))
    crossing = _crossing(data, step, most, threshold)
    text = f"Greatest e-value {e_value(greatest)}; the threshold is {e_value(threshold)}. {crossing}"
    svg = picture(name, f"{what}: e-value over time", text, (WIDE, HIGH), [*frame.rules, *marks])
    notes = [Note(axis.percent(threshold), f"stops at {e_value(threshold)}", "threshold")]
    if greatest > axis.high:
        notes.append(Note(0.0, f"beyond the top, up to {e_value(greatest)}", "evidence"))
    keys = (Key("line evidence", "e-value (logarithmic)"), Key("rule threshold", "threshold"))
    return Chart("Evidence against the change", svg, frame.x, labels, keys, frame.moments, tuple(notes))


def _crossing(data: ReportData, step: Steps, most: Array, threshold: float) -> str:
    over = np.flatnonzero(np.nan_to_num(most, nan=-math.inf) >= threshold)
    if not len(over) or data.grid is None:
        return "It was never reached."
    return f"It was first reached at {clock(int(data.grid.time_ms(step[over[:1]])[0]))}."


def is_share_of(view: MetricView) -> bool:
    """Whether values of a metric are shares, to be written in percent."""
    return view.metric is None or view.metric.ratio is not None or view.metric.histogram is not None


def latest(view: MetricView) -> tuple[float, float, float]:
    """Return the latest effect that is known, with its interval; NaN if there is none."""
    known = np.flatnonzero(np.isfinite(view.curves.effect))
    if not len(known):
        return math.nan, math.nan, math.nan
    at = int(known[-1])
    return float(view.curves.effect[at]), float(view.curves.lower[at]), float(view.curves.upper[at])


def effect_in_words(effect: float, scale: Scale) -> str:
    """Write an effect."""
    if math.isnan(effect):
        return "–"
    if scale == "own":
        return level(effect, False)
    if scale == "relative":
        return change(math.expm1(effect) if effect < 700 else math.inf)
    return change(effect)


def interval_in_words(lower: float, upper: float, scale: Scale) -> str:
    """Write an interval."""
    if math.isnan(lower) or math.isnan(upper):
        return "–"
    ends = [effect_in_words(end, scale) if math.isfinite(end) else "unbounded" for end in (lower, upper)]
    return f"{ends[0]} to {ends[1]}" if math.isfinite(lower) or math.isfinite(upper) else "unbounded"


def _window(view: MetricView) -> tuple[float, float]:
    """Choose what of the effects is shown: where they settle, the last interval, zero, and what is tolerated."""
    curves = view.curves
    known = curves.effect[np.isfinite(curves.effect)]
    settled = known[len(known) // 4 :]
    last = [end for end in latest(view)[1:] if math.isfinite(end)]
    limits = [end for end in view.tolerance if end is not None]
    marks = [0.0, *last, *limits, *((settled.min(), settled.max()) if len(settled) else ())]
    low, high = float(min(marks)), float(max(marks))
    reach = 0.5 * (high - low) or 0.05
    ends = np.concatenate([known, curves.lower[np.isfinite(curves.lower)], curves.upper[np.isfinite(curves.upper)]])
    if len(ends):  # more of what is wider, as long as the rest stays readable
        low, high = max(low - reach, min(low, float(ends.min()))), min(high + reach, max(high, float(ends.max())))
    return low, high


def _range(values: Array, is_share: bool) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return "without data"
    return f"between {level(float(known.min()), is_share)} and {level(float(known.max()), is_share)}"


def _places(data: ReportData, view: MetricView, frame: Frame) -> NDArray[np.int64]:
    return _x(data, view.curves.step, frame)


def _x(data: ReportData, step: Steps, frame: Frame) -> NDArray[np.int64]:
    assert data.grid is not None, "there are no curves without steps"
    return frame.axis.place(data.grid.time_ms(step).astype(np.float64))


def _at(axis: Axis, values: Array) -> NDArray[np.int64]:
    """Place values, NaN anywhere: no stretch holds one."""
    return axis.place(np.where(np.isnan(values), axis.low, values))
