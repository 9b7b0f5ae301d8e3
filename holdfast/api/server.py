"""`holdfast serve`: the server around the application, and the threads beside it."""

import contextlib
import logging
import signal
import socket
import ssl
from asyncio import AbstractEventLoop, Transport
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from detectors.policy import duration_ms
from holdfast.api.app import Asgi, application
from holdfast.api.applying import keeper
from holdfast.api.auditing import Keep, auditing
from holdfast.api.board import Board
from holdfast.api.delivering import Delivery, Events, Undelivered
from holdfast.api.services import Services
from holdfast.api.settings import Api, Webhook
from holdfast.api.telemetry import ApiTelemetry
from holdfast.api.tokens import Gate
from holdfast.api.watching import RolloutWatch, VerdictWatch, Watch
from holdfast.control.reaching import reach_of
from holdfast.errors import BadInput, Unreachable
from holdfast.live.clients import check, producer
from holdfast.live.settings import Settings
from holdfast.wall import now

HEADER_BYTES_MAX: Final = 16_384
_CONNECTIONS: Final = 8
"""How many connections there may be for each request that is served at a time; further ones are turned away."""

_IDLE_S: Final = 5
_GRACE_S: Final = 10
_KEPT_S: Final = 15.0
_STOP_S: Final = 8.0

log = logging.getLogger(__name__)


class PatientProtocol(H11Protocol):
    """Closes connections on which a request was begun and does not come: headers, too, have to come in time."""

    seconds = 10.0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to look whether something comes."""
        super().connection_made(transport)
        self._watched: Any = None
        self._again(self.loop)

    def _again(self, loop: AbstractEventLoop) -> None:
        loop.call_later(self.seconds, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle  # None before the first request, whatever its declaration says
        waits = cycle is None or cycle.response_complete
        seen = (waits, cycle)
        if waits and seen == self._watched:
            self.transport.close()
            return
        self._watched = seen
        self._again(self.loop)


class Server:
    """Listens, and serves until it is stopped.

    Parameters
    ----------
    api
        Where to listen; port 0 is any free one.
    app
        What answers.
    section
        Where `api` stands in the settings, for errors.

    Raises
    ------
    BadInput
        If the address cannot be listened on, or certificate and key cannot be used.
    """

    def __init__(self, api: Api, app: Asgi, section: str = "api") -> None:
        self._socket = _listening(api, section)
        seconds = duration_ms(api.timeout) / 1_000
        protocol = type("Protocol", (PatientProtocol,), {"seconds": min(seconds, PatientProtocol.seconds)})
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=api.requests_max * _CONNECTIONS,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_GRACE_S,
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
            ssl_certfile=api.certificate,
            ssl_keyfile=api.key,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            self._socket.close()
            why = error.strerror or error
            message = f"{section}.certificate: {api.certificate} and {api.key} cannot be used: {why}"
            raise BadInput(message) from error
        self._server = _Quiet(config)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._socket.getsockname()[1])

    def run(self) -> None:
        """Serve until `stop`."""
        try:
            self._server.run([self._socket])
        finally:
            self._socket.close()

    def stop(self) -> None:
        """End it soon, from any thread or a handler of a signal."""
        self._server.should_exit = True

    @property
    def is_serving(self) -> bool:
        """Whether requests are answered by now."""
        return self._server.started


class _Quiet(uvicorn.Server):
    """Leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


def _listening(api: Api, section: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(api.host, api.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((api.host, api.port), family=family)
    except OSError as error:
        message = (
            f"{section}: cannot listen on {api.host}:{api.port}: {error.strerror or error}; allowed: an address of "
            "this machine and a port that is free, or 0 for any"
        )
        raise BadInput(message) from error


def services_of(settings: Settings, keep_refusal: Keep) -> tuple[Services, list[Watch]]:
    """Make what the handlers work with, and the threads beside them, which are not started yet.

    Raises
    ------
    BadInput
        If a file that the settings name cannot be used, or librdkafka refuses a setting.
    """
    check(settings)
    board, telemetry = Board(), ApiTelemetry()
    gate = Gate(None if settings.api.tokens is None else Path(settings.api.tokens), now)
    rollouts, verdicts = RolloutWatch(settings), VerdictWatch(settings, board)
    targets = [_delivery(settings, each, telemetry) for each in settings.api.webhooks]
    watches: list[Watch] = [rollouts, verdicts, *targets]
    silences: dict[str, Callable[[], float]] = {each.name: each.silence for each in (rollouts, verdicts)}
    keep, reach = keeper(settings), partial(reach_of, settings)
    services = Services(settings.api, gate, board, rollouts, telemetry, keep, reach, keep_refusal, targets, silences)
    return services, watches


def _delivery(settings: Settings, webhook: Webhook, telemetry: ApiTelemetry) -> Delivery:
    from holdfast.live.subscription import Subscription

    def subscribe() -> Events:
        # Where a group is new it begins with what comes: nobody waits for the decisions of last month.
        rest = {key: value for key, value in settings.kafka.items() if key != "bootstrap.servers"}
        ours = {"auto.offset.reset": "latest", "max.poll.interval.ms": 600_000}
        return Subscription(
            settings.kafka.get("bootstrap.servers", "localhost:9092"),
            f"{settings.prefix}-webhook-{webhook.name}",
            trusted_keys=settings.trusted_keys or None,
            stale_after=settings.api.stale_after,
            topic=settings.topics.verdicts,
            settings={**rest, **ours},
        )

    writer = producer(settings)

    def set_aside(letter: Undelivered, body: bytes) -> None:
        key = None if letter.rollout is None else letter.rollout.encode()
        headers: list[tuple[str, str | bytes | None]] = [("holdfast-undelivered", msgspec.json.encode(letter))]
        writer.produce(settings.topics.undelivered, body, key, headers=headers)
        if writer.flush(_KEPT_S):
            message = f"{settings.topics.undelivered}: the brokers did not take an event that was given up"
            raise Unreachable(message)

    return Delivery(webhook, subscribe, set_aside, telemetry)


def run(settings: Settings, told: Callable[[int], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Parameters
    ----------
    settings
        Brokers and topics, and `api`.
    told
        Is told the port that is listened on.

    Raises
    ------
    BadInput
        If something that the settings name cannot be used. Brokers may be away: the judge needs none.
    """
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    refusals = auditing(settings)
    services, watches = services_of(settings, refusals.keep)
    server = Server(settings.api, application(services))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    for each in watches:
        each.start()
    told(server.port)
    try:
        server.run()
    finally:
        refusals.close()
        _stopped(watches)


def _stopped(watches: Sequence[Watch]) -> None:
    for each in watches:
        each.stop()
    for each in watches:
        each.join(_STOP_S)
        if each.is_alive():
            log.warning("%s: did not end in %g s", each.name, _STOP_S)
