"""What became of each notice, as it is kept on a topic: one message for each notice and address, the newest counts."""

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from holdfast.errors import BadInput
from rollouts.incidents.notices import Notice

State = Literal["sent", "summed", "undelivered"]
"""Sent alone, sent as part of a message that sums up, or given up."""

REASON_MAX: Final = 300


class Place(Struct, frozen=True, kw_only=True, order=True):
    """One way to one recipient: the `index`-th of its addresses."""

    recipient: str
    index: int

    def __str__(self) -> str:
        """Name it as people do."""
        return f"{self.recipient}[{self.index}]"


class Delivered(Struct, frozen=True, kw_only=True):
    """What became of a notice at one address.

    `message` is the id of the message that told of it, `is_summary` whether that took a place that is kept for summing
    up. `told` is when what it tells happened, `at` when this was known of it. `reason` says why it was given up, and
    has no address in it.
    """

    state: State
    at: datetime
    told: datetime
    message: str
    subject: str
    attempts: int = 0
    is_summary: bool = False
    reason: Annotated[str, Meta(max_length=REASON_MAX)] | None = None


Key = tuple[str, Place]
"""A notice's id, and one way to its recipient."""

_DELIVERED: Final = msgspec.json.Decoder(Delivered)


def key_of(notice: Notice, index: int) -> Key:
    """Return what a notice is known by at one address of its recipient."""
    return notice.id, Place(recipient=notice.recipient, index=index)


def encode_key(key: Key) -> bytes:
    """Write a key: the notice's id, the recipient, and the number of the address.

    Examples
    --------
    >>> encode_key(("inc-20260312-1a2b3c4d-0000-opened", Place(recipient="a/b", index=1)))
    b'inc-20260312-1a2b3c4d-0000-opened/a/b/1'
    """
    return f"{key[0]}/{key[1].recipient}/{key[1].index}".encode()


def incident_of(key: bytes) -> str:
    """Return the incident that a key is of.

    Examples
    --------
    >>> incident_of(b"inc-20260312-1a2b3c4d-0000-opened/a/b/1")
    'inc-20260312-1a2b3c4d'
    """
    return "-".join(key.decode(errors="replace").split("-")[:3])


def encode(value: Delivered) -> bytes:
    """Write what became of a notice."""
    return msgspec.json.encode(value, order="deterministic")


def decode(key: bytes, value: bytes) -> tuple[Key, Delivered]:
    """Read a message of the topic.

    Raises
    ------
    BadInput
        If it is none.
    """
    try:
        name, _, rest = key.decode().partition("/")
        recipient, _, index = rest.rpartition("/")
        return (name, Place(recipient=recipient, index=int(index))), _DELIVERED.decode(value)
    except (ValueError, msgspec.DecodeError) as error:
        message = f"{key[:200]!r}: not what became of a notice: {error}"
        raise BadInput(message) from error
