"""From a decision to a verdict that a person can read: what, where, how much, how sure, on how much data."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import COLO, FLEET
from detectors.decision import ADVANCE_ALPHA, Tick
from detectors.verdict import Reason, Samples, Scope, Verdict
from streams.abstaining import abstained
from streams.apart import drops
from streams.decisive import decisive
from streams.prospect import Prospect
from streams.quantiles import Change, quantile_change, unit_of
from streams.running import Running
from streams.wording import (
    COLOS_NAMED,
    View,
    as_change,
    change_in_words,
    inseparable,
    metric_of,
    number,
    shown,
    strand_of,
    tests_of,
    tolerated,
)

Array = NDArray[np.float64]

_ROUNDING: Final = 0.1
"""Changes by the plain sums and by the evidence are told apart from this difference of their logarithms on."""


def narrate(running: Running, prospect: Prospect, tick: Tick, log_e: Array, sequence: int) -> Verdict:
    """Put a decision into words.

    Parameters
    ----------
    running, prospect, tick
        The stage, what was to be expected of it, and what was decided on.
    log_e
        [test] Logarithms of the e-values.
    sequence
        Number of the verdict within its rollout.
    """
    plan, decision = running.plan, running.decision
    evidence = running.evidence
    alpha = plan.policy.alpha
    view = View(
        running,
        prospect,
        log_e,
        evidence.portfolio.estimate()[0],
        evidence.portfolio.radius(alpha),
        np.where(evidence.is_sparse, np.inf, evidence.smallest_visible(alpha)),
        evidence.is_cut(),
        tick.age,
    )
    stopped = decision.action in ("halt", "revert") and decision.cause in ("evidence", "objective", "traffic")
    colos = [running.pairing.colos[i] for i in sorted(running.hurt)] if stopped else running.pairing.colos
    if decision.cause == "traffic":
        colos = sorted({running.totals.colos[place] for place in running.fallen})
        reasons = drops(running, evidence.live, log_e)
    elif decision.cause == "objective":
        missed = [test for test in _fleet_tests(view) if metric_of(view, test) in decision.blamed]
        reasons = [_reason(view, test, _objective(view, test)) for test in missed]
    elif stopped:
        reasons = [reason for metric in decision.blamed for reason in _against(view, metric, colos)]
    elif decision.action == "advance":
        reasons = [_reason(view, test, _cleared(view, test, tick)) for test in _fleet_tests(view)]
    else:
        reasons = []
    blamed = [plan.metrics[i] for i in decision.blamed] if stopped else plan.metrics
    return Verdict(
        sequence=sequence,
        action=decision.action,
        cause=decision.cause,
        stage=running.stage.name,
        binding=plan.binding,
        scope=Scope(colos=colos, metrics=blamed),
        reasons=reasons,
        abstained=abstained(view, tick, is_open=not stopped),
        policy=plan.policy_digest,
        engine=plan.engine,
    )


def _fleet_tests(view: View) -> list[int]:
    """List the fleet's tests, one a metric: of a histogram the edge at its own quantile that is known best."""
    best: dict[int, int] = {}
    for test in view.running.pairing.tests.fleet().tolist():
        metric = metric_of(view, test)
        is_named = view.running.named[view.running.pairing.tests.strand[test]]
        if is_named and (metric not in best or view.radius[test] < view.radius[best[metric]]):
            best[metric] = test
    return list(best.values())


def _against(view: View, metric: int, colos: list[str]) -> list[Reason]:
    """Give the reasons against a rollout by one metric: the fleet's, and those of the colos hurt most."""
    fleet = tests_of(view, metric, FLEET)
    chosen = [int(fleet[np.argmax(view.log_e[fleet])])] if len(fleet) else []
    pairing = view.running.pairing
    local = [int(t) for t in tests_of(view, metric, COLO) if pairing.colos[pairing.tests.place[t]] in colos]
    local = [t for t in sorted(local, key=lambda t: -view.log_e[t]) if view.log_e[t] > 0]
    best: dict[int, int] = {}
    for test in local:
        best.setdefault(int(pairing.tests.place[test]), test)
    named = list(best.values())[:COLOS_NAMED]
    if not named or view.log_e[chosen[0]] > 0:
        named = [*chosen, *named]
    return [_reason(view, test, f"Tolerated is {tolerated(view.running, test)}") for test in named]


