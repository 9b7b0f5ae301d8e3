"""A rehearsal of break glass: all that it takes is tried, and what would not have worked is named.

Nothing that counts is changed: what is written is one entry that says that a drill was held.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from holdfast.control.audit_log import Draft, append, read
from holdfast.control.overriding import Hand, hand_of
from holdfast.control.people_file import load_roster
from holdfast.errors import BadInput, Unreachable
from holdfast.live.clients import admin
from holdfast.live.settings import Settings
from holdfast.live.topics import standings
from holdfast.wall import now
from rollouts.audit import Link
from rollouts.breakglass import CLOCK_SECONDS_MAX, DRILL, REQUEST, TARGETS, Request, Seen, State, take, written
from rollouts.people import KINDS, OverrideKind, People, Person, Roster, Rule, with_role

SKEW_SECONDS: Final = 30
"""By how much clocks may disagree before a drill says so; at ten times that, signatures are refused."""

ANSWER_SECONDS: Final = 10.0
"""How long a drill waits for each answer of the brokers."""


_T = TypeVar("_T")


class Check(Struct, frozen=True, kw_only=True):
    """Something that break glass needs: whether it would have worked, and what was found."""

    name: str
    works: bool
    found: str


def rehearse(
    settings: Settings, key: Path | None, people: Path | None, within: timedelta, *, is_dry: bool
) -> list[Check]:
    """Try all that break glass needs.

    Parameters
    ----------
    settings
        Brokers, topics and people.
    key
        The private key of whoever rehearses; None to leave it out.
    people
        A people document in place of that of the settings.
    within
        Keys that end this soon are named.
    is_dry
        Write nothing.
    """
    at = now()
    checks: list[Check] = []
    who = _tried(checks, "people", lambda: load_roster(settings, people))
    hand: Hand | None = None
    if who is not None:
        today = who.known[who.today]
        checks.append(Check(name="people", works=True, found=f"{len(today.people)} people, {who.today[:19]}…"))
        for kind in KINDS:
            checks += override_checks(today, kind, at, at + within)
        if key is not None:
            hand = _tried(checks, "key", lambda: hand_of(key, today))
    if who is not None and hand is not None:
        checks += hand_checks(who, hand, settings.prefix, at)
    checks += _broker(settings)
    if all(check.works for check in checks if check.name == "topic"):
        checks += _log(settings, hand, checks, is_dry=is_dry)
    return checks


def override_checks(people: People, kind: OverrideKind, at: datetime, soon: datetime) -> list[Check]:
    """Tell whether an override could be put in force now, and whether a key that it needs ends soon."""
    rule = people.overrides.of(kind)
    if rule is None:
        return [Check(name=kind, works=True, found="there is no rule: nobody may ask for it")]
    able, later = with_role(people, rule.role, at), with_role(people, rule.role, soon)
    stuck = _stuck(people, rule, able, at)
    names = ", ".join(person.name for person in able) or "nobody"
    said = f"{rule.approvals} must approve; with the role {rule.role!r} and a valid key: {names}"
    if stuck is not None:
        return [Check(name=kind, works=False, found=f"{said}; {stuck}")]
    ending = [person.name for person in able if person not in later]
    if ending and _stuck(people, rule, later, soon) is not None:
        said = f"{said}; not any more at {written(soon)}, when the keys of {', '.join(ending)} have ended"
        return [Check(name=kind, works=False, found=said)]
    return [Check(name=kind, works=True, found=said)]


def hand_checks(who: Roster, hand: Hand, installation: str, at: datetime) -> list[Check]:
    """Tell what the holder of a key could ask for and approve: a request of each kind is signed, and thrown away."""
    today = who.known[who.today]
    checks: list[Check] = []
    for kind in KINDS:
        rule = today.overrides.of(kind)
        if rule is None:
            continue
        request = _request(kind, who, hand, at)
        body = hand.sign(REQUEST, installation, request)
        seen = Seen(kind=REQUEST, who=hand.person.name, at=at, body=body)
        _, refusal = take(State(), seen, installation, who)
        approves = "may approve" if rule.role in hand.person.roles else "may not approve"
        asks = f"could not ask: {refusal.sentence}" if refusal else "could ask"
        is_barred = refusal is not None and refusal.why != "role"
        checks.append(Check(name="key", works=not is_barred, found=f"{hand.person.name}: {kind}: {asks}, {approves}"))
    return checks


def clock_check(at: datetime, broker: datetime | None) -> Check:
    """Hold the clock of this machine against the broker's."""
    if broker is None:
        return Check(name="clock", works=False, found="the topic keeps no time of the broker's to compare with")
    apart = abs((broker - at).total_seconds())
    found = f"{apart:.1f} s apart from the broker's; signatures are refused from {CLOCK_SECONDS_MAX} s on"
    return Check(name="clock", works=apart <= SKEW_SECONDS, found=found)


