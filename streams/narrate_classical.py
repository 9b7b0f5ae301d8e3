"""From a look of the classical judge to a verdict that a person can read."""

import math
from typing import Final

import numpy as np

from detectors.classical import Label
from detectors.classical.look import Look
from detectors.decision import COVERAGE_MIN, Tick
from detectors.verdict import Abstained, Reason, Samples, Scope, Verdict
from streams.abstaining import came_late, no_data
from streams.apart import drops
from streams.classical import ClassicalRunning

_LABELS: Final = {
    Label.PASS: "passes",
    Label.HIGH: "fails, high",
    Label.LOW: "fails, low",
    Label.NODATA: "a side has no sample",
    Label.NODATA_FAIL: "fails, since it must have data and a side has none",
    Label.ERROR: "its samples cannot be compared",
}


def narrate_classical(running: ClassicalRunning, tick: Tick, sequence: int) -> Verdict:
    """Put a decision of the classical judge into words.

    Parameters
    ----------
    running, tick
        The stage, and what was decided on.
    sequence
        Number of the verdict within its rollout.
    """
    plan, decision = running.plan, running.decision
    stopped = decision.action in ("halt", "revert") and decision.cause != "deadline"
    metrics = decision.blamed if stopped else list(range(len(plan.metrics)))
    speaks = running.look is not None and (stopped or decision.action == "advance")
    reasons = [_reason(running, running.look, metric) for metric in metrics] if speaks and running.look else []
    if decision.cause == "objective" and not reasons:
        reasons = [_missed(running, metric) for metric in metrics]
    colos = [running.pairing.colos[i] for i in sorted(running.hurt)] if stopped else running.pairing.colos
    if decision.cause == "traffic":
        colos = sorted({running.totals.colos[place] for place in running.fallen})
        reasons = drops(running, None, np.zeros(len(running.pairing.tests)))
    return Verdict(
        sequence=sequence,
        action=decision.action,
        cause=decision.cause,
        stage=running.stage.name,
        binding=plan.binding,
        scope=Scope(colos=colos, metrics=[plan.metrics[metric] for metric in metrics]),
        reasons=reasons,
        abstained=_abstained(running, tick, is_open=not stopped),
        policy=plan.policy_digest,
        engine=plan.engine,
        judge="classical",
    )


def _reason(running: ClassicalRunning, look: Look, metric: int) -> Reason:
    """Put one metric of a look into words; `e_value` is 1, no evidence, for this judge has none."""
    found, name = look.judgement, running.plan.metrics[metric]
    canary, control = float(found.canary_mean[metric]), float(found.control_mean[metric])
    ends = [float(end[metric]) for end in (found.shift.estimate, found.shift.lower, found.shift.upper)]
    effect, lower, upper = (_relative(end, control) for end in ends)
    label = Label(int(found.label[metric]))
    is_ratio = running.strands[metric].is_ratio
    words = f"{_subject(running, metric)} over all colos {_LABELS[label]}"
    if not math.isnan(ends[0]):
        words += (
            f": {_number(canary, is_ratio)} on the canary, {_number(control, is_ratio)} on the control, "
            f"{_effect_size(running, look, metric)}. The shift is {_number(ends[0], is_ratio)}, between "
            f"{_number(ends[1], is_ratio)} and {_number(ends[2], is_ratio)} if one looks once (Hodges-Lehmann, "
            f"Mann-Whitney at {100 * running.given.confidence:.4g} %). Tolerated is "
            f"{_number(_tolerated(running, metric, control), is_ratio)}"
        )
    if running.decision.cause == "objective":
        words += f". {_objective(running, metric)}"
    canaries, controls = int(found.canary_count[metric]), int(found.control_count[metric])
    return Reason(
        metric=name,
        colo=None,
        effect=effect,
        interval=(lower, upper),
        e_value=1.0,
        samples=Samples(canary=float(canaries), control=float(controls)),
        sentence=f"{words}. {_score(running, look)} Seen on {canaries} canary and {controls} control ticks.",
    )


