"""Signatures of webhooks: HMAC-SHA256 over id, time and body, as Standard Webhooks 1.0 has it.

What is signed is `<id>.<seconds>.<body>`. The header `webhook-signature` holds `v1,<base64>` for each secret, with
blanks between them, so that secrets can be changed without a gap. Whoever receives it compares in constant time, and
refuses what is older than a few minutes.

Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

import base64
import binascii
import hashlib
import hmac
from pathlib import Path
from typing import Final

from holdfast.errors import BadInput

PREFIX: Final = "whsec_"
BYTES_MIN: Final = 24
BYTES_MAX: Final = 64
SECRETS_MAX: Final = 2

_FILE_BYTES_MAX: Final = 10_000


def secrets_in(path: Path) -> list[bytes]:
    """Read a file of one secret a line, one or two of them; the first is the newer one.

    Raises
    ------
    BadInput
        If it cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(_FILE_BYTES_MAX).decode("ascii")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not ASCII"
        message = f"{path}: cannot be read: {reason[:1].lower()}{reason[1:]}"
        raise BadInput(message) from error
    lines = text.split()
    keys = [_key(line) for line in lines]
    good = [key for key in keys if key is not None]
    if len(good) != len(lines) or not 1 <= len(good) <= SECRETS_MAX:
        message = (
            f"{path}: allowed: one secret, or two of them a line each while they are changed; a secret is {PREFIX} and "
            f"{BYTES_MIN} to {BYTES_MAX} bytes in base64, as in: echo {PREFIX}$(openssl rand -base64 32)"
        )
        raise BadInput(message)
    return good


def _key(line: str) -> bytes | None:
    try:
        key = base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        return None
    return key if line.startswith(PREFIX) and BYTES_MIN <= len(key) <= BYTES_MAX else None


def headers(keys: list[bytes], event_id: str, at_s: int, body: bytes) -> dict[str, str]:
    """Sign a body, and return the headers that say so.

    Parameters
    ----------
    keys
        The secrets.
    event_id
        The same for each attempt to deliver the same event.
    at_s
        When it is sent, in epoch seconds.
    body
        What is sent.
    """
    signed = b".".join([event_id.encode(), str(at_s).encode(), body])
    found = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": " ".join(f"v1,{each}" for each in found),
    }
