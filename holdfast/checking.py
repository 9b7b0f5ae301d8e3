"""Checking a policy before a rollout: what can be seen, how soon, and what stands in the way."""

import math
from pathlib import Path

import msgspec
import numpy as np

from detectors.comparisons import COLO, FLEET
from detectors.errors import BadInput
from holdfast.advice import findings
from holdfast.recording.folder import load_documents, require_folder
from holdfast.recording.samples import samples_of
from holdfast.report import Check, Expected, MetricCheck, Past, Seen, Trial
from holdfast.setting import setting_of
from streams.checking import Ahead, look_ahead
from streams.prospect import as_fraction
from streams.replay import moment
from streams.running import Running
from streams.wording import tolerated


def check_recording(policy_path: Path, path: Path, stage: str | None = None) -> Check:
    """Tell from the past in a recording what a policy will see of its rollout.

    Parameters
    ----------
    policy_path
        The policy.
    path
        The folder of the recording; its own policy.yaml is not read.
    stage
        Name of the stage to look at, the first one by default.

    Raises
    ------
    BadInput
        If the documents or the metrics cannot be used, there is no such stage, or nothing lies before it.
    """
    require_folder(path)
    rollouts, policy, _ = load_documents(path, policy_path, check=False)
    place = path / "rollout.yaml"
    rollout = rollouts[place]
    names = [one.name for one in rollout.stages]
    if stage is not None and stage not in names:
        msg = f"{place}: no stage is named {stage!r}; there are: {', '.join(names)}"
        raise BadInput(msg)
    index = names.index(stage) if stage is not None else 0
    setting = setting_of(place, rollouts, policy_path, policy)
    ahead = look_ahead(samples_of(path), setting, index)
    running, prospect, tick_ms = ahead.running, ahead.prospect, setting.tick_ms
    metrics = [_metric(ahead, number) for number in range(len(running.plan.metrics))]
    trial, is_erratic = prospect.placebo, bool(running.erratic.any())
    placebo = None
    if trial is not None:
        blamed = [running.plan.metrics[number] for number in sorted(trial.metrics)]
        colos = [running.pairing.colos[place] for place in trial.colos]
        placebo = Trial(ticks=trial.ticks, ticks_before=trial.ticks_before, metrics=blamed, colos=colos)
    check = Check(
        recording=str(path),
        rollout=rollout.rollout,
        policy=policy.policy,
        stage=running.stage.name,
        started=None if ahead.start is None else moment(ahead.start * tick_ms),
        tick_s=tick_ms / 1_000,
        bake_ticks=running.stage.bake,
        deadline_ticks=running.stage.deadline,
        horizon_ticks=prospect.horizon,
        advance=policy.advance,
        past=Past(
            first=moment(ahead.first * tick_ms),
            last=moment((ahead.stop - 1) * tick_ms),
            ticks=ahead.stop - ahead.first,
            ticks_min=policy.pre_period.ticks_min,
        ),
        is_comparable=False if is_erratic else None if trial is None else not trial.metrics,
        is_erratic=is_erratic,
        placebo=placebo,
        expected=_expected(ahead, metrics),
        metrics=metrics,
        findings=[],
    )
    return msgspec.structs.replace(check, findings=findings(check))


def _metric(ahead: Ahead, metric: int) -> MetricCheck:
    running, prospect = ahead.running, ahead.prospect
    pairing, tests = running.pairing, running.pairing.tests
    own = np.flatnonzero(running.metric[tests.strand[: tests.comparisons]] == metric)
    fleet = np.flatnonzero((running.metric[tests.strand] == metric) & (tests.level == FLEET))
    is_there = bool(prospect.pace[metric] > 0)
    effect = float(prospect.excludable[metric]) if prospect.is_noisy[metric] else math.inf
    colos = prospect.visible(prospect.horizon, metric, COLO)
    best, worst = (pick(colos, key=lambda name: colos[name], default=None) for pick in (min, max))
    way = "counting" if prospect.is_counted(metric) else "score"
    return MetricCheck(
        metric=running.plan.metrics[metric],
        scale=_scale(ahead, metric, fleet),
        judged=way if is_there else "not",
        tolerated=tolerated(running, int(fleet[0])) if len(fleet) else "",
        smallest_visible_after_bake=_finite(prospect.visible(running.stage.bake, metric).get("")),
        smallest_visible=_finite(prospect.visible(prospect.horizon, metric).get("")),
        best_colo=None if best is None else Seen(colo=best, smallest=_finite(colos[best])),
        worst_colo=None if worst is None else Seen(colo=worst, smallest=_finite(colos[worst])),
        ticks_to_exclude=prospect.ticks_until(metric) if is_there else None,
        ticks_to_advance=prospect.ticks_needed(metric),
        excludable=_finite(_fraction(running, fleet, effect)),
        is_required=bool(running.decision.rules.required[metric]),
        is_noisy=bool(prospect.is_noisy[metric]),
        coverage=float(prospect.pace[metric]),
        colos_without_past=_named(ahead, own[~running.evidence.usable[own]]),
        colos_without_control=_named(ahead, own[pairing.matched[own]]),
        colos_not_compared=sorted(set(pairing.colos) - set(_named(ahead, own))),
    )


def _scale(ahead: Ahead, metric: int, fleet: np.typing.NDArray[np.intp]) -> str:
    """Say what the figures of a metric are: shares of bad events, or parts of what is usual, or of its past's size."""
    if ahead.prospect.is_counted(metric):
        return "share"
    return "relative" if ahead.running.evidence.test_is_log[fleet].all() else "past"


def _fraction(running: Running, fleet: np.typing.NDArray[np.intp], effect: float) -> float:
    """Turn an effect into the relative tolerance that a policy would state for it, of a histogram on its quantile."""
    named = fleet[running.named[running.pairing.tests.strand[fleet]]]
    return float(as_fraction(running, named, np.full(len(named), effect)).min(initial=math.inf))


def _named(ahead: Ahead, tests: np.typing.NDArray[np.intp]) -> list[str]:
    pairing = ahead.running.pairing
    return sorted({pairing.colos[place] for place in pairing.tests.place[tests]})


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _expected(ahead: Ahead, metrics: list[MetricCheck]) -> Expected:
    """Tell what the stage comes to if nothing happens.

    That is `advance`, a `halt` at the deadline, `wait` for good, or `refused` where the past is too short to begin.
    """
    rules, required = ahead.running.decision.rules, ahead.running.plan.policy.pre_period
    if required.required and ahead.stop - ahead.first < required.ticks_min:
        return Expected(action="refused", ticks=None, held_by=[])
    limit = math.inf if rules.deadline is None else rules.deadline
    needed = [math.inf if one.ticks_to_advance is None else one.ticks_to_advance for one in metrics]
    latest = max(needed)
    late = [one.metric for one, ticks in zip(metrics, needed, strict=True) if ticks > rules.bake]
    if latest <= limit and math.isfinite(latest):
        return Expected(action="advance", ticks=int(latest), held_by=late)
    held = [one.metric for one, ticks in zip(metrics, needed, strict=True) if ticks > limit or math.isinf(ticks)]
    stopped = None if rules.deadline is None else rules.deadline + 1
    return Expected(action="wait" if stopped is None else "halt", ticks=stopped, held_by=held)
