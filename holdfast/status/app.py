"""The ASGI application: a path is looked up among the pages that there are; nothing is read from disk."""

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from holdfast.api.asking import asked
from holdfast.api.refusals import Refused
from holdfast.api.settings import is_loopback
from holdfast.api.tokens import Gate, presented_in
from holdfast.status.pages import POLICY, Look
from holdfast.status.settings import Status
from holdfast.status.site import HTML, Page, Site
from holdfast.status.streams import Streams
from holdfast.status.subscribing import FORM_BYTES_MAX, Desk, Said

FORM: Final = "application/x-www-form-urlencoded"
INTERNAL: Final = "/internal"

_BODY_S: Final = 10.0
_HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), interest-cohort=()",
}
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via")

Asgi = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]

log = logging.getLogger(__name__)


class App:
    """Answers requests.

    Parameters
    ----------
    status
        Bounds, and the address of the page.
    gate
        Who may read what is internal.
    site
        Returns what there is to read now; None while nothing is known.
    streams
        Tells readers of changes.
    look
        How the pages look that are no part of a snapshot.
    desk
        Takes subscriptions; None where there are none.
    """

    def __init__(
        self,
        status: Status,
        gate: Gate,
        site: Callable[[], Site | None],
        streams: Streams,
        look: Look,
        desk: Desk | None = None,
    ) -> None:
        self._status, self._gate, self._site, self._streams = status, gate, site, streams
        self._look, self._desk = look, desk
        self._is_local = is_loopback(status.host) and status.url is None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            path = self._path(scope)
            events = {"/events": _public, "/internal/events": _internal}.get(path)
            if events is not None and request.method == "GET":
                if events is _internal:
                    self._admit(request)
                await self._stream(request, events, receive, send)
                return
            response = await self._respond(request, path)
        except Refused as refused:
            response = self._said(Said(HTTPStatus(refused.status), refused.status.phrase, [f"{refused.detail}."]))
            response.headers.update(refused.headers)
        except Exception:
            log.exception("status: an error of our own")
            sorry = ["An error of our own; the log says more."]
            response = self._said(Said(HTTPStatus.INTERNAL_SERVER_ERROR, "This should not have happened", sorry))
        if request.method == "HEAD":
            response.body = b""  # its length stays that of what a GET is sent
        await response(scope, receive, send)

    def _path(self, scope: Mapping[str, Any]) -> str:
        """Return the path as it was sent, without that of the page as a whole: it is compared, and nothing else."""
        raw: bytes = scope.get("raw_path") or str(scope["path"]).encode()
        path = raw.partition(b"?")[0].decode("latin-1")
        base = self._look.base
        if base and (path == base or path.startswith(f"{base}/")):
            path = path[len(base) :] or "/"
        return path

    async def _respond(self, request: Request, path: str) -> Response:
        if path == "/healthz":
            _only(request, "GET", "HEAD")
            return Response("ok\n", headers=_HEADERS | {"cache-control": "no-store"}, media_type="text/plain")
        if self._desk is not None and path.startswith(("/subscribe", "/confirm/", "/unsubscribe/")):
            return await self._subscription(self._desk, request, path)
        is_internal = path == INTERNAL or path.startswith((f"{INTERNAL}/", f"{INTERNAL}."))
        if is_internal:
            self._admit(request)
        site = self._site()
        if site is None:  # not even which pages there are: a link to an incident is not to be given up for it
            detail = "nothing is known yet: the incidents were not read to their end"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"retry-after": "2"})
        page = site.page(path)
        if page is None:
            raise Refused(HTTPStatus.NOT_FOUND, "There is no such page")
        _only(request, "GET", "HEAD")
        return _answer(request, page, is_internal=is_internal)

    def _admit(self, request: Request) -> None:
        """Let in who may read what is internal: on this machine everybody, if nothing says that others get here."""
        if self._gate.is_open:
            host = request.headers.get("host", "")
            is_near = self._is_local and not any(name in request.headers for name in _FORWARDED)
            if not is_near or not is_loopback(_name(host)):
                detail = "What is internal is shown on this machine alone, or with status.tokens"
                raise Refused(HTTPStatus.FORBIDDEN, detail)
        try:
            self._gate.admit(presented_in(request.headers.get("authorization")), "status:read")
        except Refused as refused:
            if refused.status == HTTPStatus.UNAUTHORIZED:
                # A browser asks for a password then, and the token is one.
                refused.headers["www-authenticate"] = 'Basic realm="status", charset="UTF-8"'
            raise

    async def _stream(self, request: Request, digest: Callable[[Site], str], receive: Any, send: Any) -> None:
        client = self._client(request)
        if not self._streams.has_room(client):
            detail = "As many pages are kept up to date as can be"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"retry-after": "60"})
        headers = {
            **_HEADERS,
            "content-type": "text/event-stream",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._streams.serve(client, raw, digest, receive, send)

    async def _subscription(self, desk: Desk, request: Request, path: str) -> Response:
        kind, _, token = path[1:].partition("/")
        if kind == "subscribe" and not token:
            _only(request, "POST")
            _same_site(request)
            read = await asked(request, FORM_BYTES_MAX, _BODY_S)
            if read.kind != FORM:
                raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Allowed: {FORM}")
            return self._said(desk.subscribe(self._client(request), read.body))
        if kind not in ("confirm", "unsubscribe"):
            raise Refused(HTTPStatus.NOT_FOUND, "There is no such page")
        _only(request, "GET", "HEAD", "POST")
        if request.method != "POST":
            said = desk.asked_to_confirm(token) if kind == "confirm" else desk.asked_to_remove(token)
            return self._said(said, f"{self._look.base}/{kind}/{token}" if said.button else "")
        await asked(request, FORM_BYTES_MAX, _BODY_S)  # what it says is in the path
        return self._said(await (desk.confirm(token) if kind == "confirm" else desk.remove(token)))

    def _said(self, said: Said, action: str = "") -> Response:
        body = self._look.message(said.heading, said.sentences, action, said.button)
        return Response(body, said.status, _HEADERS | {"cache-control": "no-store"}, HTML)

    def _client(self, request: Request) -> str:
        """Return who asks: behind a proxy what that says of it, the last name on its list."""
        told = request.headers.get("x-forwarded-for", "")
        if self._status.behind_proxy and told:
            return told.rpartition(",")[2].strip()
        return request.client.host if request.client is not None else ""


def _public(site: Site) -> str:
    return site.public_digest


def _internal(site: Site) -> str:
    return site.internal_digest


def _answer(request: Request, page: Page, *, is_internal: bool) -> Response:
    headers = {
        **_HEADERS,
        "etag": page.etag,
        "vary": "accept-encoding",
        "cache-control": "no-store" if is_internal else "no-cache",
    }
    if page.kind != HTML and not is_internal:
        # Readers of feeds, and pages elsewhere that show this one's state, may read it.
        headers |= {"access-control-allow-origin": "*", "cross-origin-resource-policy": "cross-origin"}
    given = [each.strip() for each in request.headers.get("if-none-match", "").split(",")[:20]]
    if page.etag in given or "*" in given:
        return Response(None, HTTPStatus.NOT_MODIFIED, headers)
    if _takes_gzip(request.headers.get("accept-encoding", "")):
        return Response(page.squeezed, headers=headers | {"content-encoding": "gzip"}, media_type=page.kind)
    return Response(page.body, headers=headers, media_type=page.kind)


def _takes_gzip(accepted: str) -> bool:
    for each in accepted.lower().split(",")[:20]:
        name, _, rest = each.strip().partition(";")
        if name.strip() == "gzip":
            return rest.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _only(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise Refused(
            HTTPStatus.METHOD_NOT_ALLOWED, f"Allowed: {', '.join(methods)}", headers={"allow": ", ".join(methods)}
        )


def _same_site(request: Request) -> None:
    """Refuse forms that a page of somebody else's has sent."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Refused(HTTPStatus.FORBIDDEN, "This form is sent from this page alone")


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
