"""Asking for overrides and voting on them: signed here, taken or refused by the rules, and written to the audit log."""

import base64
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfast.control.audit_log import Draft, append, read
from holdfast.errors import BadInput, Unreachable
from holdfast.live.settings import Settings
from rollouts.audit import Chain, Link
from rollouts.breakglass import (
    REFUSED,
    Held,
    Refusal,
    Request,
    Seen,
    Signed,
    State,
    Vote,
    fold,
    id_of,
    signed_bytes,
    step,
    take,
)
from rollouts.people import People, Person, Roster, public_text
from sinks.signatures import private_key

ID_LENGTH_MIN: Final = 8
"""Fewest characters by which a request may be named."""


@dataclass(frozen=True, slots=True)
class Hand:
    """Who signs, and with what."""

    person: Person
    key_id: str
    key: Ed25519PrivateKey

    def sign(self, kind: str, installation: str, body: Signed) -> dict[str, object]:
        """Return a body with its signature, as an entry holds it."""
        signature = base64.b64encode(self.key.sign(signed_bytes(kind, installation, body))).decode()
        return msgspec.convert(msgspec.to_builtins(body) | {"signature": signature}, dict[str, object])


@dataclass(frozen=True, slots=True)
class Done:
    """What became of what was said.

    Attributes
    ----------
    link
        The entry on the log; of what was refused the one that says so.
    refusal
        Why it was refused; None if it was taken.
    held
        The override as it stands then; None where there is none.
    state
        All of them.
    """

    link: Link
    refusal: Refusal | None
    held: Held | None
    state: State


def hand_of(path: Path, people: People) -> Hand:
    """Read a private key, and find whose it is.

    Raises
    ------
    BadInput
        If the file holds none, or one that nobody in the people document has.
    """
    key = private_key(path)
    text = public_text(key.public_key().public_bytes_raw())
    for person in people.people:
        for each in person.keys:
            if each.public == text:
                return Hand(person, each.id, key)
    message = f"{path}: nobody in the people document has this key; a line for it would be `public: {text}`"
    raise BadInput(message)


def found(state: State, name: str) -> Held:
    """Find a request by its id or the beginning of it.

    Raises
    ------
    BadInput
        If there is none, or more than one.
    """
    fits = [held for identity, held in state.held.items() if identity.startswith(name)]
    if len(name) < ID_LENGTH_MIN or len(fits) != 1:
        there = "several begin like this" if len(fits) > 1 else "there is no such request"
        short = f"allowed: at least {ID_LENGTH_MIN} characters of an id that `holdfast breakglass list --all` shows"
        message = f"{name}: {there if len(name) >= ID_LENGTH_MIN else 'too short'}; {short}"
        raise BadInput(message)
    return fits[0]


def known(settings: Settings, who: Roster) -> State:
    """Read the audit log, and work out all overrides; raises what `read` raises."""
    return fold(read(settings), who)


def say(settings: Settings, who: Roster, hand: Hand, kind: str, body: Signed) -> Done:
    """Sign something and put it on the log; if it is refused, put the refusal there.

    Raises
    ------
    BadInput, Unreachable
        As `append` does. The same said again counts once.
    """
    signed = hand.sign(kind, settings.prefix, body)
    states: list[tuple[State, Refusal | None]] = []

    def make(chain: Chain, at: datetime) -> Draft:
        state = fold(chain, who)
        seen = Seen(kind=kind, who=hand.person.name, at=at, body=signed)
        _, refusal = take(state, seen, settings.prefix, who)
        states.append((state, refusal))
        if refusal is None:
            return Draft(hand.person.name, kind, _subject(state, body), signed)
        said: dict[str, object] = {"refused": kind, "why": refusal.why, "sentence": refusal.sentence, "said": signed}
        return Draft(hand.person.name, REFUSED, _subject(state, body), said)

    link = append(settings, make)
    if link is None:
        message = f"{settings.topics.audit}: nothing was written"
        raise Unreachable(message)
    before, refusal = states[-1]
    state, late = step(before, link, settings.prefix, who)  # the broker's clock is known only now
    identity = id_of(body) if isinstance(body, Request) else body.request
    return Done(link, refusal or late, state.held.get(identity), state)


def _subject(state: State, body: Signed) -> str:
    """Name the rollout that an override is about; empty where it is about all."""
    if isinstance(body, Vote):
        held = state.held.get(body.request)
        return "" if held is None else held.request.rollout or ""
    return body.rollout or ""
