"""Axes: where values lie on a picture, and which of them are named beside it.

A picture is drawn on `WIDE` x `HIGH` whole numbers and stretched to the width that there is, so that it needs one
drawing for a telephone, a screen and paper. Words would be stretched too: they stand beside the picture, placed in
percent.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from holdfast.reporting.words import change, clock, level, moment, ten_to

Array = NDArray[np.float64]

WIDE: Final = 1_000
HIGH: Final = 400

EVIDENCE_POWERS_MAX: Final = 10
"""Powers of ten beyond the threshold that an axis of e-values reaches."""

_MINUTE: Final = 60_000
_TIME_STEPS: Final = tuple(
    int(minutes * _MINUTE)
    for minutes in (
        1 / 12,
        1 / 6,
        1 / 4,
        1 / 2,
        1,
        2,
        5,
        10,
        15,
        30,
        60,
        120,
        180,
        360,
        720,
        1_440,
        2_880,
        7_200,
        14_400,
    )
)
_LABELS: Final = 6
_CHANGES: Final = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 4.0, 9.0, 19.0, 49.0, 99.0, 999.0)
"""Relative changes that are named on an axis of logarithms, and their counterparts below zero."""


@dataclass(frozen=True, slots=True)
class Label:
    """A word beside an axis, in percent from its beginning; a minor one may go where there is little room."""

    percent: float
    text: str
    is_minor: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """Values `low` to `high` on `size` whole numbers; `is_up` if larger values are further up."""

    low: float
    high: float
    size: int
    is_up: bool = True

    def place(self, values: Array) -> NDArray[np.int64]:
        """Return where values lie; those beyond an end are put there. NaN must not be asked for."""
        part = np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0)
        at: NDArray[np.int64] = np.rint((1.0 - part if self.is_up else part) * self.size).astype(np.int64)
        return at

    def percent(self, value: float) -> float:
        """Return where a value lies, in percent from the left or from the top."""
        part = min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))
        return round(100 * (1.0 - part if self.is_up else part), 2)

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return self.low <= value <= self.high


def time_axis(first_ms: int, last_ms: int) -> tuple[Axis, tuple[Label, ...]]:
    """Lay time out, with a round label for every sixth or so of it."""
    axis = Axis(first_ms, max(last_ms, first_ms + 1), WIDE, is_up=False)
    span = last_ms - first_ms
    step = next((step for step in _TIME_STEPS if span / step <= _LABELS + 1), -(-span // _LABELS) or 1)
    times = range(-(-first_ms // step) * step, last_ms + 1, step)
    has_days = moment(first_ms).date() != moment(last_ms).date()
    labels = []
    for number, time in enumerate(times):
        text = clock(time) if step < _MINUTE else clock(time)[:5]
        if has_days:
            text = f"{moment(time).day} {moment(time):%b} {text}" if step < 1_440 * _MINUTE else f"{moment(time):%d %b}"
        labels.append(Label(axis.percent(time), text, number % 2 == 1))
    return axis, tuple(labels)


def level_axis(values: Array, is_share: bool) -> tuple[Axis, tuple[Label, ...]]:
    """Lay levels out, from zero where that costs little of the picture."""
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    if 0 <= low < 0.4 * high:
        low = 0.0
    room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
    axis = Axis(low - (room if low else 0.0), high + room, HIGH)
    return axis, _round_labels(axis, lambda value: level(value, is_share))


def change_axis(low: float, high: float, scale: str) -> tuple[Axis, tuple[Label, ...]]:
    """Lay effects out. With `scale` relative they are logarithms, and named as the changes that they stand for."""
    room = 0.08 * (high - low) or 0.1
    axis = Axis(low - room, high + room, HIGH)
    if scale != "relative":
        return axis, _round_labels(axis, change if scale in ("past", "unknown") else lambda value: level(value, False))
    both = sorted({*_CHANGES, *(-part / (1 + part) for part in _CHANGES), *(-part for part in _CHANGES if part < 1)})
    candidates = [value for value in both if axis.holds(math.log1p(value))]
    labels = [Label(axis.percent(math.log1p(value)), change(value)) for value in candidates if _is_short(value)]
    return axis, _apart(labels, axis.percent(0.0))


def _is_short(value: float) -> bool:
    return abs(round(100 * value) - 100 * value) < 1e-9


def evidence_axis(log_e: Array, threshold: float) -> tuple[Axis, tuple[Label, ...]]:
    """Lay e-values out by their logarithms, named by powers of ten; what is next to nothing lies at the bottom."""
    ten = math.log(10)
    known = log_e[np.isfinite(log_e)]
    high = max(threshold, float(known.max()) if len(known) else threshold) / ten
    # Evidence may grow without end once it is clear; what matters is how it came to the threshold.
    high = min(high, threshold / ten + EVIDENCE_POWERS_MAX)
    low = max(-3.0, min(-1.0, float(known.min()) / ten)) if len(known) else -1.0
    step = next(step for step in (1, 2, 3, 5, 10, 20, 50, 100, 200, 500) if (high - low) / step <= 5 or step == 500)
    first, last = math.floor(low), math.ceil(high + 0.04 * (high - low))
    axis = Axis(first * ten, last * ten, HIGH)
    powers = range(-(-first // step) * step, last + 1, step)
    return axis, tuple(Label(axis.percent(power * ten), _power(power)) for power in powers)


def _power(power: int) -> str:
    return {0: "1", 1: "10", 2: "100"}.get(power, ten_to(power))


def _round_labels(axis: Axis, text: Callable[[float], str]) -> tuple[Label, ...]:
    span = axis.high - axis.low
    size = 10.0 ** math.floor(math.log10(span / 4))
    step = next(size * part for part in (1, 2, 2.5, 5, 10) if span / (size * part) <= 4.5)
    first, last = math.ceil(axis.low / step - 1e-9), math.floor(axis.high / step + 1e-9)
    return tuple(Label(axis.percent(number * step), text(number * step)) for number in range(first, last + 1))


def _apart(labels: list[Label], zero: float) -> tuple[Label, ...]:
    """Leave labels out that would touch, beginning at zero."""
    kept: list[Label] = []
    for label in sorted(labels, key=lambda label: abs(label.percent - zero)):
        if all(abs(label.percent - other.percent) >= 17 for other in kept):
            kept.append(label)
    return tuple(sorted(kept, key=lambda label: label.percent))
