"""Metrics and health over HTTP."""

import json
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol, Self

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from holdfast.errors import BadInput
from holdfast.live.settings import Http
from holdfast.live.telemetry import Page

SILENT_SECONDS_MAX: Final = 120.0
"""How long a loop may not go round and still count as alive: a transaction or the loading of a state may take long."""

_REQUESTS_MAX: Final = 16
"""Requests served at a time; more are turned away, so that whoever asks too often does not cost the loop its core."""

_REQUEST_SECONDS: Final = 5.0


class _Listener(ThreadingHTTPServer):
    """Answers each request in a thread, of which there are not many."""

    daemon_threads = True
    block_on_close = False  # a client that is slow to read must not hold up the end of the process

    def __init__(self, address: tuple[str, int], answer: Callable[[str, str], tuple[HTTPStatus, str, bytes]]) -> None:
        self.answer = answer
        self._room = threading.BoundedSemaphore(_REQUESTS_MAX)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for a request, or turn it away."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a request, and make room for the next one."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a connection that broke go: it is the client's affair, and no news."""


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    timeout = _REQUEST_SECONDS

    def do_GET(self) -> None:
        """Answer with a page."""
        assert isinstance(self.server, _Listener)
        status, kind, body = self.server.answer(self.path.partition("?")[0], self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def version_string(self) -> str:
        """Tell no versions to whoever asks."""
        return "holdfast"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, the name is the base class's
        """Log nothing: probes come every few seconds."""


class Counted(Protocol):
    """What a loop counts of itself."""

    registry: CollectorRegistry
    role: str

    @property
    def silent_seconds(self) -> float:
        """How long ago it went round last."""
        ...


class Server:
    """Serves `/metrics`, `/healthz` and `/readyz`, as a context manager.

    `/healthz` is 200 while every loop goes round, else 503: the process should be started anew. `/readyz` is 200 once
    partitions were assigned and their state is loaded.

    Parameters
    ----------
    http
        Where to listen; port 0 is any free one.
    telemetries
        Of the workers in this process.
    is_ready
        Tells whether all of them are ready.
    silent_seconds_max
        How long a loop may not go round.
    """

    def __init__(
        self,
        http: Http,
        telemetries: Sequence[Counted],
        is_ready: Callable[[], bool],
        *,
        silent_seconds_max: float = SILENT_SECONDS_MAX,
    ) -> None:
        self._http, self._telemetries, self._is_ready = http, telemetries, is_ready
        self._silent_seconds_max = silent_seconds_max
        process = CollectorRegistry()
        ProcessCollector(registry=process)
        self._page = Page([*(each.registry for each in telemetries), process])
        self._listener: _Listener | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._listener is not None
        return int(self._listener.server_address[1])

    def __enter__(self) -> Self:
        """Begin to serve.

        Raises
        ------
        BadInput
            If the address cannot be listened on.
        """
        try:
            self._listener = _Listener((self._http.host, self._http.port), self._answer)
        except OSError as error:
            message = (
                f"http: cannot listen on {self._http.host}:{self._http.port}: {error.strerror or error}; allowed: an "
                "address of this machine and a port that is free, or 0 for any"
            )
            raise BadInput(message) from error
        threading.Thread(target=self._listener.serve_forever, args=(0.1,), name="http", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        assert self._listener is not None
        self._listener.shutdown()
        self._listener.server_close()

    def _answer(self, path: str, accepted: str) -> tuple[HTTPStatus, str, bytes]:
        """Return status, content type and body of a page."""
        if path == "/metrics":
            encoder, kind = choose_encoder(accepted)
            return HTTPStatus.OK, kind, encoder(self._page)
        if path == "/healthz":
            silent = {each.role: round(each.silent_seconds, 1) for each in self._telemetries}
            is_alive = all(seconds <= self._silent_seconds_max for seconds in silent.values())
            return _state(is_alive, "alive", "silent", {"silent_seconds": silent})
        if path == "/readyz":
            return _state(self._is_ready(), "ready", "not ready", {})
        found = {"error": f"{path}: no such page; there are /metrics, /healthz and /readyz"}
        return HTTPStatus.NOT_FOUND, "application/json", json.dumps(found).encode()


def _state(is_good: bool, good: str, bad: str, more: dict[str, object]) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE
    return status, "application/json", json.dumps({"status": good if is_good else bad, **more}).encode()
