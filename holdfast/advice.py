"""What follows from the figures of a check, in plain words."""

import math
from collections.abc import Iterator
from typing import Final

from detectors.decision import COVERAGE_MIN
from holdfast.report import Check, Finding, Kind, MetricCheck

NAMED_MAX: Final = 3
"""Colos or metrics that a sentence names; of more it gives the number."""

_MULTIPLES_FROM: Final = 10
_MULTIPLES_TO: Final = 1000
_UNITS_S: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(seconds: float) -> str:
    """Write a duration in its two largest units.

    Examples
    --------
    >>> span(40), span(1_800), span(4_500), span(228_600)
    ('40 s', '30 min', '1 h 15 min', '2 d 15 h')
    """
    for position, (unit, size) in enumerate(_UNITS_S):
        if seconds >= size:
            whole, rest = divmod(seconds, size)
            smaller = _UNITS_S[position + 1 : position + 2]
            part = [f"{rest // small:.0f} {name}" for name, small in smaller if rest >= small]
            return " ".join([f"{whole:.0f} {unit}", *part])
    return f"{1_000 * seconds:.0f} ms"


def listed(names: list[str]) -> str:
    """Name a few, and count the others.

    Examples
    --------
    >>> listed(["ams01", "fra02", "lhr03", "mad04", "gru05"])
    'ams01, fra02, lhr03 and 2 more'
    """
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more


def percent(fraction: float) -> str:
    """Write a fraction as per cent with three digits, and what is ten or more times as much as a multiple.

    Examples
    --------
    >>> percent(0.00123), percent(0.2402), percent(63.0), percent(1e6)
    ('0.123 %', '24 %', 'x64', '> x1000')
    """
    if fraction < _MULTIPLES_FROM:
        return f"{100 * fraction:.3g} %"
    return f"x{1 + fraction:.0f}" if fraction < _MULTIPLES_TO else f"> x{_MULTIPLES_TO}"


def by_when(check: Check) -> str:
    """Say by when the tolerances must be excluded."""
    name = "the deadline" if check.deadline_ticks else "twice the bake time"
    return f"tick {check.horizon_ticks:,} ({name}, {span(check.horizon_ticks * check.tick_s)})"


def ticks(check: Check, count: int) -> str:
    """Write a number of ticks with the time that they take."""
    return f"{count:,} tick{'s' if count != 1 else ''} ({span(count * check.tick_s)})"


def findings(check: Check) -> list[Finding]:
    """List what one should know before the rollout, what matters most first."""
    found = [*_of_trial(check), *_of_length(check), *_of_control(check)]
    result = [Finding(kind=kind, metric=None, text=text) for kind, text in found]
    for metric in check.metrics:
        result += [Finding(kind=kind, metric=metric.metric, text=text) for kind, text in _of_metric(check, metric)]
    return result


def _of_trial(check: Check) -> Iterator[tuple[Kind, str]]:
    """Tell whether the past shows canary and control to be comparable."""
    past, trial = check.past, check.placebo
    if check.is_erratic:
        text = (
            "Canary and control are not comparable: in one half of their past they went apart much farther than the "
            "other half leads to expect, in most metrics. Nothing would be called on evidence, and the stage would "
            "not advance. "
            "Choose a control of the same service, size and traffic."
        )
        yield "not-comparable", text
    elif trial is None:
        needed = math.ceil(1.5 * past.ticks_min)
        text = (
            "The past is too short to try out whether canary and control are comparable: that takes "
            f"{needed} ticks, and there are {past.ticks}."
        )
        yield "untried", text
    elif trial.metrics:
        text = (
            f"Canary and control are not comparable: the last {trial.ticks:,} ticks of the past, judged by the "
            f"{trial.ticks_before:,} before them, would have been a breach of {listed(trial.metrics)} in "
            f"{listed(trial.colos)}, though nothing had changed. A harmless change would be blamed for the same. "
            "Choose a control of the same service, size and traffic, learn from a longer past, or leave the metric out."
        )
        yield "not-comparable", text


