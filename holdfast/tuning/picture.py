"""The picture of a tuning: delay against false alarms, as one SVG that needs nothing else, for light and dark pages."""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from holdfast.advice import percent, span
from holdfast.tuning.report import Tuned, Tuning

WIDE: Final = 760
HIGH: Final = 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 40, 56, 64
_TIME_STEPS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400)

_STYLE: Final = """
svg { color-scheme: light dark; font: 13px system-ui, sans-serif; }
.page { fill: #ffffff } .word { fill: #1d2733 } .soft { fill: #5b6673 } .grid { stroke: #e3e7ec }
.limit { stroke: #b4470b; stroke-dasharray: 5 4 } .over { fill: #b4470b }
.dot { fill: #8a97a6; fill-opacity: .45 } .line { stroke: #1763b6; stroke-width: 2; fill: none }
.front { fill: #1763b6 } .now { fill: none; stroke: #1d2733; stroke-width: 2 } .best { fill: #12823b }
.out { fill: none; stroke-width: 1.5 } .out.is-best { stroke: #12823b } .out.is-now { stroke: #1d2733 }
.tie { stroke-dasharray: 2 3; fill: none } .tie.is-best { stroke: #12823b } .tie.is-now { stroke: #1d2733 }
@media (prefers-color-scheme: dark) {
.page { fill: #10161d } .word { fill: #e6ebf1 } .soft { fill: #9aa7b5 } .grid { stroke: #2a333d }
.limit { stroke: #f0955a } .over { fill: #f0955a } .dot { fill: #8a97a6 } .line { stroke: #6db0f5 }
.front { fill: #6db0f5 } .now { stroke: #e6ebf1 } .best { fill: #5ccb85 }
.out.is-best, .tie.is-best { stroke: #5ccb85 } .out.is-now, .tie.is-now { stroke: #e6ebf1 }
}
"""


class _Plane:
    """Where figures lie on the picture."""

    def __init__(self, delays: Sequence[float], shares: Sequence[float]) -> None:
        most = max(delays, default=0.0)
        self.delay_step = next((float(step) for step in _TIME_STEPS if most <= 6 * step), steps(most)[0])
        self.delay_max = max(1, math.ceil(most / self.delay_step)) * self.delay_step
        self.share_step, self.share_max = steps(max(max(shares, default=0.0), 0.02))

    def x(self, delay_s: float) -> float:
        return round(_LEFT + delay_s / self.delay_max * (WIDE - _LEFT - _RIGHT), 1)

    def y(self, share: float) -> float:
        return round(HIGH - _BOTTOM - share / self.share_max * (HIGH - _TOP - _BOTTOM), 1)


def steps(most: float) -> tuple[float, float]:
    """Return a round step and the end of an axis from 0 that holds a value, with five steps or fewer.

    Examples
    --------
    >>> steps(47.0), steps(0.13)
    ((10.0, 50.0), (0.05, 0.15))
    """
    if not most > 0:
        return 1.0, 1.0
    size = 10.0 ** math.floor(math.log10(most))
    step = next(size * part for part in (0.2, 0.5, 1.0, 2.0) if most / (size * part) <= 5)
    return step, round(math.ceil(most / step - 1e-9) * step, 12)


def draw(found: Tuning) -> str:
    """Draw what was tried, the front, the policy as it is and the chosen one; on what was held out as rings."""
    special = [found.current, *([found.chosen] if found.chosen else [])]
    shown = [*found.front, *special]
    outs = [one.held_out for one in special if one.held_out is not None]
    plane = _Plane(
        [*(dot.delay_s for dot in found.dots), *(out.delay_s or 0.0 for out in outs)],
        [*(dot.alarm_share for dot in found.dots), *(out.alarm_share for out in outs), min(found.alarms_max, 0.5)],
    )
    marks = [*_axes(plane), *_limit(plane, found.alarms_max)]
    marks += [_circle("dot", plane.x(dot.delay_s), plane.y(dot.alarm_share), 4) for dot in found.dots]
    places = [(plane.x(one.train.delay_s or 0.0), plane.y(one.train.alarm_share)) for one in found.front]
    if len(places) > 1:
        marks.append(f'<polyline class="line" points="{" ".join(f"{x},{y}" for x, y in places)}"/>')
    marks += [_circle("front", x, y, 5, _told(one)) for (x, y), one in zip(places, found.front, strict=True)]
    for one, kind in zip(special, ("now", "best"), strict=False):
        marks += _special(plane, one, kind)
    marks += _key(found)
    title = f"Delay against false alarms of {found.tried} policies on {found.recordings} recordings"
    text = "; ".join(_told(one) for one in shown)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {HIGH}" role="img" aria-labelledby="t d">'
    told = f'<title id="t">{escape(title)}</title><desc id="d">{escape(text)}</desc><style>{_STYLE}</style>'
    page = f'<rect class="page" width="{WIDE}" height="{HIGH}"/>'
    return f"{head}{told}{page}{_word('word', _LEFT, 26, title)}{''.join(marks)}</svg>\n"


