"""Prospect: what is known of a stage before its first live tick, from its pre-period alone."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import COLO, FLEET
from detectors.decision import ADVANCE_ALPHA, COVERAGE_MIN
from detectors.errors import StateMismatch
from detectors.foresight import Foresight
from detectors.state import State, part
from streams.cohorts import RowKey
from streams.quantiles import visible_change
from streams.running import Running

Array = NDArray[np.float64]

DOUBLING: Final = float(np.log(2.0))

TICKS_MAX: Final = 1_000_000
"""What takes longer than so many live ticks is never shown."""

_THRESHOLD: Final = -float(np.log(ADVANCE_ALPHA))

_FIGURED: Final = ("is_noisy", "excludable")
"""What is figured when a verdict first asks for it, and stays as it is."""

_PLACEBO_PART: Final = 3
"""At most one of so many ticks of the past is judged as if it were live: the rest must tell what is usual."""

_PLACEBO_TICKS_MAX: Final = 360
"""Most ticks that are judged so, since the first verdict waits for them."""


@dataclass(frozen=True, slots=True)
class Placebo:
    """The last ticks of a pre-period, judged by those before them as if the change had come in between.

    Attributes
    ----------
    ticks, ticks_before
        How many were judged, and how many there were to learn from.
    metrics, colos
        What would have been blamed, by position; nothing if the cohorts are comparable.
    """

    ticks: int
    ticks_before: int
    metrics: frozenset[int]
    colos: tuple[int, ...]


class Prospect:
    """What a stage can be expected to show, and whether its past shows that canary and control are comparable.

    Parameters
    ----------
    running
        The stage, before its first live tick.
    keys, past
        [row], [3, row, tick] The pre-period that it was begun on.
    known
        What `snapshot` returned for the same stage: the placebo is then not tried again.

    Attributes
    ----------
    horizon
        Live ticks by which the tolerances must be excluded: the deadline, else twice the bake time.
    placebo
        None if the past is too short to be split.
    """

    def __init__(self, running: Running, keys: Sequence[RowKey], past: Array, known: "State | None" = None) -> None:
        self._running = running
        self._expected: dict[tuple[int, float], Array] = {}
        self._seen: dict[int, tuple[Array, Array]] = {}
        stage = running.stage
        self.horizon = stage.deadline or 2 * stage.bake
        sides = running.before
        assert sides is not None
        self.foresight = Foresight(running.evidence, sides, stage.settle, running.reporting)
        if known is None:
            self.placebo = _placebo(running, keys, past, self.horizon)
        else:
            self._restore(known)

    def snapshot(self) -> State:
        """Return what was foreseen so far. It was with the tolerances of its tick, and is not figured anew."""
        placebo: State = {}
        if self.placebo is not None:
            metrics, colos = sorted(self.placebo.metrics), list(self.placebo.colos)
            placebo = {"ticks": self.placebo.ticks, "ticks_before": self.placebo.ticks_before}
            placebo |= {"metrics": metrics, "colos": colos}
        figured = {name: value.copy() for name, value in vars(self).items() if name in _FIGURED}
        seen: State = {str(ticks): {"effect": pair[0], "rate": pair[1]} for ticks, pair in self._seen.items()}
        return {"placebo": placebo, "figured": figured, "seen": seen}

    def _restore(self, state: State) -> None:
        """Go on from what `snapshot` returned."""
        try:
            placebo = part(state, "placebo")
            self.placebo = msgspec.convert(placebo, Placebo) if placebo else None
            for name, value in part(state, "figured").items():
                shown = _array(value, len(self._running.plan.metrics))
                setattr(self, name, shown.astype(np.bool_) if name == "is_noisy" else shown)
            tests = len(self._running.pairing.tests)
            for ticks in part(state, "seen"):
                pair = part(part(state, "seen"), ticks)
                self._seen[int(ticks)] = _array(pair.get("effect"), tests), _array(pair.get("rate"), tests)
        except (msgspec.ValidationError, ValueError) as error:
            msg = f"what was foreseen of {self._running.stage.name} is no such thing: {error}"
            raise StateMismatch(msg) from error

    @cached_property
    def pace(self) -> Array:
        """Share of ticks [metric] in which there was data on both sides, since there was any; 0 if there never was."""
        tests = self._running.pairing.tests
        pace = np.zeros(len(self._running.plan.metrics))
        fleet = tests.fleet()
        np.maximum.at(pace, self._running.metric[tests.strand[fleet]], self.foresight.pace[fleet])
        return pace

    @cached_property
    def is_noisy(self) -> NDArray[np.bool_]:
        """Whether the tolerance of a metric [metric] will not be excluded by the horizon, though nothing happens."""
        return (self.pace > 0) & (self._within(self.horizon, 0.0) < _THRESHOLD)

    @cached_property
    def excludable(self) -> Array:
        """Smallest effect [metric] that will be excluded by the horizon if nothing happens; infinite if none is.

        It is about noisy metrics; of the others it is the tolerance, and 0 here.
        """
        strands = self.foresight.excludable(self.horizon, _THRESHOLD)
        result = np.zeros(len(self._running.plan.metrics))
        np.maximum.at(result, self._running.metric, strands)
        return np.where(self.is_noisy, result, 0.0)

    def _within(self, ticks: int, least: float) -> Array:
        asked = ticks, least
        if asked not in self._expected:
            self._expected[asked] = self._running.by_metric(
                self.foresight.within(ticks, least), self._running.within_named
            )
        return self._expected[asked]

    def ticks_until(self, metric: int, least: float = 0.0, first: int = 1) -> int | None:
        """Return after how many live ticks the tolerance, or the effect `least` if larger, will be excluded.

        On a long past what is to be shown grows up to about the horizon and is less again after many more ticks, as
        levels wander: so the ticks are gone through in steps that double, and the horizon is one of them.

        Parameters
        ----------
        metric, least
            What is to be excluded.
        first
            The first tick that is asked about.
        """

        def is_shown(ticks: int) -> bool:
            return bool(self._within(ticks, least)[metric] >= _THRESHOLD)

        steps = {first - 1 + (1 << power) for power in range(TICKS_MAX.bit_length())}
        before = first - 1
        for ticks in sorted(steps | {max(first, self.horizon)}):
            if is_shown(ticks):
                between = range(before + 1, ticks + 1)
                return between[bisect_left(between, True, key=is_shown)]
            before = ticks
        return None

    def ticks_needed(self, metric: int) -> int | None:
        """Return at which live tick a metric will let the stage advance, by the rules of `detectors.decision`."""
        rules = self._running.decision.rules
        if self.pace[metric] < COVERAGE_MIN or self._running.erratic[metric]:
            return None
        if rules.advance == "exposure":
            return rules.bake
        found = self.ticks_until(metric, first=rules.bake)
        if rules.advance == "evidence" and not rules.required[metric] and (found or TICKS_MAX) > self.horizon:
            is_reporting = metric == len(rules.required) - 1
            doubling = self.horizon if is_reporting else self.ticks_until(metric, DOUBLING, self.horizon)
            if doubling is not None:
                found = doubling if found is None else min(found, doubling)
        return found

    def visible(self, ticks: int, metric: int, level: int = FLEET) -> dict[str, float]:
        """Return the smallest degradation of a metric that is called after so many live ticks, place by place.

        It is a fraction of what is usual, or of the metric's scale; where a metric is judged by counting, the share
        of bad events. Of a histogram's edges the one that sees most counts. The fleet bears the name "".
        """
        running = self._running
        tests = running.pairing.tests
        own = np.flatnonzero((running.metric[tests.strand] == metric) & (tests.level == level) & (tests.share > 0))
        effects, rates = self._visible(ticks)
        values = rates[own]
        if not self.is_counted(metric):
            scores = as_fraction(running, own, effects[own])
            base = self._usual_rate(metric)
            counted = values / base - 1 if base > 0 else np.full(len(own), np.inf)
            values = np.where(running.evidence.is_sparse[own], counted, scores)
        names = running.pairing.colos if level == COLO else [""]
        result: dict[str, float] = {}
        for test, value in zip(own, values.tolist(), strict=True):
            if self.foresight.pace[test] > 0:
                name = names[tests.place[test]]
                result[name] = min(value, result.get(name, np.inf))
        return result

    def _visible(self, ticks: int) -> tuple[Array, Array]:
        """Return the smallest effects and shares of bad events [test] that are called after so many ticks."""
        if ticks not in self._seen:
            alpha = self._running.plan.policy.alpha
            self._seen[ticks] = self.foresight.visible(alpha, ticks), self.foresight.visible_rate(alpha, ticks)
        return self._seen[ticks]

    def is_counted(self, metric: int) -> bool:
        """Tell whether a metric is judged by counting over the fleet, as its past has almost no bad events."""
        tests = self._running.pairing.tests
        fleet = tests.fleet()
        own = fleet[self._running.metric[tests.strand[fleet]] == metric]
        return bool(len(own)) and bool(self._running.evidence.is_sparse[own].all())

    def _usual_rate(self, metric: int) -> float:
        """Return the control's share of bad events in the past, over the fleet."""
        tests, past = self._running.pairing.tests, self._running.evidence.past
        fleet = tests.fleet()
        own = fleet[self._running.metric[tests.strand[fleet]] == metric]
        bad, total = past.control[own].sum(), past.control_of[own].sum()
        return float(bad / total) if total > 0 else 0.0


