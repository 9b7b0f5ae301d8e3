"""`holdfast breakglass`: overrides of what the engine says, by the signatures of several people."""

import secrets
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from holdfast.commands.groups import Group
from holdfast.commands.options import moment
from holdfast.commands.workers import Config
from holdfast.errors import BadInput
from holdfast.live.durations import seconds_of
from holdfast.live.settings import Settings, load_settings
from holdfast.validation import closest
from rollouts.breakglass import (
    APPROVE,
    DENY,
    REQUEST,
    REVOKE,
    Approval,
    Ended,
    Held,
    Refusal,
    Refused,
    Request,
    State,
    Status,
    Vote,
    status,
    written,
)
from rollouts.people import KINDS, OverrideKind

app = typer.Typer(
    cls=Group, help="Override what the engine says, by the signatures of several people.", no_args_is_help=True
)

REFUSED = 3

Key = Annotated[Path, typer.Option(help="Your private key (PEM, Ed25519).")]
People = Annotated[Path | None, typer.Option(help="The people document; else that of the settings.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a request, or at least its first 8 characters.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before signing.")]


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An override as it is printed with `--json`."""

    id: str
    status: Status
    request: Request
    needed: int
    approvals: tuple[Approval, ...]
    ended: Ended | None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a command that signs prints with `--json`; `head` is the hash of its entry, worth noting elsewhere."""

    exit: int
    refused: Refusal | None
    override: Told | None
    sequence: int
    head: str


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What `holdfast breakglass list --json` prints."""

    whole: bool
    overrides: list[Told]
    refused: list[Refused]


@app.command()
def request(
    override: Annotated[str, typer.Argument(help="force_advance, force_revert, freeze_all or ignore_metric.")],
    key: Key,
    reason: Annotated[str, typer.Option(help="Why, in one line.")],
    rollout: Annotated[str | None, typer.Option(help="The rollout; not with freeze_all.")] = None,
    stage: Annotated[str | None, typer.Option(help="The stage; with force_advance.")] = None,
    metric: Annotated[str | None, typer.Option(help="The metric; with ignore_metric.")] = None,
    lasting: Annotated[str | None, typer.Option("--for", help="For how long, as in 2h.")] = None,
    until: Annotated[str | None, typer.Option(help="Until when, as in 2026-03-12T11:20:00Z.")] = None,
    drill: Annotated[bool, typer.Option("--drill", help="Rehearse: it is never in force.")] = False,
    people: People = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Ask for an override. Exit status: 0 asked, 3 refused, 2 bad input or no answer."""
    from holdfast.control.overriding import hand_of
    from holdfast.control.people_file import load_roster
    from holdfast.wall import now

    settings, kind, at = load_settings(config), _kind(override), now()
    who = load_roster(settings, people)
    hand = hand_of(key, who.known[who.today])
    asked = Request(
        override=kind,
        rollout=rollout,
        stage=stage,
        metric=metric,
        reason=reason,
        signed=at,
        expires=_expiry(at, lasting, until),
        nonce=secrets.token_hex(16),
        people=who.today,
        by=hand.person.name,
        key=hand.key_id,
        drill=drill,
    )
    _check_text(asked, Request)
    _say(settings, people, key, REQUEST, asked, as_json=as_json)


@app.command()
def approve(
    name: Id, key: Key, yes: Yes = False, people: People = None, as_json: AsJson = False, config: Config = None
) -> None:
    """Approve a request, after reading it. Exit status: 0 approved, 3 refused, 2 bad input or no answer."""
    _vote(APPROVE, name, key, None, people, config, is_asked=not yes, as_json=as_json)