def _told(one: Tuned) -> str:
    figures = one.train
    return (
        f"policy {one.number}: {figures.alarms} of {figures.harmless} harmless stopped, {figures.missed} of "
        f"{figures.bad} bad missed, mean delay {span(figures.delay_s or 0.0)}"
    )


def _circle(kind: str, x: float, y: float, size: float, title: str = "") -> str:
    inner = f"<title>{escape(title)}</title>" if title else ""
    return f'<circle class="{kind}" cx="{x}" cy="{y}" r="{size}">{inner}</circle>'


def _word(kind: str, x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(kind: str, ends: tuple[float, float, float, float]) -> str:
    x, y, to_x, to_y = ends
    return f'<line class="{kind}" x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}"/>'


def _axes(plane: _Plane) -> list[str]:
    marks: list[str] = []
    for number in range(round(plane.delay_max / plane.delay_step) + 1):
        value = number * plane.delay_step
        x = plane.x(value)
        marks.append(_line("grid", (x, _TOP, x, HIGH - _BOTTOM)))
        marks.append(_word("soft", x, HIGH - _BOTTOM + 18, span(value) if value else "0", "middle"))
    for number in range(round(plane.share_max / plane.share_step) + 1):
        value = number * plane.share_step
        y = plane.y(value)
        marks.append(_line("grid", (_LEFT, y, WIDE - _RIGHT, y)))
        marks.append(_word("soft", _LEFT - 8, y + 4, percent(value), "end"))
    low = "mean time that harm goes on (a miss: to the end of the recording)"
    marks.append(_word("soft", (WIDE + _LEFT - _RIGHT) / 2, HIGH - _BOTTOM + 36, low, "middle"))
    return [*marks, _word("soft", 8, _TOP - 10, "harmless recordings stopped")]


def _limit(plane: _Plane, limit: float) -> list[str]:
    if not 0 <= limit <= plane.share_max:
        return []
    y = plane.y(limit)
    return [
        _line("limit", (_LEFT, y, WIDE - _RIGHT, y)),
        _word("over", WIDE - _RIGHT, y - 5, f"limit {percent(limit)}", "end"),
    ]


def _special(plane: _Plane, one: Tuned, kind: str) -> list[str]:
    """Mark a policy, and with a ring what it does on what was held out."""
    x, y = plane.x(one.train.delay_s or 0.0), plane.y(one.train.alarm_share)
    marks = [_circle(kind, x, y, 9 if kind == "now" else 6.5, _told(one))]
    if one.held_out is not None:
        to_x, to_y = plane.x(one.held_out.delay_s or 0.0), plane.y(one.held_out.alarm_share)
        marks.append(_line(f"tie is-{kind}", (x, y, to_x, to_y)))
        marks.append(_circle(f"out is-{kind}", to_x, to_y, 4, f"policy {one.number} on what was held out"))
    return marks


def _key(found: Tuning) -> list[str]:
    y = HIGH - 10
    items: list[tuple[str, float, str, int]] = [
        ("dot", 4, "tried", 64),
        ("front", 5, "front", 70),
        ("now", 8, "policy as it is", 124),
    ]
    if found.chosen is not None:
        items.append(("best", 6.5, "chosen", 84))
    if found.held_out:
        items.append(("out is-now", 4, "the same on what was held out", 0))
    marks: list[str] = []
    x = float(_LEFT)
    for kind, size, text, room in items:
        marks += [_circle(kind, x, y - 4, size), _word("soft", x + 13, y, text)]
        x += room
    return marks
