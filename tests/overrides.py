"""People with keys, and what they say, for tests of break glass."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from holdfast.control.overriding import Hand
from rollouts.audit import Chain, Record, hash_of
from rollouts.breakglass import APPROVE, REQUEST, Request, Seen, Signed, State, Vote, fold, id_of, take
from rollouts.people import Key, OverrideKind, People, Person, Roster, Rule, Rules, public_text, roster

NOW = datetime(2026, 3, 12, 11, 20, tzinfo=UTC)
HERE = "edge"


def private(seed: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


def key(seed: int, **span: datetime) -> Key:
    public = public_text(private(seed).public_key().public_bytes_raw())
    return Key(id=f"key-{seed}", public=public, since=span.get("since"), until=span.get("until"))


def person(name: str, *seeds: int, roles: Sequence[str] = ("sre",), **span: datetime) -> Person:
    return Person(name=name, keys=[key(seed, **span) for seed in seeds], roles=list(roles))


RULE = Rule(role="sre", approvals=2, longest="4h")
PEOPLE = People(
    people=[
        person("ada", 1),
        person("bo", 2, 12),
        person("cy", 3),
        person("dee", 4, roles=["owner"]),
        person("old", 5, until=NOW - timedelta(days=1)),
    ],
    overrides=Rules(
        force_advance=RULE,
        force_revert=Rule(role="sre", approvals=1, longest="1d"),
        freeze_all=RULE,
        ignore_metric=RULE,
    ),
)
WHO = roster(PEOPLE)
OWNERS = {1: "ada", 2: "bo", 12: "bo", 3: "cy", 4: "dee", 5: "old", 6: "mallory"}


def hand(seed: int) -> Hand:
    return Hand(person(OWNERS[seed], seed), f"key-{seed}", private(seed))


def request(seed: int = 1, kind: OverrideKind = "force_revert", **changes: object) -> Request:
    target = {"force_advance": ("bots", "canary", None), "freeze_all": (None, None, None)}.get(
        kind, ("bots", None, None)
    )
    made = Request(
        override=kind,
        rollout=target[0],
        stage=target[1],
        metric="errors" if kind == "ignore_metric" else None,
        reason="why not",
        signed=NOW,
        expires=NOW + timedelta(hours=1),
        nonce="0" * 32,
        people=WHO.today,
        by=OWNERS[seed],
        key=f"key-{seed}",
        drill=False,
    )
    return msgspec.structs.replace(made, **changes)


def vote(seed: int, of: Request, at: datetime = NOW, **changes: object) -> Vote:
    made = Vote(request=id_of(of), reason=None, signed=at, people=WHO.today, by=OWNERS[seed], key=f"key-{seed}")
    return msgspec.structs.replace(made, **changes)


class Log:
    """A log in memory, as its writers and readers see it."""

    def __init__(self, who: Roster = WHO, installation: str = HERE) -> None:
        self.who, self.installation = who, installation
        self.raws: list[bytes] = []

    def chain(self) -> Chain:
        chain = Chain(self.installation)
        for offset, raw in enumerate(self.raws):
            chain.take(Record(raw=raw, offset=offset))
        return chain

    def put(self, kind: str, body: dict[str, object], who: str = "ada", at: datetime = NOW) -> str:
        """Write an entry without asking anybody."""
        _, raw = self.chain().following(time=at, who=who, kind=kind, subject="", body=body)
        self.raws.append(raw)
        return hash_of(raw)

    def say(self, kind: str, body: Signed, seed: int, at: datetime = NOW) -> str | None:
        """Sign and write; tell why it is refused, if it is."""
        signed = hand(seed).sign(kind, self.installation, body)
        seen = Seen(kind=kind, who=body.by, at=at, body=signed)
        _, refusal = take(self.state(), seen, self.installation, self.who)
        self.put(kind, signed, body.by, at)
        assert (refusal is None) == (
            not self.state().refused or self.state().refused[-1].sequence != len(self.raws) - 1
        )
        return None if refusal is None else refusal.why

    def ask(self, asked: Request, seed: int = 1, at: datetime = NOW) -> str | None:
        return self.say(REQUEST, asked, seed, at)

    def approve(self, asked: Request, seed: int, at: datetime = NOW) -> str | None:
        return self.say(APPROVE, vote(seed, asked, at), seed, at)

    def state(self) -> State:
        return fold(self.chain(), self.who)
