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
from streams.begun import Begun
from streams.prospect import Prospect, as_fraction
from streams.quantiles import Change, quantile_change, unit_of
from streams.running import Running

Array = NDArray[np.float64]

_WHOLE_FROM: Final = 10_000
"""Levels from here on are written out, without a fraction or a power of ten."""

_SET_ASIDE_TOLD: Final = 0.01
"""Share of a cohort's histograms set aside from which on a verdict says so."""

COLOS_NAMED: Final = 3
"""Colos that get a reason of their own in a verdict; the scope names all."""


@dataclass(frozen=True, slots=True)
class _View:
    """A stage at the end of a tick, with the arrays that sentences are made of [test]."""

    running: Running
    prospect: Prospect
    log_e: Array
    effect: Array
    radius: Array
    visible: Array
    cut: NDArray[np.bool_]
    age: int

    @property
    def evidence(self) -> Evidence:
        return self.running.evidence

    def confounders(self, metric: int) -> list[str]:
        return self.running.confounders(metric, self.age)


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
    view = _View(
        running,
        prospect,
        log_e,
        evidence.portfolio.estimate()[0],
        evidence.portfolio.radius(alpha),
        np.where(evidence.is_sparse, np.inf, evidence.smallest_visible(alpha)),
        evidence.is_cut(),
        tick.age,
    )
    stopped = decision.action in ("halt", "revert") and decision.cause in ("evidence", "objective")
    colos = [running.pairing.colos[i] for i in sorted(running.hurt)] if stopped else running.pairing.colos
    if decision.cause == "objective":
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
    """List the fleet's tests, one a metric: of a histogram the edge at its own quantile that is known best."""
    best: dict[int, int] = {}
    for test in view.running.pairing.tests.fleet().tolist():
        metric = _metric_of(view, test)
        is_named = view.running.named[view.running.pairing.tests.strand[test]]
        if is_named and (metric not in best or view.radius[test] < view.radius[best[metric]]):
            best[metric] = test
    return list(best.values())


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
    return [_reason(view, test, f"Tolerated is {tolerated(view.running, test)}") for test in named]


def _cleared(view: _View, test: int, tick: Tick) -> str:
    """Say what was excluded when the stage advanced."""
    metric, threshold = _metric_of(view, test), -math.log(ADVANCE_ALPHA)
    allowed = tolerated(view.running, test)
    if tick.log_e_within[metric] >= threshold:
        return f"More than the tolerated {allowed} is excluded"
    if tick.log_e_doubling[metric] >= threshold:
        doubling = "Twice as many events beyond it are" if _strand_of(view.running, test).quantile else "A doubling is"
        return f"{doubling} excluded; more than the tolerated {allowed} could not be"
    return f"More than the tolerated {allowed} is not excluded; the policy asks for exposure alone"


def _objective(view: _View, test: int) -> str:
    metric = view.running.plan.policy.metrics[_metric_of(view, test)]
    assert metric.objective is not None
    return f"The objective, below {metric.objective.below:g}, is missed in {metric.objective.window} ticks"


def _metric_of(view: _View, test: int) -> int:
    return _strand_of(view.running, test).metric


def _strand_of(running: Running, test: int) -> Strand:
    pairing = running.pairing
    return pairing.strands[int(pairing.tests.strand[test])]


def _reason(view: _View, test: int, conclusion: str) -> Reason:
    """Put one test into words."""
    evidence, pairing = view.evidence, view.running.pairing
    tests = pairing.tests
    is_counted = bool(evidence.is_sparse[test])
    change = _quantile_change(view, test) if _strand_of(view.running, test).quantile else _level_change(view, test)
    colo = place = pairing.colos[tests.place[test]] if tests.level[test] == COLO else None
    live = evidence.live
    if place is not None and pairing.stratum[test]:
        place += f" (among {view.running.plan.policy.unit}s {pairing.stratum[test]})"
    if place is not None and pairing.matched[test]:
        place += " (against other colos, as it has no control of its own)"
    words = _counted_sentence(view, test, place) if is_counted else _sentence(view, test, place, change)
    return Reason(
        metric=view.running.plan.metrics[_metric_of(view, test)],
        colo=colo,
        effect=None if is_counted else change.effect,
        interval=(None, None) if is_counted else change.interval,
        e_value=math.exp(min(float(view.log_e[test]), 690.0)),
        samples=Samples(canary=float(live.canary_of[test]), control=float(live.control_of[test])),
        sentence=f"{words} {conclusion}. {_amount(view, test)}.{_either(view, test)}",
        scale="relative" if evidence.test_is_log[test] else "past",
    )


