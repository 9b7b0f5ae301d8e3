"""What links in mails carry, and under what name an address is kept: nobody without the secret can make or read it.

A confirmation is the address and when the link ends, encrypted and authenticated (AES-256-GCM), so that logs of servers
between show no address. A subscriber is known by the keyed hash (HMAC-SHA256) of the mailbox, and the link by which it
is taken off the list is that hash and a second one over it, which has no end: RFC 8058 wants it to work for ever.
"""

import base64
import binascii
import hashlib
import hmac
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from holdfast.errors import BadInput
from holdfast.status.addresses import mailbox
from holdfast.status.settings import SECRET_BYTES_MIN

VALID: Final = timedelta(hours=24)
"""How long a confirmation can be followed."""

TOKEN_MAX: Final = 800
_NONCE_BYTES: Final = 12
_SECRET_BYTES_MAX: Final = 4_096
_CONFIRM: Final = b"confirm"
_KEPT: Final = b"kept"
_OFF: Final = re.compile(r"([0-9a-f]{64})\.([0-9a-f]{64})")


class _Confirmation(Struct, frozen=True):
    address: str
    expires_s: int


class Seal:
    """Makes links, and reads them.

    Parameters
    ----------
    secret
        At least 32 bytes that nobody else knows. With another secret all links end, and no subscriber can be read.
    """

    def __init__(self, secret: bytes) -> None:
        keys = HKDF(hashes.SHA256(), 96, salt=None, info=b"dev.holdfast.status.v1").derive(secret)
        self._cipher, self._index, self._off = AESGCM(keys[:32]), keys[32:64], keys[64:]

    @classmethod
    def load(cls, path: Path) -> "Seal":
        """Read the secret.

        Raises
        ------
        BadInput
            If the file cannot be read, or is too short.
        """
        try:
            secret = path.read_bytes().strip()
        except OSError as error:
            message = f"status.secret: {path}: cannot be read: {error.strerror or error}"
            raise BadInput(message) from error
        if not SECRET_BYTES_MIN <= len(secret) <= _SECRET_BYTES_MAX:
            message = (
                f"status.secret: {path}: found {len(secret)} bytes; allowed: {SECRET_BYTES_MIN} to {_SECRET_BYTES_MAX}"
            )
            raise BadInput(f"{message}, as `openssl rand -hex 32` makes them")  # noqa: EM102
        return cls(secret)

    def key(self, address: str) -> str:
        """Return the name under which a subscriber is kept."""
        return hmac.new(self._index, mailbox(address).encode(), hashlib.sha256).hexdigest()

    def confirmation(self, address: str, now: datetime) -> str:
        """Make what a link to confirm an address carries."""
        expires_s = int((now + VALID).timestamp())
        body = self._sealed(msgspec.json.encode(_Confirmation(address, expires_s)), _CONFIRM)
        return base64.urlsafe_b64encode(body).decode().rstrip("=")

    def confirmed(self, token: str, now: datetime) -> str | None:
        """Return the address that a link confirms; None if it was not made here, or is too old."""
        if len(token) > TOKEN_MAX or not token.isascii():
            return None
        try:
            body = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            found = msgspec.json.decode(self._opened(body, _CONFIRM), type=_Confirmation)
        except (binascii.Error, InvalidTag, ValueError):
            return None
        return found.address if datetime.fromtimestamp(found.expires_s, UTC) > now else None

    def removal(self, key: str) -> str:
        """Make what a link to take a subscriber off the list carries."""
        return f"{key}.{hmac.new(self._off, key.encode(), hashlib.sha256).hexdigest()}"

    def removed(self, token: str) -> str | None:
        """Return whom a link takes off the list; None if it was not made here."""
        found = _OFF.fullmatch(token)
        return found[1] if found and hmac.compare_digest(token, self.removal(found[1])) else None

    def hidden(self, address: str, key: str) -> str:
        """Write an address so that it can be kept."""
        return base64.b64encode(self._sealed(address.encode(), _KEPT + key.encode())).decode()

    def shown(self, hidden: str, key: str) -> str | None:
        """Read an address that was kept under a key; None if it was hidden with another secret, or put elsewhere."""
        try:
            return self._opened(base64.b64decode(hidden, validate=True), _KEPT + key.encode()).decode()
        except (binascii.Error, InvalidTag, ValueError):
            return None

    def _sealed(self, text: bytes, purpose: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, text, purpose)

    def _opened(self, body: bytes, purpose: bytes) -> bytes:
        return self._cipher.decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], purpose)