def _array(value: object, size: int) -> Array:
    """Return one number for each metric or test, or refuse what is no such thing."""
    if not isinstance(value, np.ndarray) or value.shape != (size,):
        msg = f"{size} numbers are due, and here is {value!r:.80}"
        raise ValueError(msg)
    return value.copy()


def as_fraction(running: Running, tests: NDArray[np.intp], effect: Array) -> Array:
    """Turn sizes of degradations [test], on the scale of the effects, into fractions: 0.1 is 10 % more, or less.

    Of a histogram it is the change of the policy's quantile; infinite at the edges of other quantiles.
    """
    is_log = running.evidence.test_is_log[tests]
    up = np.array([strand.up for strand in running.pairing.strands])[running.pairing.tests.strand[tests]]
    with np.errstate(over="ignore"):
        change = np.where(up, np.expm1(effect), -np.expm1(-effect))
    result: Array = np.where(is_log & np.isfinite(effect), change, effect)
    strand = running.pairing.tests.strand[tests]
    quantile = np.array([strand.quantile for strand in running.pairing.strands])[strand]
    for place in np.flatnonzero((quantile > 0) & np.isfinite(effect)).tolist():
        moved = None
        if running.named[strand[place]]:
            tails = running.histograms.of(int(tests[place]))
            moved = visible_change(tails, float(quantile[place]), float(effect[place]))
        result[place] = np.inf if moved is None else moved
    return result


