"""Break glass: overrides of what the engine says, in force by the signatures of several people alone.

A fold over the audit log: requests, approvals, denials and revocations, each signed by the person who makes it. What
does not follow the rules is refused with a reason and changes nothing, whoever put it on the log.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from detectors.policy import Name, duration_ms
from rollouts.audit import YEARS, Chain, Hash, Link
from rollouts.document import Timestamp
from rollouts.people import OverrideKind, People, Roster, Rule, is_signed, owner_of

CLOCK_SECONDS_MAX: Final = 300
"""Most by which clocks may disagree: that of who signs, of who writes, and of the broker."""

REFUSED_MAX: Final = 1_000
"""Most refusals that are kept; older ones are on the log."""

_DOMAIN: Final = b"dev.holdfast.breakglass.v1"

REQUEST: Final = "breakglass.request"
APPROVE: Final = "breakglass.approve"
DENY: Final = "breakglass.deny"
REVOKE: Final = "breakglass.revoke"
REFUSED: Final = "breakglass.refused"
DRILL: Final = "breakglass.drill"
"""Kinds of entries. `REFUSED` and `DRILL` are there to be read by people, and count for nothing."""

VOTES: Final = (APPROVE, DENY, REVOKE)

LOOSENING: Final[frozenset[OverrideKind]] = frozenset({"force_advance", "ignore_metric"})
"""Overrides that let more through than the engine would; they are suspended while the log is not whole."""

TARGETS: Final[dict[OverrideKind, tuple[str, ...]]] = {
    "force_advance": ("rollout", "stage"),
    "force_revert": ("rollout",),
    "freeze_all": (),
    "ignore_metric": ("rollout", "metric"),
}
"""What each kind must name, and may name nothing else."""

Reason = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1_000,
        pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$",
        extra={"allowed": "a reason of 1 to 1000 characters in one line"},
    ),
]
Status = Literal["pending", "in force", "denied", "revoked", "expired", "suspended"]
Why = Literal[
    "unreadable",
    "people",
    "key",
    "signature",
    "clock",
    "target",
    "rule",
    "role",
    "own",
    "twice",
    "replayed",
    "expired",
    "unknown",
    "over",
]


class Request(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An override that somebody asks for.

    `people` is the digest of the people document, `by` and `key` say who signs, `nonce` tells two requests apart that
    are otherwise alike. A `drill` goes the same way and is never in force.
    """

    override: OverrideKind
    rollout: Name | None
    stage: Name | None
    metric: Name | None
    reason: Reason
    signed: Timestamp
    expires: Timestamp
    nonce: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
    people: Name
    by: Name
    key: Name
    drill: bool
    signature: Annotated[str, Meta(max_length=200)] = ""