def _either(view: _View, test: int) -> str:
    """Name the rollouts that may as well be behind a stop."""
    is_stop = view.running.decision.action in ("halt", "revert")
    names = view.confounders(_metric_of(view, test)) if is_stop else []
    return f" {_inseparable(view, names)}: either may be behind it." if names else ""


def _inseparable(view: _View, names: list[str]) -> str:
    unit = view.running.plan.policy.unit
    return f"No {unit}s differ in this rollout without differing in {_listed(names)} too"


def _level_change(view: _View, test: int) -> Change:
    """Return the change of a ratio, gauge or rate."""
    evidence = view.evidence
    is_ratio, is_log = _strand_of(view.running, test).is_ratio, bool(evidence.test_is_log[test])
    effect, radius = float(view.effect[test]), float(view.radius[test])
    canary = _level(evidence.live.canary, evidence.live.canary_of, test)
    control = _level(evidence.live.control, evidence.live.control_of, test)
    levels = canary, _predicted(view, test, canary, control), control
    interval = _shown(effect - radius, is_log), _shown(effect + radius, is_log)
    if view.cut[test]:  # the effect is cut: its bound away from zero is not one
        interval = (interval[0], None) if effect > 0 else (None, interval[1])
    one, two, three = (_number(level, is_ratio) for level in levels)
    return Change((one, two, three), _shown(effect, is_log), interval)


def _quantile_change(view: _View, test: int) -> Change:
    """Return the change of the quantile that the test's edge stands for."""
    strand, running = _strand_of(view.running, test), view.running
    tails = running.histograms.of(test)
    name = running.plan.policy.metrics[strand.metric].histogram or ""
    effect, radius, is_cut = float(view.effect[test]), float(view.radius[test]), bool(view.cut[test])
    return quantile_change(tails, strand.edge, strand.quantile, (effect, radius), is_cut=is_cut, unit=unit_of(name))


def _sentence(view: _View, test: int, place: str | None, change: Change) -> str:
    canary, predicted, control = change.levels
    quantile = _strand_of(view.running, test).quantile
    name = f"p{100 * quantile:g} " if quantile else ""
    low, high = (_as_change(end) for end in change.interval)
    sure = f"between {low} and {high} at every look" if math.isfinite(view.radius[test]) else "with no bound yet"
    if view.cut[test] and quantile:  # only the bound is made of what was cut
        sure = f"beyond {low if change.interval[1] is None else high} at every look"
    elif view.cut[test]:
        sure = "ticks beyond what one alone may show being cut to that, so that more is likely"
    moved = f"That is {_as_change(change.effect)}, {sure}." if change.effect is not None or not quantile else ""
    return (
        f"{_subject(view, test)} {_where(place)}: {name}{canary} on the canary, where "
        f"{predicted} was to be expected from its past and the control (now {control}). {moved}"
    ).rstrip()


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
    plan, strand = view.running.plan, _strand_of(view.running, test)
    name = plan.metrics[strand.metric]
    if strand.metric == len(plan.policy.metrics):
        return f"{name} ({plan.policy.unit}s that do not report)"
    return f"{name} (events beyond {strand.edge:g})" if view.evidence.is_sparse[test] and strand.edge else name


def _where(place: str | None) -> str:
    return f"in {place}" if place else "over all colos"


def _amount(view: _View, test: int) -> str:
    """Say on how much data a reason stands."""
    evidence = view.evidence
    strand = _strand_of(view.running, test)
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
    return _as_change(_shown(effect, is_log))


def _as_change(value: float | None) -> str:
    if value is None:
        return "an unbounded change"
    return f"{value:+.1%}" if abs(value) < 10 else f"x{1 + value:,.0f}"


def tolerated(running: Running, test: int) -> str:
    """Write what is tolerated of a test by now."""
    up, down = (float(side[test]) for side in running.evidence.tolerance())
    strand = _strand_of(running, test)
    if strand.quantile:  # the policy's own words are about time, and what the test holds is about events
        allowed = running.plan.policy.metrics[strand.metric].tolerate
        up = math.log1p(max(allowed.relative, allowed.absolute / strand.edge))
        down = up
    if not math.isfinite(up):
        return f"{float(running.evidence.absolute[test]):g} in absolute terms"
    return worse(running, test, up, down)


def worse(running: Running, test: int, up: float, down: float) -> str:
    """Write effects of these sizes, in the directions that are worse."""
    is_log = bool(running.evidence.test_is_log[test])
    strand = _strand_of(running, test)
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
        visible = float(as_fraction(running, tests, view.visible[tests]).min(initial=math.inf))
        if why is None and is_open:
            why = _why_not(running, tick, metric, bool(len(tests)), -math.log(ADVANCE_ALPHA))
            if why is None and tick.age < running.stage.bake and view.prospect.is_noisy[metric]:
                why, visible = _too_noisy(view, metric, tests)
        parts = (why, _not_comparable(view, metric), *_beside(view, metric), _set_aside(running, metric))
        why = "; ".join(part for part in parts if part)
        if why:
            known = visible if math.isfinite(visible) else None
            result.append(Abstained(metric=name, colo=None, minimum_detectable_effect=known, why=why))
    return result


