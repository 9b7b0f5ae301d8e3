"""Drift of rollouts: without policy or gate, judged otherwise than gated, never judged, or standing still."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from msgspec import UNSET

from detectors.policy import duration_ms
from rollouts.announced import Announcement, finished_at, start_of
from rollouts.controlled import State
from rollouts.drift_facts import Facts, Finding, Kind, Unknown, Verdicts, Watched, clock, or_none, unknown

_WAITING: dict[str, str] = {
    "applying": "not all hosts have reported that they have it",
    "reverting": "not all hosts have reported that they are back",
    "halted": "somebody has to abort it, or to have it advance",
    "waiting": "something keeps its next stage from beginning; `holdfast reach` says what",
}


def under_way(facts: Facts) -> Iterator[tuple[str, Watched]]:
    """Yield the rollouts that are announced and not finished."""
    for name, watched in sorted(or_none(facts.rollouts).items()):
        if finished_at(watched.announcement) is None:
            yield name, watched


def without_policy(facts: Facts, _now: datetime) -> list[Finding]:
    """Find what is released and judged by nothing: it cannot be read, or is not announced at all."""
    found = [
        _finding("without-policy", name, f"its newest record counts for nothing: {why}")
        for name, why in sorted(facts.unreadable.items())
    ]
    if not isinstance(facts.rollouts, Unknown):
        found += [
            _finding("without-policy", name, f"{state.phase} under control, and not announced: nobody judges it")
            for name, state in sorted(or_none(facts.control).items())
            if state.reached and not state.is_ended and name not in facts.rollouts and name not in facts.unreadable
        ]
    return [*found, *unknown("without-policy", facts.rollouts, facts.control)]


def without_gate(facts: Facts, _now: datetime) -> list[Finding]:
    """Find rollouts whose policy has not passed its gate, or of which that cannot be told."""
    found = unknown("without-gate", facts.rollouts)
    for name, watched in under_way(facts):
        if not _binds(watched) or _certified(watched) not in (None, watched.policy):
            continue  # judged by another policy than the certified one is a finding of its own
        policy = watched.announcement.policy.policy
        if watched.objection is not None:
            found.append(_finding("without-gate", name, f"judged by {policy}: {watched.objection}"))
        elif not watched.is_checked:
            said = (
                f"judged by {policy}: without trusted_keys in the settings nobody can tell who signed its certificate"
            )
            found.append(Finding(kind="without-gate", subject=name, sentence=said, known=False))
    return found


def policy_differs(facts: Facts, _now: datetime) -> list[Finding]:
    """Find rollouts that are judged by another policy, or another engine, than the gated one."""
    found = unknown("policy-differs", facts.rollouts, facts.verdicts)
    gated = _gated(or_none(facts.rollouts))
    for name, watched in under_way(facts):
        if not _binds(watched):
            continue
        said = _difference(watched, gated, facts.verdicts)
        if said is not None:
            found.append(_finding("policy-differs", name, said))
    return found


def _difference(watched: Watched, gated: Mapping[str, set[str]], verdicts: Verdicts | Unknown) -> str | None:
    announcement, mine = watched.announcement, watched.policy
    name, certified = announcement.policy.policy, _certified(watched)
    if certified not in (None, mine):
        return f"announced with {name} {short(mine)}, certified was {short(certified or '')}"
    others = gated.get(name, set()) - {mine}
    if certified is None and others and mine not in gated[name]:
        return f"announced with {name} {short(mine)}, gated is {', '.join(map(short, sorted(others)))}"
    newest = None if isinstance(verdicts, Unknown) else verdicts.newest.get(announcement.rollout.rollout)
    if newest is None:
        return None
    if newest.policy != mine:
        return f"announced with {name} {short(mine)}, judged at {clock(newest.at)} by {short(newest.policy)}"
    signed = announcement.certificate
    if signed is not UNSET and signed.certificate.engine != newest.engine:
        engine = signed.certificate.engine
        return f"its gate was passed with the engine {engine}, judged at {clock(newest.at)} by {newest.engine}"
    return None


def never_exercised(facts: Facts, now: datetime) -> list[Finding]:
    """Find policies that have judged nothing for long: of rollouts that have begun, and those that are kept for use."""
    bounds, verdicts = facts.bounds, facts.verdicts
    found = unknown("never-exercised", facts.rollouts, verdicts)
    if isinstance(verdicts, Unknown):
        return found
    edge = now - bounds.exercised_within
    begun: dict[str, tuple[str, datetime]] = {}
    for name, watched in under_way(facts):
        start = start_of(watched.announcement, 0)
        if start is not None and start <= now - bounds.stuck_after:
            begun.setdefault(watched.policy, (name, start))
    names = {watched.policy: watched.announcement.policy.policy for _, watched in under_way(facts)}
    names |= {digest: policy.policy for digest, policy in facts.policies.items()}
    for digest, name in sorted(names.items()):
        last = verdicts.policies.get(digest)
        if (last is not None and last >= edge) or not (digest in begun or digest in facts.policies):
            continue
        rollout, start = begun.get(digest, ("", edge))
        since = max(edge, start)
        of = f", though {rollout} began at {clock(start)}" if rollout else ""
        is_known = verdicts.since <= since
        said = f"has judged nothing since {clock(since)}{of}"
        if not is_known:
            said = f"has judged nothing since {clock(verdicts.since)}{of}; verdicts from before are no longer kept"
        found.append(Finding(kind="never-exercised", subject=f"{name} {short(digest)}", sentence=said, known=is_known))
    return found


def past_deadline(facts: Facts, now: datetime) -> list[Finding]:
    """Find rollouts whose newest stage has run past its deadline, and whose end nobody has told."""
    found = unknown("past-deadline", facts.rollouts, facts.control)
    for name, watched in under_way(facts):
        index, start = _newest_stage(watched.announcement, now)
        stage = watched.announcement.rollout.stages[index]
        if start is None or stage.deadline is None:
            continue
        end = start + _span(stage.deadline) + _apply_within(or_none(facts.control).get(name), index)
        if now > end:
            said = f"stage {stage.name} began at {clock(start)} and had until {clock(end)}; nobody told its end"
            found.append(_finding("past-deadline", name, said))
    return found


def stuck(facts: Facts, now: datetime) -> list[Finding]:
    """Find rollouts under control that do not move, and are not merely baking or waiting for their time."""
    found = unknown("stuck", facts.control)
    for name, state in sorted(or_none(facts.control).items()):
        started = state.resolved.plan.started
        is_early = state.phase == "waiting" and started is not None and now < started + facts.bounds.stuck_after
        allowed = facts.bounds.stuck_after
        if state.phase in ("applying", "reverting"):
            allowed += _apply_within(state, state.current.stage if state.current is not None else 0)
        if state.is_ended or is_early or now <= state.at + allowed:
            continue
        why = f"paused by {state.paused}" if state.paused is not None else _WAITING.get(state.phase)
        if why is not None:
            because = f" ({state.halted})" if state.phase == "halted" and state.halted else ""
            found.append(_finding("stuck", name, f"{state.phase}{because} since {clock(state.at)}: {why}"))
    return found


def short(digest: str) -> str:
    """Write a digest as people read it: enough to tell it from others.

    Examples
    --------
    >>> short("sha256:9f2c4b1a77e0d5")
    'sha256:9f2c4b1a77e0'
    """
    return digest[:19]


def _finding(kind: Kind, subject: str, sentence: str) -> Finding:
    return Finding(kind=kind, subject=subject, sentence=sentence)


def _binds(watched: Watched) -> bool:
    """Tell whether somebody acts on its verdicts: in shadow, a policy is tried before it is gated."""
    return watched.announcement.rollout.mode == "enforce"


def _certified(watched: Watched) -> str | None:
    """Return the digest of the policy that its certificate names, if it has one."""
    signed = watched.announcement.certificate
    return None if signed is UNSET else signed.certificate.policy


def _gated(rollouts: Mapping[str, Watched]) -> dict[str, set[str]]:
    """Return, by the name of a policy, the digests that have passed their gate, of whatever rollout."""
    found: dict[str, set[str]] = {}
    for watched in rollouts.values():
        if watched.objection is None and _certified(watched) == watched.policy:
            found.setdefault(watched.announcement.policy.policy, set()).add(watched.policy)
    return found


def _newest_stage(announcement: Announcement, now: datetime) -> tuple[int, datetime | None]:
    """Return the stage that began last, and when; the first one and None if none has."""
    found: tuple[int, datetime | None] = (0, None)
    for index in range(len(announcement.rollout.stages)):
        start = start_of(announcement, index)
        if start is not None and start <= now:
            found = (index, start)
    return found


def _apply_within(state: State | None, stage: int) -> timedelta:
    """Return how long hosts may take to apply a stage; nothing where nobody controls the rollout."""
    if state is None:
        return timedelta(0)
    stages = state.resolved.plan.stages
    return _span(stages[min(stage, len(stages) - 1)].apply_within)


def _span(text: str) -> timedelta:
    return timedelta(milliseconds=duration_ms(text))
