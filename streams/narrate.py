"""From a decision to a verdict that a person can read: what, where, how much, how sure, on how much data."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import COLO, FLEET, Strand
from detectors.decision import ADVANCE_ALPHA, COVERAGE_MIN, Tick
from detectors.evidence import Evidence
from detectors.verdict import Abstained, Reason, Samples, Scope, Verdict
from streams.apart import COLOS_NAMED, drop, listed, moved, not_compared
from streams.running import Running

Array = NDArray[np.float64]

_WHOLE_FROM: Final = 10_000
"""Levels from here on are written out, without a fraction or a power of ten."""


@dataclass(frozen=True, slots=True)
class _View:
    """A stage at the end of a tick, with the arrays that sentences are made of [test]."""

    running: Running
    log_e: Array
    effect: Array
    radius: Array
    tolerance: tuple[Array, Array]
    visible: Array
    cut: NDArray[np.bool_]

    @property
    def evidence(self) -> Evidence:
        return self.running.evidence


def narrate(running: Running, tick: Tick, log_e: Array, sequence: int) -> Verdict:
    """Put a decision into words.

    Parameters
    ----------
    running, tick
        The stage, and what was decided on.
    log_e
        [test] Logarithms of the e-values.
    sequence
        Number of the verdict within its rollout.
    """
    plan, decision = running.plan, running.decision
    evidence = running.evidence
    alpha = plan.policy.alpha
    view = _View(
        running,
        log_e,
        evidence.mix.estimate()[0],
        evidence.mix.radius(alpha),
        evidence.tolerance(),
        evidence.smallest_visible(alpha),
        evidence.is_cut(),
    )
    stopped = decision.action in ("halt", "revert") and decision.cause in ("evidence", "objective", "traffic")
    colos = [running.pairing.colos[i] for i in sorted(running.hurt)] if stopped else running.pairing.colos
    if decision.cause == "traffic":
        colos = sorted({running.totals.colos[place] for place in running.fallen})
        reasons = [drop(running, log_e, place) for place in sorted(running.fallen)[:COLOS_NAMED]]
    elif decision.cause == "objective":
        missed = [test for test in _fleet_tests(view) if _metric_of(view, test) in decision.blamed]
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
        abstained=_abstained(view, tick, is_open=not stopped),
        policy=plan.policy_digest,
        engine=plan.engine,
    )


def _fleet_tests(view: _View) -> list[int]:
    return [int(test) for test in view.running.pairing.tests.fleet()]


def _tests_of(view: _View, metric: int, level: int) -> NDArray[np.intp]:
    tests = view.running.pairing.tests
    return np.flatnonzero((view.running.metric[tests.strand] == metric) & (tests.level == level))


def _against(view: _View, metric: int, colos: list[str]) -> list[Reason]:
    """Give the reasons against a rollout by one metric: the fleet's, and those of the colos hurt most."""
    fleet = _tests_of(view, metric, FLEET)
    chosen = [int(fleet[np.argmax(view.log_e[fleet])])] if len(fleet) else []
    pairing = view.running.pairing
    local = [int(t) for t in _tests_of(view, metric, COLO) if pairing.colos[pairing.tests.place[t]] in colos]
    local = [t for t in sorted(local, key=lambda t: -view.log_e[t]) if view.log_e[t] > 0]
    best: dict[int, int] = {}
    for test in local:
        best.setdefault(int(pairing.tests.place[test]), test)
    named = list(best.values())[:COLOS_NAMED]
    if not named or view.log_e[chosen[0]] > 0:
        named = [*chosen, *named]
    return [_reason(view, test, f"Tolerated is {_allowed(view, test)}") for test in named]


def _cleared(view: _View, test: int, tick: Tick) -> str:
    """Say what was excluded when the stage advanced."""
    metric, threshold = _metric_of(view, test), -math.log(ADVANCE_ALPHA)
    allowed = _allowed(view, test)
    if tick.log_e_within[metric] >= threshold:
        return f"More than the tolerated {allowed} is excluded"
    if tick.log_e_doubling[metric] >= threshold:
        return f"A doubling is excluded; more than the tolerated {allowed} could not be"
    return f"More than the tolerated {allowed} is not excluded; the policy asks for exposure alone"


def _objective(view: _View, test: int) -> str:
    metric = view.running.plan.policy.metrics[_metric_of(view, test)]
    assert metric.objective is not None
    return f"The objective, below {metric.objective.below:g}, is missed in {metric.objective.window} ticks"


