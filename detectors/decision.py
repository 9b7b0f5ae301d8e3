"""From evidence to an action: what a stage may do at the end of a tick. Pure state, one step per tick."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.state import Stateful
from detectors.verdict import Action, Cause

COVERAGE_MIN: Final = 0.8
"""Share of the baked ticks that must have had data on both sides."""

ADVANCE_ALPHA: Final = 0.05
"""Chance, per metric, that a stage advances although the metric is worse by more than was asked about."""

SUSPICION: Final = 0.1
"""A stage whose evidence against it has reached this part of the threshold does not advance for now."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a stage is held to. Times in ticks from the stage's start; `deadline` None is "never".

    `breach` [metric] says what a breach does; `weight` [metric] is each metric's share of alpha. `advance` is
    the policy's word: strict, evidence or exposure; `required` [metric] marks metrics that are always strict.
    """

    alpha: float
    bake: int
    deadline: int | None
    breach: Sequence[str]
    weight: NDArray[np.float64]
    advance: str
    required: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick showed, [metric].

    Attributes
    ----------
    age
        Ticks since the stage's start, this one included.
    log_e
        Evidence against the rollout.
    log_e_within
        Evidence that no degradation beyond the tolerance is there.
    log_e_doubling
        Evidence that the metric has not doubled.
    coverage
        Share of the live ticks that had data on both sides.
    has_data
        Whether there was data lately.
    is_sick
        Whether it is the control that moved.
    misses, misses_too
        Whether the canary misses the metric's objective, and whether the control does.
    drops
        Whether a whole colo has lost what it used to get of the metric.
    is_certified
        Whether the policy may let a stage advance; it may stop one all the same.
    """

    age: int
    log_e: NDArray[np.float64]
    log_e_within: NDArray[np.float64]
    log_e_doubling: NDArray[np.float64]
    coverage: NDArray[np.float64]
    has_data: NDArray[np.bool_]
    is_sick: NDArray[np.bool_]
    misses: NDArray[np.bool_]
    misses_too: NDArray[np.bool_]
    drops: NDArray[np.bool_]
    is_certified: bool = True


@dataclass(slots=True)
class Decision(Stateful):
    """The state of a stage: its action so far. What was halted or reverted stays so."""

    _state = ("action", "cause", "blamed")

    rules: Rules
    action: Action = "wait"
    cause: Cause = "baking"
    blamed: list[int] = field(default_factory=list)

    def step(self, tick: Tick) -> None:
        """Decide at the end of a tick."""
        self._stop(tick)
        if self.action in ("halt", "revert"):
            return
        open_questions = self._open_questions(tick)
        if not open_questions:
            self.action, self.cause = "advance", "evidence"
        elif self.action != "advance":
            self.cause = open_questions
            if self.rules.deadline is not None and tick.age > self.rules.deadline:
                self.action, self.cause = "halt", "deadline"

    def _stop(self, tick: Tick) -> None:
        """Halt or revert once the averaged e-value reaches 1/alpha; a halt may still become a revert."""
        blamed = self._found_worse(tick)
        if not len(blamed):
            self._stop_on_objective(tick)
            self._stop_on_traffic(tick)
            return
        action: Action = "revert" if any(self.rules.breach[i] == "revert" for i in blamed) else "halt"
        if self.action != "revert" and (self.action != "halt" or action == "revert" or self.cause != "evidence"):
            self.action, self.cause, self.blamed = action, "evidence", blamed.tolist()

    def _found_worse(self, tick: Tick) -> NDArray[np.intp]:
        """Return the metrics that stop the stage for evidence, none while it does not suffice."""
        rules = self.rules
        weighted = tick.log_e + np.log(rules.weight)
        if float(np.logaddexp.reduce(weighted)) < -np.log(rules.alpha):
            return np.empty(0, np.intp)
        blamed = benjamini_hochberg(weighted + np.log(len(weighted)), rules.alpha)
        return blamed if len(blamed) else np.array([int(np.argmax(weighted))])

    def _stop_on_objective(self, tick: Tick) -> None:
        """Stop on a missed objective. Where the control misses it too, the change is not to blame: halt."""
        if self.action in ("halt", "revert") or not tick.misses.any():
            return
        self.blamed = np.flatnonzero(tick.misses).tolist()
        own: list[int] = np.flatnonzero(tick.misses & ~tick.misses_too).tolist()
        self.action = "revert" if any(self.rules.breach[i] == "revert" for i in own) else "halt"
        self.cause = "objective"

    def _stop_on_traffic(self, tick: Tick) -> None:
        """Halt where a colo has lost its traffic. Both cohorts have, so who is to blame is for a person to find out."""
        if self.action in ("halt", "revert") or not tick.drops.any():
            return
        self.action, self.cause, self.blamed = "halt", "traffic", np.flatnonzero(tick.drops).tolist()

    def _open_questions(self, tick: Tick) -> Cause | None:
        """Return why the stage may not advance yet, or None if it may."""
        rules = self.rules
        if not tick.is_certified:
            return "uncertified"
        if not tick.has_data.all():
            return "data"
        if tick.is_sick.any():
            return "not-comparable"
        if tick.age < rules.bake:
            return "baking"
        if (tick.coverage < COVERAGE_MIN).any():
            return "data"
        return None if self._is_healthy(tick) else "insufficient"

    def _is_healthy(self, tick: Tick) -> bool:
        """Tell whether a stage that baked on enough data may advance, by what was found."""
        rules = self.rules
        threshold = -np.log(rules.alpha)
        doubt = float(np.logaddexp.reduce(tick.log_e + np.log(rules.weight)))
        if doubt > threshold + np.log(SUSPICION):
            return False
        return rules.advance == "exposure" or bool(shown_harmless(rules, tick).all())


def shown_harmless(rules: Rules, tick: Tick) -> NDArray[np.bool_]:
    """Tell for each metric [metric] whether there is positive evidence that it is healthy.

    A degradation beyond the tolerance must be excluded. Where a metric is too noisy for that by the deadline
    (or in twice the bake time), a doubling must be, unless the metric is required or the policy strict; the
    verdict then names the metric and what could be seen of it.
    """
    threshold = -np.log(ADVANCE_ALPHA)
    shown: NDArray[np.bool_] = tick.log_e_within >= threshold
    patience = 2 * rules.bake if rules.deadline is None else rules.deadline
    if rules.advance == "evidence" and tick.age >= patience:
        shown |= (tick.log_e_doubling >= threshold) & ~rules.required
        # The implicit metric, last, has few events in a small cohort; that its units report is shown by their data.
        shown[-1] = True
    return shown


def benjamini_hochberg(log_e: NDArray[np.float64], alpha: float) -> NDArray[np.intp]:
    """Choose whom to blame, so that at most a share `alpha` of the blamed is expected to be harmless.

    Parameters
    ----------
    log_e
        [candidate] Logarithms of their e-values, under any dependence.

    References
    ----------
    R. Wang, A. Ramdas, "False discovery rate control with e-values", JRSS B 2022.

    Examples
    --------
    >>> import numpy as np
    >>> benjamini_hochberg(np.log(np.array([5.0, 900.0, 300.0, 0.1])), 0.01).tolist()
    [1, 2]
    """
    order = np.argsort(-log_e, kind="stable")
    rank = np.arange(1, len(log_e) + 1)
    passes = np.flatnonzero(log_e[order] >= np.log(len(log_e) / (rank * alpha)))
    return np.sort(order[: passes[-1] + 1]) if len(passes) else np.empty(0, np.intp)