def _set_aside(running: Running, metric: int) -> str | None:
    """Say whose histograms could not be read, so that nobody takes the rest for all."""
    shares = running.histograms.set_aside(metric)
    told = [f"{share:.0%} of the {name}'s" for name, share in shares.items() if share >= _SET_ASIDE_TOLD]
    if not told:
        return None
    return f"{' and '.join(told)} histograms were set aside, as some of their buckets were missing or changed midway"


def _beside(view: _View, metric: int) -> list[str]:
    """Say what other rollouts keep from being judged: all of a metric, or some colos."""
    names = view.confounders(metric)
    said = [f"{_inseparable(view, names)}: they are judged as one"] if names else []
    unpaired = view.running.pairing.entangled.unpaired.get(metric, {})
    if unpaired:
        blocking = sorted({name for named in unpaired.values() for name in named})
        colos = _listed(sorted(unpaired))
        said.append(f"no control in {colos} differs in this rollout alone ({_listed(blocking)}): not judged there")
    return said


def _too_noisy(view: _View, metric: int, tests: NDArray[np.intp]) -> tuple[str, float]:
    """Say that a tolerance will not be excluded in time, and how large a degradation will be called by then."""
    prospect, running = view.prospect, view.running
    when = "the deadline" if running.stage.deadline else "twice the bake time"
    by = f"by {when} (tick {prospect.horizon:,})"
    visible = prospect.visible(prospect.horizon, metric).get("", math.inf)
    if prospect.is_counted(metric):
        called = f"; from {_number(visible, True)} bad events on it is called by then" if visible <= 1 else ""
        return f"judged by counting, and too few events to exclude more than is tolerated {by}{called}", math.inf
    effect, test = float(prospect.excludable[metric]), int(tests[running.named[running.pairing.tests.strand[tests]]][0])
    if math.isfinite(effect) and _strand_of(running, test).quantile:
        effect = float(np.log1p(as_fraction(running, np.array([test]), np.array([effect]))[0]))
    excluded = f"; more than {worse(running, test, effect, effect)} would be" if math.isfinite(effect) else ""
    return (
        f"too noisy: even without any effect more than the tolerated {tolerated(running, test)} "
        f"will not be excluded {by}{excluded}"
    ), visible


def _not_comparable(view: _View, metric: int) -> str | None:
    """Say where the past alone, judged as if it were live, would have been called a breach."""
    placebo = view.prospect.placebo
    if placebo is None or metric not in placebo.metrics:
        return None
    colos = _listed([view.running.pairing.colos[place] for place in placebo.colos])
    return (
        f"not comparable: the last {placebo.ticks} ticks before the start, judged by the {placebo.ticks_before} before "
        f"them, would have been a breach in {colos}, though nothing had changed"
    )


def no_data(running: Begun, metric: int) -> str:
    """Say since when a metric has had no data, or where it is missing though it is required."""
    tests, pairing = running.pairing.tests, running.pairing
    own = running.metric[tests.strand[: tests.comparisons]] == metric
    if running.silent[metric] > running.plan.policy.gap_ticks_max or not running.missing[own].any():
        return f"no data on canary or control for {int(running.silent[metric])} ticks"
    colos = sorted({pairing.colos[place] for place in tests.place[: tests.comparisons][own & running.missing]})
    return f"required, and missing from {_listed(colos)}, whose canaries do report"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - COLOS_NAMED} more" if len(names) > COLOS_NAMED else ""
    return ", ".join(names[:COLOS_NAMED]) + more


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
    return f"no past of {least} ticks to learn its noise from in {_listed(colos)}: not judged there"


def _why_not(running: Running, tick: Tick, metric: int, is_compared: bool, threshold: float) -> str | None:
    if not is_compared:
        return "no canary stands against a control for it"
    if not tick.has_data[metric]:
        return no_data(running, metric)
    if tick.is_sick[metric]:
        return "the control got worse than its own past while the canary did not: not comparable"
    if tick.age < running.stage.bake:
        return None
    if tick.coverage[metric] < COVERAGE_MIN:
        return f"only {tick.coverage[metric]:.0%} of the ticks had data on both sides"
    if tick.log_e_within[metric] < threshold:
        return "a degradation beyond the tolerance is not excluded yet"
    return None
