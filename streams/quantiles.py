"""How much a quantile changed, from merged histograms and the evidence at a bucket edge."""

import math
from dataclasses import dataclass

from streams.histograms import Tails


@dataclass(frozen=True, slots=True)
class Change:
    """How a level changed.

    Attributes
    ----------
    levels
        As people read them: on the canary, what was to be expected there, and on the control.
    effect, interval
        The relative change (or, of levels on another scale than the logarithm, the difference on that scale), and
        bounds of it that hold at every look; None is unbounded.
    """

    levels: tuple[str, str, str]
    effect: float | None
    interval: tuple[float | None, float | None]


def quantile_change(
    tails: Tails, edge: float, quantile: float, evidence: tuple[float, float], *, is_cut: bool, unit: str
) -> Change:
    """Return the change of a quantile, bounded by inverting the bounds of the share of events beyond an edge.

    Such bounds of a quantile are Woodruff's: those of the share, read off the distribution itself. They are wide
    enough for the share's change as the test estimates it, from tick to tick, and for that of the plain sums.

    Parameters
    ----------
    tails
        Merged over the test's colos and all ticks so far.
    edge, quantile
        Where events were counted, and what the edge stands for.
    evidence
        The test's estimate of the logarithm of the share's change, and its radius.
    is_cut
        Whether ticks were cut, so that the estimate is less than the truth, and its bound away from zero none.
    unit
        Follows the values.

    References
    ----------
    R. Woodruff, "Confidence intervals for medians and other position measures", JASA 47, 1952.
    """
    (effect, radius), beyond = evidence, 1.0 - quantile
    levels = [tail.quantile(beyond) for tail in (tails.canary, tails.expected, tails.control)]
    apart = effect - tails.canary.change(tails.expected, edge)
    more = min(radius + max(0.0, -apart), 700.0)
    ends = (
        tails.canary.quantile(beyond * math.exp(more)),
        tails.canary.quantile(beyond * math.exp(-radius - max(0.0, apart))),
    )
    low, high, moved = (_relative(value, levels[1]) for value in (*ends, levels[0]))
    if ends[0] == 0:  # the bounds of the share reach all events
        low = None
    if is_cut:
        low, high = (low, None) if effect > 0 else (None, high)
    one, two, three = (_in_words(value, float(tails.canary.edge[-1]), unit) for value in levels)
    return Change((one, two, three), moved, (low, high))


def visible_change(tails: Tails, quantile: float, share: float) -> float | None:
    """Return by how much all events must become larger for the share beyond the quantile to grow by `share` (log)."""
    beyond = 1.0 - quantile
    below = tails.expected.quantile(beyond * math.exp(min(share, 700.0)))
    return _relative(tails.expected.quantile(beyond), below)


def unit_of(name: str) -> str:
    """Return the unit of a histogram's edges where its name tells it, as Prometheus' names do.

    Examples
    --------
    >>> unit_of("http_request_seconds_bucket"), unit_of("queue_length_bucket")
    (' s', '')
    """
    return " s" if name.removesuffix("_bucket").endswith("_seconds") else ""


def _relative(value: float, expected: float) -> float | None:
    change = value / expected - 1.0 if math.isfinite(expected) and expected > 0 else math.inf
    return change if math.isfinite(change) else None


def _in_words(value: float, last: float, unit: str) -> str:
    if math.isnan(value):
        return "nothing"
    return f"about {value:.3g}{unit}" if math.isfinite(value) else f"more than {last:g}{unit}"
