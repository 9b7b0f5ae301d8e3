"""In words: what comparing canary with control cannot show, as the control moved or both lost what they got."""

import math

import numpy as np
from numpy.typing import NDArray

from detectors import traffic
from detectors.comparisons import COLO
from detectors.sides import Sides
from detectors.verdict import Abstained, Reason, Samples
from streams.begun import Begun
from streams.running import Running
from streams.wording import COLOS_NAMED, listed

Array = NDArray[np.float64]


def not_compared(running: Running, metric: int) -> list[Abstained]:
    """List the colos whose control has moved, where the metric as a whole can still be compared."""
    why = "the control moved suddenly and alone: not comparable here until it settles"
    return [
        Abstained(metric=running.plan.metrics[metric], colo=colo, minimum_detectable_effect=None, why=why)
        for colo in _colos(running, metric)
    ]


def moved(running: Running, metric: int) -> str:
    """Say where a metric's control moved, unless that shows in a pool alone."""
    colos = _colos(running, metric)
    return f" in {listed(colos)}" if colos else ""


def _colos(running: Running, metric: int) -> list[str]:
    tests, own = running.pairing.tests, slice(running.pairing.tests.comparisons)
    apart = running.drift.moved[own] & (running.metric[tests.strand[own]] == metric)
    return sorted({running.pairing.colos[place] for place in tests.place[own][apart]})


def drops(running: Begun, live: Sides | None, log_e: Array) -> list[Reason]:
    """Say how much of their traffic colos have lost: those that are named.

    Parameters
    ----------
    live
        [test] Sums over the live ticks, or None where none are kept.
    log_e
        [test] Logarithms of the e-values.
    """
    return [_drop(running, live, log_e, place) for place in sorted(running.fallen)[:COLOS_NAMED]]


def _drop(running: Begun, live: Sides | None, log_e: Array, place: int) -> Reason:
    pairing = running.pairing
    tests = pairing.tests
    metric, colo = int(running.totals.metric[place]), running.totals.colos[place]
    here = np.array([name == colo for name in pairing.colos], np.bool_)[tests.place] & (tests.level == COLO)
    own = np.flatnonzero(here & (running.metric[tests.strand] == metric))
    change, others = running.traffic.share[place] - 1.0, running.traffic.elsewhere[place]
    name = running.plan.metrics[metric]
    seen = (float(side[own].sum()) for side in (live.canary_of, live.control_of)) if live else (0.0, 0.0)
    canary, control = seen
    return Reason(
        metric=name,
        colo=colo,
        effect=float(change),
        interval=(None, None),
        e_value=math.exp(min(float(log_e[own].max(initial=0.0)), 690.0)),
        samples=Samples(canary=canary, control=control),
        sentence=(
            f"{name} in {colo}, canary and control together: {change:+.1%} against the {traffic.BEFORE} ticks before, "
            f"lasting {traffic.TICKS} ticks or more, while the better colos kept {others:.0%}. "
            "Both cohorts lost it, so that comparing them shows nothing."
        ),
    )
