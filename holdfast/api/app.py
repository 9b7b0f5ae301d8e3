"""The ASGI application: routes out of the table of operations, and around each handler what holds for all of them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from detectors.policy import duration_ms
from holdfast.api.asking import Asked, asked, only
from holdfast.api.auditing import RECORDED, WAIT_S, noted_of, on_record
from holdfast.api.description import description
from holdfast.api.gates import FlaggerPayload
from holdfast.api.operations import OPERATIONS, PROBES, Operation
from holdfast.api.refusals import Refused, answer, problem
from holdfast.api.services import Services
from holdfast.api.settings import is_loopback
from holdfast.api.tokens import ANYBODY, presented_in
from holdfast.wall import now

OPENAPI: Final = "/openapi.json"

Asgi = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]

log = logging.getLogger(__name__)


def application(services: Services) -> Asgi:
    """Make the application.

    Parameters
    ----------
    services
        What its handlers work with.
    """
    room = asyncio.Semaphore(services.api.requests_max)
    by_path: dict[str, list[Operation]] = {}
    for each in OPERATIONS:
        by_path.setdefault(each.path, []).append(each)
    routes = [
        Route(path, _Guarded(services, each, room), methods=[each.method])
        for path, found in by_path.items()
        for each in found
    ]
    told = Operation(
        "GET", OPENAPI, "describe", "This description.", "health:read", _describe, {200: ("OpenAPI 3.1.", dict)}
    )
    routes.append(Route(OPENAPI, _Guarded(services, told, room), methods=["GET"]))
    app = Starlette(routes=routes, exception_handlers={HTTPException: _unrouted(by_path)})
    app.router.redirect_slashes = False  # a redirect would repeat what the client says of the host

    async def quoted(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Route by the path as it was sent, so that a slash within a name is no slash between two."""
        if scope["type"] == "http" and scope.get("raw_path"):
            scope["path"] = scope["raw_path"].decode("latin-1")
        await app(scope, receive, send)

    return quoted


async def _describe(_services: Services, asked: Asked) -> Response:
    only(asked.query, ())
    return answer(description())


def _unrouted(by_path: dict[str, list[Operation]]) -> Callable[[Request, Exception], Response]:
    """Answer where there is no such page, or not by that method."""

    def respond(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code != HTTPStatus.METHOD_NOT_ALLOWED:
            return problem(error.status_code, f"no such page; {OPENAPI} says what there is")
        # The framework names the methods of the first route of that path alone.
        fitting = [
            each.method for path, found in by_path.items() for each in found if _fits(path, request.scope["path"])
        ] or ["GET"]
        methods = ", ".join(sorted({*fitting, *(["HEAD"] if "GET" in fitting else [])}))
        return problem(error.status_code, f"allowed: {methods}", headers={"allow": methods})

    return respond


def _fits(path: str, given: str) -> bool:
    parts, found = path.split("/"), given.split("/")
    return len(parts) == len(found) and all(a == b or (a[:1] == "{" and b) for a, b in zip(parts, found, strict=True))


class _Guarded:
    """A handler, and what is done around it: whom it is for, how many at a time, how long, and what is told."""

    def __init__(self, services: Services, operation: Operation, room: asyncio.Semaphore) -> None:
        self._services, self._operation, self._room = services, operation, room
        self._seconds = duration_ms(services.api.timeout) / 1_000

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer a request."""
        request = Request(scope, receive)
        begun = time.monotonic()
        try:
            response = await self._respond(request)
        except Refused as refused:
            response = refused.response()
        except Exception:
            log.exception("%s %s: an error of our own", self._operation.method, self._operation.path)
            response = problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an error of our own; the log says more")
        self._services.telemetry.answered(self._operation.path, response.status_code, time.monotonic() - begun)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        operation, services = self._operation, self._services
        _known_host(request, is_open=services.gate.is_open)
        presented = presented_in(request.headers.get("authorization"))
        if operation.path in PROBES and services.api.open_probes:
            who = ANYBODY
        elif presented is not None or not operation.token_in_body:
            who = services.gate.admit(presented, operation.scope)  # before anything of the body is read
        else:
            who = ""
        if self._room.locked():
            services.telemetry.turned_away()
            detail = f"{services.api.requests_max} requests are under way; allowed: to ask again"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"retry-after": "1"})
        async with self._room:
            read = await asked(request, services.api.body_bytes_max, self._seconds)
            who = who or services.gate.admit(_token_in(read), operation.scope)
            try:
                async with asyncio.timeout(self._seconds):
                    response = await operation.handle(services, read)
            except TimeoutError as error:
                detail = f"not done in {self._seconds:g} s"
                raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, detail) from error
            except Refused as refused:
                raise await self._on_record(refused, read, who) from refused
        if operation.change:
            log.info("%s by %s: status %d", operation.name, who, response.status_code)
        return response

    async def _on_record(self, refused: Refused, read: Asked, who: str) -> Refused:
        """Put on the audit topic that a change was refused, and return what is answered."""
        if not self._operation.change or refused.status not in RECORDED:
            return refused
        rollout = read.path.get("rollout") or refused.rollout
        noted = noted_of(refused, self._operation.change, rollout, who, now())
        return await on_record(refused, noted, self._services.keep_refusal, timedelta(seconds=WAIT_S))


def _token_in(read: Asked) -> str | None:
    """Return the token that stands in the metadata of a body."""
    try:
        return msgspec.json.decode(read.body, type=FlaggerPayload).metadata.get("token")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _known_host(request: Request, *, is_open: bool) -> None:
    """Refuse names that a page in somebody's browser could have given to this machine (DNS rebinding).

    Where tokens are asked for, it does not matter how the machine is called.
    """
    if not is_open:
        return
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    except ValueError:
        host = None
    if host is None or not is_loopback(host):
        detail = "without tokens only this machine is served; allowed: localhost or 127.0.0.1 as the host"
        raise Refused(HTTPStatus.MISDIRECTED_REQUEST, detail)
