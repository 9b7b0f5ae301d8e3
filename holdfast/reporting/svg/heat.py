"""The heat map: colos x time. A cell says by its height, and by its colour too, how much evidence there was."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from holdfast.reporting.data import Heat, ReportData
from holdfast.reporting.svg.axes import Label, time_axis
from holdfast.reporting.svg.charts import Frame, Key, Note, in_rows
from holdfast.reporting.svg.marks import bars, picture, upright
from holdfast.reporting.words import e_value

ROW: Final = 20
"""Height of a row, in the units of the picture and in pixels."""

_INSIDE: Final = 16
_CELL: Final = 10
_LEVELS: Final = 5


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The picture, with one name and one greatest e-value beside each row."""

    svg: str
    height: int
    names: tuple[str, ...]
    most: tuple[str, ...]
    x: tuple[Label, ...]
    keys: tuple[Key, ...]
    moments: tuple[Note, ...]


def heat_map(data: ReportData, heat: Heat, frame: Frame, name: str) -> HeatMap:
    """Draw the heat map."""
    grid = heat.grid
    begin = (grid.first - 1) * grid.tick_ms
    axis, labels = time_axis(begin, grid.last * grid.tick_ms)
    wide, high = grid.steps * _CELL, len(heat.colos) * ROW
    level = levels(heat)
    marks = [bars(f"heat is-{number}", _boxes(level == number, number)) for number in range(1, _LEVELS + 1)]
    marks.append(bars("heat is-unknown", _boxes(level < 0, 0)))
    whole = data.last_ms - data.first_ms
    times = [(note, data.first_ms + whole * note.percent / 100) for note in frame.moments]
    kept = [(note, axis.percent(time)) for note, time in times if axis.holds(time)]
    marks += [upright(f"rule {note.kind}", round(percent / 100 * wide), high) for note, percent in kept]
    most = [float(np.nanmax(row)) for row in heat.log_e]
    over = [colo for colo, value in zip(heat.colos, most, strict=True) if value >= heat.log_threshold]
    text = (
        f"{len(over)} of {len(heat.colos) + heat.left_out} colos reached an e-value of {e_value(heat.log_threshold)}."
    )
    if over:
        text += f" They are {', '.join(over)}."
    bounds = [heat.log_threshold * part / (_LEVELS - 1) for part in range(_LEVELS)]
    keys = [Key(f"heat is-{number + 1}", f"from {e_value(bound)}") for number, bound in enumerate(bounds)]
    return HeatMap(
        picture(name, "Evidence by colo over time", text, (wide, high), marks),
        high,
        heat.colos,
        tuple(e_value(value) for value in most),
        labels,
        (*keys, Key("heat is-unknown", "not compared")),
        in_rows([Note(percent, note.text, note.kind) for note, percent in kept]),
    )


def levels(heat: Heat) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Sort cells [colo, step] into 0 (nothing speaks against the change) to 5 (the colo counts as hurt); -1 is unknown.

    The levels between are equal parts of the way from an e-value of 1 to the threshold, by logarithms.
    """
    part = np.floor(np.clip(heat.log_e / heat.log_threshold, -1.0, 1.0) * (_LEVELS - 1))
    level = np.where(heat.log_e > 0, np.nan_to_num(part) + 1, 0)
    return np.where(np.isnan(heat.log_e), -1, level).astype(np.int64)


def _boxes(where: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], level: int) -> list[tuple[int, int, int, int]]:
    """Make one box of each run of equal cells; level 0 stands for a thin dash in the middle."""
    padded = np.pad(where, ((0, 0), (1, 1))).astype(np.int8)
    turns = np.diff(padded, axis=1)
    rows, starts = (turns == 1).nonzero()
    _, ends = (turns == -1).nonzero()
    tall = math.ceil(_INSIDE * level / _LEVELS) if level else 2
    return [
        (int(start) * _CELL, int(row) * ROW + (ROW - 2 - tall if level else ROW // 2), int(end - start) * _CELL, tall)
        for row, start, end in zip(rows, starts, ends, strict=True)
    ]
