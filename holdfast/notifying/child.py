"""The process that sends: `python -m holdfast.notifying.child`, orders on standard input, replies on standard output.

Apprise waits for as long as a server answers, a byte at a time or without an end: a thread could not be ended, nor its
memory be bounded. So each message is sent by a process of its own, a copy of this one, which the system ends when its
time is over; a copy is made in no time, where to know all services takes seconds. Whatever Apprise would log goes
nowhere but into a reply.
"""

import contextlib
import logging
import os
import resource
import select
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from holdfast.notifying.orders import ORDERS, READY, Order, Reply, encoded
from rollouts.incidents.wording import Message

if TYPE_CHECKING:
    from apprise import AppriseAsset, NotifyBase

LATE: Final = "no answer in time"

_MEMORY_BYTES_MAX: Final = 1 << 29
_OVERTIME_S: Final = 0.5
"""How long after an order's time a copy of this process is ended, if Apprise has not given up by itself."""

_LOOK_S: Final = 0.05
_CHUNK_BYTES: Final = 1 << 20

_SOCKET: Final = "Socket Exception: "
"""How Apprise begins to tell, at level DEBUG, what was wrong with a connection."""

_RAISED: Final = "Notification Exception: "
"""How it tells, at that level too, what a service has raised: nothing, if that was a MemoryError."""

_NO_ROOM: Final = "the answer is larger than there is room for"

_MAILS: Final = ("mailto", "mailtos")


def main() -> None:
    """Take orders until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asked decides when this ends
    said = logging.getLogger("apprise")
    said.addHandler(logging.NullHandler())
    said.propagate = False
    said.setLevel(logging.DEBUG)  # why a connection failed is told at that level alone
    carried_out(Order(number=0, url="json://localhost", seconds=1.0))  # services are loaded before anything is asked
    _say(READY)
    running: dict[int, int] = {}
    orders = _Lines(sys.stdin.fileno())
    while not orders.is_over:
        for raw in orders.read(_LOOK_S if running else None):
            order = ORDERS.decode(raw)
            running[_begun(order)] = order.number
        _reap(running)


class _Lines:
    """Reads lines as they come."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._rest = descriptor, b""
        self.is_over = False

    def read(self, seconds: float | None) -> list[bytes]:
        """Return the lines that have come, waiting for one so long."""
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return []
        chunk = os.read(self._descriptor, _CHUNK_BYTES)
        self.is_over = not chunk
        *found, self._rest = (self._rest + chunk).split(b"\n")
        return found


def _begun(order: Order) -> int:
    """Have a copy of this process carry an order out."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, order.seconds + _OVERTIME_S)
        with contextlib.suppress(ValueError, OSError):  # not every system knows this bound
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
        _say(_replied(order))
    finally:
        os._exit(0)


def _reap(running: dict[int, int]) -> None:
    """Take note of copies that have ended; one that the system has ended could not say what came of its order."""
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        number = running.pop(pid, 0)
        if os.WIFSIGNALED(status):
            is_late = os.WTERMSIG(status) == signal.SIGALRM
            _say(Reply(number=number, error=LATE if is_late else "the process that sends was ended by the system"))


def _say(reply: Reply) -> None:
    os.write(sys.stdout.fileno(), encoded(reply))


def _replied(order: Order) -> Reply:
    try:
        error, is_final = carried_out(order)
    except MemoryError:
        error, is_final = _NO_ROOM, False
    except Exception as failed:  # noqa: BLE001 - some hundred services, each with errors of its own
        error, is_final = f"{type(failed).__name__}: {failed}", False
    return Reply(number=order.number, error=error, is_final=is_final)


def carried_out(order: Order) -> tuple[str | None, bool]:
    """Send a message once, or look at an address; return what was wrong, and whether it always will be."""
    from apprise import Apprise

    asset = _asset(order.seconds)
    service = Apprise.instantiate(order.url, asset=asset)
    if service is None:
        return "Apprise cannot use this address", True
    if order.message is None:
        return None, False
    _prepare(service, order, order.message)
    return _sent(Apprise(service, asset=asset), order.message, is_mail=service.schema in _MAILS), False


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


def _sent(client: Any, message: Message, *, is_mail: bool) -> str | None:
    from apprise import AppriseResultStatus, NotifyFormat, NotifyType

    result = client.notify(
        title=message.subject,
        body=message.html if is_mail else message.plain,
        body_format=NotifyFormat.HTML if is_mail else NotifyFormat.TEXT,
        notify_type=NotifyType(message.tone),
        log_level=logging.DEBUG,
    )
    if result:
        return None
    if result.status == AppriseResultStatus.TIMEOUT:
        return LATE
    said = [
        entry.message.removeprefix(_SOCKET).removeprefix(_RAISED) or _NO_ROOM
        for entry in result.logs()
        if entry.level in ("WARNING", "ERROR") or entry.message.startswith((_SOCKET, _RAISED))
    ]
    return " ".join(said) or "it was not taken"


if __name__ == "__main__":
    main()
