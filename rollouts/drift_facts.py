"""What drift is told by: facts as somebody has gathered them, and findings as people read them.

A fact that could not be had is an `Unknown` in its place, with the reason: what is not known is never taken for fine.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, Literal, TypeVar, get_args

from msgspec import Struct

from detectors.policy import Policy
from rollouts import breakglass
from rollouts.announced import Announcement
from rollouts.controlled import State
from rollouts.incidents.folding import Incident
from rollouts.reports import Report

Kind = Literal[
    "without-policy",
    "without-gate",
    "policy-differs",
    "settings-differ",
    "never-exercised",
    "no-drill",
    "metric-unsent",
    "ungated-change",
    "override-expiring",
    "override-overdue",
    "audit-broken",
    "past-deadline",
    "stuck",
    "action-overdue",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""Kinds of findings, in the order in which they are listed."""

Selected = tuple[tuple[str, tuple[str, ...]], ...]
"""A selector in one form: labels in order, each with its patterns."""


class Finding(Struct, frozen=True, kw_only=True):
    """Something that is not as it was decided; or, if it is not `known`, something of which that cannot be told.

    Kind and subject together name it: two findings of one kind are about two things.
    """

    kind: Kind
    subject: str
    sentence: str
    known: bool = True


class Unknown(Struct, frozen=True, kw_only=True):
    """In the place of a fact: why it could not be had."""

    why: str


class Bounds(Struct, frozen=True, kw_only=True):
    """From when on something is drift.

    Attributes
    ----------
    exercised_within
        A policy that has judged nothing for so long is not exercised.
    drilled_within
        Break glass that was not rehearsed for so long.
    expiring_within
        An override that ends so soon is about to expire.
    stuck_after
        A rollout that waits for somebody for so long is stuck; and how long one has to get its first verdict.
    silent_after
        Of a host that has reported nothing for so long it is not known what it has.
    leave_out
        Kinds that are not looked for.
    """

    exercised_within: timedelta = timedelta(days=14)
    drilled_within: timedelta = timedelta(days=90)
    expiring_within: timedelta = timedelta(hours=1)
    stuck_after: timedelta = timedelta(hours=1)
    silent_after: timedelta = timedelta(minutes=10)
    leave_out: frozenset[str] = frozenset()


class Watched(Struct, frozen=True, kw_only=True):
    """A rollout as it is announced.

    `policy` is the digest of its policy. `objection` says why that does not count as gated, and None that it does;
    `is_checked` says whether it could be looked at who signed the certificate.
    """

    announcement: Announcement
    policy: str
    objection: str | None = None
    is_checked: bool = True


class Judged(Struct, frozen=True, kw_only=True):
    """The newest verdict on a rollout: by which policy and engine, and the tick that it is about."""

    policy: str
    engine: str
    at: datetime


class Verdicts(Struct, frozen=True, kw_only=True):
    """What judges have said, from some time on.

    Attributes
    ----------
    policies
        When each policy judged last, by digest.
    newest
        The newest verdict on each rollout.
    since
        Verdicts from before are not known: they were not looked for, or are no longer kept.
    """

    policies: Mapping[str, datetime]
    newest: Mapping[str, Judged]
    since: datetime


class Series(Struct, frozen=True, kw_only=True):
    """Series that a policy names: the metric, and the labels that they must have."""

    metric: str
    select: Selected = ()


class Sent(Struct, frozen=True, kw_only=True):
    """Which of the series that policies name somebody sends.

    Attributes
    ----------
    now
        Those that came since `since`.
    ever
        Those that are in the catalogue of the aggregate, which forgets none.
    since
        From when on messages were read.
    incomplete
        Why not all messages were read; None if all were. What did not come then is not known to be unsent.
    """

    now: frozenset[Series]
    ever: frozenset[Series]
    since: datetime
    incomplete: str | None = None


class Log(Struct, frozen=True, kw_only=True):
    """The audit log: where it is broken, when break glass was rehearsed last, and the overrides.

    `overrides` is None where nobody may override.
    """

    broken: str | None
    drilled: datetime | None
    overrides: breakglass.State | None


class Facts(Struct, frozen=True, kw_only=True):
    """All that is known at one time.

    Attributes
    ----------
    rollouts
        What is announced, by rollout.
    unreadable
        Rollouts whose newest record is no announcement that counts, and why.
    control
        What is under control, by rollout.
    reports
        The newest report of each host.
    unreadable_reports
        Hosts whose newest report cannot be read, and why.
    verdicts, sent, log
        See there.
    policies
        Policies that are kept for use, by digest, beside those that are announced.
    baseline
        Digests by unit that hosts had before rollouts were announced.
    incidents
        How incidents stand, by id.
    settings
        In what topics and settings differ from what they have to be, a sentence each by subject.
    bounds
        From when on something is drift.
    """

    rollouts: Mapping[str, Watched] | Unknown
    unreadable: Mapping[str, str] = {}
    control: Mapping[str, State] | Unknown
    reports: Mapping[str, Report] | Unknown
    unreadable_reports: Mapping[str, str] = {}
    verdicts: Verdicts | Unknown
    sent: Sent | Unknown
    log: Log | Unknown
    incidents: Mapping[str, Incident] | Unknown = {}
    policies: Mapping[str, Policy] = {}
    baseline: Mapping[str, frozenset[str]] = {}
    settings: Mapping[str, str] | Unknown = {}
    bounds: Bounds = Bounds()


def clock(moment: datetime) -> str:
    """Write a time in UTC, to the second."""
    return breakglass.written(moment.replace(microsecond=0))


_Fact = TypeVar("_Fact")


def unknown(kind: Kind, *facts: object) -> list[Finding]:
    """Say of which facts it is not known how they are, once for each reason; nothing if all are known."""
    reasons = dict.fromkeys(fact.why for fact in facts if isinstance(fact, Unknown))
    return [Finding(kind=kind, subject="", sentence=why, known=False) for why in ["; ".join(reasons)] if reasons]


def or_none(fact: Mapping[str, _Fact] | Unknown) -> Mapping[str, _Fact]:
    """Return what is known of a fact; what is not has to be told by `unknown`."""
    return {} if isinstance(fact, Unknown) else fact


def series_of(policy: Policy) -> dict[str, tuple[list[Series], list[Series]]]:
    """Name the series of each metric of a policy: those that must be there, and those that may be absent.

    The bad ones of a ratio are absent as long as nothing bad has happened.
    """
    found: dict[str, tuple[list[Series], list[Series]]] = {}
    for metric in policy.metrics:
        select: Selected = tuple(
            (label, (wanted,) if isinstance(wanted, str) else tuple(wanted))
            for label, wanted in sorted(metric.select.items())
        )
        must = [name for name in (metric.gauge, metric.counter, metric.histogram) if name is not None]
        may: list[str] = []
        if metric.ratio is not None:
            must.append(metric.ratio.total)
            may.append(metric.ratio.bad)
        found[metric.name] = (
            [Series(metric=name, select=select) for name in must],
            [Series(metric=name, select=select) for name in may],
        )
    return found