def _metric_of(view: _View, test: int) -> int:
    return _strand_of(view, test).metric


def _strand_of(view: _View, test: int) -> Strand:
    pairing = view.running.pairing
    return pairing.strands[int(pairing.tests.strand[test])]


def _reason(view: _View, test: int, conclusion: str) -> Reason:
    """Put one test into words."""
    evidence, pairing = view.evidence, view.running.pairing
    tests = pairing.tests
    is_log = bool(evidence.test_is_log[test])
    is_counted = bool(evidence.is_sparse[test])
    effect, radius = float(view.effect[test]), float(view.radius[test])
    interval = (None, None) if is_counted else (_shown(effect - radius, is_log), _shown(effect + radius, is_log))
    if view.cut[test] and not is_counted:  # the effect is cut: its bound away from zero is not one
        interval = (interval[0], None) if effect > 0 else (None, interval[1])
    colo = place = pairing.colos[tests.place[test]] if tests.level[test] == COLO else None
    live = evidence.live
    if place is not None and pairing.matched[test]:
        place += " (against other colos, as it has no control of its own)"
    words = _counted_sentence(view, test, place) if is_counted else _sentence(view, test, place)
    return Reason(
        metric=view.running.plan.metrics[_metric_of(view, test)],
        colo=colo,
        effect=None if is_counted else _shown(effect, is_log),
        interval=interval,
        e_value=math.exp(min(float(view.log_e[test]), 690.0)),
        samples=Samples(canary=float(live.canary_of[test]), control=float(live.control_of[test])),
        sentence=f"{words} {conclusion}. {_amount(view, test)}.",
        scale="relative" if is_log else "past",
    )


def _sentence(view: _View, test: int, place: str | None) -> str:
    evidence = view.evidence
    strand = _strand_of(view, test)
    is_log = bool(evidence.test_is_log[test])
    effect, radius = float(view.effect[test]), float(view.radius[test])
    canary, control = (
        _level(evidence.live.canary, evidence.live.canary_of, test),
        _level(evidence.live.control, evidence.live.control_of, test),
    )
    predicted = _predicted(view, test, canary, control)
    low, high = _change(effect - radius, is_log), _change(effect + radius, is_log)
    sure = f"between {low} and {high} at every look" if math.isfinite(radius) else "with no bound yet"
    if view.cut[test]:
        sure = "ticks beyond what one alone may show being cut to that, so that more is likely"
    return (
        f"{_subject(view, test)} {_where(place)}: {_number(canary, strand.is_ratio)} on the canary, where "
        f"{_number(predicted, strand.is_ratio)} was to be expected from its past and the control "
        f"(now {_number(control, strand.is_ratio)}). That is {_change(effect, is_log)}, {sure}."
    )


def _predicted(view: _View, test: int, canary: float, control: float) -> float:
    """Return what was to be expected of the canary: as the effect says, or by the plain sums where that was cut."""
    evidence = view.evidence
    effect, is_log = float(view.effect[test]), bool(evidence.test_is_log[test])
    if not view.cut[test]:
        return canary / math.exp(effect) if is_log else canary - effect * float(evidence.test_scale[test])
    then = _level(evidence.past.canary, evidence.past.canary_of, test)
    other = _level(evidence.past.control, evidence.past.control_of, test)
    if is_log and other > 0 and math.isfinite(then):
        return control * then / other
    return control + then - other


def _counted_sentence(view: _View, test: int, place: str | None) -> str:
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


def _subject(view: _View, test: int) -> str:
    plan, strand = view.running.plan, _strand_of(view, test)
    name = plan.metrics[strand.metric]
    if strand.metric == len(plan.policy.metrics):
        return f"{name} ({plan.policy.unit}s that do not report)"
    return f"{name} (events beyond {strand.edge:g})" if strand.edge else name


def _where(place: str | None) -> str:
    return f"in {place}" if place else "over all colos"


def _amount(view: _View, test: int) -> str:
    """Say on how much data a reason stands."""
    evidence = view.evidence
    strand = _strand_of(view, test)
    unit = "events" if strand.is_ratio else "values"
    if strand.metric == len(view.running.plan.policy.metrics):
        unit = "expected reports"
    canary, control = evidence.live.canary_of[test], evidence.live.control_of[test]
    ticks = evidence.ticks_live
    return f"Seen on {canary:,.0f} canary and {control:,.0f} control {unit} in {ticks} tick{'s' if ticks != 1 else ''}"


