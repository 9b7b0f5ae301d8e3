"""Checking: what a recording's past says of a stage, before anything of it is judged."""

from dataclasses import dataclass

from detectors.errors import BadInput
from streams.history import History
from streams.prospect import Prospect
from streams.recording import Source
from streams.replay import Setting, blocks, moment, prepare
from streams.running import Running
from streams.scan import scan


@dataclass(frozen=True, slots=True)
class Ahead:
    """A stage that is about to begin.

    Attributes
    ----------
    running, prospect
        The stage as the judge would begin it, and what is to be expected of it.
    first, stop
        The ticks of its past: from `first` on and before `stop`.
    start
        Its first live tick, or None if the rollout does not say.
    """

    running: Running
    prospect: Prospect
    first: int
    stop: int
    start: int | None


def look_ahead(metrics: Source, setting: Setting, index: int) -> Ahead:
    """Read the past of a stage as a replay would, and begin the stage on it.

    Parameters
    ----------
    metrics
        The samples. They may end before the stage starts; what comes after the start is not looked at.
    setting
        The rollout and its policy.
    index
        The stage.

    Raises
    ------
    BadInput
        If there is no tick before the start, or the recording does not fit the documents.
    """
    found = scan(metrics, setting.policy.lateness_ticks * setting.tick_ms)
    start = setting.stages[index].started
    first, last = (-(-time // setting.tick_ms) for time in (found.first_ms, found.last_ms))
    stop = last + 1 if start is None else min(start, last + 1)
    if stop <= first:
        msg = (
            f"{setting.place}: stages[{index}].started: no tick lies before {moment(stop * setting.tick_ms)}; the "
            f"samples span {moment(found.first_ms)} to {moment(found.last_ms)}, and a check looks at those before the "
            "start alone"
        )
        raise BadInput(msg)
    aggregate, plan = prepare(setting, found, metrics.name)
    if not plan.membership.controls(index).any():
        msg = f"{setting.place}: stages[{index}]: every unit is a canary by then; none is left as a control"
        raise BadInput(msg)
    history = History(setting.policy.pre_period.ticks_max)
    keys = None
    for block in blocks(metrics, found, aggregate):
        if block.first >= stop:
            break
        history.add(block.between(block.first, min(stop, block.first + block.ticks)))
        keys = block.keys
    if keys is None:
        stage = setting.stages[index].name
        msg = f"{metrics.name}: no tick before the start of stage {stage} has a sample that is judged"
        raise BadInput(msg)
    past = history.values(keys)
    running = Running(plan, index, keys, past)
    if not running.pairing.tests.comparisons:
        msg = f"{setting.place}: stages[{index}]: no canary stands against a control in any metric"
        raise BadInput(msg)
    return Ahead(running, Prospect(running, keys, past), stop - past.shape[2], stop, start)
