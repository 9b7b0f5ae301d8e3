"""Signatures: what is signed, whose keys are trusted, and what is refused."""

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from detectors.errors import BadInput
from sinks.messages import Message
from sinks.signatures import Keys, Signer
from sinks.verdict_messages import heartbeat_message

PEM = (Encoding.PEM, PrivateFormat.PKCS8)
PLAIN = NoEncryption()


def private(folder: Path, name: str, seed: int, lock: KeySerializationEncryption = PLAIN) -> Path:
    """Write a private key that is the same for the same seed, and its public key beside it."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    path = folder / f"{name}.pem"
    path.write_bytes(key.private_bytes(*PEM, lock))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


def signed(folder: Path, name: str = "march", seed: int = 1) -> Message:
    return heartbeat_message("bots", 1, "wait", 1_000, 2_000, Signer.load(private(folder, name, seed), name))


def keys(folder: Path, *names: str) -> Keys:
    return Keys.load({name: folder / f"{name}.pub" for name in names})


def changed(message: Message, **headers: bytes | None) -> Message:
    """Change a message's headers; None takes one away."""
    replaced = {name.replace("_id", "-id"): value for name, value in headers.items()}
    kept = [header for header in message.headers if header[0] not in replaced]
    added = [(name, value) for name, value in replaced.items() if value is not None]
    return Message(message.key, message.value, [*kept, *added])


def test_a_signature_by_a_trusted_key_is_accepted(tmp_path: Path) -> None:
    message = signed(tmp_path)
    keys(tmp_path, "march").verify(message)
    assert message.header("key-id") == b"march"


def test_while_keys_are_rotated_both_are_accepted(tmp_path: Path) -> None:
    old, new = signed(tmp_path, "march", 1), signed(tmp_path, "april", 2)
    both = keys(tmp_path, "march", "april")
    both.verify(old)
    both.verify(new)
    assert old.header("signature") != new.header("signature")


def test_the_signature_is_of_these_bytes(tmp_path: Path) -> None:
    message = signed(tmp_path)
    content = b"dev.holdfast.signature.v1\nbots\n1970-01-01T00:00:02Z\n" + message.value
    expected = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32).sign(content)
    assert message.header("signature") == base64.b64encode(expected)


UNKNOWN = "signed by the key 'march', which is not trusted; allowed: april"
WRONG = "the signature by the key 'march' is not that of this message"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda found: changed(found, signature=None), "not signed; allowed: a signature by one of the keys march"),
        (lambda found: changed(found, key_id=None), "not signed; allowed: a signature by one of the keys march"),
        (lambda found: changed(found, signature=b"AAAA"), WRONG),
        (lambda found: changed(found, signature=b"no base64!"), WRONG),
        (lambda found: changed(found, decided_at=b"1970-01-01T00:00:03Z"), WRONG),
        (lambda found: changed(found, decided_at=None), WRONG),
        (lambda found: Message(b"cats", found.value, found.headers), WRONG),
        (lambda found: Message(found.key, found.value + b" ", found.headers), WRONG),
        (lambda found: Message(b"a\nb", found.value, found.headers), "key or decided_at holds a line feed"),
        (lambda found: Message(found.key, found.value, found.headers * 2), "header signature: found 2 times; allowed"),
    ],
)
def test_a_message_is_refused_if(change, text: str, tmp_path: Path) -> None:
    message = signed(tmp_path)
    with pytest.raises(BadInput, match=f"^{re.escape(text)}"):
        keys(tmp_path, "march").verify(change(message))


def test_a_key_that_is_not_trusted_is_refused(tmp_path: Path) -> None:
    message = signed(tmp_path, "march", 1)
    private(tmp_path, "april", 2)
    with pytest.raises(BadInput, match=f"^{re.escape(UNKNOWN)}$"):
        keys(tmp_path, "april").verify(message)


def test_another_key_under_the_same_name_is_refused(tmp_path: Path) -> None:
    message = signed(tmp_path, "march", 1)
    private(tmp_path, "march", 2)
    with pytest.raises(BadInput, match=f"^{re.escape(WRONG)}$"):
        keys(tmp_path, "march").verify(message)


def elliptic(folder: Path) -> Path:
    key = derive_private_key(7, SECP256R1())
    path = folder / "elliptic.pem"
    path.write_bytes(key.private_bytes(*PEM, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)
    return path


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: folder / "none.pem", "none.pem: cannot be read: no such file or directory"),
        (elliptic, "elliptic.pem: found a key of another kind; allowed: Ed25519"),
        (lambda folder: private(folder, "a", 1).with_suffix(".pub"), "a.pub: no private key in PEM; `openssl genpkey"),
        (
            lambda folder: private(folder, "a", 1, BestAvailableEncryption(b"x")),
            "a.pem: the key is locked by a password; allowed: one that is not",
        ),
    ],
)
def test_a_private_key_is_refused_if(make, text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=re.escape(text)):
        Signer.load(make(tmp_path), "march")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda folder: elliptic(folder).with_suffix(".pub"), "elliptic.pub: found a key of another kind"),
        (lambda folder: private(folder, "a", 1), "a.pem: no public key in PEM; `openssl pkey -in PRIVATE.pem -pubout`"),
    ],
)
def test_a_public_key_is_refused_if(make, text: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=re.escape(text)):
        Keys.load({"march": make(tmp_path)})


def test_to_trust_no_key_at_all_is_refused() -> None:
    with pytest.raises(BadInput, match=r"^trusted keys: found none"):
        Keys.load({})


@pytest.mark.parametrize("key_id", ["", "a\nb", "x" * 201])
def test_a_key_has_a_printable_name(key_id: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="found the key id "):
        Signer.load(private(tmp_path, "a", 1), key_id)


def test_a_signer_does_not_show_its_key(tmp_path: Path) -> None:
    assert repr(Signer.load(private(tmp_path, "a", 1), "march")) == "Signer(key_id='march')"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_keys_are_those_that_openssl_makes(tmp_path: Path) -> None:
    for command in ("genpkey -algorithm ed25519 -out k.pem", "pkey -in k.pem -pubout -out k.pub"):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    message = heartbeat_message("bots", 1, "wait", 1_000, 2_000, Signer.load(tmp_path / "k.pem", "k"))
    keys(tmp_path, "k").verify(message)
    assert message.header("key-id") == b"k"
