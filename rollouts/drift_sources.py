"""Drift of what rollouts rest on: what hosts have, what they send, overrides, the audit log, settings."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from detectors.policy import Policy
from rollouts import breakglass
from rollouts.announced import finished_at, start_of
from rollouts.breakglass import Held
from rollouts.drift_facts import Facts, Finding, Sent, Series, Unknown, clock, or_none, series_of, unknown
from rollouts.drift_rollouts import short, under_way
from rollouts.inventory import Host, matches
from rollouts.reports import Report

_NAMED_MAX = 5
"""Most hosts that a sentence names."""


def settings_differ(facts: Facts, _now: datetime) -> list[Finding]:
    """Find settings and topics that are not what they have to be."""
    found = [
        Finding(kind="settings-differ", subject=subject, sentence=said)
        for subject, said in sorted(or_none(facts.settings).items())
    ]
    return [*found, *unknown("settings-differ", facts.settings)]


def no_drill(facts: Facts, now: datetime) -> list[Finding]:
    """Find break glass that was not rehearsed for long; where nobody may override, there is nothing to rehearse."""
    log = facts.log
    if isinstance(log, Unknown):
        return unknown("no-drill", log)
    within = facts.bounds.drilled_within
    if log.overrides is None or (log.drilled is not None and now - log.drilled <= within):
        return []
    last = "never rehearsed" if log.drilled is None else f"rehearsed last at {clock(log.drilled)}"
    said = f"{last}; `holdfast breakglass drill` has to be run every {within.days} days"
    return [Finding(kind="no-drill", subject="break glass", sentence=said)]


def metric_unsent(facts: Facts, _now: datetime) -> list[Finding]:
    """Find metrics that policies name and nobody sends."""
    policies: dict[str, Policy] = {watched.policy: watched.announcement.policy for _, watched in under_way(facts)}
    policies |= facts.policies
    sent = facts.sent
    found = unknown("metric-unsent", facts.rollouts, sent)
    if isinstance(sent, Unknown):
        return found
    for digest, policy in sorted(policies.items()):
        for metric, (must, may) in series_of(policy).items():
            said = _unsent(must, may, sent)
            if said is not None:
                sentence, is_known = said
                subject = f"{policy.policy} {short(digest)}: {metric}"
                found.append(Finding(kind="metric-unsent", subject=subject, sentence=sentence, known=is_known))
    return found


def _unsent(must: Sequence[Series], may: Sequence[Series], sent: Sent) -> tuple[str, bool] | None:
    """Say what did not come, and whether it is known that nobody sends it; None if nothing is wrong."""
    absent = [each for each in must if each not in sent.now]
    since = clock(sent.since)
    if absent:
        names = " and ".join(map(_named, absent))
        if sent.incomplete is not None:
            return f"{names}: not found since {since}, but {sent.incomplete}", False
        return f"{names}: nobody has sent it since {since}", True
    rare = [each for each in may if each not in sent.now | sent.ever]
    if not rare:
        return None
    said = "never came: either nothing bad has happened yet, or nobody sends it under this name"
    return f"{' and '.join(map(_named, rare))}: {said}", False


def _named(series: Series) -> str:
    labels = ", ".join(f"{label}={'|'.join(wanted)}" for label, wanted in series.select)
    return f"{series.metric}{{{labels}}}" if labels else series.metric


def ungated_change(facts: Facts, now: datetime) -> list[Finding]:
    """Find what hosts have and no rollout has brought them."""
    found = unknown("ungated-change", facts.rollouts, facts.control, facts.reports)
    if isinstance(facts.rollouts, Unknown) or isinstance(facts.control, Unknown) or isinstance(facts.reports, Unknown):
        return found
    if not facts.reports and not facts.unreadable_reports:
        said = "no host reports what it has"
        return [Finding(kind="ungated-change", subject="", sentence=said, known=False)]
    carriers = _carriers(facts)
    hosts: dict[tuple[str, str], dict[str, list[str]]] = {}
    for name, report in sorted(facts.reports.items()):
        for unit, digest in sorted(report.units.items()):
            why = _objection(facts, carriers.get((unit, digest), frozenset()), unit, digest, report, now)
            if why is not None:
                hosts.setdefault((unit, digest), {}).setdefault(why, []).append(name)
    for (unit, digest), whys in hosts.items():
        said = "; ".join(f"{_counted(names)}: {why}" for why, names in whys.items())
        found.append(Finding(kind="ungated-change", subject=f"{unit} {short(digest)}", sentence=said))
    return [*found, *_unheard(facts, now)]


def _unheard(facts: Facts, now: datetime) -> list[Finding]:
    """Name the hosts of which it is not known what they have."""
    found = [
        Finding(kind="ungated-change", subject=host, sentence=f"its report cannot be read: {why}", known=False)
        for host, why in sorted(facts.unreadable_reports.items())
    ]
    silent = [name for name, one in sorted(or_none(facts.reports).items()) if now - one.at > facts.bounds.silent_after]
    if silent:
        said = f"{_counted(silent)}: silent since {clock(now - facts.bounds.silent_after)} or before"
        found.append(Finding(kind="ungated-change", subject="silent hosts", sentence=said, known=False))
    return found


def _carriers(facts: Facts) -> dict[tuple[str, str], frozenset[str]]:
    """Return the rollouts that bring a digest of a unit, announced ones and those under control."""
    found: dict[tuple[str, str], set[str]] = {}
    for name, watched in or_none(facts.rollouts).items():
        for unit in watched.announcement.rollout.package:
            found.setdefault((unit.unit, unit.digest), set()).add(name)
    for name, state in or_none(facts.control).items():
        for unit in state.resolved.plan.package:
            found.setdefault((unit.unit, unit.digest), set()).add(name)
    return {key: frozenset(names) for key, names in found.items()}


def _objection(
    facts: Facts, carriers: frozenset[str], unit: str, digest: str, report: Report, now: datetime
) -> str | None:
    """Say why a host should not have something, or None if it may."""
    if digest in facts.baseline.get(unit, frozenset()):
        return None
    if not carriers:
        return "no rollout has announced it"
    control = or_none(facts.control)
    ended = [name for name in carriers if name in control and control[name].phase in ("reverted", "aborted")]
    if len(ended) == len(carriers):
        return f"it was taken back: {', '.join(f'{name} is {control[name].phase}' for name in sorted(ended))}"
    if all(_is_ahead(facts, name, report, now) for name in carriers if name not in ended):
        return f"no stage of {', '.join(sorted(carriers))} that has begun reaches it"
    return None


def _is_ahead(facts: Facts, name: str, report: Report, now: datetime) -> bool:
    """Tell whether a rollout is known not to have reached a host yet.

    Selectors may look at labels that hosts do not report: then it is not known.
    """
    watched = or_none(facts.rollouts).get(name)
    if watched is None or finished_at(watched.announcement) is not None:
        return False
    announcement = watched.announcement
    labels = {announcement.policy.unit: report.host, **report.labels}  # as the plans of control name hosts
    host = Host(host=report.host, colo=report.colo, region=report.region, labels=labels)
    known = {"host", "colo", "region", *labels}
    for index, stage in enumerate(announcement.rollout.stages):
        start = start_of(announcement, index)
        if start is None or start > now:
            continue
        if not known.issuperset(stage.canary) or matches(host, stage.canary):
            return False
    return True


def _counted(hosts: Sequence[str]) -> str:
    named = ", ".join(hosts[:_NAMED_MAX])
    more = f" and {len(hosts) - _NAMED_MAX} more" if len(hosts) > _NAMED_MAX else ""
    return f"on {len(hosts)} {'host' if len(hosts) == 1 else 'hosts'} ({named}{more})"


def override_expiring(facts: Facts, now: datetime) -> list[Finding]:
    """Find overrides that are about to expire, approved or not."""
    held, found = _held(facts), unknown("override-expiring", facts.log)
    for one in held.values():
        standing = breakglass.status(_state(facts), one, now)
        if (
            standing in ("in force", "suspended", "pending")
            and one.request.expires - now <= facts.bounds.expiring_within
        ):
            lacking = one.needed - len(one.approvals)
            more = f", {lacking} {'approval' if lacking == 1 else 'approvals'} short" if standing == "pending" else ""
            said = f"{standing}{more}, expires at {clock(one.request.expires)}: {one.request.reason}"
            found.append(Finding(kind="override-expiring", subject=_about(one), sentence=said))
    return found


def override_overdue(facts: Facts, now: datetime) -> list[Finding]:
    """Find overrides that were approved and have expired while what they were given for still goes on."""
    found = unknown("override-overdue", facts.log, facts.rollouts)
    ongoing = {name for name, _ in under_way(facts)}
    ongoing |= {name for name, state in or_none(facts.control).items() if not state.is_ended}
    for one in _held(facts).values():
        is_expired = breakglass.status(_state(facts), one, now) == "expired" and len(one.approvals) >= one.needed
        if is_expired and one.request.rollout in ongoing:
            said = f"expired at {clock(one.request.expires)}, and {one.request.rollout} is still under way"
            found.append(Finding(kind="override-overdue", subject=_about(one), sentence=said))
    return found


def audit_broken(facts: Facts, _now: datetime) -> list[Finding]:
    """Find that the audit log is not what was written."""
    log = facts.log
    if isinstance(log, Unknown):
        return unknown("audit-broken", log)
    return [] if log.broken is None else [Finding(kind="audit-broken", subject="audit log", sentence=log.broken)]


def _state(facts: Facts) -> breakglass.State:
    known = None if isinstance(facts.log, Unknown) else facts.log.overrides
    return known or breakglass.State()


def _held(facts: Facts) -> Mapping[str, Held]:
    """Return the overrides that are meant; a drill never is."""
    return {identity: held for identity, held in sorted(_state(facts).held.items()) if not held.request.drill}


def _about(held: Held) -> str:
    request = held.request
    return " ".join([held.id[:12], request.override, *(part for part in (request.rollout, request.metric) if part)])