def _cleared(view: View, test: int, tick: Tick) -> str:
    """Say what was excluded when the stage advanced."""
    metric, threshold = metric_of(view, test), -math.log(ADVANCE_ALPHA)
    allowed = tolerated(view.running, test)
    if tick.log_e_within[metric] >= threshold:
        return f"More than the tolerated {allowed} is excluded"
    if tick.log_e_doubling[metric] >= threshold:
        doubling = "Twice as many events beyond it are" if strand_of(view.running, test).quantile else "A doubling is"
        return f"{doubling} excluded; more than the tolerated {allowed} could not be"
    return f"More than the tolerated {allowed} is not excluded; the policy asks for exposure alone"


def _objective(view: View, test: int) -> str:
    metric = view.running.plan.policy.metrics[metric_of(view, test)]
    assert metric.objective is not None
    return f"The objective, below {metric.objective.below:g}, is missed in {metric.objective.window} ticks"


def _reason(view: View, test: int, conclusion: str) -> Reason:
    """Put one test into words."""
    evidence, pairing = view.evidence, view.running.pairing
    tests = pairing.tests
    is_counted = bool(evidence.is_sparse[test])
    change = _quantile_change(view, test) if strand_of(view.running, test).quantile else _level_change(view, test)
    colo = place = pairing.colos[tests.place[test]] if tests.level[test] == COLO else None
    live = evidence.live
    if place is not None and pairing.stratum[test]:
        place += f" (among {view.running.plan.policy.unit}s {pairing.stratum[test]})"
    if place is not None and pairing.matched[test]:
        place += " (against other colos, as it has no control of its own)"
    words = _counted_sentence(view, test, place) if is_counted else _sentence(view, test, place, change)
    if view.running.decision.action in ("halt", "revert"):
        words += decisive(view, test, change.effect)
    return Reason(
        metric=view.running.plan.metrics[metric_of(view, test)],
        colo=colo,
        effect=None if is_counted else change.effect,
        interval=(None, None) if is_counted else change.interval,
        e_value=math.exp(min(float(view.log_e[test]), 690.0)),
        samples=Samples(canary=float(live.canary_of[test]), control=float(live.control_of[test])),
        sentence=f"{words} {conclusion}. {_amount(view, test)}.{_either(view, test)}",
        scale="relative" if evidence.test_is_log[test] else "past",
    )


def _either(view: View, test: int) -> str:
    """Name the rollouts that may as well be behind a stop."""
    is_stop = view.running.decision.action in ("halt", "revert")
    names = view.confounders(metric_of(view, test)) if is_stop else []
    return f" {inseparable(view, names)}: either may be behind it." if names else ""


def _level_change(view: View, test: int) -> Change:
    """Return the change of a ratio, gauge or rate."""
    evidence = view.evidence
    is_ratio, is_log = strand_of(view.running, test).is_ratio, bool(evidence.test_is_log[test])
    effect, radius = float(view.effect[test]), float(view.radius[test])
    canary = _level(evidence.live.canary, evidence.live.canary_of, test)
    control = _level(evidence.live.control, evidence.live.control_of, test)
    levels = canary, _predicted(view, test, canary, control), control
    interval = shown(effect - radius, is_log), shown(effect + radius, is_log)
    if view.cut[test]:  # the effect is cut: its bound away from zero is not one
        interval = (interval[0], None) if effect > 0 else (None, interval[1])
    one, two, three = (number(level, is_ratio) for level in levels)
    return Change((one, two, three), shown(effect, is_log), interval)


def _quantile_change(view: View, test: int) -> Change:
    """Return the change of the quantile that the test's edge stands for."""
    strand, running = strand_of(view.running, test), view.running
    tails = running.histograms.of(test)
    name = running.plan.policy.metrics[strand.metric].histogram or ""
    effect, radius, is_cut = float(view.effect[test]), float(view.radius[test]), bool(view.cut[test])
    return quantile_change(tails, strand.edge, strand.quantile, (effect, radius), is_cut=is_cut, unit=unit_of(name))