def _missed(running: ClassicalRunning, metric: int) -> Reason:
    """Say that an objective was missed before there was a look."""
    return Reason(
        metric=running.plan.metrics[metric],
        colo=None,
        effect=None,
        interval=(None, None),
        e_value=1.0,
        samples=Samples(canary=float(running.ticks_sampled), control=float(running.ticks_sampled)),
        sentence=f"{_subject(running, metric)} over all colos: {_objective(running, metric)}.",
    )


def _score(running: ClassicalRunning, look: Look) -> str:
    given, score = running.given, look.score
    groups = ", ".join(
        f"{name} {'without data' if math.isnan(share) else f'{share:.4g}'}"
        for name, share in zip(running.panel.names, score.groups.tolist(), strict=True)
    )
    critical = [running.plan.metrics[i] for i in np.flatnonzero(look.judgement.critical)]
    failed = f"; critical: {', '.join(critical)}" if critical else "; too few metrics had data" if score.nodata else ""
    return (
        f"Score {float(score.total):.4g} at tick {look.age} (by group: {groups}{failed}), passing from "
        f"{given.passing:g}, marginal from {given.marginal:g}; this judge does not hold alpha."
    )


def _effect_size(running: ClassicalRunning, look: Look, metric: int) -> str:
    effect = float(look.judgement.effect[metric])
    shown = "cannot be told" if math.isnan(effect) else f"{effect:.3g}"
    is_chance = running.panel.settings[metric].effect_size == "cles"
    return f"{'chance that a canary tick is the higher one' if is_chance else 'mean ratio'} {shown}"


def _tolerated(running: ClassicalRunning, metric: int, control: float) -> float:
    settings = running.panel.settings[metric]
    return max(settings.tolerated_relative * abs(control), settings.tolerated_absolute)


def _objective(running: ClassicalRunning, metric: int) -> str:
    objective = running.plan.policy.metrics[metric].objective
    assert objective is not None
    return f"The objective, below {objective.below:g}, is missed in {objective.window} ticks"


def _subject(running: ClassicalRunning, metric: int) -> str:
    name, strand = running.plan.metrics[metric], running.strands[metric]
    if metric == len(running.plan.policy.metrics):
        return f"{name} ({running.plan.policy.unit}s that do not report)"
    return f"{name} (events beyond {strand.edge:g})" if strand.edge else name


def _relative(value: float, control: float) -> float | None:
    """Turn a shift into a change relative to the control's mean; None where there is none to refer to."""
    relative = value / abs(control) if control else math.nan
    return relative if math.isfinite(relative) else None


def _number(value: float, is_ratio: bool) -> str:
    return f"{100 * value:.3g} %" if is_ratio else f"{value:.4g}"


def _abstained(running: ClassicalRunning, tick: Tick, *, is_open: bool) -> list[Abstained]:
    """List what could not be judged or keeps a stage from advancing, and what failed though the score passes."""
    result = []
    for metric, name in enumerate(running.plan.metrics):
        parts = _why_not(running, tick, metric) if is_open else None, *came_late(running, metric)
        why = "; ".join(part for part in parts if part)
        if why:
            result.append(Abstained(metric=name, colo=None, minimum_detectable_effect=None, why=why))
    return result


def _why_not(running: ClassicalRunning, tick: Tick, metric: int) -> str | None:
    look, given = running.look, running.given
    if running.fleet[metric] < 0:
        return "no canary stands against a control for it"
    if not tick.has_data[metric]:
        return no_data(running, metric)
    if tick.age < running.stage.bake:
        return None
    if tick.coverage[metric] < COVERAGE_MIN:
        return f"only {tick.coverage[metric]:.0%} of the ticks had data on both sides"
    if look is None:
        return f"not looked at yet: a look takes {given.ticks_min} ticks, and there are {running.ticks_sampled}"
    label = Label(int(look.judgement.label[metric]))
    if label == Label.PASS:
        return None
    score = f"the score is {float(look.score.total):.4g}, passing from {given.passing:g}"
    return f"{_LABELS[label]} at tick {look.age}; {score}"
