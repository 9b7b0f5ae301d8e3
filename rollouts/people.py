"""The people document: who may ask for an override, whose signatures put it in force, and how long it may last.

Its digest stands in everything that people sign, so that what was asked for under other people is noticed.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal, get_args

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Meta, Struct

from detectors.policy import Duration, Name
from rollouts.document import Timestamp

OverrideKind = Literal["force_advance", "force_revert", "freeze_all", "ignore_metric"]
KINDS: Final[tuple[OverrideKind, ...]] = get_args(OverrideKind)

_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")
"""What stands before the 32 bytes of an Ed25519 key in its DER form (RFC 8410)."""


def _parse(text: str) -> None:
    try:
        if base64.b64encode(base64.b64decode(text, validate=True)).decode() == text:
            return
    except binascii.Error:
        pass
    message = "allowed: base64 in its one form"
    raise ValueError(message)


PublicText = Annotated[
    str,
    Meta(
        pattern="^MCowBQYDK2VwAyEA[A-Za-z0-9+/]{43}=$",
        description="The line between BEGIN and END that `openssl pkey -pubout` writes for an Ed25519 key.",
        extra={
            "allowed": "the line of 60 characters between BEGIN and END that `openssl pkey -in KEY.pem -pubout` writes "
            "for an Ed25519 key; it begins with MCowBQYDK2VwAyEA",
            "parse": _parse,
        },
    ),
]


class Key(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A public key and since and until when its signatures count; without either, without end."""

    id: Name
    public: PublicText
    since: Timestamp | None = None
    until: Timestamp | None = None

    def is_valid(self, at: datetime) -> bool:
        """Tell whether signatures of a time count."""
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


class Person(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A person, by whatever name is theirs alone, with the keys that nobody else has."""

    name: Name
    keys: Annotated[list[Key], Meta(min_length=1, max_length=100)]
    roles: Annotated[list[Name], Meta(max_length=100)] = []


class Rule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What it takes to put an override in force.

    `approvals` people with the role `role` must sign, beside the person who asks. With `asked_by` only people with that
    role may ask; without it, everybody who is named. `longest` is the longest time for which it may be asked.
    """

    role: Name
    approvals: Annotated[int, Meta(ge=1, le=100)]
    longest: Duration
    asked_by: Name | None = None


class Rules(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule for each kind of override; one without a rule is nobody's to ask for."""

    force_advance: Rule | None = None
    force_revert: Rule | None = None
    freeze_all: Rule | None = None
    ignore_metric: Rule | None = None

    def of(self, kind: OverrideKind) -> Rule | None:
        """Return the rule of a kind."""
        return {
            "force_advance": self.force_advance,
            "force_revert": self.force_revert,
            "freeze_all": self.freeze_all,
            "ignore_metric": self.ignore_metric,
        }[kind]


class People(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A people document: the people, and what it takes to override what the engine says."""

    people: Annotated[list[Person], Meta(min_length=1, max_length=10_000)]
    overrides: Rules


class Roster(Struct, frozen=True, kw_only=True):
    """People documents by digest: that of today, and former ones for what was asked for under them."""

    today: str
    known: dict[str, People]


def digest(people: People) -> str:
    """Name a people document by its content; comments and the order of keys do not matter."""
    return f"sha256:{hashlib.sha256(msgspec.json.encode(people, order='deterministic')).hexdigest()}"


def roster(today: People, former: Sequence[People] = ()) -> Roster:
    """Put people documents together."""
    return Roster(today=digest(today), known={digest(each): each for each in (today, *former)})


def owner_of(people: People, key_id: str) -> tuple[Person, Key] | None:
    """Find a key, and whose it is."""
    return next(((person, key) for person in people.people for key in person.keys if key.id == key_id), None)


def with_role(people: People, role: str, at: datetime) -> list[Person]:
    """List the people who have a role and a key whose signatures count at a time."""
    return [person for person in people.people if role in person.roles and any(key.is_valid(at) for key in person.keys)]


def public_text(raw: bytes) -> str:
    """Write the 32 bytes of a public key as the document has them."""
    return base64.b64encode(_PREFIX + raw).decode()


def is_signed(key: Key, signed: bytes, signature: str) -> bool:
    """Tell whether a signature, in base64, is that of some bytes by a key."""
    try:
        raw = base64.b64decode(signature, validate=True)
        Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public)[len(_PREFIX) :]).verify(raw, signed)
    except (InvalidSignature, ValueError):  # what is no base64 is a ValueError too
        return False
    return True
