"""Marks: lines, bands and bars as the text of SVG elements. Their looks are classes of the style sheet."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Whole = NDArray[np.int64]


def picture(name: str, title: str, text: str, size: tuple[int, int], marks: Iterable[str]) -> str:
    """Put marks into a picture of that size, with a title and a description for those who cannot see it.

    Title and description are any text, and escaped here; `name` is an identifier of ours.
    """
    wide, high = size
    names = f'aria-labelledby="{name}-t {name}-d"'
    head = f'<svg viewBox="0 0 {wide} {high}" preserveAspectRatio="none" role="img" {names} focusable="false">'
    told = f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(text)}</desc>'
    return f"{head}{told}{''.join(marks)}</svg>"


def runs(group: Whole, *values: Array) -> list[slice]:
    """Find the stretches over which no value is NaN and the group stays the same."""
    if not len(group):
        return []
    known = np.ones(len(group), np.bool_)
    for each in values:
        known &= ~np.isnan(each)
    edges = np.flatnonzero((known[1:] != known[:-1]) | (group[1:] != group[:-1])) + 1
    bounds = [0, *edges.tolist(), len(group)]
    return [slice(a, b) for a, b in pairwise(bounds) if known[a]]


def line(kind: str, x: Whole, y: Whole, stretches: Sequence[slice]) -> str:
    """Draw a line through each stretch of points; a single point becomes a dot."""
    parts = []
    for stretch in stretches:
        points = list(zip(x[stretch].tolist(), y[stretch].tolist(), strict=True))
        (a, b), rest = points[0], points[1:]
        parts.append(f"M{a} {b}" + ("L" + " ".join(f"{c} {d}" for c, d in _bends(points)) if rest else "h0"))
    return _path(kind, parts)


def band(kind: str, x: Whole, low: Whole, high: Whole, stretches: Sequence[slice]) -> str:
    """Fill what lies between two lines, over each stretch."""
    parts = []
    for stretch in stretches:
        there = list(zip(x[stretch].tolist(), high[stretch].tolist(), strict=True))
        back = list(zip(x[stretch].tolist(), low[stretch].tolist(), strict=True))[::-1]
        if len(there) == 1:
            (a, top), (_, bottom) = there[0], back[0]
            parts.append(f"M{a - 1} {top}h2V{bottom}h-2z")
            continue
        points = [there[0], *_bends(there), back[0], *_bends(back)]
        parts.append(f"M{points[0][0]} {points[0][1]}L" + " ".join(f"{a} {b}" for a, b in points[1:]) + "z")
    return _path(kind, parts)


def bars(kind: str, boxes: Iterable[tuple[int, int, int, int]]) -> str:
    """Draw boxes (left, top, width, height) of one kind as one path."""
    return _path(kind, [f"M{x} {y}h{wide}v{high}h-{wide}z" for x, y, wide, high in boxes])


def across(kind: str, y: int, wide: int) -> str:
    """Draw a level line."""
    return _path(kind, [f"M0 {y}H{wide}"])


def upright(kind: str, x: int, high: int) -> str:
    """Draw an upright line."""
    return _path(kind, [f"M{x} 0V{high}"])


def _path(kind: str, parts: Sequence[str]) -> str:
    drawn = "".join(parts)
    return f'<path class="{kind}" d="{drawn}"/>' if parts else ""


def _bends(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Leave out points in the middle of a level stretch, the first point, and nothing that can be seen."""
    kept = []
    for place in range(1, len(points)):
        is_last = place == len(points) - 1
        if is_last or not points[place - 1][1] == points[place][1] == points[place + 1][1]:
            kept.append(points[place])
    return kept