def _placebo(running: Running, keys: Sequence[RowKey], past: Array, horizon: int) -> Placebo | None:
    """Judge the end of a stage's past [3, row, tick] as if it were live, by the rest of it: a placebo in time.

    Nothing changed there, so a breach says that canary and control differ by themselves by more than the policy
    tolerates. Of those that are comparable a share of at most alpha has one by chance.

    References
    ----------
    A. Abadie, A. Diamond, J. Hainmueller, "Comparative politics and the synthetic control method", American Journal
    of Political Science 2015.
    """
    plan, length = running.plan, past.shape[2]
    ticks = min(horizon, length // _PLACEBO_PART, _PLACEBO_TICKS_MAX)
    before = length - ticks
    if not ticks or before < plan.policy.pre_period.ticks_min:
        return None
    # Objectives are about the canary alone, nothing restarts in the past, and nothing asks whether it may advance.
    metrics = [msgspec.structs.replace(metric, objective=None) for metric in plan.policy.metrics]
    stages = [replace(stage, settle=0, bake=TICKS_MAX, deadline=horizon) for stage in plan.stages]
    tried = replace(plan, policy=msgspec.structs.replace(plan.policy, metrics=metrics), stages=stages)
    trial = Running(tried, plan.stages.index(running.stage), keys, past[:, :, :before], running)
    trial.before = None
    known = running.before if trial.pairing is running.pairing else None
    sides = known.between(before, length) if known else trial.pairing.sides(past[:, :, before:])
    totals = trial.totals.sums(past[:, :, before:])
    for column, tick in enumerate(sides.by_tick()):
        trial.step(tick, (totals[0][:, column], totals[1][:, column]), column + 1)
    return Placebo(ticks, before, frozenset(trial.decision.blamed), tuple(sorted(trial.hurt)))
