"""The fleet of a drill: hosts, colos and metrics that nobody else has, so that no real rollout can be compared with it.

Its samples go where all samples go, and its rollout is judged as all are. What keeps it apart is in the data: names of
colos, hosts and metrics begin with `drill-` or `drill_`, selectors demand a label that has the drill's own name, and
the package is of the kind `drill`, by which whoever acts on verdicts can tell.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from msgspec.structs import replace

from detectors.policy import Metric, Policy, Ratio, duration_ms
from holdfast.documents import load_policy, load_rollout, load_truth
from holdfast.produce import Frame, frames_of, shift_of, shifted
from holdfast.recording.samples import samples_of
from rollouts.document import Rollout, Unit
from rollouts.incidents.attribution import DRILL
from rollouts.incidents.opening import DRILL_KIND
from sinks.cloudevents import epoch_ms
from streams.fleet import Fleet, write
from streams.recording import LabelColumn, Samples

LABEL: Final = "drill"
"""The label that only hosts of a drill have; its value is the drill's name."""

_METRIC: Final = "drill_"
_METRICS: Final = ("errors", "requests")
_RENAMED: Final = {"colo": DRILL, "host": DRILL, "metric": _METRIC}


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is played.

    Attributes
    ----------
    rollout, policy
        What is announced.
    frames
        The samples, in order of time.
    origin_ms
        Event time at which playing begins; what is earlier is sent at once.
    onset_ms
        When the first bad sample is due, in epoch milliseconds.
    """

    rollout: Rollout
    policy: Policy
    frames: Iterator[Frame]
    origin_ms: int
    onset_ms: int


def rehearsal(name: str, seed: int, now: int) -> Rehearsal:
    """Make a drill that begins now: its rollout starts in two ticks, and hurts one of three colos eight ticks later.

    Parameters
    ----------
    name
        Of its rollout, which begins with `drill-`.
    seed
        The same one gives the same samples, but for their times.
    now
        The time of day, in epoch milliseconds.
    """
    fleet = Fleet(
        seed=seed,
        colos=3,
        hosts=6,
        regions=1,
        pre_ticks=240,
        live_ticks=120,
        tick_s=1,
        scenario="errors",
        size=10.0,
        hurt=1,
        onset_ticks=8,
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / name
        write(fleet, folder)
        plan, policy = load_rollout(folder / "rollout.yaml"), load_policy(folder / "policy.yaml")
        onset = load_truth(folder / "truth.yaml").onset
        batches = list(samples_of(folder).read())
    assert onset is not None
    tick_ms = duration_ms(policy.tick)
    by_ms = shift_of(epoch_ms(plan.started), now + 2 * tick_ms, tick_ms)
    moved = shifted((marked(batch, name) for batch in batches), by_ms)
    return Rehearsal(
        _planned(plan, name, by_ms),
        replace(policy, policy=DRILL_KIND, metrics=[_named(each) for each in policy.metrics if each.name in _METRICS]),
        frames_of(moved, "arrow", spread_ms=tick_ms),
        now,
        epoch_ms(onset) + by_ms,
    )


def marked(samples: Samples, name: str) -> Samples:
    """Give samples names that nobody else has, and the label of a drill."""
    labels = {
        label: LabelColumn(column.codes, [f"{_RENAMED[label]}{value}" for value in column.values])
        if label in _RENAMED
        else column
        for label, column in samples.labels.items()
    }
    labels[LABEL] = LabelColumn(np.zeros(len(samples.time), np.int32), [name])
    return Samples(samples.time, samples.value, labels)


def _planned(plan: Rollout, name: str, by_ms: int) -> Rollout:
    from holdfast.commands.produce import moved_by

    stages = [
        replace(
            stage,
            canary={**stage.canary, LABEL: name},
            control={**(stage.control or {}), LABEL: name},
            settle="0s",
        )
        for stage in plan.stages
    ]
    package = [Unit(unit="nothing", kind=DRILL_KIND, digest=plan.package[0].digest)]
    return moved_by(replace(plan, rollout=name, stages=stages, package=package, policy=DRILL_KIND), by_ms)


def _named(metric: Metric) -> Metric:
    if metric.ratio is not None:
        return replace(metric, ratio=Ratio(bad=f"{_METRIC}{metric.ratio.bad}", total=f"{_METRIC}{metric.ratio.total}"))
    assert metric.counter is not None
    return replace(metric, counter=f"{_METRIC}{metric.counter}")
