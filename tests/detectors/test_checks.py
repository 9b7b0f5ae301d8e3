"""The checks themselves: a sound detector passes, and one with the fault that a check is for does not."""

from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Self

import numpy as np
import pytest

from detectors.cases import Array, Arrays, DetectorCase
from detectors.checks import DETECTOR_CHECKS, Check
from detectors.state import State, Stateful

ROWS, TICKS = 3, 32
CALLS = count()

FAULTS = {
    "check_input_is_kept": "writes",
    "check_replay_gives_the_same_bytes": "counts calls",
    "check_restore_continues": "hides state",
    "check_restore_refuses_what_does_not_fit": "takes any state",
    "check_merged_shards_equal_one_run": "forgets ticks",
    "check_permuted_series_permute_the_result": "leaks",
    "check_swapped_cohorts_flip_the_sign": "prefers a direction",
    "check_scaling_a_metric_changes_nothing": "has a unit",
    "check_missing_data_is_not_healthy": "trusts silence",
    "check_silence_adds_nothing_to_health": "trusts silence",
    "check_more_tolerance_never_alarms_sooner": "rewards tolerance",
    "check_one_tick_alone_is_no_alarm": "believes one tick",
}


class Steps(Stateful):
    """Adds up by how much each tick is beyond the tolerance, at most 1 a tick, unless it has a fault."""

    _state = ("score", "within", "ticks")

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.score, self.within = np.full(ROWS, -2.0), np.zeros(ROWS)
        self.ticks = self.hidden = 0

    def update(self, canary: Array, control: Array, tolerance: float, sign: float) -> None:
        seen = (canary > 0) & (control > 0) & ((canary > 0.5) | (self.fault != "has a unit"))
        ratio = np.divide(canary, control, out=np.ones_like(canary), where=seen)
        step = np.where(seen, sign * np.log(ratio) - tolerance, 0.0) / 0.05
        bound = np.inf if self.fault == "believes one tick" else 1.0
        self.score += np.clip(step, -1.0, bound)
        self.within -= np.clip(step, -1.0, 1.0)
        self.ticks += 1
        self.hidden += 1
        if self.fault == "writes":
            canary *= 1.0
        added = {
            "counts calls": next(CALLS),
            "hides state": self.hidden,
            "leaks": 0.1 * np.roll(step, 1),
            "prefers a direction": 0.1 * (sign > 0),
            "rewards tolerance": 2 * tolerance * (step > -np.inf),
        }
        self.score += added.get(self.fault, 0.0)
        self.within += (self.fault == "trusts silence") * ~seen

    def merge(self, other: Self) -> None:
        self.score += other.score + 2.0
        self.within += other.within
        self.ticks += other.ticks if self.fault != "forgets ticks" else 1

    def restore(self, state: State) -> None:
        if self.fault != "takes any state":
            super().restore(state)


@dataclass(frozen=True)
class OfSteps(DetectorCase):
    fault: str = ""

    def begin(self) -> Steps:
        return Steps(self.fault)

    def step(self, detector: Steps, tick: Arrays, age: int) -> tuple[Array, Array]:
        canary, control = tick
        detector.update(canary, control, self.tolerance, self.sign)
        return detector.score.copy(), detector.within.copy()

    def swapped(self) -> Self:
        return replace(self, live=self.live[::-1], sign=-self.sign)

    def scaled(self, factor: float) -> Self:
        return replace(self, live=tuple(factor * array for array in self.live))

    def silent(self) -> list[Self]:
        canary, control = self.calm
        return [replace(self, live=(0 * canary, control)), replace(self, live=(canary, 0 * control))]

    def burst(self, at: int, size: float) -> list[Self]:
        canary, control = self.calm[0].copy(), self.calm[1]
        canary[:, at] *= 1 + size
        return [replace(self, live=(canary, control))]


def case(fault: str) -> OfSteps:
    rng = np.random.default_rng(1)
    calm: Any = tuple(np.exp(rng.normal(0.0, 0.005, (2, ROWS, TICKS))))
    live = (calm[0].copy(), calm[1])
    live[0][0, 10:] *= 1.5
    return OfSteps(given=(np.zeros(ROWS),), live=live, calm=calm, fault=fault)


@pytest.mark.parametrize("check", DETECTOR_CHECKS)
def test_a_sound_detector_passes(check: Check) -> None:
    check(case(""))


@pytest.mark.parametrize("check", DETECTOR_CHECKS)
def test_a_detector_with_the_fault_that_a_check_is_for_fails(check: Check) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check(case(FAULTS[check.__name__]))