def _sentence(view: View, test: int, place: str | None, change: Change) -> str:
    canary, predicted, control = change.levels
    quantile = strand_of(view.running, test).quantile
    name = f"p{100 * quantile:g} " if quantile else ""
    low, high = (as_change(end) for end in change.interval)
    sure = f"between {low} and {high} at every look" if math.isfinite(view.radius[test]) else "with no bound yet"
    if view.cut[test] and quantile:  # only the bound is made of what was cut
        sure = f"beyond {low if change.interval[1] is None else high} at every look"
    elif view.cut[test]:
        sure = "ticks beyond what one alone may show being cut to that, so that more is likely"
    moved = f"That is {as_change(change.effect)}, {sure}." if change.effect is not None or not quantile else ""
    plain = None if quantile else _exploded(view, test)
    if plain is not None:
        moved = (
            f"That is {change_in_words(plain, is_log=True)}. As evidence {as_change(change.effect)} counts, since what "
            "a single tick may show is bounded."
        )
    return (
        f"{_subject(view, test)} {_where(place)}: {name}{canary} on the canary, where "
        f"{predicted} was to be expected from its past and the control (now {control}). {moved}"
    ).rstrip()


def _predicted(view: View, test: int, canary: float, control: float) -> float:
    """Return what was to be expected of the canary: as the effect says, or by the plain sums where that was cut."""
    evidence = view.evidence
    effect, is_log = float(view.effect[test]), bool(evidence.test_is_log[test])
    if not view.cut[test] and _exploded(view, test) is None:
        return canary / math.exp(effect) if is_log else canary - effect * float(evidence.test_scale[test])
    return _by_sums(view, test, control)


def _by_sums(view: View, test: int, control: float) -> float:
    """Return what was to be expected of the canary by the plain sums."""
    evidence, is_log = view.evidence, bool(view.evidence.test_is_log[test])
    if strand_of(view.running, test).is_ratio and test < evidence.tests.comparisons:
        return control * math.exp(float(evidence.offset[test]))  # few events in the past say little by themselves
    then = _level(evidence.past.canary, evidence.past.canary_of, test)
    other = _level(evidence.past.control, evidence.past.control_of, test)
    if is_log and other > 0 and math.isfinite(then):
        return control * then / other
    return control + then - other


def _exploded(view: View, test: int) -> float | None:
    """Return the logarithm of a change by the plain sums if it is beyond what evidence can show of it, else None.

    A score of counts cannot exceed the inverse of the canary's share of the traffic, and a tick not what one alone may
    show. Once there are very many errors, estimate and bounds say far less than anybody can see.
    """
    live, effect = view.evidence.live, float(view.effect[test])
    canary, control = (_level(*side, test) for side in ((live.canary, live.canary_of), (live.control, live.control_of)))
    expected = _by_sums(view, test, control)
    if not view.evidence.test_is_log[test] or not (canary > 0 and expected > 0):
        return None
    plain = math.log(canary / expected)
    bound = abs(effect) if view.cut[test] else abs(effect) + float(view.radius[test])
    return plain if plain * effect > 0 and abs(plain) > bound + _ROUNDING else None


def _counted_sentence(view: View, test: int, place: str | None) -> str:
    live, past = view.evidence.live, view.evidence.past
    bad, of = live.canary[test], live.canary_of[test]
    control, control_of = (
        live.control[test] + past.control[test],
        live.control_of[test] + past.control_of[test],
    )
    return (
        f"{_subject(view, test)} {_where(place)}: {bad:,.0f} among {of:,.0f} on the canary; the control had "
        f"{control:,.0f} among {control_of:,.0f}, its past included."
    )


def _subject(view: View, test: int) -> str:
    plan, strand = view.running.plan, strand_of(view.running, test)
    name = plan.metrics[strand.metric]
    if strand.metric == len(plan.policy.metrics):
        return f"{name} ({plan.policy.unit}s that do not report)"
    return f"{name} (events beyond {strand.edge:g})" if view.evidence.is_sparse[test] and strand.edge else name


def _where(place: str | None) -> str:
    return f"in {place}" if place else "over all colos"


def _amount(view: View, test: int) -> str:
    """Say on how much data a reason stands."""
    evidence = view.evidence
    strand = strand_of(view.running, test)
    unit = "events" if strand.is_ratio else "values"
    if strand.metric == len(view.running.plan.policy.metrics):
        unit = "expected reports"
    canary, control = evidence.live.canary_of[test], evidence.live.control_of[test]
    ticks = evidence.ticks_live
    return f"Seen on {canary:,.0f} canary and {control:,.0f} control {unit} in {ticks} tick{'s' if ticks != 1 else ''}"


def _level(total: Array, count: Array, test: int) -> float:
    return float(total[test] / count[test]) if count[test] > 0 else math.nan
