"""A look: all metrics of a stage classified at once, and the score that they come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.classical.classify import Judgement, Label, classify
from detectors.classical.hodges_lehmann import Shift
from detectors.classical.score import Outcome, Score, Thresholds, score
from detectors.classical.settings import Settings, settings_of
from detectors.errors import StateMismatch
from detectors.policy import Classical, ClassicalMetric, Metric, Policy
from detectors.state import State, part

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found; arrays are [metric], the implicit metric (units that do not report) last."""

    age: int
    """Ticks since the stage's start, the latest one included."""
    judgement: Judgement
    score: Score
    """Over the policy's own metrics, as arrays without an axis."""

    @property
    def is_failure(self) -> bool:
        """Whether the score is below marginal, a critical metric failed, or units do not report."""
        silent = bool(self.judgement.label[-1] == Label.HIGH)
        return silent or int(self.score.outcome) == Outcome.FAIL

    @property
    def is_pass(self) -> bool:
        """Whether the score passes and the units report."""
        return not self.is_failure and int(self.score.outcome) == Outcome.PASS

    @property
    def is_worse(self) -> Bools:
        """Which metrics were seen to be worse [metric]."""
        worse: Bools = (self.judgement.label == Label.HIGH) | (self.judgement.label == Label.LOW)
        return worse

    @property
    def is_lacking(self) -> Bools:
        """Which metrics fail since they could not be judged: those that must have data, and critical ones."""
        lacking: Bools = (self.judgement.label == Label.NODATA_FAIL) | (self.judgement.critical & ~self.is_worse)
        return lacking

    def snapshot(self) -> State:
        """Return the look as plain arrays."""
        judgement = _arrays(self.judgement, but="shift")
        return {
            "age": self.age,
            "judgement": judgement,
            "shift": _arrays(self.judgement.shift),
            "score": _arrays(self.score),
        }


def _arrays(found: Any, but: str = "") -> State:
    return {one.name: np.asarray(getattr(found, one.name)).copy() for one in fields(found) if one.name != but}


def _made(kind: type[_Found], state: State, shapes: Mapping[str, tuple[int, ...]], **more: Any) -> _Found:
    """Make what `_arrays` took apart; what is not named has the shape that stands under ""."""
    found = {name: np.shape(value) for name, value in state.items() if isinstance(value, np.ndarray)}
    names = [one.name for one in fields(kind) if one.name not in more]  # type: ignore[arg-type]
    wanted = {name: shapes.get(name, shapes[""]) for name in names}
    if found != wanted or len(state) != len(found):
        msg = f"{kind.__name__} has arrays of {wanted}, its state {found}"
        raise StateMismatch(msg)
    return kind(**state, **more)


@dataclass(frozen=True, slots=True)
class Panel:
    """A policy as the classical judge reads it: what it takes to look at all metrics at once.

    Attributes
    ----------
    settings
        [metric] The implicit metric last.
    names
        [group] In order of the metrics.
    groups
        [group, metric] Which of the policy's own metrics a group is made of.
    weights
        [group] In percent, NaN where it is left open.
    """

    settings: tuple[Settings, ...]
    names: tuple[str, ...]
    groups: Bools
    weights: Array
    thresholds: Thresholds

    @classmethod
    def of(cls, policy: Policy, tolerated: Sequence[tuple[float, float]]) -> Self:
        """Read a policy.

        Parameters
        ----------
        tolerated
            [metric] Relative and absolute tolerance on the scale of the samples, the implicit metric's last.
        """
        given = policy.classical or Classical()
        settings = [
            settings_of(metric, given.confidence, *limits)
            for metric, limits in zip(policy.metrics, tolerated[:-1], strict=True)
        ]
        relative, absolute = tolerated[-1]
        reporting = Settings(
            direction="increase",
            confidence=given.confidence,
            tolerated_relative=relative,
            tolerated_absolute=absolute,
        )
        group = [_group(metric) for metric in policy.metrics]
        names = tuple(dict.fromkeys(group))
        return cls(
            (*settings, reporting),
            names,
            np.array([[one == name for one in group] for name in names], np.bool_),
            np.array([given.groups.get(name, np.nan) for name in names]),
            Thresholds(passing=given.passing, marginal=given.marginal),
        )

    def restored(self, state: State) -> Look:
        """Make a look out of its snapshot.

        Raises
        ------
        StateMismatch
            If it is none, or that of another panel.
        """
        age = state.get("age")
        if not isinstance(age, int) or state.keys() != {"age", "judgement", "shift", "score"}:
            msg = f"a look has an age in ticks and three findings, and here are {sorted(state)}"
            raise StateMismatch(msg)
        metrics = {"": (len(self.settings),)}
        shift = _made(Shift, part(state, "shift"), metrics)
        judgement = _made(Judgement, part(state, "judgement"), metrics, shift=shift)
        return Look(age, judgement, _made(Score, part(state, "score"), {"groups": (len(self.names),), "": ()}))

    def look(self, canary: Array, control: Array, age: int) -> Look:
        """Classify and score.

        A metric fails if its canary is worse by the test *and* by more than is tolerated. Units that do not report
        are outside the score: if they are more on the canary, the stage fails whatever the score is.

        Parameters
        ----------
        canary, control
            [metric, tick] Means or shares over the fleet, NaN where a side has none.
        age
            Ticks since the stage's start.

        Examples
        --------
        >>> rng = np.random.default_rng(4)
        >>> metrics = [Metric(name=name, gauge=name, worse="increase", breach="halt") for name in ("cpu", "load")]
        >>> panel = Panel.of(Policy(policy="p", metrics=metrics), [(0.02, 0.0), (0.02, 0.0), (0.25, 0.1)])
        >>> control = rng.normal(1.0, 0.1, (3, 60))
        >>> canary = rng.normal(1.0, 0.1, (3, 60)) * np.array([[1.0], [1.5], [1.0]])
        >>> look = panel.look(canary, control, 60)
        >>> [Label(label).name for label in look.judgement.label], float(look.score.total), look.is_failure
        (['PASS', 'HIGH', 'PASS'], 50.0, True)
        """
        judgement = classify(canary, control, self.settings)
        own = slice(len(self.settings) - 1)
        result = score(judgement.label[own], self.groups, self.weights, judgement.critical[own], self.thresholds)
        return Look(age, judgement, result)


def _group(metric: Metric) -> str:
    return (metric.classical or ClassicalMetric()).group
