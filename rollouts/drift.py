"""Drift: what is not as it was decided. Checks look at facts and say what they find; none knows of another.

A further check is a function from facts and the time to findings. It is put into `CHECKS` with its kind, or handed to
`audit` beside them; what it looks at beyond `Facts` it brings with it.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final, Literal

from msgspec import Struct

from rollouts.drift_facts import KINDS, Facts, Finding, Kind
from rollouts.drift_rollouts import (
    never_exercised,
    past_deadline,
    policy_differs,
    stuck,
    without_gate,
    without_policy,
)
from rollouts.drift_sources import (
    audit_broken,
    metric_unsent,
    no_drill,
    override_expiring,
    override_overdue,
    settings_differ,
    ungated_change,
)
from rollouts.incidents.overdue import action_overdue

Look = Callable[[Facts, datetime], Iterable[Finding]]
"""Finds what is wrong, at a time in UTC. Where a fact that it needs is `Unknown`, it finds that."""

Standing = Literal["none", "found", "unknown"]


class Check(Struct, frozen=True, kw_only=True):
    """One thing that is looked for; all that it finds is of this kind."""

    kind: Kind
    look: Look


CHECKS: Final[tuple[Check, ...]] = (
    Check(kind="without-policy", look=without_policy),
    Check(kind="without-gate", look=without_gate),
    Check(kind="policy-differs", look=policy_differs),
    Check(kind="settings-differ", look=settings_differ),
    Check(kind="never-exercised", look=never_exercised),
    Check(kind="no-drill", look=no_drill),
    Check(kind="metric-unsent", look=metric_unsent),
    Check(kind="ungated-change", look=ungated_change),
    Check(kind="override-expiring", look=override_expiring),
    Check(kind="override-overdue", look=override_overdue),
    Check(kind="audit-broken", look=audit_broken),
    Check(kind="past-deadline", look=past_deadline),
    Check(kind="stuck", look=stuck),
    Check(kind="action-overdue", look=action_overdue),
)


def audit(facts: Facts, now: datetime, checks: Sequence[Check] = CHECKS) -> list[Finding]:
    """Look for all drift.

    Parameters
    ----------
    facts
        What is known.
    now
        The time, in UTC.
    checks
        What is looked for, less the kinds that the bounds leave out.

    Returns
    -------
    list[Finding]
        By kind and subject; of two that are about the same thing one, and rather the one that is known.
    """
    found: dict[tuple[int, str], Finding] = {}
    for check in checks:
        if check.kind in facts.bounds.leave_out:
            continue
        for one in sorted(check.look(facts, now), key=lambda one: not one.known):
            found.setdefault((KINDS.index(one.kind), one.subject), one)
    return [found[key] for key in sorted(found)]


def standing(findings: Iterable[Finding]) -> Standing:
    """Sum findings up: one that is known outweighs any that are not."""
    known = {one.known for one in findings}
    if True in known:
        return "found"
    return "unknown" if known else "none"


def counts(findings: Sequence[Finding], *, known: bool) -> dict[Kind, int]:
    """Count findings of each kind, those that are known or those that are not; all kinds are there."""
    return {kind: sum(one.kind == kind and one.known is known for one in findings) for kind in KINDS}
