"""Subscribing, confirming and being taken off the list: what each request comes to, in words for a page.

Whoever asks learns nothing of who is on the list: the answer is the same whether an address is, is not, or has been
asked too often.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import parse_qsl

from msgspec import Struct

from holdfast.errors import Unreachable
from holdfast.status.addresses import address, mailbox
from holdfast.status.limits import Limit, network
from holdfast.status.sealing import Seal

FORM_BYTES_MAX: Final = 2_000
CLIENT_MAX: Final = 10
"""How often one client may ask in an hour."""

MAILBOX_MAX: Final = 3
"""How many confirmations one mailbox is sent in a day."""

ALL_MAX: Final = 300
"""How many confirmations are sent in an hour at all."""

_HOUR_S: Final = 3_600.0
_DAY_S: Final = 86_400.0

log = logging.getLogger(__name__)


class Said(Struct, frozen=True):
    """An answer: its status, a heading, sentences, and perhaps a button."""

    status: HTTPStatus
    heading: str
    sentences: list[str]
    button: str = ""


class Subscribers(Protocol):
    """The list."""

    def add(self, address: str) -> bool:
        """Put somebody on it; false if it is full. Raises `Unreachable` if it cannot be kept."""
        ...

    def remove(self, key: str) -> None:
        """Take somebody off it; raises `Unreachable` if it cannot be kept."""
        ...


ASKED: Final = Said(
    HTTPStatus.OK,
    "Look into your mailbox",
    [
        "If the address can be subscribed, a mail with a link is on its way. The link ends after a day.",
        "Nothing else is sent before it was followed.",
        "If no mail comes, the address may be mistyped, or was asked for too often today.",
    ],
)
_NO_LINK: Final = Said(
    HTTPStatus.NOT_FOUND,
    "This link is no longer good",
    ["It was mistyped, or has ended. A new one comes with a new subscription."],
)
_LATER: Final = Said(
    HTTPStatus.SERVICE_UNAVAILABLE, "That cannot be kept just now", ["Please follow the link again in a few minutes."]
)
_CONFIRMED: Final = Said(
    HTTPStatus.OK, "You are subscribed", ["Updates come by e-mail from now on. Each says how to end them."]
)
_REMOVED: Final = Said(HTTPStatus.OK, "You are off the list", ["Your address was deleted. No further mail comes."])


class Desk:
    """Answers.

    Parameters
    ----------
    seal
        Makes and reads links.
    subscribers
        The list.
    ask
        Has a mail sent that asks an address whether it is right.
    clock
        The time.
    seconds
        A clock for limits, in seconds.
    """

    def __init__(
        self,
        seal: Seal,
        subscribers: Subscribers,
        ask: Callable[[str], None],
        clock: Callable[[], datetime],
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seal, self._subscribers, self._ask, self._clock, self._seconds = seal, subscribers, ask, clock, seconds
        self._clients, self._mailboxes = Limit(CLIENT_MAX, _HOUR_S), Limit(MAILBOX_MAX, _DAY_S)
        self._all = Limit(ALL_MAX, _HOUR_S)

    def subscribe(self, client: str, body: bytes) -> Said:
        """Answer a form with an address."""
        now_s = self._seconds()
        if not self._clients.passes(network(client), now_s):
            return Said(HTTPStatus.TOO_MANY_REQUESTS, "That was asked too often", ["Please try again in an hour."])
        try:
            to = address(_field(body, "address"))
        except ValueError as error:
            return Said(HTTPStatus.BAD_REQUEST, "This is no address that can be subscribed", [f"{error}."])
        # The name that is counted is no address, so that none is kept in memory for a day.
        if self._mailboxes.passes(self._seal.key(mailbox(to)), now_s):
            if not self._all.passes("", now_s):
                busy = ["Many people subscribe just now. Please try again in an hour."]
                return Said(HTTPStatus.SERVICE_UNAVAILABLE, "That cannot be done just now", busy)
            self._ask(to)
        return ASKED

    def asked_to_confirm(self, token: str) -> Said:
        """Answer who follows a link to confirm: by asking once more, since programs that check mail do so too."""
        if self._seal.confirmed(token, self._clock()) is None:
            return _NO_LINK
        return Said(HTTPStatus.OK, "Confirm your subscription", ["One click is left to be done."], "Subscribe")

    async def confirm(self, token: str) -> Said:
        """Put an address on the list."""
        to = self._seal.confirmed(token, self._clock())
        if to is None:
            return _NO_LINK
        try:
            is_added = await asyncio.to_thread(self._subscribers.add, to)
        except Unreachable as error:
            log.warning("status: a subscription could not be kept: %s", error)
            return _LATER
        if not is_added:
            full = ["No more can be taken. The Atom feed says the same as the mails."]
            return Said(HTTPStatus.SERVICE_UNAVAILABLE, "The list is full", full)
        return _CONFIRMED

    def asked_to_remove(self, token: str) -> Said:
        """Answer who follows a link to be taken off the list in a browser."""
        if self._seal.removed(token) is None:
            return _NO_LINK
        return Said(HTTPStatus.OK, "No more mails?", ["One click, and your address is deleted."], "Unsubscribe")

    async def remove(self, token: str) -> Said:
        """Take an address off the list, by a click or by a program of who got the mail (RFC 8058)."""
        key = self._seal.removed(token)
        if key is None:
            return _NO_LINK
        try:
            await asyncio.to_thread(self._subscribers.remove, key)
        except Unreachable as error:
            log.warning("status: a subscription could not be ended: %s", error)
            return _LATER
        return _REMOVED


def _field(body: bytes, name: str) -> str:
    """Return a field of a form.

    Raises
    ------
    ValueError
        If it is not there once, or the form cannot be read.
    """
    pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=5)
    found = [value for key, value in pairs if key == name]
    if len(found) != 1:
        message = "allowed: one address"
        raise ValueError(message)
    return found[0]