def _level(total: Array, count: Array, test: int) -> float:
    return float(total[test] / count[test]) if count[test] > 0 else math.nan


def _shown(effect: float, is_log: bool) -> float | None:
    """Turn an effect into a relative change; None stands for unbounded."""
    value = (math.expm1(effect) if effect < 700 else math.inf) if is_log else effect
    return value if math.isfinite(value) else None


def _change(effect: float, is_log: bool) -> str:
    value = _shown(effect, is_log)
    if value is None:
        return "an unbounded change"
    return f"{value:+.1%}" if abs(value) < 10 else f"x{1 + value:,.0f}"


def _allowed(view: _View, test: int) -> str:
    up, down = (float(side[test]) for side in view.tolerance)
    if not math.isfinite(up):
        return f"{float(view.evidence.absolute[test]):g} in absolute terms"
    is_log = bool(view.evidence.test_is_log[test])
    strand = _strand_of(view, test)
    if strand.up and strand.down:
        return f"{_change(-down, is_log)} to {_change(up, is_log)}"
    return _change(up, is_log) if strand.up else _change(-down, is_log)


def _number(value: float, is_ratio: bool) -> str:
    if is_ratio:
        return f"{100 * value:.3g} %"
    return f"{value:,.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.3g}"


def _abstained(view: _View, tick: Tick, *, is_open: bool) -> list[Abstained]:
    """List what could not be judged, and what keeps an open stage from advancing, with what could be seen by now."""
    running = view.running
    result = []
    for metric, name in enumerate(running.plan.metrics):
        tests = _tests_of(view, metric, FLEET)
        why = _without_past(view, metric)
        if why is None and is_open:
            why = _why_not(running, tick, metric, bool(len(tests)), -math.log(ADVANCE_ALPHA))
            result += not_compared(running, metric) if why is None or not running.unlike[metric] else []
        if why is None:
            continue
        visible = min((float(view.visible[t]) for t in tests), default=math.inf)
        is_log = bool(len(tests)) and bool(view.evidence.test_is_log[tests[0]])
        result.append(Abstained(metric=name, colo=None, minimum_detectable_effect=_shown(visible, is_log), why=why))
    return result


def _no_data(running: Running, metric: int) -> str:
    tests, pairing = running.pairing.tests, running.pairing
    own = running.metric[tests.strand[: tests.comparisons]] == metric
    unit = running.plan.policy.unit
    if running.silent[metric] > running.plan.policy.gap_ticks_max or not running.missing[own].any():
        return f"no data on canary or control for {int(running.silent[metric])} ticks"
    colos = sorted({pairing.colos[place] for place in tests.place[: tests.comparisons][own & running.missing]})
    if metric == len(running.plan.policy.metrics):
        return f"no {unit} of {listed(colos)} reports any more, canary or control"
    return f"required, and missing from {listed(colos)}, whose canaries do report"


def _without_past(view: _View, metric: int) -> str | None:
    """Say where a metric has no past to be measured against."""
    running, tests = view.running, view.running.pairing.tests
    least = running.plan.policy.pre_period.ticks_min
    own = np.flatnonzero(running.metric[tests.strand[: tests.comparisons]] == metric)
    if running.ticks_past < least and len(own) and running.pairing.is_ratio[own[0]]:
        return f"judged without a past ({running.ticks_past} ticks): against what the control shows alone"
    lacking = own[~view.evidence.usable[own]]
    if not len(lacking):
        return None
    colos = sorted({running.pairing.colos[tests.place[test]] for test in lacking})
    return f"no past of {least} ticks to learn its noise from in {listed(colos)}: not judged there"


def _why_not(running: Running, tick: Tick, metric: int, is_compared: bool, threshold: float) -> str | None:
    if not is_compared:
        return "no canary stands against a control for it"
    if not tick.has_data[metric]:
        return _no_data(running, metric)
    if running.unlike[metric]:
        return f"the control moved suddenly and alone{moved(running, metric)}: not comparable until it settles"
    if tick.is_sick[metric]:
        return "the control got worse than its own past while the canary did not: not comparable"
    if tick.age < running.stage.bake:
        return None
    if tick.coverage[metric] < COVERAGE_MIN:
        return f"only {tick.coverage[metric]:.0%} of the ticks had data on both sides that could be compared"
    if tick.log_e_within[metric] < threshold:
        return "a degradation beyond the tolerance is not excluded yet"
    return None
