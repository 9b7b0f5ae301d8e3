"""Real servers of mail and of HTTP, as they are in trouble: slow, refusing, busy at first, gone in the middle."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.kafka.broker import free_ports
from tests.waiting import WAIT_S

Mood = Literal["ordinary", "slow", "refusing", "busy-first", "dropping", "unknown"]


@dataclass
class Mail:
    """A mail server, in a mood that can change: what it took, and how often it was asked.

    `slow` answers once `over` is set, `refusing` says 554, `busy-first` says 451 once, `dropping` closes the connection
    in the middle of a message, `unknown` knows no recipient.
    """

    mood: Mood = "ordinary"
    taken: list[EmailMessage] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    asked: int = 0
    port: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def url(self, to: str = "oncall@example.net", user: str = "") -> str:
        """Give Apprise's address of it."""
        return f"mailto://{user}127.0.0.1:{self.port}?from=holdfast@example.net&to={to}"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient, or not."""
        if self.mood == "unknown":
            return f"550 5.1.1 {address}: no such user here"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take a message, or not."""
        self.asked += 1
        if self.mood == "slow":
            while not self.over.is_set():
                await asyncio.sleep(0.02)
        if self.mood == "dropping":
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
            return "451 never heard"
        if self.mood == "refusing":
            return "554 5.7.1 no thanks"
        if self.mood == "busy-first" and self.asked == 1:
            return "451 4.3.0 come back later"
        assert isinstance(envelope.content, bytes)
        found = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        self.taken.append(found)
        self.times.append(time.monotonic())
        return "250 ok"


def free_port() -> int:
    """Find a port that nobody listens on."""
    return free_ports(1)[0]


@contextmanager
def mail(mood: Mood = "ordinary") -> Iterator[Mail]:
    """Run a mail server."""
    server = Mail(mood, port=free_port())
    controller = Controller(server, hostname="127.0.0.1", port=server.port, ready_timeout=WAIT_S)
    controller.start()
    try:
        yield server
    finally:
        server.over.set()
        controller.stop()


@dataclass
class Hook:
    """A server of HTTP, and what was posted to it: path, headers, body."""

    port: int = 0
    posted: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        """Give Apprise's address of it, with a secret in it."""
        return f"json://127.0.0.1:{self.port}/hooks/s3cr3t-t0ken"


class Answering(BaseHTTPRequestHandler):
    """Whoever answers; until `over` it may keep others waiting."""

    over: threading.Event


Answer = Callable[[Answering], None]


def status(code: int, body: bytes = b"{}", **headers: str) -> Answer:
    """Answer with a status."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def endless(pause_s: float) -> Answer:
    """Answer 200, and then with a body that never ends."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            handler.wfile.write(b"x" * (1 if pause_s else 1 << 20))
            time.sleep(pause_s)

    return answer


def silent(handler: Answering) -> None:
    """Say nothing until it is over."""
    handler.over.wait()


def dropping(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection in the middle of an answer."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    handler.close_connection = True


@contextmanager
def hook(*answers: Answer) -> Iterator[Hook]:
    """Run a server of HTTP that gives one answer after the other, and the last of them for ever."""
    found = Hook()
    left = list(answers) or [status(200)]

    class Handler(Answering):
        over = found.over

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", "0"))
            raw = self.rfile.read(size)
            is_json = self.headers.get("Content-Type", "").startswith("application/json")
            body = json.loads(raw) if is_json else dict(parse_qsl(raw.decode()))
            found.posted.append((self.path, dict(self.headers), body))
            found.times.append(time.monotonic())
            answer = left.pop(0) if len(left) > 1 else left[0]
            try:
                answer(self)
            except OSError:
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Say nothing."""

    server = Server(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
