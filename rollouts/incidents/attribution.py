"""The changes that may have caused an incident, ranked by what speaks for each.

Two kinds of evidence speak for a change. The first is a comparison: the judge has held hosts with the change against
hosts without it, and its e-value bounds the chance that this came from nothing: by Ville's inequality an e-process ever
reaches e with a chance of at most 1/e, so that 1 - 1/e is left. The second is circumstance: when the change began, and
where it is. Where is the coefficient of Ochiai, which fault localisation found to be among the best at telling the
faulty part from what failed and what passed (Abreu, Zoeteweij and van Gemund, "On the accuracy of spectrum-based fault
localization", TAIC PART 2007): colos are its tests, those that are hurt have failed, and a change "ran" where it was
rolled out. When halves with each half hour between a stage's start and the onset of harm.

    fit = covered * (1 - (1 - compared) * (1 - when * where / 2))

so that either kind can speak alone, circumstance never by more than a half. `covered` is the share of the hurt colos
that the change has reached: what hurts where the change is not was not it. What began after the harm has a fit of 0,
as has what was taken back before. "Unattributed" is what is left if none of them was it: the product of all 1 - fit.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from math import prod, sqrt
from typing import Final

from msgspec import Struct

from rollouts.document import Timestamp
from rollouts.incidents.history import Candidate, Cause, Share

HALF_LIFE: Final = timedelta(minutes=30)
"""In which time a start of a stage loses half of its weight."""

SLACK: Final = timedelta(minutes=1)
"""By how much the onset may be told too early: a change that began within that after it may still be the cause."""

LOOK_BACK: Final = timedelta(days=1)
"""Changes whose last stage began longer before are not looked at, unless the judge stopped them."""

CANDIDATES_MAX: Final = 10
"""Most candidates that are named, beside "unattributed"."""

COINCIDENCE: Final = 0.5
"""What circumstance alone can come to."""

UNCOMPARED: Final = 0.5
"""What a stop says of the rollout where nothing was compared, as with an objective or the classical judge."""

UNKNOWN: Final = 0.5
"""How well the place fits if nobody knows where a change is."""

DRILL: Final = "drill-"
"""Begins the names of rollouts that are drills."""

_NAMED_MAX: Final = 5


class Start(Struct, frozen=True, kw_only=True):
    """A stage that began."""

    stage: str
    at: Timestamp


class Change(Struct, frozen=True, kw_only=True):
    """A rollout, as something that may have done harm.

    Attributes
    ----------
    rollout
        Its name.
    units
        `unit@digest` of each unit of its package.
    starts
        Its stages that have begun, in order.
    colos
        Those that it has reached; None if nobody knows.
    hosts_share
        Share of the fleet's hosts that it has reached; None if nobody knows.
    gone
        When it was taken back everywhere; None while it is there.
    is_drill
        Whether its package holds nothing but units of the kind `drill`.
    """

    rollout: str
    units: frozenset[str] = frozenset()
    starts: Sequence[Start] = ()
    colos: frozenset[str] | None = None
    hosts_share: Share | None = None
    gone: Timestamp | None = None
    is_drill: bool = False


def rehearsed(change: Change) -> bool:
    """Tell whether a rollout is a drill's: by name, and announced with the package of one."""
    return change.rollout.startswith(DRILL) and change.is_drill


class Surroundings(Struct, frozen=True, kw_only=True):
    """What is known beside a verdict: changes by rollout, and each colo's share of the traffic.

    `traffic` is None if nobody knows; a colo that it lacks has a share that is not known.
    """

    changes: Mapping[str, Change] = {}
    traffic: Mapping[str, float] | None = None

    def apart(self, *, is_drill: bool) -> dict[str, Change]:
        """Return the rollouts of drills, or all others: neither kind hurts what is of the other."""
        return {name: each for name, each in self.changes.items() if rehearsed(each) == is_drill}

    def share_of(self, colos: Iterable[str]) -> float | None:
        """Return the share of traffic that some colos carry; None unless that of each is known."""
        known, asked = self.traffic, [*colos]
        if known is None or not asked or any(colo not in known for colo in asked):
            return None
        return min(1.0, sum(known[colo] for colo in sorted(asked)))


