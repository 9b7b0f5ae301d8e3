"""A small HTTP server between holdfast and a Prometheus, which can do what networks and busy servers do."""

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from tests.waiting import WAIT_S

Fault = Callable[[BaseHTTPRequestHandler, int, bytes], None]
"""Answers instead of us, given the status and the body that are right."""


class Between:
    """Passes questions on to a Prometheus; as a context manager it ends with the block.

    `faults` are used up one a question that is no question for names; None passes an answer on as it is.
    """

    def __init__(self, port: int) -> None:
        self.faults: list[Fault | None] = []
        self.seen: list[tuple[str, dict[str, str]]] = []
        """Paths and headers of what was asked."""
        between = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.passed("GET", None)

            def do_POST(self) -> None:
                self.passed("POST", self.rfile.read(int(self.headers["Content-Length"])))

            def passed(self, method: str, body: bytes | None) -> None:
                between.seen.append((self.path, dict(self.headers)))
                behind = http.client.HTTPConnection("127.0.0.1", port)
                kind = {"Content-Type": self.headers.get("Content-Type", "text/plain")}
                behind.request(method, self.path, body, kind)
                answer = behind.getresponse()
                whole = answer.read()
                behind.close()
                fault = between.faults.pop(0) if between.faults and "__name__" not in self.path else None
                (fault or right)(self, answer.status, whole)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def right(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    """Answer as it should be."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def half(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    """Hang up in the middle."""
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.wfile.flush()
    handler.close_connection = True


def half_without_length(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    """Hang up in the middle of an answer that did not say how long it is."""
    handler.send_response(status)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(body[: len(body) // 2])
    handler.close_connection = True


def late(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    """Say nothing until nobody listens any more."""
    handler.connection.settimeout(WAIT_S)
    handler.connection.recv(1)  # what ends with the connection
    handler.close_connection = True


def says(status: int, body: bytes) -> Fault:
    """Answer something else."""
    return lambda handler, _status, _body: right(handler, status, body)


def warns(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    """Add a warning, as a server does that could not ask all of its stores."""
    right(
        handler, status, body.replace(b'{"status":"success",', b'{"status":"success","warnings":["store b is away"],')
    )