def _stuck(people: People, rule: Rule, able: Sequence[Person], at: datetime) -> str | None:
    """Say who could not have an override approved, if there is somebody; who asks cannot approve."""
    asking = with_role(people, rule.asked_by, at) if rule.asked_by is not None else people.people
    asking = [person for person in asking if any(key.is_valid(at) for key in person.keys)]
    if not asking:
        return "nobody who may ask has a valid key"
    left = {person.name: len(able) - (person in able) for person in asking}
    stuck = [name for name, count in left.items() if count < rule.approvals]
    return f"not enough when it is asked for by {', '.join(stuck)}" if stuck else None


def _request(kind: OverrideKind, who: Roster, hand: Hand, at: datetime) -> Request:
    targets = {name: "drill" if name in TARGETS[kind] else None for name in ("rollout", "stage", "metric")}
    return Request(
        override=kind,
        rollout=targets["rollout"],
        stage=targets["stage"],
        metric=targets["metric"],
        reason="drill",
        signed=at,
        expires=at + timedelta(milliseconds=1),
        nonce="0" * 32,
        people=who.today,
        by=hand.person.name,
        key=hand.key_id,
        drill=True,
    )


def _broker(settings: Settings) -> list[Check]:
    name = settings.topics.audit
    checks: list[Check] = []
    found = _tried(checks, "topic", lambda: standings(admin(settings), settings))
    if found is None:
        return checks
    standing = next(each for each in found if each.wanted.topic == name)
    if not standing.exists:
        return [Check(name="topic", works=False, found=f"{name}: there is none; `holdfast topics create` makes it")]
    differs = ", ".join(standing.differences)
    return [Check(name="topic", works=not differs, found=f"{name}: {differs or 'as it must be'}")]


def _log(settings: Settings, hand: Hand | None, before: Sequence[Check], *, is_dry: bool) -> list[Check]:
    """Prove the log, write the entry, and compare clocks."""
    checks: list[Check] = []
    chain = _tried(checks, "log", lambda: read(settings, ANSWER_SECONDS))
    if chain is None:
        return checks
    broken = chain.first_break()
    told = f"whole, {len(chain.links)} entries, head {chain.head[:12]}…" if broken is None else broken.sentence
    checks.append(Check(name="log", works=broken is None, found=told))
    if is_dry:
        checks.append(Check(name="write", works=True, found="left out, as is the comparison of clocks"))
        return checks
    failed = [f"{check.name}: {check.found}" for check in (*before, *checks) if not check.works]
    name = "somebody without a key" if hand is None else hand.person.name
    draft = Draft(name, DRILL, "", {"would_not_have_worked": failed})
    begin = time.monotonic()
    link = _tried(checks, "write", lambda: _written(settings, draft))
    if link is not None:
        took = time.monotonic() - begin
        checks.append(Check(name="write", works=True, found=f"entry {link.entry.sequence}, in {took:.1f} s"))
        checks.append(clock_check(link.entry.time, link.written))
    return checks


def _written(settings: Settings, draft: Draft) -> Link:
    link = append(settings, lambda _chain, _at: draft, ANSWER_SECONDS, is_tail_enough=True)
    if link is None:
        message = "nothing was written"
        raise Unreachable(message)
    return link


def _tried(checks: list[Check], name: str, work: Callable[[], _T]) -> _T | None:
    """Do something that may not work; what does not is one check that says why."""
    try:
        return work()
    except (BadInput, Unreachable) as error:
        checks += [Check(name=name, works=False, found=each) for each in str(error).splitlines()]
        return None