def _of_length(check: Check) -> Iterator[tuple[Kind, str]]:
    """Tell whether the past is long enough."""
    past = check.past
    if past.ticks < past.ticks_min:
        then = "gauges and counters are not judged, ratios and histograms by counting alone"
        if check.expected.action == "refused":
            then = "a replay refuses to judge it"
        asked = f"{past.ticks_min} (pre_period.ticks_min)"
        yield "short-past", f"The past holds {past.ticks} ticks, and the policy asks for {asked}: {then}."
    elif past.ticks < check.horizon_ticks and any(metric.is_noisy for metric in check.metrics):
        text = (
            f"The past holds {past.ticks:,} ticks, fewer than the {check.horizon_ticks:,} that the stage may last: how "
            "canary and control usually differ is known less well than it could be. With a longer past smaller "
            "degradations are seen."
        )
        yield "short-past", text


def _of_control(check: Check) -> Iterator[tuple[Kind, str]]:
    """Name the colos that have no control at all."""
    reporting = check.metrics[-1]
    if reporting.colos_without_control:
        text = (
            f"No control in {listed(reporting.colos_without_control)}: the canaries there are compared with controls "
            "in colos that the rollout has not reached."
        )
        yield "no-control", text
    if reporting.colos_not_compared:
        text = (
            f"No control in {listed(reporting.colos_not_compared)}, nor in a colo that the rollout does not reach: the "
            "canaries there are not judged."
        )
        yield "no-control", text


def _of_metric(check: Check, metric: MetricCheck) -> list[tuple[Kind, str]]:
    """Tell what stands in the way of judging one metric."""
    found: list[tuple[Kind, str]] = []
    if metric.colos_without_past:
        where = listed(metric.colos_without_past)
        found.append(("no-past", f"no past of {check.past.ticks_min} ticks in {where}: not judged there."))
    elif metric.judged == "not":
        text = "never had data on both sides before the start: it is not judged, and without data nothing advances."
        found.append(("no-data", text))
    if 0 < metric.coverage < COVERAGE_MIN:
        part, least = percent(metric.coverage), percent(COVERAGE_MIN)
        text = f"data on both sides in {part} of the ticks; a stage advances with {least} or more."
        found.append(("no-data", text))
    last = check.metrics[-1]
    apart = [colo for colo in metric.colos_not_compared if colo not in last.colos_not_compared]
    if apart and metric.judged != "not":
        found.append(("no-control", f"missing from canary or control in {listed(apart)}: not judged there."))
    apart = [colo for colo in metric.colos_without_control if colo not in last.colos_without_control]
    if apart:
        found.append(("no-control", f"no control that has it in {listed(apart)}: compared with other colos there."))
    if metric.judged == "counting" and metric is not last:  # that all units report is nothing to tell
        called = f"a share of {percent(metric.smallest_visible)} or more" if metric.smallest_visible else "nothing"
        text = f"almost no bad events in the past, so they are counted: by {by_when(check)} {called} is called."
        found.append(("counted", text))
    if metric.is_noisy:
        found.append(("noisy", _noisy(check, metric)))
    return found


def _noisy(check: Check, metric: MetricCheck) -> str:
    """Say by how much a metric misses its tolerance, and what would do."""
    words = [f"too noisy to exclude {metric.tolerated} by {by_when(check)}, even if the change does nothing."]
    if metric.excludable is not None:
        words.append(f"A tolerance of {percent(rounded_up(metric.excludable))} could be excluded.")
    if metric.ticks_to_exclude is None:
        words.append(f"No stage is long enough: {check.past.ticks:,} ticks of past tell too little of what is usual.")
    else:
        words.append(f"The tolerance would take about {ticks(check, metric.ticks_to_exclude)}.")
    limit = math.inf if check.deadline_ticks is None else check.deadline_ticks
    if metric.ticks_to_advance is None or metric.ticks_to_advance > limit:
        words.append("So the stage will not advance.")
    elif check.advance == "evidence":
        words.append(f"It holds the stage up until tick {metric.ticks_to_advance:,}.")
    return " ".join(words)


def rounded_up(fraction: float) -> float:
    """Round up to two digits, so that what is advised does suffice."""
    size = 10.0 ** (math.floor(math.log10(fraction)) - 1)
    return math.ceil(fraction / size - 1e-9) * size
