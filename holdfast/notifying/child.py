"""A process that sends: `python -m holdfast.notifying.child`, orders on standard input, replies on standard output.

Apprise is asked in a process of its own since it waits for as long as a server answers, a byte at a time or without an
end: a thread could not be ended, nor its memory be bounded. Whatever it would log goes nowhere but into a reply.
"""

import contextlib
import logging
import os
import resource
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

from holdfast.notifying.orders import ORDERS, READY, Order, Reply, encoded
from rollouts.incidents.wording import Message

if TYPE_CHECKING:
    from apprise import AppriseAsset, NotifyBase

_MEMORY_BYTES_MAX: Final = 1 << 30
_OVERTIME_S: Final = 1.0
"""How long after an order's time this process ends itself, if nobody has ended it: whoever asked may be gone."""

_SOCKET: Final = "Socket Exception: "
"""How Apprise begins to tell, at level DEBUG, what was wrong with a connection."""

_MAILS: Final = ("mailto", "mailtos")


def main() -> None:
    """Take orders until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked decides when this ends
    with contextlib.suppress(ValueError, OSError):  # not every system knows this bound
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
    said = logging.getLogger("apprise")
    said.addHandler(logging.NullHandler())
    said.propagate = False
    said.setLevel(logging.DEBUG)  # why a connection failed is told at that level alone
    carried_out(Order(url="json://localhost", seconds=1.0))  # services are loaded before anything is asked
    out = sys.stdout.buffer
    out.write(encoded(READY))
    out.flush()
    for raw in sys.stdin.buffer:
        order = ORDERS.decode(raw)
        late = threading.Timer(order.seconds + _OVERTIME_S, os._exit, [1])
        late.daemon = True
        late.start()
        reply = _replied(order)
        late.cancel()
        out.write(encoded(reply))
        out.flush()


def _replied(order: Order) -> Reply:
    try:
        return carried_out(order)
    except Exception as error:  # noqa: BLE001 - some hundred services, each with errors of its own
        return Reply(error=f"{type(error).__name__}: {error}")


def carried_out(order: Order) -> Reply:
    """Send a message once, or look at an address."""
    from apprise import Apprise

    asset = _asset(order.seconds)
    service = Apprise.instantiate(order.url, asset=asset)
    if service is None:
        return Reply(error="Apprise cannot use this address", is_final=True)
    if order.message is None:
        return Reply()
    _prepare(service, order, order.message)
    return _sent(Apprise(service, asset=asset), order.message, is_mail=service.schema in _MAILS)


def _asset(seconds: float) -> "AppriseAsset":
    from apprise import AppriseAsset, PersistentStoreMode

    return AppriseAsset(
        storage_mode=PersistentStoreMode.MEMORY,
        service_timeout=seconds,
        secure_logging=True,
        app_id="holdfast",
        app_desc="holdfast",
        app_url="",
        image_url_mask="",  # no picture from somewhere else in what people open
        image_url_logo="",
        http_redirects=False,  # a message goes where it was sent, and nowhere else
        interpret_emojis=False,
        async_mode=False,
    )


def _prepare(service: "NotifyBase", order: Order, message: Message) -> None:
    """Have a service take its time, send one message, and say which; pagers keep one alert for each incident."""
    from apprise import OverflowMode

    given: Any = service
    given.socket_connect_timeout = given.socket_read_timeout = order.seconds
    given.overflow_mode = OverflowMode.TRUNCATE
    if isinstance(getattr(given, "headers", None), dict):
        given.headers["X-Holdfast-Notice"] = message.id
        if given.schema in _MAILS:
            given.headers["Auto-Submitted"] = "auto-generated"
            given.headers["References"] = f"<{message.thread or message.id}@holdfast>"
    if hasattr(given, "dedup") and "map" in type(given).template_args.get("action", {}).get("values", ()):
        given.dedup = given.dedup or message.thread or message.id
        given.action = "map"


def _sent(client: Any, message: Message, *, is_mail: bool) -> Reply:
    from apprise import AppriseResultStatus, NotifyFormat, NotifyType

    result = client.notify(
        title=message.subject,
        body=message.html if is_mail else message.plain,
        body_format=NotifyFormat.HTML if is_mail else NotifyFormat.TEXT,
        notify_type=NotifyType(message.tone),
        log_level=logging.DEBUG,
    )
    if result:
        return Reply()
    if result.status == AppriseResultStatus.TIMEOUT:
        return Reply(error="no answer in time")
    said = [
        entry.message.removeprefix(_SOCKET)
        for entry in result.logs()
        if entry.level in ("WARNING", "ERROR") or entry.message.startswith(_SOCKET)
    ]
    return Reply(error=" ".join(said) or "it was not taken")


if __name__ == "__main__":
    main()
