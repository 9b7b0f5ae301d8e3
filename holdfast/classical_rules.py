"""Rules of a policy that are about the classical judge: what belongs only to it, and what must fit together."""

import math
from typing import Final

from detectors.policy import Classical, ClassicalMetric
from holdfast.located import Place, Problems, join, quoted
from holdfast.validation import shown

_ONLY: Final = "allowed: only with judge: classical"
_READ_MAX: Final = 1e300
"""Larger numbers are errors already, and would not add up."""

_NAMED_MAX: Final = 12
_DEFAULTS: Final[dict[str, float]] = {
    "ticks_min": Classical().ticks_min,
    "ticks_max": Classical().ticks_max,
    "marginal": Classical().marginal,
    "pass": Classical().passing,
}
_EFFECTS: Final = ("allowed_increase", "allowed_decrease", "critical_increase", "critical_decrease")


def classical_rules(policy: Place, problems: Problems) -> None:
    """Note every error in what a policy says to the classical judge."""
    judge, given, metrics = (policy.child(key) for key in ("judge", "classical", "metrics"))
    is_classical = judge is not None and judge.value == "classical"
    places = [(given, "classical")]
    for index, metric in enumerate(metrics.items() if metrics else []):
        places.append((metric.child("classical"), f"{join('metrics', index)}.classical"))
    for place, path in places:
        if place is not None and not is_classical:
            problems.add(place, path, f"found {shown(place)}; {_ONLY}")
    for place, path in places[1:]:
        if place is not None:
            _metric(place, path, problems)
    if given is not None:
        _least_and_most(given, "ticks_min", "ticks_max", problems)
        _least_and_most(given, "marginal", "pass", problems)
        names = {_group(place) for place, _ in places[1:]}
        _groups(given.child("groups"), names, problems)


def _metric(metric: Place, path: str, problems: Problems) -> None:
    """Note keys of a metric that have no use, or never could have any."""
    critical, outliers, size = (metric.child(key) for key in ("critical", "outliers", "effect_size"))
    factor = metric.child("outlier_factor")
    is_set = factor is not None and factor.value != ClassicalMetric().outlier_factor
    if factor and is_set and not (outliers and outliers.value == "remove"):
        problems.add(factor, f"{path}.outlier_factor", f"found {shown(factor)}; allowed: only with outliers: remove")
    for key in _EFFECTS:
        place = metric.child(key)
        if place is None or place.value is None:
            continue
        if key.startswith("critical") and not (critical and critical.value is True):
            problems.add(place, f"{path}.{key}", f"found {shown(place)}; allowed: only with critical: true")
        if size and size.value == "cles" and _number(place, 0.0) > 1:
            text = f"found {shown(place)}; allowed: a number from 0 to 1, since cles is a chance"
            problems.add(place, f"{path}.{key}", text)


def _least_and_most(given: Place, least: str, most: str, problems: Problems) -> None:
    """Note a lower limit above its upper one, defaults included."""
    low, high = (_number(given.child(key), _DEFAULTS[key]) for key in (least, most))
    if low > high:
        text = f"found {least} {low:g} and {most} {high:g}; {least} must be at most {most}"
        problems.add(given.child(least) or given.child(most) or given, f"classical.{least}", text)


def _groups(groups: Place | None, names: set[str], problems: Problems) -> None:
    """Note weights of groups without a metric, and weights that cannot add up to 100."""
    if groups is None:
        return
    weights = groups.mapping()
    for name in weights:
        if name not in names:
            text = f"no metric is in this group; allowed: {', '.join(map(quoted, sorted(names)[:_NAMED_MAX]))}"
            problems.add(groups.keys[name], join("classical.groups", name), text)
    total = math.fsum(_number(weight, 0.0) for weight in weights.values())
    is_open = bool(names - weights.keys())
    if total > 100 + 1e-6 or (weights and not is_open and abs(total - 100) > 1e-6):
        rest = "at most 100, the other groups sharing what is left" if is_open else "100 in sum"
        problems.add(groups, "classical.groups", f"found weights of {total:g} in sum; allowed: {rest}")


def _group(metric: Place | None) -> str:
    """Return the group of a metric, the default where it names none that could be read."""
    place = metric.child("group") if metric else None
    return (place.string() if place else None) or ClassicalMetric().group


def _number(place: Place | None, default: float) -> float:
    """Return a number, or the default where none can be read."""
    value = place.value if place else default
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _READ_MAX:
        return default
    return float(value)