def rank(
    colos: Iterable[str],
    onset: datetime,
    causes: Iterable[Cause],
    changes: Mapping[str, Change],
) -> list[Candidate]:
    """Rank the changes that may have caused something.

    Parameters
    ----------
    colos
        Those that are hurt; none if that is not known.
    onset
        When harm began, or by when it had.
    causes
        What the judge has stopped because of it.
    changes
        All rollouts that are known, by name.

    Returns
    -------
    list[Candidate]
        At most `CANDIDATES_MAX` and "unattributed", likeliest first.
    """
    hurt = frozenset(colos)
    proofs = _proofs(causes)
    known = {name: changes.get(name, Change(rollout=name)) for name in proofs}
    recent = {name: each for name, each in changes.items() if _is_recent(each, onset)}
    weighed = [(_weigh(each, hurt, onset, proofs), each) for each in {**recent, **known}.values()]
    left = prod(1.0 - candidate.score for candidate, _ in weighed)
    # Of two that fit as well, the one that began first could have hurt the other's hosts too.
    weighed.sort(key=lambda pair: (-pair[0].score, _began(pair[1]), pair[1].rollout))
    named = [candidate for candidate, _ in weighed if candidate.score > 0.0][:CANDIDATES_MAX]
    rest = Candidate(rollout=None, score=left, evidence=[_left(weighed)])
    return sorted([*named, rest], key=lambda candidate: -candidate.score)


def _proofs(causes: Iterable[Cause]) -> dict[str, Cause]:
    """Return the strongest stop of each rollout."""
    found: dict[str, Cause] = {}
    for cause in causes:
        best = found.get(cause.rollout)
        if best is None or (cause.e_value or 0.0) > (best.e_value or 0.0):
            found[cause.rollout] = cause
    return found


def _is_recent(change: Change, onset: datetime) -> bool:
    started = [start.at for start in change.starts if start.at <= onset + SLACK]
    return bool(started) and max(started) >= onset - LOOK_BACK


def _began(change: Change) -> float:
    return min((start.at.timestamp() for start in change.starts), default=float("inf"))


def _weigh(change: Change, hurt: frozenset[str], onset: datetime, proofs: Mapping[str, Cause]) -> Candidate:
    """Give a change its score, and say why."""
    name, evidence = change.rollout, list[str]()
    before = [start for start in change.starts if start.at <= onset + SLACK]
    if change.gone is not None and change.gone < onset - SLACK:
        return Candidate(rollout=name, score=0.0, evidence=[f"{name} had been taken back before the harm began"])
    if change.starts and not before:
        return Candidate(rollout=name, score=0.0, evidence=[f"{name} began after the harm did"])
    compared = _compared(proofs.get(name), evidence)
    when = _when(before, onset, evidence)
    where, covered = _where(change, hurt, evidence)
    score = covered * (1.0 - (1.0 - compared) * (1.0 - COINCIDENCE * when * where))
    return Candidate(rollout=name, score=min(1.0, max(0.0, score)), evidence=evidence)


def _compared(stop: Cause | None, evidence: list[str]) -> float:
    if stop is None:
        return 0.0
    if stop.e_value is None:
        evidence.append(f"the judge said {stop.action} of it, without a comparison that has an e-value")
        return UNCOMPARED
    evidence.append(f"the judge said {stop.action} of it, with an e-value of {stop.e_value:.3g}")
    return 1.0 - 1.0 / max(1.0, stop.e_value)


def _when(before: Sequence[Start], onset: datetime, evidence: list[str]) -> float:
    if not before:
        evidence.append("when it began is not known")
        return 0.0
    newest = max(before, key=lambda start: start.at)
    apart = max(timedelta(0), onset - newest.at)
    evidence.append(f"stage {newest.stage} began {_spoken(apart)} before the harm")
    return float(0.5 ** (apart / HALF_LIFE))


def _where(change: Change, hurt: frozenset[str], evidence: list[str]) -> tuple[float, float]:
    """Return how well the places fit, and the share of the hurt colos that the change has reached."""
    if change.colos is None or not hurt:
        evidence.append(f"which colos {'it has reached' if change.colos is None else 'are hurt'} is not known")
        return UNKNOWN, 1.0
    both, without = hurt & change.colos, hurt - change.colos
    if both:
        evidence.append(f"it has reached {len(both)} of {len(hurt)} hurt colos, and {len(change.colos)} in all")
    if without:
        evidence.append(f"against it: hurt without it {'is' if len(without) == 1 else 'are'} {_some(without)}")
    if not both:
        return 0.0, 0.0
    return len(both) / sqrt(len(hurt) * len(change.colos)), len(both) / len(hurt)


def _left(weighed: Sequence[tuple[Candidate, Change]]) -> str:
    if not weighed:
        return "no change is known that began before the harm"
    best = max(candidate.score for candidate, _ in weighed)
    return f"none of {len(weighed)} changes, of which the likeliest has a score of {best:.2f}"


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    more = len(listed) - _NAMED_MAX
    return ", ".join(listed[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _spoken(apart: timedelta) -> str:
    seconds = round(apart.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7_200 else f"{seconds // 3_600} h"
