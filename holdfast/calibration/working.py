"""What a process of a calibration does for one task; the tasks of all kinds share the histories."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from detectors.policy import Policy
from holdfast.calibration.deciding import Decided, decide
from holdfast.calibration.effects import smallest_caught
from holdfast.calibration.foreseeing import Foreseen, foresee
from holdfast.calibration.history import History
from holdfast.calibration.placebos import Judged, Placebo, judge_placebo, window

Answer = Judged | list[Foreseen] | float


@dataclass(frozen=True, slots=True)
class Task:
    """A question about a placebo.

    Attributes
    ----------
    kind
        `judge`: by the judge itself, with its words; `decide`: the same without; `foresee`: what its past leads to
        expect; `effect`: the smallest effect that it is stopped for.
    placebo
        Which placebo.
    policy
        By another policy than the history's.
    metric, guess
        Of an effect: on which metric, and where to begin.
    """

    kind: Literal["judge", "decide", "foresee", "effect"]
    placebo: Placebo
    policy: Policy | None = None
    metric: int = 0
    guess: float = 0.0


def work(histories: Sequence[History], task: Task) -> Answer:
    """Answer a question."""
    history = histories[task.placebo.history]
    if task.kind == "judge":
        return judge_placebo(history, task.placebo, task.policy)
    if task.kind == "foresee":
        return foresee(history, task.placebo, task.policy)
    if task.kind == "effect":
        return smallest_caught(history, task.placebo, task.metric, task.guess)
    plan = history.planned(task.placebo.start, task.placebo.group, task.policy)
    return as_judged(decide(plan, window(history, task.placebo, task.policy)), task.placebo.start)


def as_judged(decided: Sequence[Decided], start: int) -> Judged:
    """Sum decisions up as `judge_placebo` does verdicts."""
    last = decided[-1]
    advanced = next((one.tick - start + 1 for one in decided if one.action == "advance"), None)
    return Judged(
        action=last.action,
        cause=last.cause,
        tick=last.tick - start + 1 if last.is_stop else None,
        advanced=advanced,
        metrics=list(last.metrics),
        colos=list(last.colos),
    )
