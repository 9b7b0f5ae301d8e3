"""What to change in a policy, by what placebos made of it: tolerances and the length of the past."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from detectors.policy import Policy, Tolerance
from holdfast.advice import rounded_up
from holdfast.calibration.effects import reached
from holdfast.calibration.foreseeing import Foreseen
from holdfast.calibration.placebos import Judged, Placebo
from holdfast.calibration.report import Advanced, Held, Kind, PastLength, Suggestion

RAISED_BY: Final = 1.25
RAISES_MAX: Final = 12
"""By which factor a tolerance is raised at a time, and how often at most: to fifteen times."""

LOWERED_BY: Final = 0.7
LOWERINGS_MAX: Final = 4
"""By which factor a tolerance is lowered at a time, and how often at most: to a quarter."""

DOUBLING: Final = 1.0
HALVING: Final = 0.5
"""Relative tolerances beyond which nothing is promised any more; of what is worse when it decreases, the second."""

MOST: Final = 0.9
"""Share of the placebos that has to do well for a suggestion."""

_KINDS: Final[tuple[Literal["noise", "unlike", "data"], ...]] = ("noise", "unlike", "data")
"""Why a metric holds placebos up: of equally frequent ones the first is told."""

_FURTHER: Final = "; that did not do for nine in ten, so it is more"
"""Added to why a tolerance is raised, where it is raised beyond what was foreseen."""

Decide = Callable[[Sequence[Placebo], Policy], list[Judged]]
Foresee = Callable[[Sequence[Placebo], Policy], list[list[Foreseen]]]


def tolerance_of(policy: Policy, metric: int) -> Tolerance:
    """Return the tolerance of a metric, by position; of the implicit one behind the last."""
    return policy.reporting_tolerance if metric == len(policy.metrics) else policy.metrics[metric].tolerate


def scaled(policy: Policy, factors: dict[int, float]) -> Policy:
    """Return a policy that tolerates more or less, by a factor for each metric, with two digits each."""
    metrics = list(policy.metrics)
    reporting = policy.reporting_tolerance
    for metric, factor in factors.items():
        tolerance = tolerance_of(policy, metric)
        changed = Tolerance(
            relative=two_digits(tolerance.relative * factor), absolute=two_digits(tolerance.absolute * factor)
        )
        if metric == len(metrics):
            reporting = changed
        else:
            metrics[metric] = msgspec.structs.replace(metrics[metric], tolerate=changed)
    return msgspec.structs.replace(policy, metrics=metrics, reporting_tolerance=reporting)


def two_digits(value: float) -> float:
    """Round a number to two digits.

    Examples
    --------
    >>> two_digits(0.1234), two_digits(0.0), two_digits(5.96e-05)
    (0.12, 0.0, 6e-05)
    """
    return float(f"{value:.1e}")


def _most(policy: Policy, metric: int) -> float:
    """Return the largest tolerance that is suggested of a metric."""
    is_own = metric < len(policy.metrics)
    return HALVING if is_own and policy.metrics[metric].worse != "increase" else DOUBLING


@dataclass(slots=True)
class Found:
    """Factors of tolerances by metric, and a reason for each; and the metrics that no tolerance mends."""

    factors: dict[int, float] = field(default_factory=dict[int, float])
    why: dict[int, tuple[Kind, str]] = field(default_factory=dict[int, tuple[Kind, str]])
    held: dict[int, Held] = field(default_factory=dict[int, Held])

    def add(self, metric: int, factor: float, kind: Kind, why: str) -> None:
        """Suggest a factor; of two for the same metric the larger one counts."""
        if factor > self.factors.get(metric, 0.0):
            self.factors[metric] = factor
            self.why[metric] = (kind, why)


def accused(judged: Judged) -> bool:
    """Tell whether a placebo was stopped on comparative evidence, which tolerances are about."""
    return judged.is_stopped and judged.cause == "evidence"


def raises(policy: Policy, placebos: Sequence[Placebo], judged: Sequence[Judged], decide: Decide) -> Found:
    """Raise the tolerances of what is blamed, step by step, until the placebos that were stopped stay quiet.

    Parameters
    ----------
    policy
        Which tolerances are raised.
    placebos, judged
        [placebo] What became of each.
    decide
        Judges some placebos by another policy.
    """
    names = [*(metric.name for metric in policy.metrics), "reporting_hosts"]
    factors: dict[int, float] = {}
    by: dict[int, set[int]] = {}
    alarming = {number: one for number, one in enumerate(judged) if accused(one)}
    for _ in range(RAISES_MAX):
        if not alarming:
            break
        blamed = {names.index(name) for one in alarming.values() for name in one.metrics}
        for number, one in alarming.items():
            for name in one.metrics:
                by.setdefault(names.index(name), set()).add(number)
        for metric in blamed:
            factors[metric] = factors.get(metric, 1.0) * RAISED_BY
        numbers = sorted(alarming)
        again = decide([placebos[number] for number in numbers], scaled(policy, factors))
        alarming = {number: one for number, one in zip(numbers, again, strict=True) if accused(one)}
    found = Found()
    hopeless = {name for one in alarming.values() for name in one.metrics}
    for metric, factor in factors.items():
        count = len(by[metric])
        if names[metric] in hopeless or tolerance_of(policy, metric).relative * factor > _most(policy, metric):
            found.held[metric] = Held(metric=names[metric], why="alarms", placebos=count, total=len(judged))
        else:
            text = f"stopped {count} of {len(judged)} placebos, in which nothing had changed; with this it stops none"
            found.add(metric, factor, "raise", text)
    return found


def excludable(policy: Policy, foreseen: Sequence[Sequence[Foreseen]], judged: Sequence[Judged], found: Found) -> None:
    """Raise tolerances that no stage of this length excludes, if they are what keeps placebos from going on.

    Where it would take one that promises nothing, none is suggested, but the metric is noted as held.
    """
    stuck = sum(one.advanced is None and not accused(one) for one in judged)
    if not foreseen or stuck <= (1 - MOST) * len(judged):
        return
    names = [*(metric.name for metric in policy.metrics), "reporting_hosts"]
    for metric, name in enumerate(names[: len(foreseen[0])]):
        holding = [one[metric] for one in foreseen if one[metric].held]
        if len(holding) * 2 <= len(foreseen) or metric in found.held:
            continue
        kind = max(_KINDS, key=lambda one: sum(each.held == one for each in holding))
        wanted = reached([one.excludable for one in holding], MOST) if kind == "noise" else None
        allowed = tolerance_of(policy, metric).relative
        if wanted is not None and 0 < allowed < wanted <= _most(policy, metric):
            text = (
                f"{stuck} of {len(judged)} placebos were not let go on; in {len(holding)} of {len(foreseen)} more than "
                f"{100 * allowed:.3g} % cannot be excluded by the end, and {100 * wanted:.3g} % can"
            )
            found.add(metric, rounded_up(wanted) / allowed, "noisy", text)
        else:
            found.held[metric] = Held(
                metric=name,
                why=kind,
                placebos=len(holding),
                total=len(foreseen),
                excludable=wanted,
                needed_ticks=reached([one.needed for one in holding], MOST) if kind == "noise" else None,
            )


def further(
    policy: Policy, placebos: Sequence[Placebo], judged: Sequence[Judged], decide: Decide, found: Found
) -> None:
    """Raise what was found to be noisy further, step by step, until most placebos are let go on.

    What is foreseen is the middle case: half of the real stages are off by more, and all metrics have to pass. Where
    other metrics are held, nothing that is tolerated helps.
    """
    noisy = {metric for metric, (kind, _) in found.why.items() if kind == "noisy"}
    stuck = [number for number, one in enumerate(judged) if one.advanced is None and not accused(one)]
    for _ in range(RAISES_MAX):
        if not noisy or found.held:
            return
        again = decide([placebos[number] for number in stuck], scaled(policy, found.factors))
        stuck = [number for number, one in zip(stuck, again, strict=True) if one.advanced is None and not accused(one)]
        if len(stuck) <= (1 - MOST) * len(judged):
            return
        for metric in sorted(noisy):
            factor = found.factors[metric] * RAISED_BY
            if tolerance_of(policy, metric).relative * factor > _most(policy, metric):
                noisy.remove(metric)
                continue
            text = found.why[metric][1].removesuffix(_FURTHER) + _FURTHER
            found.add(metric, factor, "noisy", text)


def lowered(
    policy: Policy,
    quiet: Sequence[Placebo],
    sample: Sequence[Placebo],
    bake: int,
    decide: Decide,
    foresee: Foresee,
    found: Found,
) -> None:
    """Lower tolerances step by step as long as nothing is stopped, and health is still shown by the end of bake time.

    Where a further step would have stopped a placebo, a step less far is suggested: what was just not stopped here is
    stopped elsewhere.

    Parameters
    ----------
    policy, quiet
        What to lower, and the placebos that it did not stop.
    sample
        Those of them whose past is asked when health will be shown.
    bake
        Ticks of the bake time.
    decide, foresee
        Judge, and look ahead, by another policy.
    found
        Gets what is suggested; what it raises is left alone.
    """
    open_: set[int] = {
        metric
        for metric in range(len(policy.metrics))
        if metric not in found.factors
        and metric not in found.held
        and max(tolerance_of(policy, metric).relative, 0) > 0
    }
    factors = dict(found.factors)
    reasons: dict[int, str] = {}
    for _ in range(LOWERINGS_MAX):
        tried = {**factors, **{metric: factors.get(metric, 1.0) * LOWERED_BY for metric in open_}}
        ahead = foresee(sample, scaled(policy, tried)) if open_ else []
        slow = {metric for metric in open_ if sum(one[metric].ticks <= bake for one in ahead) < MOST * len(ahead)}
        for metric in slow:
            reasons[metric] = "with less, its health would not be shown by the end of the bake time"
        open_ -= slow
        if not open_ or not ahead:
            break
        tried = {**factors, **{metric: factors.get(metric, 1.0) * LOWERED_BY for metric in open_}}
        stopped = [one for one in decide(quiet, scaled(policy, tried)) if accused(one)]
        loud = {metric for metric in open_ if any(policy.metrics[metric].name in one.metrics for one in stopped)}
        if stopped and not loud:  # what is blamed cannot be lowered less: all together are too much
            loud = set(open_)
        open_ -= loud
        for metric in open_:
            factors[metric] = tried[metric]
        for metric in loud:
            reasons[metric] = "a step beyond would have stopped some, so it is a step before that"
            if metric in factors:
                factors[metric] = min(1.0, factors[metric] / LOWERED_BY)
    for metric, factor in factors.items():
        if metric not in found.factors and factor < 1:
            why = reasons.get(metric, "no further step was tried")
            found.add(metric, factor, "lower", f"no placebo of {len(quiet)} is stopped by it; {why}")


def as_suggestions(policy: Policy, found: Found) -> list[Suggestion]:
    """Write factors of tolerances as values of the policy."""
    result: list[Suggestion] = []
    changed = scaled(policy, found.factors)
    for metric in sorted(found.factors):
        kind, why = found.why[metric]
        before, after = tolerance_of(policy, metric), tolerance_of(changed, metric)
        is_own = metric < len(policy.metrics)
        root: list[str | int] = ["metrics", metric, "tolerate"] if is_own else ["reporting_tolerance"]
        name = policy.metrics[metric].name if is_own else "reporting_hosts"
        for key, old, new in (
            ("relative", before.relative, after.relative),
            ("absolute", before.absolute, after.absolute),
        ):
            if old != new:
                suggestion = Suggestion(kind=kind, path=[*root, key], metric=name, before=old, after=new, why=why)
                result.append(suggestion)
    return result


def lengths(policy: Policy, past_ticks: int) -> list[int]:
    """Return the lengths of the past that are compared: what there is, and halves of it down to what is required."""
    longest = min(policy.pre_period.ticks_max, past_ticks)
    shorter = [longest // 2**power for power in (1, 2, 3)]
    return [longest, *(length for length in shorter if length >= policy.pre_period.ticks_min)]


def with_past(policy: Policy, length: int) -> Policy:
    """Return a policy that learns from so many ticks at most."""
    rules = policy.pre_period
    return msgspec.structs.replace(policy, pre_period=msgspec.structs.replace(rules, ticks_max=length))


def of_pasts(policy: Policy, pasts: Sequence[PastLength]) -> list[Suggestion]:
    """Suggest lengths of the past, of those that were tried [longest first].

    A shorter one is suggested if it stops fewer; a longer one is required if shorter ones stop more.
    """
    if len(pasts) < 2:
        return []
    best = min(pasts, key=lambda one: (one.on_evidence, -one.ticks))
    result: list[Suggestion] = []
    rules = policy.pre_period
    counts = ", ".join(f"{one.on_evidence} with {one.ticks:,} ticks" for one in pasts)
    text = f"of {pasts[0].total} placebos are stopped on evidence: {counts}"
    if best.ticks < pasts[0].ticks and best.on_evidence < pasts[0].on_evidence:
        result.append(_past("ticks_max", rules.ticks_max, best.ticks, text))
    enough = best.ticks
    for one in pasts:
        if one.ticks <= best.ticks and one.on_evidence <= best.on_evidence:
            enough = one.ticks
        elif one.ticks < best.ticks:
            break
    if enough > rules.ticks_min and any(one.ticks < enough for one in pasts):
        result.append(_past("ticks_min", rules.ticks_min, enough, text))
    return result


def _past(key: str, before: int, after: int, why: str) -> Suggestion:
    return Suggestion(kind="past", path=["pre_period", key], metric=None, before=before, after=after, why=why)


def advanced_of(judged: Sequence[Judged]) -> Advanced:
    """Sum up how many were let go on without being stopped later, and after how many live ticks."""
    ticks = [one.advanced for one in judged if one.advanced is not None and not one.is_stopped]
    return Advanced(
        count=len(ticks), total=len(judged), ticks_median=reached(ticks, 0.5), ticks_most=reached(ticks, MOST)
    )
