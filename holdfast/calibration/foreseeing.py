"""What the past of a placebo leads to expect, as `holdfast check` says it of a real rollout."""

import math
from typing import Literal

import msgspec
import numpy as np

from detectors.comparisons import FLEET
from detectors.decision import COVERAGE_MIN
from detectors.policy import Policy
from holdfast.calibration.deciding import past_of_stage
from holdfast.calibration.history import History
from holdfast.calibration.placebos import Placebo, window
from streams.prospect import Prospect, as_fraction
from streams.running import Running
from streams.wording import tolerated


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be expected of one metric.

    Attributes
    ----------
    tolerated
        Its tolerance in words.
    visible
        The smallest degradation over the fleet that is called by the horizon; infinite if none is.
    ticks
        After how many live ticks the tolerance will be excluded if nothing happens; infinite if never.
    excludable
        The smallest effect that will be excluded by the horizon, of metrics whose tolerance will not; infinite if none.
    needed
        After how many live ticks it will let the stage go on, by the policy's `advance`; infinite if never.
    held
        Why that is not by the horizon: `noise` hides what the policy asks for, canary and control are `unlike`, or too
        few ticks have `data` of both. Empty if it is.
    """

    tolerated: str
    visible: float
    ticks: float
    excludable: float
    needed: float
    held: Literal["", "noise", "unlike", "data"]


def foresee(history: History, placebo: Placebo, policy: Policy | None = None) -> list[Foreseen]:
    """Return what the past of a placebo leads to expect of its first stage [metric]; nothing of the classical judge."""
    plan = history.planned(placebo.start, placebo.group, policy)
    if plan.policy.judge == "classical":
        return []
    ticks = window(history, placebo, policy)
    past = past_of_stage(plan, ticks, placebo.start)
    running = Running(plan, 0, ticks.keys, past)
    # Whether canary and control are comparable is what the placebos are going to show.
    prospect = Prospect(running, ticks.keys, past, {"placebo": {}, "figured": {}, "seen": {}})
    return [_metric(running, prospect, metric) for metric in range(len(plan.metrics))]


def _metric(running: Running, prospect: Prospect, metric: int) -> Foreseen:
    tests = running.pairing.tests
    fleet = np.flatnonzero((running.metric[tests.strand] == metric) & (tests.level == FLEET))
    if not len(fleet) or not prospect.pace[metric] > 0:
        never = math.inf
        return Foreseen(tolerated="", visible=never, ticks=never, excludable=never, needed=never, held="data")
    until, needed = prospect.ticks_until(metric), prospect.ticks_needed(metric)
    excludable = math.inf
    if prospect.is_noisy[metric]:
        named = fleet[running.named[tests.strand[fleet]]]
        effects = as_fraction(running, named, np.full(len(named), float(prospect.excludable[metric])))
        excludable = float(effects.min(initial=math.inf))
    return Foreseen(
        tolerated=tolerated(running, int(fleet[0])),
        visible=prospect.visible(prospect.horizon, metric).get("", math.inf),
        ticks=math.inf if until is None else float(until),
        excludable=excludable,
        needed=math.inf if needed is None else float(needed),
        held=_held(running, prospect, metric, needed),
    )


def _held(
    running: Running, prospect: Prospect, metric: int, needed: int | None
) -> Literal["", "noise", "unlike", "data"]:
    if running.erratic[metric]:
        return "unlike"
    if prospect.pace[metric] < COVERAGE_MIN:
        return "data"
    return "noise" if needed is None or needed > prospect.horizon else ""
