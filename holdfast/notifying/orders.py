"""What a sending process is asked, and what it answers: one line of JSON each."""

from typing import Final

import msgspec
from msgspec import Struct

from rollouts.incidents.wording import Message

LINE_BYTES_MAX: Final = 1 << 20
"""Longest line."""


class Order(Struct, frozen=True, kw_only=True):
    """Send a message to an address, within some seconds; without a message, look whether the address is one."""

    url: str
    seconds: float
    message: Message | None = None

    def __repr__(self) -> str:
        """Say nothing of the address."""
        return f"Order(seconds={self.seconds:g})"


class Reply(Struct, frozen=True, kw_only=True):
    """What came of it: nothing is wrong if `error` is None; `is_final` if trying again is of no use."""

    error: str | None = None
    is_final: bool = False


READY: Final = Reply()
"""What a process says once, when it can take orders."""


def encoded(value: Order | Reply) -> bytes:
    """Write one line."""
    return msgspec.json.encode(value) + b"\n"


ORDERS: Final = msgspec.json.Decoder(Order)
REPLIES: Final = msgspec.json.Decoder(Reply)
