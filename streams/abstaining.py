"""What could not be judged, and what keeps an open stage from advancing, in words."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.comparisons import FLEET
from detectors.decision import ADVANCE_ALPHA, COVERAGE_MIN, Tick
from detectors.verdict import Abstained
from streams.apart import moved, not_compared
from streams.begun import Begun
from streams.prospect import as_fraction
from streams.running import Running
from streams.wording import View, inseparable, listed, number, strand_of, tests_of, tolerated, worse

_SET_ASIDE_TOLD: Final = 0.01
"""Share of a cohort's histograms set aside from which on a verdict says so."""


def abstained(view: View, tick: Tick, *, is_open: bool) -> list[Abstained]:
    """List what could not be judged, and what keeps an open stage from advancing, with what could be seen by now."""
    running = view.running
    result = []
    for metric, name in enumerate(running.plan.metrics):
        tests = tests_of(view, metric, FLEET)
        # Nothing of this tick is known, so that nothing else can be said of it.
        why = None if running.trouble and is_open else _without_past(view, metric)
        visible = float(as_fraction(running, tests, view.visible[tests]).min(initial=math.inf))
        if why is None and is_open:
            why = _why_not(running, tick, metric, bool(len(tests)), -math.log(ADVANCE_ALPHA))
            result += not_compared(running, metric) if why is None or not running.unlike[metric] else []
            if why is None and tick.age < running.stage.bake and view.prospect.is_noisy[metric]:
                why, visible = _too_noisy(view, metric, tests)
        beside = (_not_comparable(view, metric), *_beside(view, metric), _set_aside(running, metric))
        parts = (why, *beside, *came_late(running, metric))
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


def _beside(view: View, metric: int) -> list[str]:
    """Say what other rollouts keep from being judged: all of a metric, or some colos."""
    names = view.confounders(metric)
    said = [f"{inseparable(view, names)}: they are judged as one"] if names else []
    unpaired = view.running.pairing.entangled.unpaired.get(metric, {})
    if unpaired:
        blocking = sorted({name for named in unpaired.values() for name in named})
        colos = listed(sorted(unpaired))
        said.append(f"no control in {colos} differs in this rollout alone ({listed(blocking)}): not judged there")
    return said


def _too_noisy(view: View, metric: int, tests: NDArray[np.intp]) -> tuple[str, float]:
    """Say that a tolerance will not be excluded in time, and how large a degradation will be called by then."""
    prospect, running = view.prospect, view.running
    when = "the deadline" if running.stage.deadline else "twice the bake time"
    by = f"by {when} (tick {prospect.horizon:,})"
    visible = prospect.visible(prospect.horizon, metric).get("", math.inf)
    if prospect.is_counted(metric):
        called = f"; from {number(visible, True)} bad events on it is called by then" if visible <= 1 else ""
        return f"judged by counting, and too few events to exclude more than is tolerated {by}{called}", math.inf
    effect, test = float(prospect.excludable[metric]), int(tests[running.named[running.pairing.tests.strand[tests]]][0])
    if math.isfinite(effect) and strand_of(running, test).quantile:
        effect = float(np.log1p(as_fraction(running, np.array([test]), np.array([effect]))[0]))
    excluded = f"; more than {worse(running, test, effect, effect)} would be" if math.isfinite(effect) else ""
    return (
        f"too noisy: even without any effect more than the tolerated {tolerated(running, test)} "
        f"will not be excluded {by}{excluded}"
    ), visible


def _not_comparable(view: View, metric: int) -> str | None:
    """Say where the past alone, judged as if it were live, would have been called a breach."""
    placebo = view.prospect.placebo
    if placebo is None or metric not in placebo.metrics:
        return None
    colos = listed([view.running.pairing.colos[place] for place in placebo.colos])
    return (
        f"not comparable: the last {placebo.ticks} ticks before the start, judged by the {placebo.ticks_before} before "
        f"them, would have been a breach in {colos}, though nothing had changed"
    )


def came_late(running: Begun, metric: int) -> list[str]:
    """Say that the stage begins later than announced, and what came up too late for it to be judged anew.

    And, where the policy may let nothing advance, why not.
    """
    said: list[str] = []
    if running.plan.objection is not None and running.decision.cause in ("uncertified", "deadline"):
        said.append(f"the policy may let no stage advance: {running.plan.objection}")
    if running.late:
        late = f"{running.late} ticks ({running.late * running.plan.tick_ms / 1000:g} s)"
        said.append(f"began {late} later than announced, as those ticks were closed: they count as its past")
    if metric in running.unjudged:
        said.append(f"new in {listed(running.unjudged[metric])} since, too late for the stage: not judged there")
    if running.is_outdated:
        said.append("which hosts have which change is no longer as it was when the stage began: judged as it was then")
    return said


def no_data(running: Begun, metric: int) -> str:
    """Say since when a metric has had no data, or where it is missing though it is required.

    Of a tick that cannot be trusted it is why.
    """
    if running.trouble:
        return running.trouble
    tests, pairing = running.pairing.tests, running.pairing
    own = running.metric[tests.strand[: tests.comparisons]] == metric
    if running.silent[metric] > running.plan.policy.gap_ticks_max or not running.missing[own].any():
        return f"no data on canary or control for {int(running.silent[metric])} ticks"
    colos = sorted({pairing.colos[place] for place in tests.place[: tests.comparisons][own & running.missing]})
    if metric == len(running.plan.policy.metrics):
        return f"no {running.plan.policy.unit} of {listed(colos)} reports any more, canary or control"
    return f"required, and missing from {listed(colos)}, whose canaries do report"


def _without_past(view: View, metric: int) -> str | None:
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
        return no_data(running, metric)
    if running.unlike[metric]:
        return f"the control moved suddenly and alone{moved(running, metric)}: not comparable until it settles"
    if running.erratic[metric]:
        return (
            "not comparable: in one half of their past canary and control went apart much farther than the other half "
            "leads to expect, so that no difference would mean anything"
        )
    if tick.is_sick[metric]:
        return "the control got worse than its own past while the canary did not: not comparable"
    if tick.age < running.stage.bake:
        return None
    if tick.coverage[metric] < COVERAGE_MIN:
        return f"only {tick.coverage[metric]:.0%} of the ticks had data on both sides that could be compared"
    if tick.log_e_within[metric] < threshold:
        return "a degradation beyond the tolerance is not excluded yet"
    return None
