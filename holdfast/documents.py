"""Reading policies, rollouts and truths: YAML into typed models, or every error of a file at once.

Each error names the file and line, the path inside it, what was found, and what is allowed. The rules that
tie one key to another look at the document as it was read, so they speak up even where its types are wrong.
"""

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from detectors.policy import Policy, duration_ms
from holdfast.classical_rules import classical_rules
from holdfast.errors import BadInput
from holdfast.located import Place, Problems, join, placed, quoted
from holdfast.validation import as_time, closest, either, load, model, shown, validate
from rollouts.document import Rollout
from rollouts.truth import Truth

RESERVED: Final = "reporting_hosts"
"""The metric that every policy has without naming it."""

KINDS: Final = ("ratio", "gauge", "counter", "histogram")

_WINDOW: Final = re.compile(r"([0-9]{1,6}) of ([0-9]{1,6})", re.ASCII)


def load_policy(path: str | Path) -> Policy:
    """Read a policy.

    Raises
    ------
    BadInput
        With every error of the file, one a line, in the order of the document.
    """
    return load(path, Policy, _policy_rules)


def load_rollout(path: str | Path) -> Rollout:
    """Read a rollout.

    Raises
    ------
    BadInput
        With every error of the file, one a line, in the order of the document.
    """
    return load(path, Rollout, _rollout_rules)


def load_truth(path: str | Path) -> Truth:
    """Read what is known of a recording.

    Raises
    ------
    BadInput
        With every error of the file, one a line, in the order of the document.
    """
    return load(path, Truth, _truth_rules)


def understood(rollout: Place, policy: Place) -> tuple[Rollout, Policy]:
    """Read a rollout and the policy that is to judge it, both of which were part of something larger.

    Parameters
    ----------
    rollout, policy
        Where they stand.

    Raises
    ------
    BadInput
        With every error of both, one a line; each begins with `rollout` or `policy`, and the line if there are lines.
    """
    _refuse_both("policy", policy, "rollout", rollout)
    try:
        return msgspec.convert(rollout.plain(), Rollout), msgspec.convert(policy.plain(), Policy)
    except msgspec.ValidationError as error:  # a constraint that `validate` does not know
        raise BadInput(str(error)) from error


def recheck(policy: Policy, rollout: Rollout, source: str) -> None:
    """Hold a policy and a rollout that came over the wire against the rules that their types do not know.

    Parameters
    ----------
    policy, rollout
        Documents of the right types, which is all that decoding them has shown.
    source
        Names where they came from, for the errors.

    Raises
    ------
    BadInput
        With every error of both, one a line.
    """
    places = (placed(msgspec.to_builtins(policy)), placed(msgspec.to_builtins(rollout)))
    _refuse_both(f"{source}: policy", places[0], f"{source}: rollout", places[1])


def digest(policy: Policy) -> str:
    """Name a policy by its content: comments, the order of keys and defaults spelled out do not matter."""
    return f"sha256:{hashlib.sha256(msgspec.json.encode(policy, order='sorted')).hexdigest()}"


def _refuse_both(policy_source: str, policy: Place, rollout_source: str, rollout: Place) -> None:
    """Raise every error of a policy and a rollout as one."""
    errors: list[str] = []
    for source, place, kind, rules in (
        (policy_source, policy, Policy, _policy_rules),
        (rollout_source, rollout, Rollout, _rollout_rules),
    ):
        problems = Problems(source)
        validate(place, model(kind), problems)
        rules(place, problems)
        try:
            problems.refuse()
        except BadInput as error:
            errors.append(str(error))
    if errors:
        raise BadInput("\n".join(errors))


def _policy_rules(policy: Place, problems: Problems) -> None:
    _tick(policy, problems)
    _pre_period(policy.child("pre_period"), problems)
    classical_rules(policy, problems)
    names: dict[str, str] = {}
    metrics = policy.child("metrics")
    for index, metric in enumerate(metrics.items() if metrics else []):
        path = join("metrics", index)
        _unique(metric, path, names, problems)
        name = metric.child("name")
        if name and name.value == RESERVED:
            text = f"found {RESERVED}, which every policy has already; allowed: another name"
            problems.add(name, f"{path}.name", text)
        _kind(metric, path, problems)
        _only_with(metric, path, problems)
        _ratio(metric.child("ratio"), f"{path}.ratio", problems)
        _objective(metric.child("objective"), f"{path}.objective", problems)


def _tick(policy: Place, problems: Problems) -> None:
    tick = policy.child("tick")
    if tick and _duration(tick) == 0:
        problems.add(tick, "tick", f"found {shown(tick)}; a tick must be longer than 0")


def _pre_period(period: Place | None, problems: Problems) -> None:
    if period is None:
        return
    smallest, largest = period.child("ticks_min"), period.child("ticks_max")
    low = smallest.value if smallest else 30
    high = largest.value if largest else 2_880
    if isinstance(low, int) and isinstance(high, int) and low > high:
        text = f"found ticks_min {low} and ticks_max {high}; ticks_min must be at most ticks_max"
        problems.add(smallest or period, "pre_period.ticks_min", text)


def _unique(item: Place, path: str, names: dict[str, str], problems: Problems) -> None:
    """Note a name that an earlier item of the list bears."""
    place = item.child("name")
    name = place.string() if place else None
    if place is None or name is None:
        return
    if name in names:
        text = f"found {quoted(name)}, the name of {names[name]} too; allowed: each name once"
        problems.add(place, f"{path}.name", text)
    names.setdefault(name, path)