class Vote(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What somebody says of a request, which is named by its id: the hash of all that was asked for."""

    request: Hash
    reason: Reason | None
    signed: Timestamp
    people: Name
    by: Name
    key: Name
    signature: Annotated[str, Meta(max_length=200)] = ""


class Approval(Struct, frozen=True, kw_only=True):
    """Who approved, and when."""

    by: str
    at: datetime


class Ended(Struct, frozen=True, kw_only=True):
    """How an override ended before its time, by whom and when."""

    how: Literal["denied", "revoked"]
    by: str
    at: datetime
    reason: str | None


class Held(Struct, frozen=True, kw_only=True):
    """A request that was taken, and what became of it; `needed` approvals put it in force."""

    id: str
    request: Request
    needed: int
    approvals: tuple[Approval, ...] = ()
    ended: Ended | None = None


class Refusal(Struct, frozen=True, kw_only=True):
    """Why something changed nothing."""

    why: Why
    sentence: str


class Refused(Struct, frozen=True, kw_only=True):
    """An entry that changed nothing."""

    sequence: int
    kind: str
    who: str
    at: datetime
    refusal: Refusal


class State(Struct, frozen=True, kw_only=True):
    """All overrides by id, and what was refused.

    `latest` is the latest time of an entry that counted; `is_whole` that of the log, see `rollouts.audit.Chain`.
    """

    held: dict[str, Held] = {}
    refused: tuple[Refused, ...] = ()
    latest: datetime | None = None
    is_whole: bool = True


class Seen(Struct, frozen=True, kw_only=True):
    """Something that was said, and who wrote it when: `at` by the writer's clock, `written` by the broker's."""

    kind: str
    who: str
    at: datetime
    body: dict[str, object]
    written: datetime | None = None


Signed = Request | Vote


def signed_bytes(kind: str, installation: str, body: Signed) -> bytes:
    """Return what is signed: domain, kind, installation and the body without its signature, a line each."""
    bare: Struct = msgspec.structs.replace(body, signature="")
    parts = [_DOMAIN, kind.encode(), installation.encode(), msgspec.json.encode(bare, order="deterministic")]
    return b"\n".join(parts)


def id_of(request: Request) -> str:
    """Name a request by all that was asked for, so that who approves it approves that and nothing else."""
    bare = msgspec.structs.replace(request, signature="")
    return hashlib.sha256(msgspec.json.encode(bare, order="deterministic")).hexdigest()


def fold(chain: Chain, who: Roster) -> State:
    """Work out all overrides from a log."""
    state = after(State(), chain.links, chain.installation, who)
    return msgspec.structs.replace(state, is_whole=chain.is_whole)


def after(state: State, links: Iterable[Link], installation: str, who: Roster) -> State:
    """Take entries, in the order of the log."""
    for link in links:
        state, _ = step(state, link, installation, who)
    return state


def step(state: State, link: Link, installation: str, who: Roster) -> tuple[State, Refusal | None]:
    """Take one entry; those of other kinds change nothing.

    Returns
    -------
    state
        What it is then.
    refusal
        Why the entry changed nothing, if it should have.
    """
    entry = link.entry
    if entry.kind != REQUEST and entry.kind not in VOTES:
        return state, None
    seen = Seen(kind=entry.kind, who=entry.who, at=entry.time, body=entry.body, written=link.written)
    taken, refusal = take(state, seen, installation, who)
    if refusal is None:
        return taken, None
    noted = Refused(sequence=entry.sequence, kind=entry.kind, who=entry.who, at=entry.time, refusal=refusal)
    return msgspec.structs.replace(state, refused=(*state.refused, noted)[-REFUSED_MAX:]), refusal


def take(state: State, seen: Seen, installation: str, who: Roster) -> tuple[State, Refusal | None]:
    """Take what somebody says, or refuse it; who writes the log asks this first."""
    found = _read(seen)
    if isinstance(found, Refusal):
        return state, found
    refusal = _clock(state, seen, found) or _signature(seen, found, installation, who)
    if refusal is not None:
        return state, refusal
    latest = seen.at if state.latest is None else max(state.latest, seen.at)
    people = who.known[found.people]
    if isinstance(found, Request):
        held: Held | Refusal = _asked(state, found, seen.at, people)
    else:
        held = _said(state, found, seen, people)
    if isinstance(held, Refusal):
        return state, held
    return msgspec.structs.replace(state, held={**state.held, held.id: held}, latest=latest), None


def status(state: State, held: Held, now: datetime) -> Status:
    """Say how an override stands."""
    if held.ended is not None:
        return held.ended.how
    if now >= held.request.expires:
        return "expired"
    if len(held.approvals) < held.needed:
        return "pending"
    return "in force" if state.is_whole or held.request.override not in LOOSENING else "suspended"


def in_force(state: State, now: datetime) -> tuple[Held, ...]:
    """List the overrides that are to be followed; a drill never is."""
    return tuple(
        held for held in state.held.values() if not held.request.drill and status(state, held, now) == "in force"
    )


def _refuse(why: Why, sentence: str) -> Refusal:
    return Refusal(why=why, sentence=sentence)


def _read(seen: Seen) -> Signed | Refusal:
    try:
        body = msgspec.convert(seen.body, Request) if seen.kind == REQUEST else msgspec.convert(seen.body, Vote)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        return _refuse("unreadable", f"not readable: {error}")
    times = [body.signed, body.expires] if isinstance(body, Request) else [body.signed]
    if not all(at.year in YEARS for at in times):
        return _refuse("unreadable", f"not readable: a time outside of the years {YEARS.start} to {YEARS.stop - 1}")
    if body.by != seen.who:
        return _refuse("unreadable", f"the entry says that it is {seen.who}'s, what is signed that it is {body.by}'s")
    return body


def _clock(state: State, seen: Seen, body: Signed) -> Refusal | None:
    """Hold the clocks against each other: without that, old keys could sign with old times."""
    most = timedelta(seconds=CLOCK_SECONDS_MAX)
    apart = f"allowed: {CLOCK_SECONDS_MAX} s apart"
    if abs(body.signed - seen.at) > most:
        return _refuse("clock", f"signed at {written(body.signed)}, written at {written(seen.at)}; {apart}")
    if seen.written is not None and abs(seen.written - seen.at) > most:
        said = f"written at {written(seen.at)} by the writer's clock, at {written(seen.written)} by the broker's"
        return _refuse("clock", f"{said}; {apart}")
    if seen.written is None and state.latest is not None and state.latest - seen.at > most:
        return _refuse("clock", f"written at {written(seen.at)}, after an entry of {written(state.latest)}; {apart}")
    return None


def _signature(seen: Seen, body: Signed, installation: str, who: Roster) -> Refusal | None:
    people = who.known.get(body.people)
    if people is None:
        return _refuse("people", f"signed under the people {body.people[:19]}…, which are not those of the settings")
    found = owner_of(people, body.key)
    if found is None:
        return _refuse("key", f"signed by the key {body.key!r}, which nobody has")
    person, key = found
    if person.name != body.by:
        return _refuse("key", f"signed by the key {body.key!r}, which is {person.name}'s and not {body.by}'s")
    if not key.is_valid(seen.at):
        span = " ".join(f"{word} {written(at)}" for word, at in (("since", key.since), ("until", key.until)) if at)
        return _refuse("key", f"signed by the key {body.key!r} at {written(seen.at)}; it is valid {span}")
    if not is_signed(key, signed_bytes(seen.kind, installation, body), body.signature):
        return _refuse("signature", f"the signature by the key {body.key!r} is not that of what is said")
    return None


def _asked(state: State, request: Request, at: datetime, people: People) -> Held | Refusal:
    identity, rule = id_of(request), people.overrides.of(request.override)
    if identity in state.held:
        return _refuse("replayed", f"{identity[:12]} was asked for already, by {request.by}")
    named = {name for name in ("rollout", "stage", "metric") if getattr(request, name) is not None}
    if named != set(TARGETS[request.override]):
        found, wanted = (", ".join(sorted(names)) or "nothing" for names in (named, TARGETS[request.override]))
        return _refuse("target", f"{request.override}: found {found}; allowed: {wanted}")
    if rule is None:
        return _refuse("rule", f"{request.override}: the people document has no rule for it, so nobody may ask for it")
    person = next(one for one in people.people if one.name == request.by)
    if rule.asked_by is not None and rule.asked_by not in person.roles:
        return _refuse("role", f"{request.by} has not the role {rule.asked_by!r}, which may ask for {request.override}")
    if request.expires <= at:
        return _refuse("expired", f"expires at {written(request.expires)}, and it is {written(at)}")
    if request.expires - request.signed > timedelta(milliseconds=duration_ms(rule.longest)):
        return _refuse("rule", f"{request.override}: asked until {written(request.expires)}; allowed: {rule.longest}")
    return Held(id=identity, request=request, needed=rule.approvals)


def _said(state: State, vote: Vote, seen: Seen, people: People) -> Held | Refusal:
    held = state.held.get(vote.request)
    if held is None:
        return _refuse("unknown", f"{vote.request[:12]}: no such request was taken")
    request, rule = held.request, people.overrides.of(held.request.override)
    person = next(one for one in people.people if one.name == vote.by)
    now = status(state, held, seen.at)
    if now in ("denied", "revoked", "expired"):
        return _refuse("expired" if now == "expired" else "over", f"{held.id[:12]} is {now}")
    may = rule is not None and rule.role in person.roles
    if seen.kind == REVOKE:
        if not may and vote.by != request.by:
            return _no_role(vote.by, rule, "or be the one who asked, to revoke")
        return _ended(held, "revoked", vote, seen.at)
    word = "approve" if seen.kind == APPROVE else "deny"
    if vote.by == request.by:
        return _refuse("own", f"{vote.by} asked for {held.id[:12]}, and cannot {word} it too; revoke takes it back")
    if not may:
        return _no_role(vote.by, rule, f"to {word}")
    if len(held.approvals) >= held.needed:
        return _refuse("over", f"{held.id[:12]} is in force; allowed: to revoke it")
    if seen.kind == DENY:
        return _ended(held, "denied", vote, seen.at)
    if vote.people != request.people:
        return _refuse("people", f"{held.id[:12]} was asked for under other people; allowed: to ask for it again")
    if any(approval.by == vote.by for approval in held.approvals):
        return _refuse("twice", f"{vote.by} has approved {held.id[:12]} already; one person has one vote")
    approved = Approval(by=vote.by, at=seen.at)
    return msgspec.structs.replace(held, approvals=(*held.approvals, approved))


def _no_role(name: str, rule: Rule | None, what: str) -> Refusal:
    wanted = "a role that a rule names" if rule is None else f"the role {rule.role!r}"
    return _refuse("role", f"{name} must have {wanted} {what}")


def _ended(held: Held, how: Literal["denied", "revoked"], vote: Vote, at: datetime) -> Held:
    ended = Ended(how=how, by=vote.by, at=at, reason=vote.reason)
    return msgspec.structs.replace(held, ended=ended)


def written(moment: datetime) -> str:
    """Write a time in UTC, to the second or finer if it is."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