@app.command()
def deny(
    name: Id,
    key: Key,
    reason: Annotated[str, typer.Option(help="Why, in one line.")],
    people: People = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Deny a request that is pending: it is over. Exit status: 0 denied, 3 refused, 2 bad input or no answer."""
    _vote(DENY, name, key, reason, people, config, as_json=as_json)


@app.command()
def revoke(
    name: Id,
    key: Key,
    reason: Annotated[str, typer.Option(help="Why, in one line.")],
    people: People = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Take a request or an override back. Exit status: 0 revoked, 3 refused, 2 bad input or no answer."""
    _vote(REVOKE, name, key, reason, people, config, as_json=as_json)


@app.command("list")
def list_all(
    everything: Annotated[bool, typer.Option("--all", help="Those too that are over, and what was refused.")] = False,
    people: People = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """List what is pending and in force."""
    from holdfast.control.overriding import known
    from holdfast.control.people_file import load_roster
    from holdfast.wall import now

    settings, at = load_settings(config), now()
    state = known(settings, load_roster(settings, people))
    open_ = ("pending", "in force", "suspended")
    told = [_told(state, held, at) for held in state.held.values()]
    told = [each for each in told if everything or each.status in open_]
    if as_json:
        listing = Listing(whole=state.is_whole, overrides=told, refused=list(state.refused) if everything else [])
        sys.stdout.write(msgspec.json.encode(listing).decode() + "\n")
    else:
        sys.stdout.write("".join(in_words(each) + "\n" for each in told) or "nothing is pending or in force\n")
        for each in state.refused if everything else ():
            sys.stdout.write(f"entry {each.sequence} at {written(each.at)}: {each.kind} by {each.who}: ")
            sys.stdout.write(f"does not count: {each.refusal.sentence}\n")
    if not state.is_whole:
        sys.stderr.write("the audit log is broken: what lets more through than the engine would is suspended; ")
        sys.stderr.write("`holdfast audit verify` names the place\n")
    if state.refused and not everything:
        sys.stderr.write(f"{len(state.refused)} entries do not count; `holdfast breakglass list --all` says why\n")


@app.command()
def drill(
    key: Annotated[Path | None, typer.Option(help="Your private key, to try it too.")] = None,
    within: Annotated[str, typer.Option(help="Keys that end this soon are named.")] = "30d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing, not even that there was a drill.")] = False,
    people: People = None,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Rehearse, and say what would not have worked. Exit status: 0 all would have, 3 something not, 2 bad input."""
    from holdfast.control.drill import rehearse

    settings, span = load_settings(config), timedelta(seconds=seconds_of("--within", within))
    checks = rehearse(settings, key, people, span, is_dry=dry_run)
    if as_json:
        sys.stdout.write(msgspec.json.encode(checks).decode() + "\n")
    else:
        lines = (f"{'works' if each.works else 'FAILS'}  {each.name:14} {each.found}\n" for each in checks)
        sys.stdout.write("".join(lines))
    if not all(each.works for each in checks):
        raise typer.Exit(REFUSED)


def in_words(told: Told) -> str:
    """Write an override for people."""
    asked = told.request
    of = "".join(f" {name} {value}" for name in ("rollout", "stage", "metric") if (value := getattr(asked, name)))
    drill = " (drill)" if asked.drill else ""
    names = f" ({', '.join(each.by for each in told.approvals)})" if told.approvals else ""
    lines = [
        f"{told.id[:12]}: {told.status}{drill}: {asked.override}{of}",
        f"    asked for by {asked.by} at {written(asked.signed)}, until {written(asked.expires)}: {asked.reason}",
        f"    approved by {len(told.approvals)} of {told.needed}{names}",
    ]
    if told.ended is not None:
        why = f": {told.ended.reason}" if told.ended.reason else ""
        lines.append(f"    {told.ended.how} by {told.ended.by} at {written(told.ended.at)}{why}")
    return "\n".join(lines)


def _vote(
    kind: str,
    name: str,
    key: Path,
    reason: str | None,
    people: Path | None,
    config: Path | None,
    *,
    as_json: bool,
    is_asked: bool = False,
) -> None:
    from holdfast.control.overriding import found, hand_of, known
    from holdfast.control.people_file import load_roster
    from holdfast.wall import now

    settings = load_settings(config)
    who = load_roster(settings, people)
    hand = hand_of(key, who.known[who.today])
    state = known(settings, who)
    held = found(state, name)
    if is_asked:
        _ask(in_words(_told(state, held, now())))
    said = Vote(request=held.id, reason=reason, signed=now(), people=who.today, by=hand.person.name, key=hand.key_id)
    _check_text(said, Vote)
    _say(settings, people, key, kind, said, as_json=as_json)


def _say(settings: Settings, people: Path | None, key: Path, kind: str, body: Request | Vote, *, as_json: bool) -> None:
    from holdfast.control.overriding import hand_of, say
    from holdfast.control.people_file import load_roster
    from holdfast.wall import now

    who = load_roster(settings, people)
    done = say(settings, who, hand_of(key, who.known[who.today]), kind, body)
    told = None if done.held is None else _told(done.state, done.held, now())
    exit_ = 0 if done.refusal is None else REFUSED
    sequence, head = done.link.entry.sequence, done.link.hash
    if as_json:
        report = Report(exit=exit_, refused=done.refusal, override=told, sequence=sequence, head=head)
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    elif done.refusal is None:
        sys.stdout.write(f"{'' if told is None else in_words(told)}\n    entry {sequence}, head {head}\n")
    if done.refusal is not None:
        sys.stderr.write(f"refused: {done.refusal.sentence} (entry {sequence}, head {head})\n")
        raise typer.Exit(exit_)


def _told(state: State, held: Held, at: datetime) -> Told:
    return Told(
        id=held.id,
        status=status(state, held, at),
        request=held.request,
        needed=held.needed,
        approvals=held.approvals,
        ended=held.ended,
    )


def _ask(shown: str) -> None:
    if not sys.stdin.isatty():
        message = "--yes: must be said where nobody can be asked; nothing was signed"
        raise BadInput(message)
    sys.stderr.write(f"{shown}\n")
    if not typer.confirm("Sign this?", default=False, err=True):
        message = "nothing was signed"
        raise BadInput(message)


def _kind(text: str) -> OverrideKind:
    for kind in KINDS:
        if kind == text:
            return kind
    near = closest(text, list(KINDS))
    hint = f", did you mean {near}?" if near else ""
    message = f"override: found {text[:80]!r}{hint}; allowed: {', '.join(KINDS)}"
    raise BadInput(message)


def _expiry(at: datetime, lasting: str | None, until: str | None) -> datetime:
    if (lasting is None) == (until is None):
        message = f"--for: found {'with' if until else 'without'} --until; allowed: one of them, as in --for 2h"
        raise BadInput(message)
    if lasting is not None:
        return at + timedelta(seconds=seconds_of("--for", lasting))
    assert until is not None
    return moment("--until", until)


def _check_text(body: Request | Vote, kind: type[Request | Vote]) -> None:
    """Refuse texts that no entry may hold, before anything is signed."""
    from holdfast.located import Problems, placed
    from holdfast.validation import model, validate

    problems = Problems("what is to be signed")
    validate(placed(msgspec.to_builtins(body)), model(kind), problems)
    problems.refuse()
