"""Numbers, times and verdicts in words, as people read them in a report."""

import math
from datetime import UTC, datetime
from typing import Final

from detectors.policy import Metric
from detectors.verdict import Action, Cause

ACTIONS: Final[dict[Action, tuple[str, str]]] = {
    "advance": ("Advance", "The stage has shown that it is healthy; the next one may begin."),
    "wait": ("Wait", "Do not go on, and do not go back."),
    "halt": ("Halt", "Stop here, and have a person look."),
    "revert": ("Revert", "Roll the change back."),
}
"""Each action as a word, and what it asks for."""

_CAUSES: Final[dict[tuple[Cause, Action | None], str]] = {
    ("evidence", "advance"): "every metric was shown to be healthy",
    ("evidence", None): "the canary is worse than the policy tolerates",
    ("objective", None): "the canary's own value missed its objective",
    ("traffic", None): "a whole colo lost its traffic, canary and control alike",
    ("baking", None): "nothing speaks against it, and the bake time is not over",
    ("insufficient", None): "the bake time is over, but health is not shown yet",
    ("data", None): "there is too little data that could be compared",
    ("deadline", None): "the deadline passed before health was shown",
    ("not-comparable", None): "the control says nothing about the change",
    ("uncertified", None): "the policy has not shown that it passed its gate",
}

SPACE: Final = "\N{NO-BREAK SPACE}"
"""Stands between a number and its unit."""

_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_SCALES: Final = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k"))


def because(action: Action, cause: Cause) -> str:
    """Say why a verdict was given."""
    return _CAUSES.get((cause, action)) or _CAUSES[cause, None]


def kind_of(metric: Metric | None, unit: str) -> tuple[str, str]:
    """Say what a metric is made of, and what its values are; None is the metric that every policy has.

    Examples
    --------
    >>> kind_of(Metric(name="cpu", gauge="cpu_busy", worse="increase", breach="halt"), "host")
    ('gauge cpu_busy', 'mean of a host')
    """
    if metric is None:
        return f"{unit}s that were seen before and are silent", f"share of {unit}s"
    if metric.ratio:
        return f"{metric.ratio.bad} of {metric.ratio.total}", "share"
    if metric.histogram:
        return f"histogram {metric.histogram}, quantile {metric.quantile:g}", "share of events"
    if metric.counter:
        return f"rate of {metric.counter}", f"a second, mean of a {unit}"
    return f"gauge {metric.gauge}", f"mean of a {unit}"


def tolerated(relative: float, absolute: float) -> str:
    """Say what is tolerated."""
    parts = [f"{plain(100 * relative)}{SPACE}%"] if relative else []
    parts += [f"{plain(absolute)} in absolute terms"] if absolute else []
    return ", or ".join(parts) if parts else "nothing"


def level(value: float, is_share: bool) -> str:
    r"""Write a level: shares as percentages, large numbers with a letter for their power of ten.

    Examples
    --------
    >>> level(0.00123456, True), level(8_123_456_789, False), level(0.2512, False), level(math.nan, False)
    ('0.123\xa0%', '8.12\xa0G', '0.251', '–')
    """
    if not math.isfinite(value):
        return "–"
    if is_share:
        return f"{plain(100 * value)}{SPACE}%"
    for scale, letter in _SCALES:
        if abs(value) >= scale:
            return f"{plain(value / scale)}{SPACE}{letter}"
    return plain(value)


def plain(value: float) -> str:
    """Write a number with three digits that count, never as a power of ten."""
    if value == 0 or abs(value) < 1e-12:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def change(value: float | None) -> str:
    r"""Write a relative change.

    Examples
    --------
    >>> change(0.4589), change(-0.05), change(30.0), change(None), change(math.inf)
    ('+45.9\xa0%', '−5\xa0%', '×31', 'unbounded', 'unbounded')
    """
    if value is None or not math.isfinite(value):
        return "unbounded"
    if value >= 10:
        return f"×{1 + value:,.0f}"
    if abs(value) < 0.0005:
        return f"0{SPACE}%"
    return f"{'+' if value > 0 else '−'}{plain(round(100 * abs(value), 1))}{SPACE}%"


def e_value(log_e: float) -> str:
    r"""Write an e-value that is given as its natural logarithm.

    Examples
    --------
    >>> e_value(0.0), e_value(math.log(71920)), e_value(-math.inf), e_value(50.0), e_value(-9.0)
    ('1', '71,900', '0', '5.2\xa0×\xa010²¹', '0.00012')
    """
    if math.isnan(log_e):
        return "–"
    if log_e == -math.inf:
        return "0"
    power = log_e / math.log(10)
    if -4 <= power < 6:
        value = 10**power
        return plain(float(f"{value:.3g}")) if value >= 0.01 else f"{value:.2g}"
    whole = math.floor(power)
    digits = f"{10 ** (power - whole):.1f}"
    if digits == "10.0":
        whole, digits = whole + 1, "1.0"
    return f"{digits}{SPACE}×{SPACE}{ten_to(whole)}"


def ten_to(power: int) -> str:
    """Write a power of ten."""
    return f"10{str(power).translate(_SUPERSCRIPTS)}"


def moment(time_ms: int) -> datetime:
    """Return epoch milliseconds as a time in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def day(time_ms: int) -> str:
    """Write the day of a time, as in 12 March 2026."""
    time = moment(time_ms)
    return f"{time.day} {time:%B %Y}"


def clock(time_ms: int) -> str:
    """Write the time of day, in UTC, with milliseconds only if there are some."""
    rest = time_ms % 1000
    return f"{moment(time_ms):%H:%M:%S}" + (f".{rest:03d}" if rest else "")


def iso(time_ms: int) -> str:
    """Write a time for machines."""
    return moment(time_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration(milliseconds: int) -> str:
    """Write how long something took.

    Examples
    --------
    >>> duration(240_000), duration(5_430_000), duration(10_000), duration(200_000_000)
    ('4 min', '1 h 30 min', '10 s', '2 d 7 h')
    """
    seconds = round(milliseconds / 1000)
    for large, small, of in ((86_400, 3_600, "d h"), (3_600, 60, "h min"), (60, 1, "min s")):
        if seconds >= large:
            names = of.split()
            count, rest = divmod(seconds, large)
            return f"{count} {names[0]}" + (f" {rest // small} {names[1]}" if rest // small else "")
    return f"{seconds} s"


def sentence(text: str) -> str:
    """Let a text begin like a sentence."""
    return text[:1].upper() + text[1:]


def listed(names: tuple[str, ...] | list[str], most: int = 8) -> str:
    """Name a few, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")
