"""Signatures of messages: Ed25519 over key, time of decision and value, several keys at once for rotation.

What is signed are these four, one after the other with a line feed (0x0A) between them:

1. the text `dev.holdfast.signature.v1`,
2. the key of the message, which is the rollout's name in UTF-8,
3. the header `decided_at`,
4. the value.

Neither of the first three may hold a line feed, so no two messages have the same signed bytes. The signature stands in
the header `signature` in base64 (RFC 4648, with padding), the name of the key in the header `key-id`.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from detectors.errors import BadInput
from sinks.messages import Message

DECIDED_AT: Final = "decided_at"
SIGNATURE: Final = "signature"
KEY_ID: Final = "key-id"

_DOMAIN: Final = b"dev.holdfast.signature.v1"
_PEM_BYTES_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key and the name by which its signatures are told from others."""

    key_id: str
    _key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def load(cls, path: str | Path, key_id: str) -> "Signer":
        """Read a private key, as `openssl genpkey -algorithm ed25519` writes it.

        Raises
        ------
        BadInput
            If the file cannot be read, is no PEM of an Ed25519 private key, or is locked by a password.
        """
        return cls(_named(key_id, path), private_key(path))

    def headers(self, key: bytes, decided_at: bytes, value: bytes) -> list[tuple[str, bytes]]:
        """Sign a message, and return the two headers that say so."""
        return [
            (SIGNATURE, self.signature(_signed(key, decided_at, value)).encode()),
            (KEY_ID, self.key_id.encode()),
        ]

    def signature(self, content: bytes) -> str:
        """Sign bytes that begin with what they are for, and return the signature in base64."""
        return base64.b64encode(self._key.sign(content)).decode()


@dataclass(frozen=True, slots=True)
class Keys:
    """The public keys that are trusted, by name. While keys are rotated, there are the old and the new one."""

    _keys: dict[str, Ed25519PublicKey]

    @classmethod
    def load(cls, paths: Mapping[str, str | Path]) -> "Keys":
        """Read public keys, as `openssl pkey -pubout` writes them.

        Raises
        ------
        BadInput
            If there are none, or a file cannot be read or is no PEM of an Ed25519 public key.
        """
        if not paths:
            message = "trusted keys: found none; allowed: at least one, or none asked for at all"
            raise BadInput(message)
        return cls({_named(key_id, path): _public(path) for key_id, path in paths.items()})

    def verify(self, message: Message) -> None:
        """Check that a message was signed by a trusted key, and is what was signed.

        Raises
        ------
        BadInput
            If it is not signed, by a key that is not known, or if the signature is of another message.
        """
        signature, key_id = message.header(SIGNATURE), message.header(KEY_ID)
        if signature is None or key_id is None:
            text = f"not signed; allowed: a signature by one of the keys {', '.join(self._keys)}"
            raise BadInput(text)
        signed = _signed(message.key, message.header(DECIDED_AT) or b"", message.value)
        self.check(signed, key_id.decode(errors="replace"), signature, "message")

    def check(self, content: bytes, name: str, signature: str | bytes, what: str) -> None:
        """Check that a trusted key signed these bytes.

        Parameters
        ----------
        content
            The bytes, which begin with what they are for.
        name
            The name of the key.
        signature
            In base64.
        what
            Says in errors what is signed.

        Raises
        ------
        BadInput
            If the key is not known, or the signature is of other bytes.
        """
        key = self._keys.get(name)
        if key is None:
            text = f"signed by the key {name[:200]!r}, which is not trusted; allowed: {', '.join(self._keys)}"
            raise BadInput(text)
        try:
            key.verify(base64.b64decode(signature, validate=True), content)
        except (InvalidSignature, ValueError) as error:  # binascii.Error is one too, and so is text beyond ASCII
            text = f"the signature by the key {name!r} is not that of this {what}"
            raise BadInput(text) from error


def private_key(path: str | Path) -> Ed25519PrivateKey:
    """Read a private key; raises what `Signer.load` raises."""
    raw = _read(path)
    try:
        key = load_pem_private_key(raw, password=None)
    except TypeError as error:  # how the library says that a password is needed
        message = f"{path}: the key is locked by a password; allowed: one that is not"
        raise BadInput(message) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        message = f"{path}: no private key in PEM; `openssl genpkey -algorithm ed25519` makes one"
        raise BadInput(message) from error
    if not isinstance(key, Ed25519PrivateKey):
        message = f"{path}: found a key of another kind; allowed: Ed25519"
        raise BadInput(message)
    return key


def _signed(key: bytes, decided_at: bytes, value: bytes) -> bytes:
    if b"\n" in key or b"\n" in decided_at:
        message = "key or decided_at holds a line feed, so that it cannot be told what was signed"
        raise BadInput(message)
    return b"\n".join([_DOMAIN, key, decided_at, value])


def _public(path: str | Path) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        message = f"{path}: no public key in PEM; `openssl pkey -in PRIVATE.pem -pubout` writes that of a private key"
        raise BadInput(message) from error
    if not isinstance(key, Ed25519PublicKey):
        message = f"{path}: found a key of another kind; allowed: Ed25519"
        raise BadInput(message)
    return key


def _named(key_id: str, path: str | Path) -> str:
    if not key_id or len(key_id) > 200 or not key_id.isprintable():
        message = f"{path}: found the key id {key_id[:200]!r}; allowed: 1 to 200 printable characters"
        raise BadInput(message)
    return key_id


def _read(path: str | Path) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            return stream.read(_PEM_BYTES_MAX)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"{path}: cannot be read: {reason[:1].lower()}{reason[1:]}"
        raise BadInput(message) from error