def _kind(metric: Place, path: str, problems: Problems) -> None:
    keys = metric.mapping()
    found = [kind for kind in KINDS if metric.child(kind)]
    mistyped = any(key not in KINDS and closest(key, list(KINDS)) for key in keys)
    if not isinstance(metric.value, dict) or len(found) == 1 or (not found and mistyped):
        return
    text = " and ".join(found) if found else "none"
    problems.add(metric, path, f"found {text} of {', '.join(KINDS)}; allowed: exactly one")


def _only_with(metric: Place, path: str, problems: Problems) -> None:
    """Note keys that the metric's kind lacks, or has no use for."""
    quantile, scale, temporality = (metric.child(key) for key in ("quantile", "scale", "temporality"))
    if quantile and not metric.child("histogram"):
        problems.add(quantile, f"{path}.quantile", f"found {shown(quantile)}; allowed: only with histogram")
    if metric.child("histogram") and not quantile:
        problems.add(metric, f"{path}.quantile", "missing; a histogram needs a quantile, as in 0.99")
    if metric.child("objective") and metric.child("histogram"):
        problems.add(metric, f"{path}.objective", f"allowed: only with {either(['ratio', 'gauge', 'counter'])}")
    if scale and scale.value != "auto" and not metric.child("gauge"):
        problems.add(scale, f"{path}.scale", f"found {shown(scale)}; allowed: only with gauge")
    drop, worse = metric.child("colo_drop"), metric.child("worse")
    if drop and (not metric.child("counter") or (worse and worse.value == "increase")):
        text = f"found {shown(drop)}; allowed: only with counter, and if a decrease is worse (decrease or either)"
        problems.add(drop, f"{path}.colo_drop", text)
    if temporality and temporality.value == "delta" and metric.child("gauge"):
        text = f"found {shown(temporality)}; allowed: only with {either(['ratio', 'counter', 'histogram'])}"
        problems.add(temporality, f"{path}.temporality", text)


def _ratio(ratio: Place | None, path: str, problems: Problems) -> None:
    bad, total = (ratio.child("bad"), ratio.child("total")) if ratio else (None, None)
    if bad and total and bad.string() is not None and bad.value == total.value:
        text = f"found {shown(bad)}, which is the total too; allowed: another metric"
        problems.add(bad, f"{path}.bad", text)


def _objective(objective: Place | None, path: str, problems: Problems) -> None:
    window = objective.child("for") if objective else None
    counts = _WINDOW.fullmatch((window.string() if window else None) or "")
    if window and counts and int(counts[1]) > int(counts[2]):
        text = f"found {shown(window)}; allowed: at most as many ticks as are looked at"
        problems.add(window, f"{path}.for", text)


def _rollout_rules(rollout: Place, problems: Problems) -> None:
    names: dict[str, str] = {}
    stages = rollout.child("stages")
    latest, whose = _time(rollout.child("started")), "the rollout"
    for index, stage in enumerate(stages.items() if stages else []):
        path = join("stages", index)
        _unique(stage, path, names, problems)
        _durations(stage, path, problems)
        _selectors(stage, path, problems)
        started = stage.child("started")
        moment = _time(started)
        if started is None or moment is None:
            continue
        if latest is not None and moment < latest:
            text = f"found {shown(started)}, before {whose} started; allowed: {_written(latest)} or later"
            problems.add(started, f"{path}.started", text)
        else:
            latest, whose = moment, path


def _durations(stage: Place, path: str, problems: Problems) -> None:
    bake, deadline, settle = (stage.child(key) for key in ("bake", "deadline", "settle"))
    bake_ms = _duration(bake)
    if bake is None or bake_ms is None:
        return
    if bake_ms == 0:
        problems.add(bake, f"{path}.bake", f"found {shown(bake)}; a bake must be longer than 0")
        return
    deadline_ms, settle_ms = _duration(deadline), _duration(settle)
    if deadline and deadline_ms is not None and deadline_ms < bake_ms:
        text = f"found {shown(deadline)}; a deadline must be at least the bake, {bake.text}"
        problems.add(deadline, f"{path}.deadline", text)
    if settle and settle_ms is not None and settle_ms >= bake_ms:
        text = f"found {shown(settle)}; a settle must be shorter than the bake, {bake.text}"
        problems.add(settle, f"{path}.settle", text)


def _selectors(stage: Place, path: str, problems: Problems) -> None:
    canary, control = stage.child("canary"), stage.child("control")
    if canary and control and canary.mapping() and _matched(canary) == _matched(control):
        text = "found the canary's own selector; allowed: one for other units"
        problems.add(control, f"{path}.control", text)


def _matched(selector: Place) -> dict[str, frozenset[str]]:
    """Return the values each label may have, whether written as one or as a list."""
    return {
        label: frozenset(str(one.plain()) for one in (value.items() or [value]))
        for label, value in selector.mapping().items()
    }


def _truth_rules(truth: Place, problems: Problems) -> None:
    within = truth.child("within")
    if within and not truth.child("onset"):
        text = f"found {shown(within)} without an onset; allowed: only with onset, from which it counts"
        problems.add(within, "within", text)


def _duration(place: Place | None) -> int | None:
    """Return a duration in milliseconds, or None where none can be read."""
    try:
        return duration_ms((place.string() if place else None) or "")
    except ValueError:
        return None


def _time(place: Place | None) -> datetime | None:
    """Return a point in time, or None where none can be read."""
    moment = as_time(place.value) if place else None
    return moment if moment and moment.tzinfo else None


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
