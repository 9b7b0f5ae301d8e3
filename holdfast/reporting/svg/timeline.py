"""The timeline: stages and verdicts as bars along the same time as the charts."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from holdfast.reporting.data import ReportData
from holdfast.reporting.svg.axes import WIDE, Label
from holdfast.reporting.svg.charts import Frame, Key, Note
from holdfast.reporting.svg.marks import bars, picture, upright
from holdfast.reporting.words import ACTIONS, clock

ROW: Final = 34
_NAMED_FROM: Final = 6.0
"""Percent of the width from which on a bar has its name in it."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar's name, and where it is to stand: percent from the left, percent wide, lane."""

    left: float
    width: float
    lane: int
    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The picture with the words in and around it."""

    svg: str
    height: int
    lanes: tuple[str, ...]
    bars: tuple[Bar, ...]
    x: tuple[Label, ...]
    keys: tuple[Key, ...]
    moments: tuple[Note, ...]


def timeline(data: ReportData, frame: Frame, name: str) -> Timeline:
    """Draw stages and verdicts."""
    spans = [(stage.started_ms, stage.until_ms, 0, stage.name, "stage-bar") for stage in data.stages]
    spans += [
        (said.time_ms, said.until_ms, 1, ACTIONS[said.action][0], f"verdict-bar is-{said.action}")
        for said in data.verdicts
    ]
    marks: list[str] = []
    named: list[Bar] = []
    for start, end, lane, text, kind in spans:
        left, right = (int(frame.axis.place(np.array([float(time)]))[0]) for time in (start, end))
        marks.append(bars(kind, [(left, lane * ROW + 4, max(2, right - left - 1), ROW - 8)]))
        at, width = frame.axis.percent(start), frame.axis.percent(end) - frame.axis.percent(start)
        if width >= _NAMED_FROM:
            named.append(Bar(at, round(width, 2), lane, text, kind))
    marks += [upright(f"rule {note.kind}", round(note.percent / 100 * WIDE), 2 * ROW) for note in frame.moments]
    ends = [(stage.bake_ms, "bake") for stage in data.stages] + [
        (stage.deadline_ms, "deadline") for stage in data.stages
    ]
    for time, kind in ends:
        if time is not None:
            marks.append(upright(f"rule {kind}", int(frame.axis.place(np.array([float(time)]))[0]), ROW))
    text = "; ".join(
        f"{clock(said.time_ms)} {said.action}, {said.cause}, on {said.stage}" for said in data.verdicts[:20]
    )
    svg = picture(name, "Stages and verdicts over time", f"{text}.", (WIDE, 2 * ROW), marks)
    keys = [Key("rule bake", "end of the bake time")] if any(stage.bake_ms for stage in data.stages) else []
    keys += [Key("rule deadline", "deadline")] if any(stage.deadline_ms for stage in data.stages) else []
    return Timeline(svg, 2 * ROW, ("Stage", "Verdict"), tuple(named), frame.x, tuple(keys), frame.moments)
