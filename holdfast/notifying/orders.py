"""What a sending process is asked, and what it answers: one line of JSON each."""

from typing import Final

import msgspec
from msgspec import Struct

from rollouts.incidents.wording import Message

LINE_BYTES_MAX: Final = 1 << 20
"""Longest line."""


class Order(Struct, frozen=True, kw_only=True):
    """Send a message to an address, within some seconds; without a message, look whether the address is one."""

    number: int
    url: str
    seconds: float
    message: Message | None = None

    def __repr__(self) -> str:
        """Say nothing of the address."""
        return f"Order(number={self.number}, seconds={self.seconds:g})"


class Reply(Struct, frozen=True, kw_only=True):
    """What came of an order: nothing is wrong if `error` is None; `is_final` if trying again is of no use."""

    number: int
    error: str | None = None
    is_final: bool = False


READY: Final = Reply(number=0)
"""What the process says once, when it can take orders; those are numbered from 1 on."""

ERROR_MAX: Final = 400
"""Longest error, so that a reply is written in one piece."""


def encoded(value: Order | Reply) -> bytes:
    """Write one line."""
    if isinstance(value, Reply) and value.error is not None:
        value = msgspec.structs.replace(value, error=value.error.encode(errors="replace").decode()[:ERROR_MAX])
    return msgspec.json.encode(value) + b"\n"


ORDERS: Final = msgspec.json.Decoder(Order)
REPLIES: Final = msgspec.json.Decoder(Reply)
